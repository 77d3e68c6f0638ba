"""Sessions that change hands between transactions are not used."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from dripd.errors import StoreRefused
from dripd.store.migrate import migrate
from dripd.store.session import is_pooled
from tests.stories.test_outage import WELCOME, comes_back, fault
from tests.stories.world import World, until
from tests.support.pooler import Mode, Pooler


async def asked(dsn: str) -> bool:
    conn = await asyncpg.connect(dsn)
    try:
        return await is_pooled(conn, dsn)
    finally:
        await conn.close()


def test_a_server_that_is_met_itself_is_no_pooler(pg_dsn: str) -> None:
    assert not asyncio.run(asked(pg_dsn))


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_of_transactions_is_refused_and_one_of_sessions_is_not(
    pg_dsn: str, tmp_path: Path, mode: Mode
) -> None:
    with Pooler(pg_dsn, tmp_path, mode) as pooler:
        if mode == "session":
            assert [] == migrate(pooler.dsn)
            return
        with pytest.raises(StoreRefused, match="every transaction another session") as refused:
            migrate(pooler.dsn)
    assert ("pooled", 78) == (refused.value.code, refused.value.exit_code)
    assert "pool_mode = session" in refused.value.hint


def test_a_daemon_waits_while_its_sessions_are_not_its_own(pg_dsn: str) -> None:
    with (
        TemporaryDirectory(prefix="dripd-") as place,
        TemporaryDirectory(prefix="dripd-") as state,
        Pooler(pg_dsn, Path(place), "session") as pooler,
        World(pooler.dsn, Path(state)) as world,
    ):
        world.apply(WELCOME)
        world.contact("a")
        world.contact("b")
        world.enroll("welcome", "a")
        world.tick()
        assert ["a@x.test"] == [row["recipient"] for row in world.sent()]

        world.reconnect()
        pooler.mode = "transaction"
        until(lambda: "a pooler between" in fault(world), 30)
        assert not world.call("daemon.ready")["ready"]

        pooler.mode = "session"
        until(lambda: not fault(world), 60)
        world.enroll("welcome", "b")
        world.tick()
        comes_back(world, ["a@x.test", "b@x.test"])
