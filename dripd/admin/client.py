"""How does a command ask the daemon? A blocking client of the admin socket.

One connection, one call at a time. Whatever goes wrong is a `DripdError` of the class that it
had in the daemon; that nobody answers is `Unreachable` (exit 5).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

from dripd.admin import wire
from dripd.errors import (
    Busy,
    DripdError,
    NotPermitted,
    PeerWireError,
    TimedOut,
    Unreachable,
)

CONNECT_S: Final = 5.0
CHUNK: Final = 65536
LOOK_FIRST: Final = (
    "a change may have taken effect: look before you repeat it (dripd audit list), "
    "or repeat it with the same --request-id"
)
HOW_TO_START: Final = (
    "start it with `dripd run`, or name its socket with --socket, DRIPD_SOCKET or DRIPD_STATE"
)
FAREWELLS: Final[Mapping[str, type[DripdError]]] = {
    "denied": NotPermitted,
    "busy": Busy,
    "role_changed": NotPermitted,
    "proto": PeerWireError,
}
"""What the daemon's `bye` means to us; any other reason is `Unreachable`."""


class Client:
    """A connection to the daemon at *path*; `timeout` in seconds bounds each call, if given."""

    def __init__(self, path: Path, *, timeout: float | None = 30.0, name: str = "cli") -> None:
        self._path = path
        self._timeout = timeout
        self._decoder = wire.Decoder()
        self._inbox: list[wire.Message | wire.WireFault] = []
        self._last_id = 0
        self._sock = connect(path)
        try:
            self.hello: Mapping[str, object] = self._shake_hands(name)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def call(self, method: str, params: Mapping[str, object] | None = None) -> object:
        """The result of *method*.

        Raises what the daemon raised; `TimedOut` if it took longer than the timeout (it may
        still take effect: ask again with the same `request_id`); `Unreachable` if the daemon
        hung up. An interrupt by the keyboard cancels the call in the daemon first.
        """
        self._last_id += 1
        request = wire.Request(id=self._last_id, method=method, params=dict(params or {}))
        deadline = self._deadline(self._timeout)
        try:
            self._send(wire.encode(request), deadline)
            return self._answer(request.id, method, deadline)
        except KeyboardInterrupt:
            self._cancel(request.id)
            raise

    def _shake_hands(self, name: str) -> Mapping[str, object]:
        most = CONNECT_S if self._timeout is None else self._timeout
        deadline = self._deadline(min(CONNECT_S, most))
        hello = self._next("hello", deadline)
        if not isinstance(hello, wire.Notice) or hello.method != "hello":
            raise PeerWireError(f"{self._path} does not greet as dripd does")
        proto = hello.params.get("proto")
        if not isinstance(proto, list) or proto[:1] != [wire.PROTO[0]]:
            server = hello.params.get("server")
            raise PeerWireError(
                f"the daemon ({server}) speaks protocol {proto}, this command {wire.PROTO[0]}",
                hint="upgrade the older of the two packages",
            )
        greeting: dict[str, object] = {
            "proto": list(wire.PROTO),
            "client": name,
            "pid": os.getpid(),
        }
        self._send(wire.encode(wire.Notice(method="client.hello", params=greeting)), deadline)
        return hello.params

    def _answer(self, call_id: wire.MessageId, method: str, deadline: float | None) -> object:
        while True:
            message = self._next(method, deadline)
            if isinstance(message, wire.Failure) and message.id in (call_id, None):
                raise wire.unpack_error(message)
            if isinstance(message, wire.Reply) and message.id == call_id:
                return message.result

    def _next(self, method: str, deadline: float | None) -> wire.Message:
        """The next message that is for us; raises what a farewell or a fault means."""
        while not self._inbox:
            data = self._receive(method, deadline)
            if not data:
                hint = HOW_TO_START if method == "hello" else LOOK_FIRST
                raise Unreachable(
                    f"the daemon on {self._path} hung up during {method}", hint=hint
                )
            self._inbox = self._decoder.feed(data)
        message = self._inbox.pop(0)
        if isinstance(message, wire.WireFault):
            raise PeerWireError(f"the daemon broke the protocol: {message.message}")
        if isinstance(message, wire.Notice) and message.method == "bye":
            part(message)
        return message

    def _receive(self, method: str, deadline: float | None) -> bytes:
        try:
            self._sock.settimeout(left(deadline))
            return self._sock.recv(CHUNK)
        except TimeoutError as error:
            raise TimedOut(
                f"{method} was not answered in time",
                hint="it may still take effect; look before you repeat it, or allow more "
                "time with --timeout",
            ) from error
        except ConnectionError:
            return b""

    def _send(self, line: bytes, deadline: float | None) -> None:
        try:
            self._sock.settimeout(left(deadline))
            self._sock.sendall(line)
        except TimeoutError as error:
            raise TimedOut(f"the daemon on {self._path} does not read") from error
        except ConnectionError:
            return  # its farewell may still be readable; if not, reading says that it hung up

    def _cancel(self, call_id: wire.MessageId) -> None:
        cancel = wire.Notice(method="cancel", params={"id": call_id})
        try:
            self._send(wire.encode(cancel), self._deadline(1.0))
        except DripdError:
            return  # nobody there to cancel anything

    def _deadline(self, seconds: float | None) -> float | None:
        return None if seconds is None else time.monotonic() + seconds


def left(deadline: float | None) -> float | None:
    """Seconds until *deadline*, at least a millisecond, for zero would mean not to wait."""
    return None if deadline is None else max(0.001, deadline - time.monotonic())


def part(bye: wire.Notice) -> NoReturn:
    """Raise what the daemon's farewell means."""
    reason, message = bye.params.get("reason"), bye.params.get("message")
    kind = FAREWELLS.get(str(reason), Unreachable)
    hint = "upgrade the older of the two packages" if reason == "proto" else ""
    raise kind(str(message), hint=hint)


def connect(path: Path) -> socket.socket:
    """A socket connected to *path*; raises `Unreachable`, or `NotPermitted`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_S)
        sock.connect(os.fspath(path))
    except OSError as error:
        sock.close()
        raise unreachable(path, error) from error
    return sock


def unreachable(path: Path, error: OSError) -> DripdError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermitted(f"no access to {path}", hint="ask for the group dripd")
    reason = error.strerror or str(error)
    return Unreachable(f"no daemon answers on {path} ({reason})", hint=HOW_TO_START)
