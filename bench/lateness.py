"""How late is a step? 200 steps a second at random instants for 30 s: performed - due.

The channel notes, for each message that it is handed, how long ago it was due. CPU a step
is mostly that of waiting: what a second costs, divided by 200.
"""

from __future__ import annotations

import asyncio
from functools import partial

import trio

from bench.field import COUNTING, Stopwatch, check, daemon, ground, lay, runs, until_sent
from bench.meter import Meter, execute, lateness, own_peak_mb, postmaster_of
from dripd.config import Config

PER_S = 200
SECONDS = 30
LEAD_S = 5
"""From the rows to the first that is due: the daemon has started by then."""


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* steps (default 6,000) on the fresh database of *dsn*."""
    wanted = n or PER_S * SECONDS
    lay(dsn, ground(), runs(1, wanted, "dripd.now() + interval '1 day'"))
    return trio.run(partial(_measure, config, dsn, wanted))


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    postmaster = await trio.to_thread.run_sync(postmaster_of, dsn)
    await trio.to_thread.run_sync(_spread, dsn, n)
    watch = Stopwatch()
    async with daemon(config, dsn, COUNTING, watch) as running:
        meter = Meter(postmaster)
        await until_sent(running, n, 300)
        figures = meter.read(n)
    await check(dsn, n)
    late = lateness(watch.late_ms)
    if len(watch.late_ms) != n or min(watch.late_ms) < -1:
        raise AssertionError(
            f"{len(watch.late_ms)} of {n} were sent, one {min(watch.late_ms)} ms late"
        )
    return {"n": n, **figures, **late, "rss_mb": round(own_peak_mb())}


def _spread(dsn: str, n: int) -> None:
    span = f"interval '{LEAD_S} s' + random() * interval '{n / PER_S} s'"
    asyncio.run(execute(dsn, f"UPDATE dripd.due_step SET due_at = dripd.now() + {span}"))
