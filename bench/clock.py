"""What does the manual clock cost? One `clock set` over so many distinct instants, a mail at each.

A real daemon whose sink records: contacts of one account come up a second apart, and the clock
visits every one of these seconds. Then `clock set` to the present instant, with nothing due.
`units` says how often the store was asked, by the name of the unit of work, for each instant.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from statistics import median

import trio

from bench.field import check, daemon, ground, lay, runs
from bench.meter import Meter, own_peak_mb, postmaster_of
from dripd.channels.base import ProviderSettings
from dripd.clock import SECOND, Instant, parse_instant
from dripd.config import Config
from dripd.daemon.daemon import Daemon

INSTANTS = 500
STILL = 20

AT = "2026-01-05T09:00:00Z"
MANUAL = f"""
UPDATE dripd.deployment SET clock_mode = 'manual';
INSERT INTO dripd.clock (at) VALUES ('{AT}');
"""
FREE = "UPDATE dripd.account SET plan = 'unlimited'"

SINK = ProviderSettings(name="sink", kind="sink")


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* instants (default 500) on the fresh database of *dsn*."""
    wanted = n or INSTANTS
    due = "dripd.now() + n * interval '1 second'"
    lay(dsn, MANUAL, ground(1, "sink"), FREE, runs(1, wanted, due, 1))
    return trio.run(partial(_measure, config, dsn, wanted))


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    postmaster = await trio.to_thread.run_sync(postmaster_of, dsn)
    async with daemon(config, dsn, SINK, manual=True) as running:
        target = Instant(parse_instant(AT) + (n + 1) * SECOND)
        before, meter = _units(running), Meter(postmaster)
        visited = (await running.clock_set(target))["visited"]
        figures = meter.read(n)
        units = _units(running) - before
        still_ms = [await _timed(running, target) for _ in range(STILL)]
    await check(dsn, n)
    if visited != n + 1:
        raise AssertionError(f"{visited} instants were visited, not {n + 1}")
    return {
        "n": n,
        **figures,
        "ms_an_instant": round(1000 * figures["seconds"] / n, 2),
        "still_ms": round(median(still_ms), 2),
        "units": {"all": round(units.total() / n, 1)}
        | {name: round(times / n, 1) for name, times in units.most_common()},
        "rss_mb": round(own_peak_mb()),
    }


def _units(running: Daemon) -> Counter[str]:
    """How often the daemon's stages have asked the store so far, by unit of work."""
    asked = running.pipe.metrics.timing("dripd_db_query_seconds").values
    return Counter({labels[0]: sum(counts) for labels, (counts, _) in asked.items()})


async def _timed(running: Daemon, target: Instant) -> float:
    began = time.perf_counter()
    await running.clock_set(target)
    return 1000 * (time.perf_counter() - began)
