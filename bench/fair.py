"""Does a million due in one account keep another's single message, or the other it?

One account with everything due, a second with a message now and then, four a second, put in
while the daemon drains. Five pairs of turns, alternately without and with the second account,
each of a twentieth of the rows: the first one's rate, as the median of the pairs' ratios, and
how late the single messages left. Checked: every message once, every single one at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from statistics import median

import asyncpg
import trio

from bench.field import COUNTING, daemon, ground, lay, runs
from bench.meter import Meter, lateness, own_peak_mb, postmaster_of, value
from dripd.channels.base import Message, Settle
from dripd.channels.sink import SinkChannel
from dripd.config import Config
from dripd.policy.perform import Rendered

PAIRS = 5
EVERY_S = 0.25
LIMIT_S = 300
FIRST, SECOND = 1, 2
DUE = "dripd.now() - interval '1 second'"
FREE = "UPDATE dripd.account SET plan = 'unlimited'"
NUDGE = f"INSERT INTO dripd.nudge (account_id) VALUES ({SECOND})"
TWICE = "SELECT count(*) - count(DISTINCT enrollment_id) FROM dripd.step_log"


class Watch(SinkChannel):
    """Counts the first account's messages and notes how late the second's are."""

    def __init__(self) -> None:
        super().__init__("counting", None)
        self.n_first = 0
        self.late_ms: list[float] = []

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        now = time.time() * 1000
        for message in messages:
            self.n_first += message.account_id == FIRST
            if message.account_id == SECOND and isinstance(message.ref, Rendered):
                self.late_ms.append(now - message.ref.leased.due_at)
        await super().send(messages, settle)


@dataclass(slots=True)
class Turn:
    """One daemon's work on a twentieth of the rows."""

    per_s: float
    cpu_us: float
    late_ms: list[float] = field(default_factory=list)


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* due rows in one account (default 1,000,000) on the fresh database of *dsn*."""
    wanted = n or 1_000_000
    lay(dsn, ground(accounts=2), FREE, runs(1, wanted, DUE, accounts=1))
    numbers = (2 * number + 1 for number in count(wanted))  # odd: the second account's
    began = time.perf_counter()
    pairs = [
        (_turn(config, dsn, wanted // 20, None), _turn(config, dsn, wanted // 20, numbers))
        for _ in range(PAIRS)
    ]
    if twice := asyncio.run(value(dsn, TWICE)):
        raise AssertionError(f"{twice} messages were sent twice")
    return {**report(wanted, pairs), "seconds": round(time.perf_counter() - began, 1)}


def report(n: int, pairs: Sequence[tuple[Turn, Turn]]) -> dict[str, object]:
    late = [ms for _, beside in pairs for ms in beside.late_ms]
    return {
        "n": n,
        "per_s": round(median(beside.per_s for _, beside in pairs), 1),
        "cpu_us_daemon": round(median(beside.cpu_us for _, beside in pairs), 1),
        "share_of_rate": round(median(with_.per_s / alone.per_s for alone, with_ in pairs), 3),
        "shares": [round(with_.per_s / alone.per_s, 3) for alone, with_ in pairs],
        "singles": len(late),
        **lateness(late),
        "rss_mb": round(own_peak_mb()),
    }


def _turn(config: Config, dsn: str, n: int, numbers: Iterator[int] | None) -> Turn:
    return trio.run(partial(_drain, config, dsn, n, numbers))


async def _drain(config: Config, dsn: str, n: int, numbers: Iterator[int] | None) -> Turn:
    watch = Watch()
    postmaster = await trio.to_thread.run_sync(postmaster_of, dsn)
    async with daemon(config, dsn, COUNTING, watch):
        await _until(lambda: watch.n_first > 0)
        began, first, meter = time.perf_counter(), watch.n_first, Meter(postmaster)
        async with trio.open_nursery() as nursery:
            put = await nursery.start(_put_now_and_then, dsn, numbers)
            await _until(lambda: watch.n_first - first >= n)
            seconds, done = time.perf_counter() - began, watch.n_first - first
            nursery.cancel_scope.cancel()
        figures = meter.read(done)
        await _until(lambda: len(watch.late_ms) == len(put))
    return Turn(done / seconds, figures["cpu_us_daemon"], watch.late_ms)


async def _put_now_and_then(
    dsn: str, numbers: Iterator[int] | None, *, task_status: trio.TaskStatus[list[int]]
) -> None:
    """A message of the second account is due now, and the daemon is told; which were put."""
    put: list[int] = []
    task_status.started(put)
    if numbers is None:
        return
    with asyncio.Runner() as runner:
        # one connection: making it is work of the process that is measured
        conn = await trio.to_thread.run_sync(runner.run, asyncpg.connect(dsn))
        try:
            for number in numbers:
                text = runs(number, number, "dripd.now()", accounts=2) + NUDGE
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(runner.run, conn.execute(text))
                    put.append(number)
                await trio.sleep(EVERY_S)
        finally:
            conn.terminate()


async def _until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(LIMIT_S):
        while not is_so():
            await trio.sleep(0.005)
