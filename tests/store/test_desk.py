"""How long a unit of work at the desk may take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

from dripd.errors import StoreBusy, StoreError, StoreUnavailable
from dripd.store import desk as desk_module
from dripd.store.bridge import Bridge
from dripd.store.condition import Condition
from dripd.store.connect import make_pool
from dripd.store.desk import Desk


async def linger(conn: Any, seconds: float) -> str:
    await conn.execute("SELECT pg_sleep($1)", seconds)
    return "done"


@pytest.mark.trio
async def test_a_wide_unit_has_its_time_and_leaves_the_next_its_own(pg_dsn: str) -> None:
    async with Bridge() as bridge:
        desk = Desk(bridge, pg_dsn, size=1, patience_s=0.3)
        await desk.open()
        for _ in range(2):
            with pytest.raises(StoreError, match="timeout"):
                await desk.run(linger, 5.0)
            assert await desk.run_wide(linger, 0.8) == "done"
        await desk.close()


async def sleep_unbounded(conn: Any) -> None:
    """As on a starved machine, where the server does not get to end it itself."""
    await conn.execute("SET LOCAL statement_timeout = 0")
    await conn.execute("SELECT pg_sleep(60)")


@pytest.mark.trio
async def test_a_unit_that_is_broken_off_took_too_long_and_the_database_is_not_away(
    pg_dsn: str,
) -> None:
    condition = Condition()
    async with Bridge() as bridge:
        desk = Desk(bridge, pg_dsn, size=1, patience_s=0.3, condition=condition)
        await desk.open()
        with pytest.raises(
            StoreBusy, match=r"took too long: broken off after 0\.375 s"
        ) as caught:
            await desk.run(sleep_unbounded)
        condition.refuse()
        assert await desk.run(linger, 0.0) == "done"
        await desk.close()

    assert "--limit" in caught.value.hint


@pytest.mark.trio
async def test_who_finds_every_connection_taken_is_told_so(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "ACQUIRE_S", 0.05)
    condition = Condition()
    taken, over = trio.Event(), trio.Event()
    async with Bridge() as bridge, trio.open_nursery() as nursery:
        desk = Desk(bridge, pg_dsn, size=1, condition=condition)
        await desk.open()

        async def hold(conn: Any) -> None:
            bridge.to_trio(taken.set)
            await conn.execute("SELECT pg_sleep(60)")

        async def first() -> None:
            with scope:
                await desk.run(hold)
            over.set()

        scope = trio.CancelScope()
        nursery.start_soon(first)
        await taken.wait()
        with pytest.raises(StoreBusy, match="others use every connection"):
            await desk.run(linger, 0.0)
        condition.refuse()
        scope.cancel()
        await over.wait()
        condition.refuse()
        await desk.close()


LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


@pytest.mark.parametrize("desk", [False, True])
def test_sessions_of_a_daemon_bound_what_they_hold(pg_dsn: str, *, desk: bool) -> None:
    """Who is cut off from the database, or frozen, must not keep its locks."""

    async def ask() -> list[str]:
        pool = await make_pool(pg_dsn, 1, desk=desk, patience_s=7.0)
        try:
            names = (*LIMITS, "synchronous_commit")
            return [await pool.fetchval("SELECT current_setting($1)", name) for name in names]
        finally:
            await pool.close()

    assert ["7s", "5s", "10s", "on"] == asyncio.run(ask())


@pytest.mark.trio
async def test_what_was_lost_before_its_commit_is_no_doubt(pg_dsn: str) -> None:
    """Who asked is told whether it may have been done."""

    async def told(of: str) -> StoreUnavailable:
        async with Bridge() as bridge:
            desk = Desk(bridge, pg_dsn, size=1)
            await desk.open()
            with pytest.raises(StoreUnavailable) as caught:
                await desk.run(lambda conn: conn.execute(of))
            await desk.close()
        return caught.value

    before = await told("SELECT pg_terminate_backend(pg_backend_pid())")
    around = await told(DYING)

    assert ("db_unavailable", "in_doubt") == (before.code, around.code)
    assert "nothing was done" in before.message
    assert "dripd audit list" in around.hint


DYING = """
CREATE TABLE public.dying (id int4);
CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER die AFTER INSERT ON public.dying DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.die();
INSERT INTO public.dying VALUES (1);
"""
"""Ends its session at the commit."""
