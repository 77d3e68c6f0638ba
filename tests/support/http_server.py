"""A small scripted HTTP server on trio sockets: each connection is handed to a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request as the server read it."""

    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return ""


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self._buffer = b""

    async def ask(self) -> Asked | None:
        """The next request in full, or None at the end of the stream."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        asked = Asked(head=head, body=b"")
        length = int(asked.header("content-length") or 0)
        while len(self._buffer) < length:
            if not await self._more():
                return None
        asked.body, self._buffer = self._buffer[:length], self._buffer[length:]
        return asked

    async def _more(self) -> bool:
        data = await self.stream.receive_some(65_536)
        self._buffer += data
        return bool(data)


Script = Callable[[Peer], Awaitable[None]]


@dataclass(slots=True)
class Server:
    """Where the server listens, and how many connections it has seen."""

    port: int
    n_connections: int = 0
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def http_server(
    script: Script, wrap: Callable[[trio.SocketStream], trio.abc.Stream] | None = None
) -> AsyncIterator[Server]:
    """Run *script* for every connection until the block is left."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Server(port=listeners[0].socket.getsockname()[1])

    async def handle(raw: trio.SocketStream) -> None:
        server.n_connections += 1
        stream = wrap(raw) if wrap else raw
        try:
            await script(Peer(stream, server.n_connections))
        except trio.BrokenResourceError:
            return  # the client may go away at any point
        finally:
            raw.socket.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def answering(*answers: bytes, keep: bool = True) -> AsyncIterator[Server]:
    """A server that gives these answers in turn, the last one for ever, and notes requests."""
    left: list[bytes] = list(answers)
    asked: list[Asked] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.ask()) is not None:
            asked.append(request)
            await peer.stream.send_all(left.pop(0) if len(left) > 1 else left[0])
            if not keep:
                return

    async with http_server(script) as server:
        server.asked = asked
        yield server


def answer(
    status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", phrase: str = "X"
) -> bytes:
    """An answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
