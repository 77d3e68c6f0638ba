"""A pooler before a Postgres of a unix socket, as pgbouncer is one: it speaks the protocol."""

from __future__ import annotations

import secrets
import select
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

Mode = Literal["session", "transaction"]

NO_TLS = (80877103, 80877104)
"""What a client asks first that would like the line encrypted."""

CANCEL = 80877102

IDLE = b"Z" + struct.pack("!I", 5) + b"I"
"""The server is ready, and in no transaction."""


class Session:
    """A session of the server, and what it said of itself."""

    def __init__(self, path: str, start: bytes) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.said = b""
        try:
            self.sock.connect(path)
            self.sock.sendall(start)
            while (message := read(self.sock)) is not None and message[:1] != b"Z":
                if message[:1] == b"S":
                    self.said += message
        except OSError:
            self.sock.close()
            raise


class Pooler:
    """Lends the sessions of a server: for as long as a client is there, or for a transaction."""

    def __init__(self, dsn: str, folder: Path, mode: Mode) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        self._target = f"{query['host'][0]}/.s.PGSQL.{query.get('port', ['5432'])[0]}"
        self._path = folder / ".s.PGSQL.5432"
        self.dsn = f"postgresql://{parts.username}@{parts.path}?host={folder}&port=5432"
        self.mode = mode
        self._lock = threading.Lock()
        self._is_over = False
        self._idle: list[Session] = []
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            self._is_over = True
        self.hang_up()

    def hang_up(self) -> None:
        """On everybody, and on the server."""
        for one in self._clients:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._clients.clear()
        while (one := self._borrow()) is not None:
            one.sock.close()

    def _borrow(self) -> Session | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, session: Session) -> None:
        with self._lock:
            if not self._is_over:
                self._idle.append(session)
                return
        session.sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if (start := welcome(client)) is None:
                return
            session = Session(self._target, start)
            key = b"K" + struct.pack("!III", 12, secrets.randbits(31), secrets.randbits(31))
            try:
                client.sendall(b"R" + struct.pack("!II", 8, 0) + session.said + key + IDLE)
            finally:
                self._give_back(session)
            self._lend(client, start)

    def _lend(self, client: socket.socket, start: bytes) -> None:
        held: Session | None = None
        try:
            while (heard := hear(client, held)) is not None:
                message, is_asked = heard
                if is_asked:
                    if held is None:
                        held = self._borrow() or Session(self._target, start)
                    held.sock.sendall(message)
                    continue
                client.sendall(message)
                if message == IDLE and self.mode == "transaction":
                    self._give_back(held)
                    held = None
        finally:
            if held is not None:
                held.sock.close()


def hear(client: socket.socket, held: Session | None) -> tuple[bytes, bool] | None:
    """The next message, and whether it is the client's; None: one of the two is gone."""
    waits = [client] if held is None else [held.sock, client]
    one = select.select(waits, [], [])[0][0]
    message = read(one)
    return None if message is None or message[:1] == b"X" else (message, one is client)


def welcome(client: socket.socket) -> bytes | None:
    """How *client* introduces itself; None for one who wants something else."""
    while (head := take(client, 8)) is not None:
        length, code = struct.unpack("!II", head)
        if code in NO_TLS:
            client.sendall(b"N")
            continue
        rest = take(client, length - 8)
        return None if code == CANCEL or rest is None else head + rest
    return None


def read(sock: socket.socket) -> bytes | None:
    """One message: its letter, its length, and the rest."""
    if (head := take(sock, 5)) is None:
        return None
    rest = take(sock, struct.unpack("!I", head[1:])[0] - 4)
    return None if rest is None else head + rest


def take(sock: socket.socket, n: int) -> bytes | None:
    found = b""
    while len(found) < n:
        if not (part := sock.recv(n - len(found))):
            return None
        found += part
    return found
