"""The floor: the engine's own statements, bare, on one connection to the same tables.

The same leases and records, of the same size and with the same arrays, by a loop that does
nothing else: no wheel, no fair share, no judgement, no rendering, no channel.
"""

from __future__ import annotations

import time
from datetime import date, timedelta
from itertools import count
from typing import Any

import asyncpg

from dripd.campaigns.enrollment import LogState, Needs
from dripd.store.connect import HOT_SETTINGS, copy_rows, prepare
from dripd.store.statements import sql
from dripd.store.unit_record import LOG_COLUMNS

BATCH = 500
MASK = Needs.EMAIL | Needs.COUNTED | 1

KEYS = """
SELECT account_id, lane, due_at, enrollment_id FROM dripd.due_step WHERE claim_id IS NULL ORDER BY 1, 2, 3, 4
"""


async def floor_per_s(dsn: str) -> float:
    """Lease and record every step that stands in `due_step`; steps a second."""
    conn = await asyncpg.connect(dsn, server_settings=HOT_SETTINGS)
    try:
        await prepare(conn)
        await conn.execute(sql("join_node"), 7, "floor", "0")
        days = dict(
            await conn.fetch(
                "SELECT account_id, min(local_date) FROM dripd.account_day GROUP BY 1"
            )
        )
        keys = [tuple(row) for row in await conn.fetch(KEYS)]
        claims = count(1)
        began = time.perf_counter()
        for at in range(0, len(keys), BATCH):
            await _cycle(conn, keys[at : at + BATCH], days, next(claims))
        seconds = time.perf_counter() - began
        if left := await conn.fetchval("SELECT count(*) FROM dripd.due_step"):
            raise AssertionError(f"the floor left {left} steps")
        return len(keys) / seconds
    finally:
        await conn.close()


async def _cycle(
    conn: Any, keys: list[tuple[int, int, int, int]], days: dict[int, date], claim: int
) -> None:
    accounts, lanes, dues, runs = map(list, zip(*keys, strict=True))
    distinct = sorted(set(accounts))
    lows = [accounts.index(account) + 1 for account in distinct]
    highs = [low - 1 for low in lows[1:]] + [len(keys)]
    rows = await conn.fetch(
        sql("lease"),
        distinct,
        [days[account] for account in distinct],
        lows,
        highs,
        lanes,
        dues,
        runs,
        [MASK] * len(keys),
        claim,
        7,
        timedelta(0),
        0,
    )
    if len(rows) != len(keys):
        raise AssertionError(f"the floor leased {len(rows)} of {len(keys)}")
    async with conn.transaction():
        await _record(conn, rows, keys, claim)


async def _record(
    conn: Any, rows: list[Any], keys: list[tuple[int, int, int, int]], claim: int
) -> None:
    accounts, lanes, dues, runs = map(list, zip(*keys, strict=True))
    n = len(keys)
    await conn.fetch(sql("end_steps"), accounts, lanes, dues, runs, [claim] * n)
    facts = {row["o"]: row for row in rows}
    ordered = [facts[o] for o in range(1, n + 1)]
    at = ordered[0]["leased_at"]
    log = [
        (
            account, run, claim, at, at, at, row["cv_id"], account, row["seq"], row["step_no"],
            row["run_no"], 1, int(LogState.ACCEPTED), 1, None, row["email"], "Hi Ann",
            f"sink-dripd:bench:{run}:1:hello", None,
        )
        for account, run, row in zip(accounts, runs, ordered, strict=True)
    ]  # fmt: skip
    await copy_rows(conn, "step_log", LOG_COLUMNS, log)
    await conn.execute(sql("end_alike"), accounts, runs, 2, "completed")
    await conn.execute(sql("drop_claims"), [claim])
