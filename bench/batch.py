"""How many messages a second through a provider that takes batches? The engine end to end.

As `http`, with a provider of kind `postmark`: up to 500 messages a request, a result for each,
two connections. The stand-in parses every request and answers one result a message. Checked
as there, and that it has seen exactly as many messages.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from typing import cast

import orjson
import trio
import uvloop

from bench.engine import DUE
from bench.field import check, daemon, ground, lay, runs, until_sent
from bench.herd import drain
from bench.meter import Meter, own_peak_mb, postmaster_of
from dripd.campaigns.event import Accepted, Outcome
from dripd.channels.base import Message, ProviderSettings, Resources, Secret
from dripd.channels.registry import build
from dripd.clock import SystemClock
from dripd.config import Config


def run(
    config: Config, dsn: str, n: int | None, processes: int | None = None
) -> dict[str, object]:
    """One drain of *n* steps (default 40,000) on the fresh database of *dsn*, by a daemon in
    this process or by as many *processes*."""
    return drained(config, dsn, n or 40_000, processes, Postmark, settings_of)


def drained(
    config: Config,
    dsn: str,
    n: int,
    processes: int | None,
    protocol: type[Counting],
    settings: Callable[[int], ProviderSettings],
) -> dict[str, object]:
    """One drain of *n* steps through a stand-in that speaks *protocol*."""
    if processes is None:
        lay(dsn, ground(provider="post"), runs(1, n, DUE))
    with serving(protocol) as server:
        if processes is None:
            return trio.run(partial(measure, config, dsn, n, server, settings))
        return drain(dsn, n, processes, settings(server.port), server.pid, server.seen)


def settings_of(port: int) -> ProviderSettings:
    return ProviderSettings(
        name="post",
        kind="postmark",
        base_url=f"http://127.0.0.1:{port}",
        max_connections=2,
        secrets={"server_token": Secret("bench")},
    )


async def measure(
    config: Config,
    dsn: str,
    n: int,
    server: Server,
    settings: Callable[[int], ProviderSettings],
) -> dict[str, object]:
    """One drain of *n* steps through the provider of *settings*, checked on both sides."""
    alone = await carry_alone(settings(server.port))
    before = server.seen()
    meter = Meter(await trio.to_thread.run_sync(postmaster_of, dsn), helpers=[server.pid])
    made = settings(server.port)
    async with daemon(config, dsn, made) as running:
        await until_sent(running, n, 300)
        figures = meter.read(n)
    await check(dsn, n)
    if server.seen() - before != n:
        raise AssertionError(f"the provider saw {server.seen() - before}, not {n}")
    return {"n": n, **figures, **alone, "rss_mb": round(own_peak_mb())}


async def carry_alone(settings: ProviderSettings, n: int = 10_000) -> dict[str, object]:
    """What the channel costs without the engine: CPU and rate of *n* messages."""
    channel = build(settings, Resources(clock=SystemClock()))
    messages = iter([_message(number) for number in range(n)])
    outcomes: list[Outcome] = []

    async def send() -> None:
        while some := list(islice(messages, channel.batch)):
            await channel.send(some, lambda _, outcome: outcomes.append(outcome))

    began, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(channel.concurrency):
            nursery.start_soon(send)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    await channel.aclose()
    if sum(isinstance(outcome, Accepted) for outcome in outcomes) != n:
        raise AssertionError("not every message was accepted")
    return {"alone_us": round(cpu / n * 1e6, 1), "alone_per_s": round(n / seconds)}


def _message(number: int) -> Message:
    return Message(
        ref=None,
        channel="email",
        account_id=1,
        enrollment_id=number,
        step_key="hello",
        sender="Ann <ann@acme.test>",
        to=f"c{number}@x.test",
        subject="Hi Ann",
        text="Hello Ann, " * 60,
        headers={"List-Unsubscribe": f"<https://x.test/u/{number}>"},
        idempotency_key=f"dripd:bench:{number}:1:hello",
    )


class Counting(asyncio.Protocol):
    """One connection; `seen` messages came over all."""

    seen = 0

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass


class Postmark(Counting):
    """Answers `POST /email/batch` with a result for each message."""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            at = self._buffer.lower().find(b"content-length:", 0, head + 2) + 15
            end = head + 4 + int(self._buffer[at : self._buffer.index(b"\r\n", at)])
            if len(self._buffer) < end:
                return
            letters = orjson.loads(self._buffer[head + 4 : end])
            self._buffer = self._buffer[end:]
            self._answer(letters if isinstance(letters, list) else [letters])

    def _answer(self, letters: list[object]) -> None:
        Counting.seen += len(letters)
        body = orjson.dumps([{"ErrorCode": 0, "MessageID": f"m{id(one)}"} for one in letters])
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


@dataclass(frozen=True, slots=True)
class Server:
    """A stand-in in a process of its own."""

    pid: int
    port: int
    pipe: Connection

    def seen(self) -> int:
        """How many messages it has taken."""
        self.pipe.send(None)
        return int(self.pipe.recv())


@contextmanager
def serving(protocol: type[Counting]) -> Iterator[Server]:
    """A stand-in while inside."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, protocol), daemon=True)
    process.start()
    try:
        yield Server(process.pid or 0, int(here.recv()), here)
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, protocol: type[Counting]) -> None:
    uvloop.run(_listen(pipe, protocol))


async def _listen(pipe: Connection, protocol: type[Counting]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    loop.add_reader(pipe.fileno(), lambda: (pipe.recv(), pipe.send(Counting.seen)))
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()
