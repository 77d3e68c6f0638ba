"""Does a step cost more after five million? Runs of fifty steps, drained in one go.

A hundredth as many runs as steps come round fifty times, in 1,000 accounts, each step due as
soon as the one before it is done, so that every row of `due_step` is updated fifty times. At
each tenth: CPU of dripd and of Postgres a step, the size of `due_step` and of its index, and how
fast the machine was, by a piece of work that is always the same. Told are the last tenth against
the second (the first has the start in it), the same in such pieces of work, and the growth from
the second's end. Checked: every step of every run once.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import trio

from bench.field import COUNTING, STEP, daemon, ground, lay, runs, until_sent
from bench.meter import Meter, own_peak_mb, postmaster_of, value, yardstick_ms
from dripd.config import Config

STEPS = 50
TENTHS = 10
LIMIT_S = 3_600
"""For one tenth."""

DUE = "dripd.now() - interval '1 second'"
FREE = "UPDATE dripd.account SET plan = 'unlimited'"
SIZES = """SELECT json_build_array(pg_relation_size('dripd.due_step'), pg_indexes_size('dripd.due_step'))"""
LONG = """
UPDATE dripd.campaign_version SET definition = jsonb_set(definition, '{{steps}}', '{steps}'::jsonb);
INSERT INTO dripd.version_step SELECT account_id, cv_id, s, 's' || s, 'email', ''
    FROM dripd.version_step, generate_series(1, {last}) AS s;
UPDATE dripd.version_step SET key = 's0' WHERE step_no = 0;
"""
CHECK = "SELECT count(*) || ' ' || count(DISTINCT (enrollment_id, seq)) FROM dripd.step_log"


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* steps (default 5,000,000) on the fresh database of *dsn*."""
    n_runs = max(1, (n or 5_000_000) // STEPS)
    lay(dsn, ground(), FREE, campaign(), runs(1, n_runs, DUE))
    return trio.run(partial(_measure, config, dsn, n_runs * STEPS))


def campaign() -> str:
    """SQL: every campaign gets fifty steps instead of its one."""
    steps = json.dumps([{**STEP, "key": f"s{i}"} for i in range(STEPS)])
    return LONG.format(steps=steps, last=STEPS - 1)


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    postmaster = await trio.to_thread.run_sync(postmaster_of, dsn)
    tenths: list[dict[str, Any]] = []
    whole = Meter(postmaster)
    async with daemon(config, dsn, COUNTING) as running:
        for number in range(1, TENTHS + 1):
            meter, before = Meter(postmaster), running.pipe.counters.accepted
            last = number == TENTHS
            await until_sent(running, n * number // TENTHS, LIMIT_S, drained=last)
            done = running.pipe.counters.accepted - before
            figures = meter.read(max(1, done))  # a short run is through before it is looked at
            heap, index = await trio.to_thread.run_sync(asyncio.run, sizes(dsn))
            yardstick = {"yardstick_ms": round(yardstick_ms(), 2)}
            tenths.append({**figures, **yardstick, "heap_mb": heap, "index_mb": index})
        figures = whole.read(n)
    found = await trio.to_thread.run_sync(asyncio.run, value(dsn, CHECK))
    if found != f"{n} {n}":
        raise AssertionError(f"{found} steps were written, of which so many once, not {n}")
    return {
        "n": n,
        **figures,
        **report(tenths),
        "rss_mb": round(own_peak_mb()),
        "tenths": tenths,
    }


async def sizes(dsn: str) -> list[float]:
    """Megabytes of `due_step` and of its index."""
    found: list[int] = json.loads(await value(dsn, SIZES))
    return [round(size / 2**20, 2) for size in found]


def report(tenths: list[dict[str, Any]]) -> dict[str, float]:
    """The last tenth, in times the second's."""

    def cpu(one: dict[str, Any]) -> float:
        return float(one["cpu_us_daemon"] + one["cpu_us_postgres"])

    second, last = tenths[1], tenths[-1]
    ratio, slower = cpu(last) / cpu(second), last["yardstick_ms"] / second["yardstick_ms"]
    return {
        "cpu_last_to_second": round(ratio, 3),
        "cpu_last_to_second_by_yardstick": round(ratio / slower, 3),
        "heap_last_to_second": round(last["heap_mb"] / max(second["heap_mb"], 1e-9), 3),
        "index_last_to_second": round(last["index_mb"] / max(second["index_mb"], 1e-9), 3),
    }
