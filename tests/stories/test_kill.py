"""A daemon dies as by a power cut: what it left is told apart by its journal."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import asyncpg
import pytest

from dripd.errors import DripdError
from tests.stories.world import STARTUP_S, World
from tests.stories.world import until as happens
from tests.support.disk import mounted

CAMPAIGN = """
campaign: hello
name: Hello
sender: hello@acme.test
steps:
  - {key: hi, do: email, subject: Hi, text: Hello}
"""


@contextmanager
def stalled_sink(dsn: str) -> Iterator[None]:
    """The sink takes what it is given, and does not answer."""
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(dsn))
        runner.run(conn.execute("BEGIN; LOCK TABLE dripd.sink_message IN EXCLUSIVE MODE"))
        try:
            yield
        finally:
            runner.run(conn.close())


def until(world: World, n: int, statement: str) -> None:
    """Wait, in real time, until *statement* counts *n*."""
    end = time.monotonic() + STARTUP_S
    while (found := world.one(statement)) != n:
        assert time.monotonic() < end, (found, world.log())
        time.sleep(0.02)


def test_what_did_not_leave_is_sent_and_what_may_have_left_is_not(world: World) -> None:
    """The sink has two senders: the third step is leased and waits for one of them."""
    world.apply(CAMPAIGN)
    for name in ("a", "b", "c"):
        world.contact(name)
    leased = "SELECT count(*) FROM dripd.delivery WHERE state = 'leased'"
    with stalled_sink(world.dsn):
        for n, name in enumerate(("a", "b", "c"), 1):
            world.enroll("hello", name)
            until(world, n, leased)
            time.sleep(0.1)  # it reaches its sender
        world.kill9()
    world.start()
    world.tick()

    told = {
        row["to_address"]: (row["state"], row["reason"])
        for row in world.sql("SELECT * FROM dripd.delivery")
    }
    assert {
        "a@x.test": ("unknown", "presumed_sent"),
        "b@x.test": ("unknown", "presumed_sent"),
        "c@x.test": ("accepted", None),
    } == told
    assert ["c@x.test"] == [row["recipient"] for row in world.sent()]
    assert 3 == world.one("SELECT sum(n) FROM dripd.cap_usage WHERE source = 'program'")
    folder = world.state / "journal"
    until(world, 0, "SELECT count(*) FROM dripd.claim")
    happens(lambda: len(list(folder.iterdir())) == 1)


def test_an_individual_message_is_told_apart_by_the_journal_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it left, with its answer written down, and in between."""
    world.contact("ann")
    world.stop()

    def send(failpoint: str) -> tuple[str, str | None]:
        monkeypatch.setenv("DRIPD_FAILPOINT", failpoint)
        world.start()
        with suppress(DripdError, OSError):
            world.call(
                "contact.send", contact="ann", account="acme", subject="Hi", text="Hello"
            )
        assert world.process is not None
        assert -signal.SIGKILL == world.process.wait(STARTUP_S)
        monkeypatch.delenv("DRIPD_FAILPOINT")
        world.start()
        until(world, 0, "SELECT count(*) FROM dripd.delivery WHERE state = 'leased'")
        world.stop()
        row = world.sql("SELECT * FROM dripd.individual_send ORDER BY id DESC LIMIT 1")[0]
        return row["state"], row["reason"]

    assert ("failed", "daemon_died") == send("K4:1:kill")
    assert [] == world.sent()
    assert ("unknown", "daemon_died") == send("K7:1:kill")
    assert ("accepted", None) == send("K8:1:kill")
    assert 2 == len(world.sent())


def test_a_journal_that_cannot_be_written_holds_everything_and_says_so(world: World) -> None:
    world.stop()
    place = world.state / "journal"
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    place.write_text("in the way")
    world.start()
    world.apply(CAMPAIGN)
    world.contact("a")
    world.enroll("hello", "a")
    until(world, 1, "SELECT count(*) FROM dripd.due_step")
    happens(lambda: "journal" in world.call("daemon.status")["barred"])

    assert [] == world.sent()
    ready = world.call("daemon.ready")
    check = next(one for one in ready["checks"] if one["name"] == "journal")
    assert (False, False) == (ready["ready"], check["ok"])
    assert str(place) in check["detail"]
    assert str(place) in world.call("daemon.status")["barred"]["journal"]
    place.unlink()
    world.tick()
    assert 1 == len(world.sent())
    checks = world.call("daemon.ready")["checks"]
    assert next(one["ok"] for one in checks if one["name"] == "journal")


def test_a_full_disk_under_the_journal_holds_everything_and_mends_by_itself(
    world: World,
) -> None:
    world.apply(CAMPAIGN)
    world.contact("a")
    world.stop()
    place = world.state / "journal"
    shutil.rmtree(place)
    with mounted(place):
        ballast = place / "ballast"
        ballast.write_bytes(bytes(64 << 10))
        world.start()
        world.enroll("hello", "a")
        until(world, 1, "SELECT count(*) FROM dripd.due_step")
        happens(lambda: "journal" in world.call("daemon.status")["barred"])

        assert [] == world.sent()
        assert "No space left" in world.call("daemon.status")["barred"]["journal"]
        checks = {one["name"]: one for one in world.call("daemon.ready")["checks"]}
        assert "No space left" in checks["journal"]["detail"]
        with pytest.raises(DripdError, match="No space left"):
            world.call("contact.send", contact="a", account="acme", subject="Hi", text="Hello")
        ballast.unlink()
        world.tick()
        assert ["a@x.test"] == [row["recipient"] for row in world.sent()]
        assert {} == world.call("daemon.status")["barred"]
        world.stop()
    world.start()


TAGGED = """
campaign: tagged
name: Tagged
steps:
  - {key: mark, do: tag_add, tag: seen}
"""


@contextmanager
def nothing_recorded(dsn: str) -> Iterator[None]:
    """A tag that is added meanwhile cannot be recorded."""
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(dsn))
        runner.run(conn.execute("BEGIN; LOCK TABLE dripd.contact_tag IN SHARE MODE"))
        try:
            yield
        finally:
            runner.run(conn.close())


def n_begun(world: World) -> int:
    """How many suspects the living daemon has begun, once it has sealed what the dead one left."""
    ours = []
    for file in (world.state / "journal").glob("*.log"):
        with suppress(FileNotFoundError):  # of one at rest: it has been thrown away meanwhile
            if file.stat().st_mode & 0o200:
                ours.append(file)
    return ours[0].read_text().count("\nt ") if len(ours) == 1 else 0


def die_in_hand(world: World) -> None:
    """Ann's and bob's steps are leased and cannot be recorded; then the power is cut."""
    claimed = "SELECT count(*) FROM dripd.due_step WHERE claim_id IS NOT NULL"
    with nothing_recorded(world.dsn):
        if not world.one("SELECT count(*) FROM dripd.enroll_request"):
            world.enroll("tagged", "ann", "bob")
        else:
            world.start()
            happens(lambda: n_begun(world) >= 2)
        until(world, 2, claimed)
        world.kill9()
    world.reconnect()


def test_who_is_killed_from_outside_blames_no_step(world: World) -> None:
    """The last suspect that was begun was quarantined after three such deaths."""
    world.apply(TAGGED)
    world.contact("ann")
    world.contact("bob")
    for _ in range(4):
        die_in_hand(world)
    world.start()
    world.tick()

    assert ["completed"] * 2 == world.column("SELECT status FROM dripd.enrollment")


def test_a_step_over_which_daemons_die_is_set_aside_and_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first death makes suspects of all that was in hand; bob's step then kills by itself."""
    world.apply(TAGGED)
    world.contact("ann")
    world.contact("bob")
    die_in_hand(world)
    monkeypatch.setenv("DRIPD_FAILPOINT", "T:2:kill")
    for _ in (2, 3):
        with nothing_recorded(world.dsn):
            with suppress(AssertionError):  # it may die before it answers
                world.start()
            assert world.process is not None
            assert -signal.SIGKILL == world.process.wait(STARTUP_S)
    monkeypatch.delenv("DRIPD_FAILPOINT")
    world.start()
    world.tick()

    found = {
        world.one("SELECT external_id FROM dripd.contact WHERE id = $1", row["contact_id"]): (
            row["status"],
            row["hold_reason"],
        )
        for row in world.sql("SELECT * FROM dripd.enrollment")
    }
    assert {"ann": ("completed", None), "bob": ("held", "quarantined")} == found
    (group,) = world.call("dead.list")["items"]
    assert ("quarantined", "unsafe", 1) == (group["code"], group["retry"], group["count"])
    assert group["error"].startswith("daemon_died: 3 times within 72 h")

    world.call("dead.retry", group=group["group"], yes=True)
    world.tick()
    statuses = world.column("SELECT status FROM dripd.enrollment")
    assert ["completed", "completed"] == statuses


PASSING = """
campaign: passing
name: Passing
sender: hello@acme.test
steps:
  - {key: hi, do: email, subject: Hi, text: Hello}
  - {key: KEY, do: email, delay: 1d, subject: KEY, text: Hello}
"""


@pytest.mark.parametrize("dies", [False, True], ids=["slow", "killed"])
@pytest.mark.feature("D3")
def test_runs_in_flight_follow_to_the_version_that_was_published(
    world: World, dies: bool
) -> None:
    """Also those that take longer than who published waits, and whose daemon dies meanwhile."""
    world.apply(PASSING.replace("KEY", "old"))
    world.contact("ann")
    with stalled_sink(world.dsn):
        world.enroll("passing", "ann")
        until(world, 1, "SELECT count(*) FROM dripd.delivery WHERE state = 'leased'")
        time.sleep(0.1)  # it reaches its sender
        world.apply(PASSING.replace("KEY", "new"), activate=False)
        world.call(
            "campaign.publish", key="passing", inflight="migrate", map={"old": "new"}, yes=True
        )
        assert 1 == world.one("SELECT version FROM dripd.enrollment")
        if dies:
            world.kill9()
    if dies:
        world.reconnect()
        world.start()
    world.tick()
    until(world, 2, "SELECT max(version) FROM dripd.enrollment")
    world.advance("2d")

    assert ["hi", "new"] == [row["step_key"] for row in world.steps("ann")]
    assert 0 == world.one("SELECT count(*) FROM dripd.campaign WHERE following IS NOT NULL")
