"""How fast are requests decided, and do others wait for it? One INSERT ... SELECT of *n* rows.

1,000,000 requests of one account, decided in order, while 20 steps a second of 100 other
accounts come due: how late those are is told beside the rate. Checked: every request is
accepted and has its due step, in the order of the requests; every other step was sent once.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial

import trio

from bench.field import COUNTING, Stopwatch, daemon, ground, lay, runs
from bench.meter import Meter, execute, lateness, own_peak_mb, postmaster_of, value
from dripd.config import Config

OTHERS = 100
PER_S = 20

BULK = 1_000_000
"""The bulk's account."""

DEFINITION = {
    "campaign": "bulk",
    "account": "bulk",
    "name": "Bulk",
    "sender": "s@bulk.test",
    "steps": [
        {"key": "later", "do": "email", "delay": "30d", "subject": "Hi", "text": "Hello"}
    ],
}

SEED = f"""
SET session_replication_role = replica;
INSERT INTO dripd.account (id, key) VALUES ({BULK}, 'bulk');
INSERT INTO dripd.sender (account_id, id, address) VALUES ({BULK}, {BULK}, 's@bulk.test');
INSERT INTO dripd.contact (account_id, id, external_id, email)
    SELECT {BULK}, {BULK} + n, 'c' || n, 'c' || n || '@x.test' FROM generate_series(1, {{n}}) AS n;
INSERT INTO dripd.campaign (account_id, id, key, name, status, live_version, live_cv_id)
    VALUES ({BULK}, {BULK}, 'bulk', 'Bulk', 'active', 1, {BULK});
INSERT INTO dripd.campaign_version (account_id, id, campaign_id, campaign_key, version, definition)
    VALUES ({BULK}, {BULK}, {BULK}, 'bulk', 1, '{{definition}}');
INSERT INTO dripd.version_step VALUES ({BULK}, {BULK}, 0, 'later', 'email', '');
"""

ASK = f"""
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id)
SELECT {BULK}, 'bulk', {BULK} + n FROM generate_series(1, {{n}}) AS n
"""

LEFT = "SELECT EXISTS (SELECT FROM dripd.enroll_request WHERE status = 'pending')"

FOUND = f"""
SELECT (SELECT count(*) FROM dripd.due_step WHERE account_id = {BULK})
    || ' ' || (SELECT count(*) FROM (
        SELECT enrollment_id - lag(enrollment_id) OVER (ORDER BY id) AS step
        FROM dripd.enroll_request WHERE status = 'accepted') AS s WHERE step < 0)
"""


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """Decide *n* requests (default 1,000,000) on the fresh database of *dsn*."""
    wanted = n or 1_000_000
    seconds = max(10, wanted // 5_000)
    due = f"dripd.now() + interval '5 s' + n * interval '{1000 // PER_S} ms'"
    seed = SEED.format(n=wanted, definition=json.dumps(DEFINITION))
    lay(dsn, ground(OTHERS), seed, runs(1, seconds * PER_S, due, OTHERS))
    return trio.run(partial(_measure, config, dsn, wanted))


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    postmaster = await trio.to_thread.run_sync(postmaster_of, dsn)
    watch = Stopwatch()
    async with daemon(config, dsn, COUNTING, watch) as running:
        await trio.sleep(5)  # the others are on their way
        watch.late_ms.clear()
        meter = Meter(postmaster)
        await trio.to_thread.run_sync(asyncio.run, execute(dsn, ASK.format(n=n)))
        running.kick()
        while await trio.to_thread.run_sync(asyncio.run, value(dsn, LEFT)):
            await trio.sleep(0.2)
        figures = meter.read(n)
        late = lateness(watch.late_ms)
    found = await trio.to_thread.run_sync(asyncio.run, value(dsn, FOUND))
    if found != f"{n} 0":
        raise AssertionError(f"due steps and steps out of order are {found}, not {n} 0")
    return {
        "n": n,
        **figures,
        **late,
        "others": len(watch.late_ms),
        "rss_mb": round(own_peak_mb()),
    }
