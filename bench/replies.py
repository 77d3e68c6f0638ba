"""Does a reply that was acknowledged before the lease ever fail to stop the step?

10,000 runs, each with a step due at a random instant; four real daemons; eight clients that
insert a reply for every contact, each at a random instant within half a second around its
due, and note when the commit was acknowledged. Checked: no delivery was leased after its
reply's acknowledgement, and none was sent twice. Both kinds must have occurred: replies that
came in time and replies that came too late. `p50_ms` is how long an INSERT of a reply took.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import asyncpg

from bench.field import ground, lay, runs
from bench.meter import Meter, execute, lateness, postmaster_of, value
from bench.process import running
from dripd.config import Config

ACCOUNTS = 200
DAEMONS = 4
CLIENTS = 8
PER_S = 250
LEAD_S = 20
AROUND_S = 0.25

DUE = "SELECT enrollment_id, account_id, contact_id, extract(epoch FROM due_at)::float8 AS due FROM dripd.due_step"

REPLY = "INSERT INTO dripd.event_in (account_id, contact_id, kind) VALUES ($1, $2, 'reply')"

SETTLED = "SELECT count(*) FROM dripd.run WHERE status = 1"

SENT = (
    "SELECT enrollment_id, extract(epoch FROM leased_at)::float8 AS leased FROM dripd.step_log"
)


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* replies (default 10,000) on the fresh database of *dsn*."""
    del config
    wanted = n or 10_000
    lay(dsn, ground(ACCOUNTS), runs(1, wanted, "dripd.now() + interval '1 day'", ACCOUNTS))
    span = f"interval '{LEAD_S} s' + random() * interval '{wanted / PER_S} s'"
    asyncio.run(execute(dsn, f"UPDATE dripd.due_step SET due_at = dripd.now() + {span}"))
    postmaster = postmaster_of(dsn)
    with ExitStack() as stack:
        pids = [stack.enter_context(running(dsn)) for _ in range(DAEMONS)]
        meter = Meter(postmaster, daemons=pids)
        acknowledged, took_ms = asyncio.run(_reply_to_all(dsn))
        _wait_for_all(dsn)
        figures = meter.read(wanted)
    return {"n": wanted, **figures, **lateness(took_ms), **_judge(dsn, acknowledged)}


async def _reply_to_all(dsn: str) -> tuple[dict[int, float], list[float]]:
    """When each enrollment's reply was acknowledged, and what each INSERT took."""
    conn = await asyncpg.connect(dsn)
    rows = await conn.fetch(DUE)
    await conn.close()
    shift = {
        row["enrollment_id"]: (hash(row["enrollment_id"] * 2654435761) % 1000 / 500 - 1)
        for row in rows
    }
    plan = sorted((row["due"] + shift[row["enrollment_id"]] * AROUND_S, *row) for row in rows)
    acknowledged: dict[int, float] = {}
    took: list[float] = []
    await asyncio.gather(
        *(_client(dsn, plan[i::CLIENTS], acknowledged, took) for i in range(CLIENTS))
    )
    return acknowledged, took


async def _client(
    dsn: str,
    plan: list[tuple[float, int, int, int, float]],
    acknowledged: dict[int, float],
    took: list[float],
) -> None:
    conn = await asyncpg.connect(dsn)
    for at, enrollment, account, contact, _ in plan:
        await asyncio.sleep(max(0.0, at - time.time()))
        began = time.time()
        await conn.execute(REPLY, account, contact)
        acknowledged[enrollment] = time.time()
        took.append((acknowledged[enrollment] - began) * 1000)
    await conn.close()


def _wait_for_all(dsn: str) -> None:
    deadline = time.time() + 120
    while left := asyncio.run(value(dsn, SETTLED)):
        if time.time() > deadline:
            raise AssertionError(f"{left} runs have not ended")
        time.sleep(0.5)


def _judge(dsn: str, acknowledged: dict[int, float]) -> dict[str, object]:
    rows = asyncio.run(_sent(dsn))
    sent = {row["enrollment_id"]: row["leased"] for row in rows}
    after = [e for e, leased in sent.items() if leased > acknowledged[e]]
    if after or len(sent) != len(rows):
        raise AssertionError(
            f"{len(after)} leased after a reply, {len(rows) - len(sent)} twice"
        )
    stopped = len(acknowledged) - len(sent)
    if not stopped or not sent:
        raise AssertionError(f"{stopped} stopped and {len(sent)} sent: nothing was raced")
    return {"stopped": stopped, "sent": len(sent), "leased_after_reply": 0}


async def _sent(dsn: str) -> list[asyncpg.Record]:
    conn = await asyncpg.connect(dsn)
    try:
        return list(await conn.fetch(SENT))
    finally:
        await conn.close()
