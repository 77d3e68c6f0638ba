"""The database goes away, in every way that one can: nothing is lost, dripd says what is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from dripd.proof.fleet import Database
from dripd.store import embedded
from tests.stories.world import STARTUP_S, World, until
from tests.support.postgres import Databases, Server

WELCOME = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
"""

OURS = "FROM pg_stat_activity WHERE application_name = 'dripd'"

FULL_DISK = """
CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END$$;
"""

FULL_LOG = """
CREATE TRIGGER full_disk BEFORE INSERT ON dripd.step_log
FOR EACH ROW EXECUTE FUNCTION public.full_disk();
"""

SLOW_CLAIM = """
CREATE TABLE public.slow AS SELECT false AS now;
CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN IF (SELECT now FROM public.slow) THEN PERFORM pg_sleep(3); END IF; RETURN NEW; END$$;
CREATE TRIGGER slow BEFORE INSERT ON dripd.claim FOR EACH ROW EXECUTE FUNCTION public.slow();
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A server of these stories' own: it is stopped, crashed and filled."""
    with TemporaryDirectory(prefix="dripd-") as state, Database(Path(state)) as made:
        yield made


@pytest.fixture
def world(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A daemon of little patience, but more than a busy machine asks for, on a fresh database of
    that server."""
    monkeypatch.setenv("DRIPD_POSTGRES__PATIENCE", "5s")
    monkeypatch.setenv("DRIPD_DAEMON__DRAIN_TIMEOUT", "500ms")
    server = Server(dsn=database.dsn, ours=False)
    with (
        TemporaryDirectory(prefix="dripd-") as state,
        Databases(server).with_template() as databases,
        databases.fresh() as dsn,
        World(dsn, Path(state)) as made,
    ):
        made.apply(WELCOME)
        yield made


def fault(world: World) -> str:
    """What status says is wrong with the database, and since when; "" for nothing."""
    db = world.call("daemon.status")["db"]
    assert bool(db["error"]) == (not db["ok"]), db
    return f"{db['error']}, since {db['since']}" if db["error"] else ""


def comes_back(world: World, sent: list[str]) -> None:
    """The daemon goes on by itself: a new contact is mailed, whoever was before not again."""
    until(lambda: not fault(world))
    until(lambda: world.call("daemon.ready")["ready"])
    world.reconnect()
    name = f"after{len(sent)}"
    world.contact(name)
    world.enroll("welcome", name)
    world.tick()
    sent.append(f"{name}@x.test")
    assert sent == [row["recipient"] for row in world.sent()]
    assert {"completed"} == {
        row["status"] for row in world.sql("SELECT * FROM dripd.enrollment")
    }


def write_all(world: World, *statements: str) -> None:
    """Statements in a session that may write, whatever the default is."""

    async def run() -> None:
        conn = await asyncpg.connect(world.dsn)
        try:
            await conn.execute("SET default_transaction_read_only = off")
            for one in statements:
                await conn.execute(one)
        finally:
            await conn.close()

    asyncio.run(run())


@contextmanager
def no_room(world: World) -> Iterator[None]:
    """Every connection that the server has is taken, those of the daemon included."""
    with asyncio.Runner() as runner:
        taken: list[asyncpg.Connection[asyncpg.Record]] = []

        def fill() -> None:
            while True:
                try:
                    taken.append(runner.run(asyncpg.connect(world.dsn)))
                except asyncpg.TooManyConnectionsError:
                    return

        end = time.monotonic() + STARTUP_S
        while "takes no more connections" not in fault(world):
            assert time.monotonic() < end
            world.sql(f"SELECT pg_terminate_backend(pid) {OURS}")
            fill()
            time.sleep(0.05)  # a socket answers 50 calls a second
        try:
            yield
        finally:
            for one in taken:
                runner.run(one.close())


def test_a_database_that_goes_away_is_waited_for(world: World, database: Database) -> None:
    sent: list[str] = []
    comes_back(world, sent)

    world.sql(f"SELECT pg_terminate_backend(pid) {OURS}")
    comes_back(world, sent)

    reload = "SELECT pg_reload_conf()"
    write_all(world, "ALTER SYSTEM SET default_transaction_read_only = on", reload)
    until(lambda: "read-only" in fault(world))
    assert ", since 20" in fault(world)
    ready = world.call("daemon.ready")
    check = next(one for one in ready["checks"] if one["name"] == "database")
    assert not ready["ready"]
    assert "read-only" in check["detail"]
    write_all(world, "ALTER SYSTEM RESET default_transaction_read_only", reload)
    comes_back(world, sent)

    with no_room(world):  # which waits until the daemon says so
        assert not world.call("daemon.ready")["ready"]
    comes_back(world, sent)

    database.restart()
    comes_back(world, sent)
    database.crash()
    comes_back(world, sent)

    assert world.log().count('"store.regained"') >= 4


def test_a_frozen_backend_is_given_up_and_its_lease_settled(world: World) -> None:
    sent: list[str] = []
    write_all(world, SLOW_CLAIM, "UPDATE public.slow SET now = true")
    world.contact("ann")
    world.enroll("welcome", "ann")
    sleeping = f"SELECT pid {OURS} AND wait_event = 'PgSleep'"
    until(lambda: world.sql(sleeping))
    (frozen,) = world.column(sleeping)
    world.sql("UPDATE public.slow SET now = false")
    os.kill(frozen, signal.SIGSTOP)
    try:
        until(lambda: "store.regained" in world.log())
        tombstone = "SELECT count(*) FROM dripd.claim WHERE n = 0"
        until(lambda: world.one(tombstone) == 1)
        assert [] == world.sent()
    finally:
        os.kill(frozen, signal.SIGCONT)
    until(world.sent)
    sent.append("ann@x.test")
    comes_back(world, sent)


def test_a_full_disk_loses_no_answer_and_a_stop_leaves_it_to_the_journal(
    world: World, database: Database
) -> None:
    sent: list[str] = []
    write_all(world, FULL_DISK, FULL_LOG)
    world.contact("ann")
    world.enroll("welcome", "ann")
    until(lambda: "record fails: the database's disk is full" in fault(world))
    assert ["ann@x.test"] == [row["recipient"] for row in world.sent()]
    assert 0 == world.stop()
    write_all(world, "DROP TRIGGER full_disk ON dripd.step_log")
    world.start()
    world.tick()
    sent.append("ann@x.test")
    comes_back(world, sent)
    assert {"accepted"} == {row["state"] for row in world.sql("SELECT * FROM dripd.delivery")}

    embedded.down(database._state)
    until(lambda: fault(world))
    assert 0 == world.stop()
    embedded.up(database._state)
    world.reconnect()
    world.start()
    comes_back(world, sent)


def test_a_move_of_the_clock_that_a_crash_took_back_is_made_again(world: World) -> None:
    """No commit of it is waited for; a daemon that survives the server knows the later instant."""
    world.at("2026-01-05T10:00:00Z")
    world.sql("UPDATE dripd.clock SET at = '2026-01-05T09:30Z'")

    world.at("2026-01-05T10:00:00Z")
    assert "10:00" == world.one("SELECT to_char(dripd.now() AT TIME ZONE 'UTC', 'HH24:MI')")
