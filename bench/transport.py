"""How near is the driven wire to its floor? Requests over one `Driver` to a server on loopback.

Three things in one run, each with the CPU of this process alone: the rate with 1,024
connections to a server that answers after 50 ms, against the wire limit of 20,480 a second;
a round trip with 64 connections to one that answers at once; and the same round trip by
canned bytes on raw trio sockets, one task a connection: the floor. A fourth, one task a
connection with our reader, is what the driver is kept for.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import trio

from dripd.channels.drive import Call, Driver, Job
from dripd.channels.reply import whole
from dripd.clock import Millis

BODY = b"x" * 1_900
REQUEST = b"POST /send HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
ANSWER = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nX-Message-Id: 14c5d75ce93\r\n"
    b"Content-Length: 27\r\n\r\n" + b'{"message":"Queued, thanks"}'[:27]
)
SLOW_CONNECTIONS, LATENCY_S = 1_024, 0.05
FAST_CONNECTIONS = 64


def run(n: int | None = None) -> dict[str, object]:
    """*n* requests to the slow server (default 60,000), as many to the fast one."""
    wanted = n or 60_000
    _raise_file_limit()
    with server(LATENCY_S) as port:
        slow = _measured(_drive, port, wanted, SLOW_CONNECTIONS)
    with server(0.0) as port:
        fast = {
            name: _measured(form, port, wanted, FAST_CONNECTIONS)
            for name, form in (("canned", _canned), ("task", _tasks), ("drive", _drive))
        }
    limit = SLOW_CONNECTIONS / LATENCY_S
    return {
        "n": wanted,
        "seconds": round(slow[0], 3),
        "per_s": round(wanted / slow[0]),
        "cpu_us_daemon": round(slow[1], 1),
        "floor_per_s": round(limit),
        "share_of_wire_limit": round(wanted / slow[0] / limit, 3),
        "round_trip_us": round(fast["drive"][1], 1),
        "task_per_connection_us": round(fast["task"][1], 1),
        "canned_us": round(fast["canned"][1], 1),
        "times_canned": round(fast["drive"][1] / fast["canned"][1], 2),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


class Watch:
    """Seconds, and microseconds of CPU a request, from `start` to `stop`."""

    def start(self) -> None:
        self.seconds, self.cpu = -time.perf_counter(), -time.process_time()

    def stop(self) -> None:
        self.seconds += time.perf_counter()
        self.cpu += time.process_time()


Form = Callable[[int, int, int, Watch], Awaitable[None]]


def _measured(form: Form, port: int, n: int, connections: int) -> tuple[float, float]:
    """Seconds, and microseconds of CPU a request, once the connections stand."""
    watch = Watch()
    trio.run(form, port, n, connections, watch)
    return watch.seconds, watch.cpu / n * 1e6


async def _drive(port: int, n: int, connections: int, watch: Watch) -> None:
    driver = Driver("127.0.0.1", port, max_connections=connections, timeout_ms=Millis(30_000))
    await driver.dial()
    answered = 0

    def count(jobs: Sequence[Job]) -> None:
        nonlocal answered
        for job in jobs:
            answered += job.reply is not None and job.reply.status == 202

    async def calls(n: int) -> None:
        for at in range(0, n, 256):
            jobs = [Job(REQUEST) for _ in range(min(256, n - at))]
            await driver.carry(jobs, Call(len(jobs), count))

    n_calls = max(2, 2 * connections // 256)
    watch.start()
    async with trio.open_nursery() as nursery:
        for i in range(n_calls):
            nursery.start_soon(calls, n // n_calls + (i < n % n_calls))
    watch.stop()
    await driver.aclose()
    if answered != n:
        raise AssertionError(f"{answered} of {n} requests were answered")


async def _each(
    port: int, n: int, connections: int, watch: Watch, ask: Callable[..., Awaitable[None]]
) -> None:
    """One task a connection; the clock runs once all of them stand."""
    left = n

    async def converse(sock: trio.socket.SocketType) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask(sock)

    socks = [trio.socket.socket() for _ in range(connections)]
    for sock in socks:
        await sock.connect(("127.0.0.1", port))
    watch.start()
    async with trio.open_nursery() as nursery:
        for sock in socks:
            nursery.start_soon(converse, sock)
    watch.stop()
    for sock in socks:
        sock.close()


async def _canned(port: int, n: int, connections: int, watch: Watch) -> None:
    async def ask(sock: trio.socket.SocketType) -> None:
        await sock.send(REQUEST)
        await sock.recv(16_384)

    await _each(port, n, connections, watch, ask)


async def _tasks(port: int, n: int, connections: int, watch: Watch) -> None:
    head, body = b"POST /send HTTP/1.1\r\nHost: x\r\n", BODY

    async def ask(sock: trio.socket.SocketType) -> None:
        await sock.send(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        reply = whole(await sock.recv(16_384))
        if reply is None or reply.status != 202:
            raise AssertionError("an answer that is none")

    await _each(port, n, connections, watch, ask)


@contextmanager
def server(latency_s: float) -> Iterator[int]:
    """A process that answers every request after *latency_s*; its port."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(there, latency_s), daemon=True
    )
    process.start()
    try:
        yield int(here.recv())
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, latency_s: float) -> None:
    """One loop over epoll: a request is whole when its bytes are counted."""
    _raise_file_limit()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
    listener.setblocking(False)
    pipe.send(listener.getsockname()[1])
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    peers: dict[int, socket.socket] = {}
    got: dict[int, int] = {}
    due: deque[tuple[float, int]] = deque()
    while True:
        wait = max(due[0][0] - time.monotonic(), 0) if due else -1
        for fd, _ in epoll.poll(wait, 256):
            if fd == listener.fileno():
                peer, _ = listener.accept()
                peers[peer.fileno()], got[peer.fileno()] = peer, 0
                epoll.register(peer, select.EPOLLIN)
                continue
            data = peers[fd].recv(65_536)
            if not data:
                epoll.unregister(fd)
                peers.pop(fd).close()
                continue
            got[fd] += len(data)
            if got[fd] >= len(REQUEST):
                got[fd] -= len(REQUEST)
                if latency_s:
                    due.append((time.monotonic() + latency_s, fd))
                else:
                    peers[fd].send(ANSWER)
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, fd = due.popleft()
            if fd in peers:
                peers[fd].send(ANSWER)


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
