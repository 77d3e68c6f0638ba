"""What was committed is remembered, and missed where it is not there any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from dripd.store.witness import SLOTS, Witness, is_whole, read

DEPLOYMENT = "SELECT id || '-' || adoptions FROM dripd.deployment"


async def commit(conn: asyncpg.Connection[asyncpg.Record], witness: Witness, sql: str) -> None:
    async def unit(conn: asyncpg.Connection[asyncpg.Record]) -> None:
        await conn.execute(sql)

    n, wrote = witness.next(), list[int]()
    async with conn.transaction():
        await witness.witnessed(unit, n, wrote)(conn)
    for one in wrote:
        witness.note(one)


WRITE = "UPDATE dripd.deployment SET served_at = clock_timestamp()"


@pytest.mark.parametrize(
    ("lost", "is_behind"),
    [
        ("SELECT 1", False),
        (
            "UPDATE dripd.witness SET n = n - 1 WHERE n = (SELECT max(n) FROM dripd.witness)",
            True,
        ),
        ("DELETE FROM dripd.witness WHERE n = (SELECT max(n) FROM dripd.witness)", True),
        ("UPDATE dripd.witness SET n = n + 64", False),
        (
            "UPDATE dripd.deployment SET adoptions = adoptions + 1; DELETE FROM dripd.witness",
            False,
        ),
    ],
    ids=["whole", "the last one", "a slot", "in doubt, and committed", "adopted since"],
)
def test_what_is_missing_is_noticed(
    pg_dsn: str, tmp_path: Path, lost: str, *, is_behind: bool
) -> None:
    async def story() -> None:
        conn = await asyncpg.connect(pg_dsn)
        try:
            name = await conn.fetchval(DEPLOYMENT)
            witness, heir = Witness(), Witness()
            witness.keep(tmp_path, 1001, name)
            for _ in range(SLOTS + 3):
                await commit(conn, witness, WRITE)
            await commit(conn, witness, "SELECT 1")
            witness.close()
            await conn.execute(lost)
            heir.keep(tmp_path, 1002, await conn.fetchval(DEPLOYMENT))
            known, dead = heir.kept()

            assert is_behind == await heir.look(conn, known)
            if "adoptions" not in lost:
                assert is_behind == await witness.look(conn)
            assert [tmp_path / f"{name}-1001"] == dead
            assert is_behind == await conn.fetchval("SELECT behind FROM dripd.deployment")
        finally:
            await conn.close()

    asyncio.run(story())


def test_what_another_daemon_throws_away_meanwhile_is_not_missing(
    pg_dsn: str, tmp_path: Path
) -> None:
    """Two daemons of one state directory started at once: what the one had read of a third, the
    other had thrown away before it was looked for, and nothing was sent any more (chaos)."""

    async def story() -> None:
        conn = await asyncpg.connect(pg_dsn)
        try:
            name = await conn.fetchval(DEPLOYMENT)
            dead, one, other = Witness(), Witness(), Witness()
            for n, witness in enumerate((dead, one, other)):
                witness.keep(tmp_path, 1001 + n, name)
            await commit(conn, dead, WRITE)
            dead.close()
            known, left = one.kept()
            _, seen = other.kept()
            for path in left:
                path.unlink()
            await conn.execute("DELETE FROM dripd.witness WHERE incarnation = 1001")

            assert left == seen == [tmp_path / f"{name}-1001"]
            assert not await one.look(conn, known)
            assert ({1002: {}}, []) == other.kept()
        finally:
            await conn.close()

    asyncio.run(story())


def test_a_file_tells_the_last_commit_of_each_slot(tmp_path: Path) -> None:
    witness = Witness()
    witness.keep(tmp_path, 7, "a-0")
    for n in (1, 2, SLOTS + 1, 1):
        witness.note(n)

    assert {1: SLOTS + 1, 2: 2} == read(tmp_path / "a-0-7")
    assert ({}, []) == witness.kept()


def test_who_lives_is_asked_and_kept(tmp_path: Path) -> None:
    first, second, later = Witness(), Witness(), Witness()
    first.keep(tmp_path, 1, "a-0")
    first.note(5)
    second.keep(tmp_path, 2, "a-0")
    later.keep(tmp_path, 3, "a-1")

    assert ({1: {5: 5}}, []) == second.kept()
    assert ({}, []) == later.kept()
    first.close()
    assert [tmp_path / "a-0-1"] == second.kept()[1]


def test_a_lower_number_is_missing_and_a_higher_one_is_not() -> None:
    assert is_whole({1: {0: 64}}, {(1, 0): 64})
    assert is_whole({1: {0: 64}}, {(1, 0): 128})
    assert not is_whole({1: {0: 64}}, {(1, 0): 0})
    assert not is_whole({1: {0: 64}}, {(2, 0): 64})
