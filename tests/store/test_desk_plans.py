"""What a screen asks reads no more of a table that has grown: every query of `bench/console.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import trio

from bench.console import QUERIES
from bench.estate import estate
from dripd.channels.happening import Happened
from dripd.store import desk as desk_module
from dripd.store.connect import Conn, transact
from dripd.store.desk_enrollment import LOOKED
from dripd.store.desk_gateway import keep_happenings
from dripd.store.desk_list import LOOKED as LOOKED_OF_LIST
from tests.support.control import Control, open_control
from tests.support.postgres import Databases

RUNS = 30_000

SAMPLED: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("daemon.overview", {}),
    ("campaign.list", {"figures": True}),
)
"""What is read from samples beside those who look: a few hundred pages, however many there are."""

MOST = 5_000
"""Rows that one look may read of the large tables: pages of the log, samples, a thousand holds."""

UNDER_WAY = """
WITH taken AS (
    UPDATE dripd.due_step SET claim_id = 77, due_at = date_trunc('minute', dripd.now())
    WHERE account_id = 1 AND enrollment_id IN (2, 4) RETURNING account_id
)
INSERT INTO dripd.claim (claim_id, incarnation, leased_at, n, account_ids, due_lo, due_hi)
SELECT 77, 1, dripd.now(), count(*), ARRAY[1], date_trunc('minute', dripd.now()), date_trunc('minute', dripd.now()) FROM taken
"""

READ = """
SELECT relname, (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int8 AS n
FROM pg_stat_xact_user_tables
WHERE schemaname = 'dripd' AND relname ~ $1::text
"""

LARGE = (
    "^(run|due_step|contact|task|notification|suppression|admin_audit|individual_send"
    "|step_log.*|journal_log.*|event_log.*)$"
)


@pytest.fixture(scope="module")
def grown(pg_databases: Databases) -> Any:
    """A database with a past, in which two messages are under way."""
    with pg_databases.fresh() as dsn:
        asyncio.run(laid(dsn, [*estate(RUNS), UNDER_WAY, "VACUUM ANALYZE"]))
        yield dsn


async def laid(dsn: str, texts: Sequence[str]) -> None:
    conn = await asyncpg.connect(dsn)
    for text in texts:
        await conn.execute(text)
    await conn.close()


@asynccontextmanager
async def counting(
    dsn: str, monkeypatch: pytest.MonkeyPatch, large: str = LARGE
) -> AsyncIterator[tuple[Control, dict[str, int]]]:
    """The control side, and how many rows its last unit of work has read of which large table.

    Sequential scans are made dear, as they are of tables a thousand times as large.
    """
    read: dict[str, int] = {}

    async def noting(
        conn: Conn, patience_s: float, unit: Any, *args: Any, **kwargs: Any
    ) -> Any:
        async def noted(conn: Conn) -> Any:
            await conn.execute("SET LOCAL enable_seqscan = off")
            before = {row["relname"]: row["n"] for row in await conn.fetch(READ, large)}
            result = await unit(conn, *args, **kwargs)
            for row in await conn.fetch(READ, large):
                n = row["n"] - before.get(row["relname"], 0)
                read[row["relname"]] = read.get(row["relname"], 0) + n
            return result

        return await transact(conn, patience_s, noted)

    monkeypatch.setattr(desk_module, "transact", noting)
    async with open_control(dsn) as control:
        yield control, read


@pytest.mark.trio
@pytest.mark.parametrize(
    ("method", "params"),
    [one for one in QUERIES if one not in SAMPLED],
    ids=lambda one: (
        one if isinstance(one, str) else " ".join(f"{k}={v}" for k, v in one.items())
    ),
)
async def test_a_screen_reads_what_it_shows(
    grown: str, monkeypatch: pytest.MonkeyPatch, method: str, params: Mapping[str, object]
) -> None:
    async with counting(grown, monkeypatch) as (control, read):
        await control.do(method, **params)

    most = 2 * LOOKED + MOST if "tag" in params else MOST  # no index knows both
    assert sum(read.values()) <= most, {table: n for table, n in read.items() if n}


@pytest.mark.trio
async def test_what_is_under_way_is_found_through_the_claims(
    grown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counting(grown, monkeypatch) as (control, read):
        found = await control.do("delivery.list", state="leased")
        runs = await control.do("enroll.list", status="executing")

    assert [one["id"] for one in found["items"]] == ["4-2", "2-2"]
    assert [one["id"] for one in runs["items"]] == [2, 4]
    assert sum(read.values()) < 50, read


@pytest.mark.trio
async def test_whom_an_address_concerns_is_found_by_its_form(
    grown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counting(grown, monkeypatch) as (control, read):
        await control.do("event.add", kind="reply", address=" C4@X.test")
        told = [Happened(kind="reply", id="1", address="C4@X.test", sender="S@a1.test")]
        kept = await control.desk.run(keep_happenings, "counting", "here", told)

    assert kept == 0  # it is an event of an account, none waits for its delivery
    assert sum(read.values()) < 50, read


QUEUED = """
SET session_replication_role = replica;
INSERT INTO dripd.enroll_request (account_id, campaign_key, external_id, queued_for)
    SELECT 1, 'c', 'x' || n, n FROM generate_series(1, 20000) AS n;
VACUUM ANALYZE dripd.enroll_request
"""


@pytest.mark.trio
async def test_who_waits_in_the_queue_is_found_by_contact(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop looks for the requests that it withdraws: not through all that wait."""
    async with open_control(pg_dsn) as control:
        await control.furnish("ann")
    await trio.to_thread.run_sync(asyncio.run, laid(pg_dsn, QUEUED.split(";")))

    async with counting(pg_dsn, monkeypatch, "^enroll_request") as (control, read):
        await control.do("enroll.stop", contact=["ann"], dry_run=True)

    assert sum(read.values()) < 50, read


LISTED = """
SET session_replication_role = replica;
INSERT INTO dripd.contact_list (account_id, id, key) SELECT id, 99, 'big' FROM dripd.account WHERE key = 'acme';
INSERT INTO dripd.list_member (account_id, list_id, contact_id)
    SELECT id, 99, n FROM dripd.account, generate_series(1, 20000) AS n WHERE key = 'acme';
INSERT INTO dripd.run (account_id, campaign_id, contact_id, started_at, cv_id, run_no, status)
    SELECT a.id, c.id, n % 20000, dripd.now(), c.live_cv_id, 1 + n / 20000, 1
    FROM dripd.account AS a JOIN dripd.campaign AS c ON c.account_id = a.id, generate_series(1, 60000) AS n;
VACUUM ANALYZE dripd.list_member;
VACUUM ANALYZE dripd.run
"""


@pytest.mark.trio
async def test_of_a_large_list_the_runs_of_the_first_members_are_counted(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
    await trio.to_thread.run_sync(asyncio.run, laid(pg_dsn, LISTED.split(";")))

    async with counting(pg_dsn, monkeypatch, "^(run|list_member|contact)$") as (control, read):
        found = await control.do("list.show", key="big", limit=60)

    assert found["runs"]["members"] == LOOKED_OF_LIST
    assert found["runs"]["more"] is True
    assert found["runs"]["live"] == 3 * LOOKED_OF_LIST
    assert sum(read.values()) < 6 * LOOKED_OF_LIST, read
