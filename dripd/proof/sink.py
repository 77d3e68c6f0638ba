"""What would a provider that misbehaves have received? HTTP and SMTP, with a log that is truth.

A line is on disk before the answer to it leaves, so that whatever the client makes of an
answer, the log says what was accepted. Every fault is drawn from a seed or asked for. It
shares no code with the daemon: it must not share its mistakes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from dripd.proof.faults import Faults
from dripd.proof.link import Link
from dripd.proof.sink_http import HttpSink
from dripd.proof.sink_smtp import SmtpSink


@dataclass(slots=True)
class Log:
    """Lines that are on disk before anybody is told. One fsync serves all who wait."""

    path: Path
    fd: int
    waiting: list[str] = field(default_factory=list)
    written: trio.Event = field(default_factory=trio.Event)
    wanted: trio.Event = field(default_factory=trio.Event)

    @classmethod
    def open(cls, path: Path) -> Log:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return cls(path, fd)

    async def add(self, **entry: object) -> None:
        """Returns once the entry is on disk."""
        self.waiting.append(json.dumps({"at": time.time_ns() // 1_000_000, **entry}) + "\n")  # noqa: TID251 - the sink has a clock of its own
        written = self.written
        self.wanted.set()
        await written.wait()

    async def write(self) -> None:
        """Write what is waited for, for ever."""
        while True:
            await self.wanted.wait()
            self.wanted, written, self.written = trio.Event(), self.written, trio.Event()
            lines, self.waiting = self.waiting, []
            data = "".join(lines).encode()
            await trio.to_thread.run_sync(self._sync, data)
            written.set()

    def _sync(self, data: bytes) -> None:
        os.write(self.fd, data)
        os.fsync(self.fd)


async def serve(
    log: Path,
    *,
    port: int,
    smtp_port: int,
    faults: Faults,
    task_status: trio.TaskStatus[tuple[int, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve for ever on 127.0.0.1; `started` tells the ports. Port 0 takes a free one."""
    lines = Log.open(log)
    http = await trio.open_tcp_listeners(port, host="127.0.0.1")
    smtp = await trio.open_tcp_listeners(smtp_port, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.write)
        for listeners, sink in (
            (http, HttpSink(lines.add, faults)),
            (smtp, SmtpSink(lines.add, faults)),
        ):
            nursery.start_soon(trio.serve_listeners, _guarded(sink.serve), listeners)
        task_status.started((port_of(http), port_of(smtp)))


def port_of(listeners: list[trio.SocketListener]) -> int:
    """The port that was taken."""
    found: int = listeners[0].socket.getsockname()[1]
    return found


def _guarded(
    serve_link: Callable[[Link], Awaitable[None]],
) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def handle(stream: trio.SocketStream) -> None:
        try:
            await serve_link(Link(stream))
        except (trio.BrokenResourceError, trio.ClosedResourceError, ValueError):
            return  # the client went away, or sent what is no request
        finally:
            stream.socket.close()

    return handle
