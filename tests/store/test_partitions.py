"""What only grows is kept by the month: made ahead, dropped as a whole, never in an insert's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from dripd.errors import StoreBusy, StoreError
from dripd.store.connect import translated
from dripd.store.statements import sql

TABLES = ("enroll_request", "event_log", "journal_log", "step_log")

JOURNAL = "INSERT INTO dripd.journal_log (account_id, kind, at) VALUES (1, 'held', $1::text::timestamptz)"

WHERE = "SELECT tableoid::regclass::text FROM dripd.journal_log ORDER BY id DESC LIMIT 1"

PARTS = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass AND c.relname NOT LIKE '%default' ORDER BY 1
"""


@asynccontextmanager
async def at(dsn: str, instant: str) -> AsyncIterator[Any]:
    """A connection as a daemon's role has it, the manual clock at *instant*."""
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(
            "INSERT INTO dripd.clock (at) VALUES ($1::text::timestamptz)", instant
        )
        await conn.execute("SET ROLE dripd_daemon")
        yield conn
    finally:
        await conn.close()


async def parts(conn: Any, table: str) -> Sequence[str]:
    return [row[0] for row in await conn.fetch(PARTS, f"dripd.{table}")]


def test_months_are_made_ahead_for_every_table_that_grows(pg_dsn: str) -> None:
    async def story() -> None:
        async with at(pg_dsn, "2031-11-15T12:00:00Z") as conn:
            assert 12 == await conn.fetchval(sql("make_partitions"), None, 3)
            assert 0 == await conn.fetchval(sql("make_partitions"), None, 3)

            months = ["2031_11", "2031_12", "2032_01"]
            for table in TABLES:
                found = [name for name in await parts(conn, table) if "_203" in name]
                assert [f"{table}_{month}" for month in months] == found

    asyncio.run(story())


@pytest.mark.parametrize(
    ("instant", "part"),
    [
        ("2031-11-30T23:59:59.999Z", "journal_log_2031_11"),
        ("2031-12-01T00:00:00Z", "journal_log_2031_12"),
        ("2020-02-29T12:00:00Z", "journal_log_default"),  # no row is refused for its date
        ("infinity", "journal_log_default"),
    ],
)
def test_a_row_falls_into_the_month_of_its_instant(
    instant: str, part: str, pg_dsn: str
) -> None:
    async def story() -> None:
        async with at(pg_dsn, "2031-11-15T12:00:00Z") as conn:
            await conn.fetchval(sql("make_partitions"), None, 3)
            await conn.execute(JOURNAL, instant)

            assert f"dripd.{part}" == await conn.fetchval(WHERE)

    asyncio.run(story())


def test_a_month_whose_first_rows_fell_elsewhere_stays_there(pg_dsn: str) -> None:
    async def story() -> None:
        async with at(pg_dsn, "2031-11-15T12:00:00Z") as conn:
            await conn.execute(JOURNAL, "2031-12-24T00:00:00Z")
            await conn.fetchval(sql("make_partitions"), None, 3)

            found = [name for name in await parts(conn, "journal_log") if "_203" in name]
            assert ["journal_log_2031_11", "journal_log_2032_01"] == found

    asyncio.run(story())


def test_retention_drops_whole_months_and_nothing_that_waits(pg_dsn: str) -> None:
    async def story() -> None:
        async with at(pg_dsn, "2031-11-15T12:00:00Z") as conn:
            await conn.fetchval(sql("make_partitions"), None, 1)
            await conn.execute(JOURNAL, "2031-11-15T00:00:00Z")
            await conn.execute(
                "INSERT INTO dripd.enroll_request (account_key) VALUES ('later')"
            )
            await conn.execute("UPDATE dripd.clock SET at = '2031-12-30T12:00:00Z'")
            await conn.fetchval(sql("make_partitions"), None, 1)

            assert not [
                n for n in await conn.fetchval(sql("drop_partitions"), 30) if "2031" in n
            ]

            await conn.execute("UPDATE dripd.clock SET at = '2031-12-31T12:00:00Z'")
            dropped = await conn.fetchval(sql("drop_partitions"), 30)
            assert ["event_log_2031_11", "journal_log_2031_11", "step_log_2031_11"] == [
                name for name in dropped if "2031" in name
            ]
            assert "enroll_request_2031_11" in await parts(conn, "enroll_request")

    asyncio.run(story())


def test_an_insert_under_way_keeps_its_month(pg_dsn: str) -> None:
    """Dropping waits half a second at most: inserts behind it must not queue for long."""

    async def story() -> None:
        async with at(pg_dsn, "2031-11-15T12:00:00Z") as conn:
            await conn.fetchval(sql("make_partitions"), None, 1)
            other = await asyncpg.connect(pg_dsn)
            async with other.transaction():
                await other.execute(JOURNAL, "2031-11-15T00:00:00Z")
                await conn.execute("UPDATE dripd.clock SET at = '2032-06-01T00:00:00Z'")
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await conn.fetchval(sql("drop_partitions"), 1)
            await other.close()

            assert "journal_log_2031_11" in await conn.fetchval(sql("drop_partitions"), 1)

    asyncio.run(story())


def test_a_row_on_its_way_when_its_month_is_made_is_to_be_written_again(pg_dsn: str) -> None:
    """It waits for the default partition, which then is not its own any more."""

    async def story() -> None:
        async with at(pg_dsn, "2031-11-15T12:00:00Z") as conn:
            other = await asyncpg.connect(pg_dsn)
            making = conn.transaction()
            await making.start()
            await conn.fetchval(sql("make_partitions"), None, 3)
            writing = asyncio.create_task(other.execute(JOURNAL, "2031-12-24T00:00:00Z"))
            while not await conn.fetchval(  # noqa: ASYNC110 - the server tells nobody
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            ):
                await asyncio.sleep(0.01)
            await making.commit()

            with pytest.raises(StoreBusy, match="a partition was made meanwhile"):
                async with translated():
                    await writing
            await other.execute(JOURNAL, "2031-12-24T00:00:00Z")
            assert "dripd.journal_log_2031_12" == await conn.fetchval(WHERE)
            await other.close()

    asyncio.run(story())


def test_a_check_that_a_row_fails_is_the_row_s_own_fault(pg_dsn: str) -> None:
    async def story() -> None:
        async with at(pg_dsn, "2031-11-15T12:00:00Z") as conn:
            await conn.execute("RESET ROLE")
            with pytest.raises(StoreError, match="refused a statement") as caught:
                async with translated():
                    await conn.execute(
                        "INSERT INTO dripd.account (key, status) VALUES ('a', 'odd')"
                    )
            assert type(caught.value) is StoreError

    asyncio.run(story())
