"""The wire under every HTTP adapter: an httpx transport over trio sockets.

Guarantees
    An exception says whether the provider can have seen the request. `ConnectError`,
    `ConnectTimeout`, `PoolTimeout` and `LocalProtocolError`: not one byte left. Every other
    `httpx.TransportError`: some left and no full answer came back. `unsent(request)` says
    the same after a cancellation. No request is ever written twice.
    One deadline covers a request from its first byte to the last of its answer (the `read`
    timeout of httpx), so that an answer that drips cannot hold a connection; a head is cut
    off at 64 KiB, a body at 1 MiB.
Method
    A LIFO stack of idle connections per origin, so that what is not needed grows old and
    is closed; a connection that the server has closed, or said anything on, is not used
    again. httptools parses. An answer is read whole before it is handed over.
Cost
    Stock httpx spends most of a busy pool's time in a pass over all of its connections;
    here a request costs the same with one connection or with 256.
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

import httpx
import trio

from dripd.campaigns.event import Outcome, Rejected, Retryable, Unknown
from dripd.channels.answer import Answer
from dripd.channels.wire import LOST, RECEIVE_BYTES, CountingStream
from dripd.clock import Millis

KEEPALIVE_MS: Final = Millis(4_000)
"""Idle time after which a connection is not trusted: common servers close after 5 s."""

UNSENT: Final = "dripd.unsent"
"""Request extension: True until the first byte of the request is written."""

FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that we write ourselves, since a body is always sent whole."""

Origin: TypeAlias = tuple[str, str, int]

Connect: TypeAlias = Callable[[str, int], Awaitable[trio.SocketStream]]
"""Opens a connection to a host and port; raises `OSError`."""


def unsent(request: httpx.Request) -> bool:
    """Whether no byte of *request* has left, as far as this transport can prove it."""
    return request.extensions.get(UNSENT) is True


def outcome_of(error: httpx.TransportError) -> Outcome:
    """What an exception of `TrioTransport` means for the message of that request."""
    match error:
        case httpx.PoolTimeout() | httpx.ConnectTimeout():
            return Retryable(reason="connect_timeout")
        case httpx.ConnectError():
            return Retryable(reason="connect")
        case httpx.LocalProtocolError():
            return Rejected(reason="malformed")
        case httpx.TimeoutException():
            return Unknown(reason="timeout")
        case _:
            return Unknown(reason="lost")


class TrioTransport(httpx.AsyncBaseTransport):
    """Carries requests over at most *max_connections* connections, idle ones included.

    *tls* is the context for https; None makes one with the system's authorities when the
    first https origin is met. *connect* opens connections, for who must mind where they lead.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        keepalive_ms: Millis = KEEPALIVE_MS,
        tls: ssl.SSLContext | None = None,
        connect: Connect = trio.open_tcp_stream,
    ) -> None:
        self._open_tcp = connect
        self._max = max_connections
        self._keepalive_ms = keepalive_ms
        self._tls = tls
        self._slots = trio.Semaphore(max_connections)
        self._idle: dict[Origin, deque[_Wire]] = {}
        self._open: set[_Wire] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry *request*; the answer's body is already there.

        Raises `httpx.TransportError` as the module says. A body beyond 1 MiB is cut off and
        the answer marked by the extension `truncated`.
        """
        request.extensions[UNSENT] = True
        timeouts = request.extensions.get("timeout", {})
        data = await _serialize(request)
        with trio.move_on_after(_seconds(timeouts.get("pool"))) as scope:
            await self._slots.acquire()
        if scope.cancelled_caught:
            raise httpx.PoolTimeout("no connection became free", request=request)
        try:
            return await self._carry(request, data, timeouts)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close every connection; a request under way fails as lost."""
        self._idle.clear()
        for wire in tuple(self._open):
            self._drop(wire)

    async def _carry(
        self, request: httpx.Request, data: bytes, timeouts: dict[str, float | None]
    ) -> httpx.Response:
        origin = _origin(request.url)
        read_s = _seconds(timeouts.get("read"))
        while (wire := self._take_idle(origin)) is not None:
            answer = await self._ask(wire, request, data, read_s)
            if answer is not None:
                return answer
        wire = await self._connect(origin, request, _seconds(timeouts.get("connect")))
        answer = await self._ask(wire, request, data, read_s)
        if answer is None:
            raise httpx.ConnectError(
                "closed before the first byte was written", request=request
            )
        return answer

    async def _ask(
        self, wire: _Wire, request: httpx.Request, data: bytes, read_s: float
    ) -> httpx.Response | None:
        """One request and its answer; None if the connection broke before the first byte."""
        before = wire.socket.n_sent
        reader = Answer(request)
        reusable = False
        try:
            with trio.move_on_after(read_s) as scope:
                began = await _converse(wire, data, reader, before)
                if not began:
                    return None
                reusable = reader.is_reusable()
            if scope.cancelled_caught:
                raise httpx.ReadTimeout("no full answer in time", request=request)
            return reader.response()
        finally:
            request.extensions[UNSENT] = wire.socket.n_sent == before
            if reusable:
                self._keep(wire, reader.keepalive_ms(self._keepalive_ms))
            else:
                self._drop(wire)

    async def _connect(self, origin: Origin, request: httpx.Request, limit_s: float) -> _Wire:
        self._make_room()
        socket: CountingStream | None = None
        wire: _Wire | None = None
        try:
            with trio.move_on_after(limit_s):
                socket = CountingStream.over(await self._open_tcp(origin[1], origin[2]))
                wire = await self._dress(socket, origin)
        except (OSError, UnicodeError, *LOST) as error:
            raise httpx.ConnectError(f"cannot connect: {error}", request=request) from error
        finally:
            if wire is None and socket is not None:
                socket.close()
        if wire is None:
            raise httpx.ConnectTimeout("no connection in time", request=request)
        self._open.add(wire)
        return wire

    async def _dress(self, socket: CountingStream, origin: Origin) -> _Wire:
        scheme, host, _ = origin
        if scheme != "https":
            return _Wire(socket, socket, origin)
        self._tls = self._tls or ssl.create_default_context()
        secure = trio.SSLStream(socket, self._tls, server_hostname=host, https_compatible=True)
        await secure.do_handshake()
        return _Wire(socket, secure, origin)

    def _take_idle(self, origin: Origin) -> _Wire | None:
        stack = self._idle.get(origin)
        while stack:
            wire = stack.pop()
            if wire.until > trio.current_time() and not wire.socket.is_readable():
                return wire
            self._drop(wire)
        return None

    def _keep(self, wire: _Wire, idle_ms: Millis) -> None:
        if wire not in self._open:
            return
        now = trio.current_time()
        wire.until = now + idle_ms / 1_000
        stack = self._idle.setdefault(wire.origin, deque())
        while stack and stack[0].until <= now:
            self._drop(stack.popleft())
        stack.append(wire)

    def _make_room(self) -> None:
        if len(self._open) < self._max:
            return
        stacks = [stack for stack in self._idle.values() if stack]
        if stacks:
            self._drop(min(stacks, key=lambda stack: stack[0].until).popleft())

    def _drop(self, wire: _Wire) -> None:
        self._open.discard(wire)
        wire.socket.close()


async def _converse(wire: _Wire, data: bytes, reader: Answer, before: int) -> bool:
    """Write, then read until the answer is whole; False if not one byte could be written."""
    try:
        await wire.stream.send_all(data)
    except LOST as error:
        if wire.socket.n_sent == before:
            return False
        reader.broken = error  # it may have refused us early: what it said is worth reading
    while not reader.done:
        try:
            chunk = await wire.stream.receive_some(RECEIVE_BYTES)
        except LOST as error:
            raise httpx.ReadError("the connection was lost", request=reader.request) from error
        reader.feed(bytes(chunk))
    return True


class _Wire:
    """An open connection: the counted socket, and the stream (TLS or the socket itself)."""

    __slots__ = ("origin", "socket", "stream", "until")

    def __init__(self, socket: CountingStream, stream: trio.abc.Stream, origin: Origin) -> None:
        self.socket = socket
        self.stream = stream
        self.origin = origin
        self.until = math.inf


def _origin(url: httpx.URL) -> Origin:
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, url.raw_host.decode("ascii"), port


def _seconds(timeout: float | None) -> float:
    return math.inf if timeout is None else timeout


async def _serialize(request: httpx.Request) -> bytes:
    """The request as bytes; `httpx.LocalProtocolError` for what would break its framing."""
    if request.url.scheme not in {"http", "https"}:
        raise httpx.UnsupportedProtocol(f"not http: {request.url.scheme}", request=request)
    body = await request.aread()
    headers = [pair for pair in request.headers.raw if pair[0].lower() not in FRAMING]
    if body or request.method not in {"GET", "HEAD"}:
        headers.append((b"Content-Length", b"%d" % len(body)))
    line = b"%b %b HTTP/1.1" % (request.method.encode("ascii", "replace"), request.url.raw_path)
    if not _is_clean((line,)) or not all(map(_is_clean, headers)):
        raise httpx.LocalProtocolError("a control character in a header", request=request)
    head = b"\r\n".join([line, *(b"%b: %b" % pair for pair in headers), b"", b""])
    return head + body


def _is_clean(parts: Iterable[bytes]) -> bool:
    return not any(b"\r" in part or b"\n" in part or b"\0" in part for part in parts)
