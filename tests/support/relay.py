"""A way to the database that can be cut: connections go through it until they must not."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


class Relay:
    """Hands on what is said to a Postgres of a unix socket; `cut` hangs up on everybody."""

    def __init__(self, dsn: str, folder: Path) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        port = query.get("port", ["5432"])[0]
        self._target = f"{query['host'][0]}/.s.PGSQL.{port}"
        self._path = folder / ".s.PGSQL.5432"
        self.dsn = f"postgresql://{parts.username}@{parts.path}?host={folder}&port=5432"
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._flows = threading.Event()
        self._flows.set()

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self.flow()

    def mend(self) -> None:
        """Take connections, again."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Hang up, and take nothing more."""
        if self._listener is not None:
            self._path.unlink()
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def swallow(self) -> None:
        """Hold what is said, in both directions, and hang up on nobody: a black hole."""
        self._flows.clear()

    def flow(self) -> None:
        """Hand on again, what was held first."""
        self._flows.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            there.connect(self._target)
            self._open += [here, there]
            for one, other in ((here, there), (there, here)):
                pair = (one, other, self._flows)
                threading.Thread(target=pump, args=pair, daemon=True).start()


def pump(one: socket.socket, other: socket.socket, flows: threading.Event) -> None:
    """From *one* to *other*, to the end."""
    with suppress(OSError):
        while data := one.recv(65536):
            flows.wait()
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)
    one.close()
