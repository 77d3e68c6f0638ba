"""How many steps a second, at what cost? The whole engine with a sink that only counts.

Rows that are due now, in 1,000 accounts with caps on; from the daemon's start to the last
record. Checked: deliveries = distinct enrollments = sum of `used` = rows, no claim left.
Then the floor on the same tables: as many rows again, by the bare statements.
"""

from __future__ import annotations

import asyncio
from functools import partial

import trio

from bench.field import COUNTING, check, daemon, ground, lay, runs, until_sent
from bench.floor import floor_per_s
from bench.meter import Meter, own_peak_mb, postmaster_of
from dripd.config import Config

DUE = "dripd.now() - interval '1 second'"

FLOOR_ROWS = 20_000


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """One drain of *n* steps (default 50,000) on the fresh database of *dsn*."""
    wanted = n or 50_000
    lay(dsn, ground(), runs(1, wanted, DUE))
    figures = trio.run(partial(_measure, config, dsn, wanted))
    lay(dsn, runs(wanted + 1, wanted + min(wanted, FLOOR_ROWS), DUE))
    return {**figures, "floor_per_s": round(asyncio.run(floor_per_s(dsn)), 1)}


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    meter = Meter(await trio.to_thread.run_sync(postmaster_of, dsn))
    async with daemon(config, dsn, COUNTING) as running:
        await until_sent(running, n, 300)
        figures = meter.read(n)
    await check(dsn, n)
    return {"n": n, **figures, "rss_mb": round(own_peak_mb())}
