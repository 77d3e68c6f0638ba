"""What lies between a daemon and what it talks to? A TCP proxy, and what befalls the bytes.

Each direction has its own `Toxics`, changed at any time and felt at once, so that a link can
die one way only. A `Trap` lets the beginning of one message through and holds the rest up,
while somebody does to the daemon what he came for. It knows bytes alone, no protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TypeAlias, TypeVar

import trio

T = TypeVar("T")

Way: TypeAlias = Literal["up", "down"]
"""`up` to the server, `down` to the daemon."""

CHUNK: Final = 65_536

LOOK_S: Final = 0.02
"""How often what stands still looks whether it may go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxics:
    """What befalls the bytes of one direction of every connection."""

    latency_s: float = 0.0
    black_hole: bool = False
    """Nothing arrives and nothing ends, until it is lifted: then all of it arrives."""
    limit: int = -1
    """After so many bytes the connection is reset; -1: never."""
    drip_bytes: int = 0
    """At most so many bytes at a time, with `drip_s` between; 0: as they come."""
    drip_s: float = 0.0


@dataclass(slots=True)
class Trap:
    """Holds up what goes *way* and holds *match*, after its first *most* bytes."""

    way: Way
    match: bytes
    most: int
    sprung: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


Target: TypeAlias = tuple[str, int] | Path
"""A host and port, or a unix socket."""


class Proxy:
    """One listener and what it leads to."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.toxics: dict[Way, Toxics] = {"up": Toxics(), "down": Toxics()}
        self.refuses = False
        """New connections are reset at once."""
        self.trap: Trap | None = None
        self._links: dict[trio.SocketStream, trio.CancelScope] = {}

    async def serve(self, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve for ever on 127.0.0.1; `started` tells the port."""
        self._token = trio.lowlevel.current_trio_token()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listeners[0].socket.getsockname()[1]
        await trio.serve_listeners(
            self._handle, listeners, task_status=_Started(task_status, port)
        )

    def poison(self, way: Way, **toxics: float) -> None:
        """Change some of the toxics of *way*; the others stay."""
        self.toxics[way] = replace(self.toxics[way], **toxics)  # type: ignore[arg-type]  # numbers all

    def heal(self) -> None:
        """No toxics any more; connections that stand go on."""
        self.toxics = {"up": Toxics(), "down": Toxics()}
        self.refuses = False

    def reset(self) -> int:
        """Cut every connection off hard; how many there were."""
        links = list(self._links.items())
        for stream, scope in links:
            _make_hard(stream)
            scope.cancel()
        return len(links)

    def reset_soon(self) -> None:
        """As `reset`, from another thread."""
        trio.from_thread.run_sync(self.reset, trio_token=self._token)

    async def _handle(self, client: trio.SocketStream) -> None:
        if self.refuses:
            _make_hard(client)
            client.socket.close()
            return
        try:
            server = await self._connect()
        except OSError:
            _make_hard(client)
            client.socket.close()
            return
        with trio.CancelScope() as scope:
            self._links[client] = scope
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, "up", client, server, scope)
                    nursery.start_soon(self._pump, "down", server, client, scope)
            finally:
                del self._links[client]
                server.socket.close()
                client.socket.close()

    async def _connect(self) -> trio.SocketStream:
        if isinstance(self._target, Path):
            sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
            await sock.connect(str(self._target))
            return trio.SocketStream(sock)
        return await trio.open_tcp_stream(*self._target)

    async def _pump(
        self,
        way: Way,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        link: trio.CancelScope,
    ) -> None:
        """Carry what comes from *source* to *sink* until either ends."""
        passed = 0
        try:
            while data := await source.receive_some(CHUNK):
                await self._hold_up(way, data, sink)
                limit = self.toxics[way].limit
                if 0 <= limit < passed + len(data):
                    await sink.send_all(data[: max(0, limit - passed)])
                    break
                await self._carry(way, data, sink)
                passed += len(data)
            else:
                await sink.send_eof()
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one end is gone: so is the other
        _make_hard(source)
        _make_hard(sink)
        link.cancel()

    async def _carry(self, way: Way, data: bytes, sink: trio.SocketStream) -> None:
        toxics = self.toxics[way]
        if toxics.latency_s:
            await trio.sleep(toxics.latency_s)  # noqa: TID251 - the toxic itself
        while self.toxics[way].black_hole:  # noqa: ASYNC110 - lifted from another thread
            await trio.sleep(LOOK_S)  # noqa: TID251 - the toxic itself
        size = toxics.drip_bytes or len(data)
        for at in range(0, len(data), size):
            await sink.send_all(data[at : at + size])
            if toxics.drip_bytes:
                await trio.sleep(toxics.drip_s)  # noqa: TID251 - the toxic itself

    async def _hold_up(self, way: Way, data: bytes, sink: trio.SocketStream) -> None:
        """Spring the trap if *data* is what it is set for; returns once it is released."""
        trap = self.trap
        if trap is None or trap.way != way or trap.match not in data:
            return
        self.trap = None
        await sink.send_all(data[: trap.most])
        trap.sprung.set()
        while not trap.released.is_set():  # noqa: ASYNC110 - set by another thread
            await trio.sleep(LOOK_S)  # noqa: TID251 - the trap itself
        raise trio.BrokenResourceError("what the trap held is thrown away")


class _Started:
    """Hands on our port where trio would hand on its listeners."""

    def __init__(self, status: trio.TaskStatus[int], port: int) -> None:
        self._status = status
        self._port = port

    def started(self, _listeners: object = None) -> None:
        self._status.started(self._port)


def _make_hard(stream: trio.SocketStream) -> None:
    """Let its end be a reset instead of a farewell."""
    linger = (1).to_bytes(4, "little") + bytes(4)
    try:
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
    except OSError:
        return  # it is closed already


class Proxies:
    """Proxies in a thread of their own, for whoever has no event loop."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), daemon=True)

    def __enter__(self) -> Proxies:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.do(self._nursery.cancel_scope.cancel)
        self._thread.join()

    def lead(self, target: Target) -> tuple[Proxy, int]:
        """A proxy to *target*, and its port."""
        proxy = Proxy(target)

        async def start() -> int:
            port: int = await self._nursery.start(proxy.serve)
            return port

        return proxy, trio.from_thread.run(start, trio_token=self._token)

    def do(self, deed: Callable[..., T], *args: object) -> T:
        """Call *deed* where the proxies live."""
        return trio.from_thread.run_sync(deed, *args, trio_token=self._token)

    async def _main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._token = trio.lowlevel.current_trio_token()
            self._begun.set()
            await trio.sleep_forever()
