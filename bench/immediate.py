"""How soon does a new lead get its first mail? From a row of `list_member` to the acceptance.

A real daemon on the machine's clock, idle but for this: 1,000 contacts are put into a list
that is attached to a campaign, one INSERT each, 50 a second. Measured in the database alone:
`delivery.accepted_at - list_member.added_at`.
"""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
import trio

from bench.field import COUNTING, daemon, ground, lay, until_sent
from bench.meter import Meter, lateness, own_peak_mb, postmaster_of
from dripd.config import Config

PER_S = 50

LEADS = """
UPDATE dripd.account SET plan = 'unlimited';
INSERT INTO dripd.contact_list (account_id, id, key) VALUES (1, 1, 'new-leads');
INSERT INTO dripd.campaign_trigger (account_id, campaign_id, campaign_key, kind, match)
    VALUES (1, 1, 'bench', 'list_added', '{{"list": "new-leads"}}');
SET session_replication_role = replica;
INSERT INTO dripd.contact (account_id, id, external_id, email, attrs)
    SELECT 1, n, 'c' || n, 'c' || n || '@x.test', '{{"first_name": "Ann"}}' FROM generate_series(1, {n}) AS n;
SET session_replication_role = origin;
"""

JOIN_LIST = "INSERT INTO dripd.list_member (account_id, list_id, contact_id) VALUES (1, 1, $1)"

TOOK = """
SELECT 1000 * extract(epoch FROM d.accepted_at - m.added_at)::float8 AS ms
FROM dripd.list_member AS m
JOIN dripd.enrollment AS e ON e.account_id = m.account_id AND e.contact_id = m.contact_id
JOIN dripd.delivery AS d ON d.account_id = e.account_id AND d.enrollment_id = e.id
WHERE d.state = 'accepted'
"""


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* leads (default 1,000) on the fresh database of *dsn*."""
    wanted = n or 1_000
    lay(dsn, ground(1), LEADS.format(n=wanted))
    return trio.run(partial(_measure, config, dsn, wanted))


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    postmaster = await trio.to_thread.run_sync(postmaster_of, dsn)
    async with daemon(config, dsn, COUNTING) as running:
        meter = Meter(postmaster)
        await trio.to_thread.run_sync(asyncio.run, _add_leads(dsn, n))
        await until_sent(running, n, 60)
        figures = meter.read(n)
    took = await trio.to_thread.run_sync(asyncio.run, _took(dsn))
    if len(took) != n or min(took) < 0:
        raise AssertionError(
            f"{len(took)} of {n} leads got their mail, one after {min(took)} ms"
        )
    return {"n": n, **figures, **lateness(took), "rss_mb": round(own_peak_mb())}


async def _add_leads(dsn: str, n: int) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        for contact in range(1, n + 1):
            await conn.execute(JOIN_LIST, contact)
            await asyncio.sleep(1 / PER_S)
    finally:
        await conn.close()


async def _took(dsn: str) -> list[float]:
    conn = await asyncpg.connect(dsn)
    try:
        return [row["ms"] for row in await conn.fetch(TOOK)]
    finally:
        await conn.close()
