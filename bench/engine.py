"""How many steps a second, at what cost? The whole engine with a sink that only counts.

Rows that are due now, in 1,000 accounts with caps on; from the daemon's start to the last
record. Checked: deliveries = distinct enrollments = sum of `used` = rows, no claim left.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import trio

from dripd.channels.base import ProviderSettings
from dripd.config import Config
from dripd.daemon.run import serve

ACCOUNTS = 1_000

DEFINITION = {
    "campaign": "bench",
    "account": "a@@",
    "name": "Bench",
    "sender": "s@a@@.test",
    "steps": [
        {
            "key": "hello",
            "do": "email",
            "subject": "Hi {First Name}",
            "text": "Hello {First Name}",
        }
    ],
}

SEED = """
SET session_replication_role = replica;
INSERT INTO dripd.account (id, key, plan) SELECT n, 'a' || n, 'enterprise' FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.sender (account_id, id, address, provider)
    SELECT n, n, 's@a' || n || '.test', 'counting' FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.contact (account_id, id, external_id, email, attrs)
    SELECT 1 + n % {accounts}, n, 'c' || n, 'c' || n || '@x.test', '{{"first_name": "Ann", "tier": "gold"}}'
    FROM generate_series(1, {n}) AS n;
INSERT INTO dripd.campaign (account_id, id, key, name, status, live_version, live_cv_id)
    SELECT n, n, 'bench', 'Bench', 'active', 1, n FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.campaign_version (account_id, id, campaign_id, campaign_key, version, definition)
    SELECT n, n, n, 'bench', 1, replace('{definition}', '@@', n::text)::jsonb FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.version_step SELECT n, n, 0, 'hello', 'email', '' FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.lane SELECT n, 0, n, 1, 'email', 'account', 'account' FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.run (account_id, campaign_id, id, contact_id, started_at, cv_id, run_no, reentry)
    SELECT 1 + n % {accounts}, 1 + n % {accounts}, n, n, dripd.now(), 1 + n % {accounts}, 1, 1
    FROM generate_series(1, {n}) AS n;
INSERT INTO dripd.due_step (due_at, enrollment_id, contact_id, account_id, cv_id, lane)
    SELECT dripd.now() - interval '1 second', n, n, 1 + n % {accounts}, 1 + n % {accounts}, 0
    FROM generate_series(1, {n}) AS n;
"""


async def _execute(dsn: str, text: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(text)
    finally:
        await conn.close()


async def _value(dsn: str, text: str) -> Any:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(text)
    finally:
        await conn.close()


def postgres_cpu_s(postmaster: int) -> float:
    """CPU seconds of the postmaster and of every process it ever had."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry.name) == postmaster:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
    return total / ticks


def busy_cpu_s() -> float:
    """CPU seconds that anybody used since boot, of all cores."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, soft, steal = map(int, words)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """One drain of *n* steps (default 50,000) on the fresh database of *dsn*."""
    wanted = n or 50_000
    definition = json.dumps(DEFINITION)
    text = SEED.format(accounts=ACCOUNTS, n=wanted, definition=definition)
    asyncio.run(_execute(dsn, text))
    asyncio.run(_execute(dsn, "VACUUM ANALYZE"))
    return trio.run(partial(_measure, config, dsn, wanted))


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    config.providers["counting"] = ProviderSettings(  # type: ignore[index]  # made for this run
        name="counting", kind="sink", options={"record": False}
    )
    pids = await trio.to_thread.run_sync(postmaster_of, dsn)
    began = time.perf_counter()
    cpu, pg, busy = time.process_time(), postgres_cpu_s(pids), busy_cpu_s()
    async with trio.open_nursery() as nursery:
        daemon = await nursery.start(partial(serve, config, dsn, manual_clock=False, at=None))
        with trio.fail_after(300):
            while daemon.pipe.counters.accepted < n or daemon.pipe.unsent:  # noqa: ASYNC110 - it looks from outside
                await trio.sleep(0.01)
        seconds = time.perf_counter() - began
        cpu, pg = time.process_time() - cpu, postgres_cpu_s(pids) - pg
        other = (busy_cpu_s() - busy - cpu - pg) / seconds
        nursery.cancel_scope.cancel()
    checks = "SELECT (SELECT count(*) FROM dripd.delivery WHERE state = 'accepted') || ' ' ||"
    checks += " (SELECT sum(used) FROM dripd.account_day) || ' ' || (SELECT count(*) FROM dripd.claim)"
    found = await trio.to_thread.run_sync(asyncio.run, _value(dsn, checks))
    if found != f"{n} {n} 0":
        raise AssertionError(f"deliveries, used and claims are {found}, not {n} {n} 0")
    return {
        "n": n,
        "seconds": round(seconds, 3),
        "per_s": round(n / seconds),
        "cpu_us_daemon": round(cpu / n * 1e6, 1),
        "cpu_us_postgres": round(pg / n * 1e6, 1),
        "other_cpu": round(other, 2),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def postmaster_of(dsn: str) -> int:
    """The process id of the postmaster: the parent of our backend."""
    return asyncio.run(_postmaster(dsn))


async def _postmaster(dsn: str) -> int:
    conn = await asyncpg.connect(dsn)
    try:
        return parent_of(await conn.fetchval("SELECT pg_backend_pid()"))
    finally:
        await conn.close()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
