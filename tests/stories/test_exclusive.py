"""Stories of contacts who are busy: refused, queued, moved."""

from __future__ import annotations

import pytest

from dripd.errors import DripdError
from tests.stories.test_tasks import campaign, play
from tests.stories.world import World


def exclusive(key: str, on_busy: str, days: str = "5d") -> str:
    policy = (
        f"policy: {{exclusivity: {{scope: account, on_busy: {on_busy}}}, reentry: after_end}}"
    )
    return campaign(key, f"{{key: {key}, do: tag_add, tag: {key}, delay: {days}}}", more=policy)


def test_a_busy_contacts_request_waits_its_turn(world: World) -> None:
    play(world, exclusive("first", "reject"), "c1")
    for key in ("second", "third"):
        world.apply(exclusive(key, "queue"))
        world.enroll(key, "c1")
    world.tick()
    asked = "SELECT status FROM dripd.enroll_request ORDER BY id"
    assert world.column(asked) == ["accepted", "pending", "pending"]
    world.restart()
    world.at("2026-01-10T08:59:59Z")
    assert world.run("c1", "first")["status"] == "waiting"
    world.advance("1s")
    assert world.column(asked) == ["accepted", "accepted", "pending"]
    assert str(world.run("c1", "second")["started_at"]) == "2026-01-10 09:00:00+00:00"
    world.advance("5d")
    world.advance("5d")
    assert world.column("SELECT DISTINCT status FROM dripd.enrollment") == ["completed"]
    assert world.one("SELECT count(*) FROM dripd.enrollment") == 3


@pytest.mark.feature("M57")
def test_what_waits_for_its_turn_is_explained(world: World) -> None:
    play(world, exclusive("first", "reject"), "c1", "c2")
    beside = exclusive("beside", "queue").replace("scope: account", 'scope: "group:other"')
    play(world, beside, "c1")
    for key in ("second", "third"):
        world.apply(exclusive(key, "queue"))
        world.enroll(key, "c1")
    world.tick()
    runs = {key: world.run("c1", key)["id"] for key in ("first", "beside")}
    told = world.call("contact.explain", contact="c1")
    behind = world.call("enroll.explain", enrollment=runs["first"])

    assert {"first", "beside"} == {one["campaign_key"] for one in told["enrollments"]}
    assert [("second", [runs["first"]]), ("third", [runs["first"]])] == [
        (one["campaign_key"], one["behind"]) for one in told["queued"]
    ]
    assert told["queued"][0]["asked_at"] == "2026-01-05T09:00:00Z"
    assert behind["queued"] == told["queued"]
    assert world.call("enroll.explain", enrollment=runs["beside"])["queued"] == []
    assert world.call("contact.explain", contact="c2")["queued"] == []


@pytest.mark.feature("C56")
def test_who_waits_for_one_campaign_by_several_routes_runs_through_it_once(
    world: World,
) -> None:
    play(world, exclusive("first", "reject"), "c1")
    world.apply(exclusive("second", "queue"))
    world.enroll("second", "c1", "c1")
    world.tick()
    asked = "SELECT reject_reason FROM dripd.enroll_request WHERE campaign_key = 'second'"
    assert world.column(asked) == [None, None]
    world.advance("5d")
    world.enroll("second", "c1")
    world.tick()
    assert world.column(asked + " ORDER BY id") == [None, *["already_in:second"] * 2]


@pytest.mark.feature("C54")
def test_a_stop_withdraws_what_waits_for_its_turn(world: World) -> None:
    play(world, exclusive("first", "reject"), "c1", "c2")
    for key in ("second", "third"):
        world.apply(exclusive(key, "queue"))
        world.enroll(key, "c1", "c2")
    world.tick()
    stop = {"account": "acme", "contact": ["c1"]}
    with pytest.raises(DripdError) as refused:
        world.call("enroll.stop", **stop)
    done = world.call("enroll.stop", **stop, yes=True)
    world.call("enroll.stop", account="acme", campaign=["second"])
    run = world.run("c2", "first")["id"]
    world.call("enroll.stop", enrollment=[run])
    world.tick()

    assert refused.value.code == "confirm:3"
    assert done["changed"] == 3
    decided = """SELECT external_id, campaign_key, status, reject_reason FROM dripd.enroll_request
        WHERE campaign_key <> 'first' ORDER BY campaign_key, external_id"""
    assert [tuple(row) for row in world.sql(decided)] == [
        ("c1", "second", "rejected", "stopped"),
        ("c2", "second", "rejected", "stopped"),
        ("c1", "third", "rejected", "stopped"),
        ("c2", "third", "accepted", None),
    ]
    told = "SELECT detail ->> 'reason' FROM dripd.journal WHERE kind = 'rejected'"
    assert world.column(told) == ["stopped"] * 3


def test_a_busy_contact_may_be_moved(world: World) -> None:
    play(world, exclusive("first", "reject"), "c1")
    world.apply(exclusive("urgent", "move"))
    world.advance("1d")
    world.enroll("urgent", "c1", "c1")
    world.tick()
    ended = world.run("c1", "first")
    assert (ended["status"], ended["end_reason"]) == ("removed", "moved:urgent")
    assert ended["ended_at"] == world.run("c1", "urgent")["started_at"]
    assert world.column("SELECT reject_reason FROM dripd.enroll_request ORDER BY id")[2:] == [
        "already_in:urgent"
    ]
    world.advance("5d")
    assert world.column("SELECT tag FROM dripd.contact_tag") == ["urgent"]
