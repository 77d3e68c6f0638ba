"""How fast are requests decided? One INSERT ... SELECT of *n* rows (default 1,000,000)."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import trio

from bench.engine import _execute, _value, postgres_cpu_s, postmaster_of
from dripd.config import Config
from dripd.daemon.run import serve

SEED = """
SET session_replication_role = replica;
INSERT INTO dripd.account (id, key) VALUES (1, 'bulk');
INSERT INTO dripd.sender (account_id, id, address) VALUES (1, 1, 's@bulk.test');
INSERT INTO dripd.contact (account_id, id, external_id, email)
    SELECT 1, n, 'c' || n, 'c' || n || '@x.test' FROM generate_series(1, {n}) AS n;
INSERT INTO dripd.campaign (account_id, id, key, name, status, live_version, live_cv_id)
    VALUES (1, 1, 'bulk', 'Bulk', 'active', 1, 1);
INSERT INTO dripd.campaign_version (account_id, id, campaign_id, campaign_key, version, definition)
    VALUES (1, 1, 1, 'bulk', 1, '{{"campaign": "bulk", "account": "bulk", "name": "Bulk", "sender": "s@bulk.test",
        "steps": [{{"key": "later", "do": "email", "delay": "30d", "subject": "Hi", "text": "Hello"}}]}}');
INSERT INTO dripd.version_step VALUES (1, 1, 0, 'later', 'email', '');
"""

ASK = """
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id)
SELECT 1, 'bulk', n FROM generate_series(1, {n}) AS n
"""


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """Decide *n* requests on the fresh database of *dsn*."""
    wanted = n or 1_000_000
    asyncio.run(_execute(dsn, SEED.format(n=wanted)))
    asyncio.run(_execute(dsn, "VACUUM ANALYZE"))
    return trio.run(partial(_measure, config, dsn, wanted))


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    postmaster = await trio.to_thread.run_sync(postmaster_of, dsn)
    async with trio.open_nursery() as nursery:
        daemon = await nursery.start(partial(serve, config, dsn, manual_clock=False, at=None))
        began, cpu, pg = time.perf_counter(), time.process_time(), postgres_cpu_s(postmaster)
        await trio.to_thread.run_sync(asyncio.run, _execute(dsn, ASK.format(n=n)))
        daemon.kick()
        left = "SELECT count(*) FROM dripd.enroll_request WHERE status = 'pending'"
        with trio.fail_after(900):
            while await trio.to_thread.run_sync(asyncio.run, _value(dsn, left)):  # noqa: ASYNC110 - it looks from outside
                await trio.sleep(0.2)
        seconds = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    accepted = "SELECT count(*) FROM dripd.run"
    found = await trio.to_thread.run_sync(asyncio.run, _value(dsn, accepted))
    if found != n:
        raise AssertionError(f"{found} runs began, not {n}")
    return {
        "n": n,
        "seconds": round(seconds, 3),
        "per_s": round(n / seconds),
        "cpu_us_daemon": round((time.process_time() - cpu) / n * 1e6, 1),
        "cpu_us_postgres": round((postgres_cpu_s(postmaster) - pg) / n * 1e6, 1),
    }
