"""What ends a sequence early: a reply, a stop by hand; and what other systems see meanwhile."""

from __future__ import annotations

import threading

import pytest

from tests.stories.crowd import contacts, enroll_all, more_daemons
from tests.stories.world import World

THREE = """
campaign: chase
account: acme
name: Chase
preset: smarter_contact
sender: hello@acme.test
policy: {billing: none}
steps:
  - {key: one, do: email, day: 0, subject: One, text: One}
  - {key: two, do: email, day: 3, subject: Two, text: Two}
  - {key: three, do: email, day: 7, subject: Three, text: Three}
"""


def begin(world: World, n: int = 1) -> None:
    contacts(world, n)
    world.apply(THREE)
    enroll_all(world, "chase")


@pytest.mark.feature("S1")
def test_a_reply_ends_the_sequence(world: World) -> None:
    begin(world)
    world.at("2026-01-06T09:00:00Z")
    world.event("c1", "reply")
    world.at("2026-01-20T00:00:00Z")
    assert len(world.sent()) == 1
    run = world.run("c1", "chase")
    assert (run["status"], run["end_reason"]) == ("removed", "reply")


@pytest.mark.feature("S3")
def test_without_a_reply_every_message_leaves_on_its_day(world: World) -> None:
    begin(world)
    world.at("2026-01-20T00:00:00Z")
    assert [f"{row['received_at']:%d %H:%M} {row['subject']}" for row in world.sent()] == [
        "05 09:00 One",
        "08 09:00 Two",
        "12 09:00 Three",
    ]
    run = world.run("c1", "chase")
    assert (run["status"], run["end_reason"]) == ("completed", "completed")


@pytest.mark.feature("S2")
def test_a_reply_committed_before_the_due_instant_always_wins(world: World) -> None:
    begin(world, 500)
    with more_daemons(world, 1):
        world.at("2026-01-08T08:59:59.999Z")
        world.sql(
            """INSERT INTO dripd.event_in (account_id, contact_id, kind)
               SELECT account_id, id, 'reply' FROM dripd.contact"""
        )
        world.at("2026-01-20T00:00:00Z")
    assert {row["subject"] for row in world.sent()} == {"One"}
    assert len(world.sent()) == 500
    late = world.sql(
        """SELECT d.id FROM dripd.delivery AS d
           JOIN dripd.enrollment AS e ON e.id = d.enrollment_id
           JOIN dripd.event_log AS v ON v.contact_id = e.contact_id AND v.kind = 'reply'
           WHERE d.leased_at > v.occurred_at"""
    )
    assert late == []
    ends = world.sql("SELECT status, end_reason, count(*) FROM dripd.enrollment GROUP BY 1, 2")
    assert [tuple(row) for row in ends] == [("removed", "reply", 500)]


@pytest.mark.feature("S10")
def test_other_systems_see_who_is_in_a_live_sequence(world: World) -> None:
    contact = world.contact("c1")
    world.apply(THREE)
    seen = "SELECT campaign_key, next_send_at FROM dripd.contact_active WHERE contact_id = $1"
    allowed = "SELECT ok, campaign_key, next_send_at FROM dripd.may_send($1, 'email')"
    assert world.sql(seen, contact) == []
    assert tuple(world.sql(allowed, contact)[0]) == (True, None, None)
    world.enroll("chase", "c1")
    world.tick()
    campaign, upcoming = world.sql(seen, contact)[0]
    assert (campaign, f"{upcoming:%Y-%m-%d %H:%M}") == ("chase", "2026-01-08 09:00")
    assert tuple(world.sql(allowed, contact)[0]) == (False, "chase", upcoming)
    together = """
        SELECT (SELECT decided_at FROM dripd.enroll_request) = started_at,
            (SELECT status FROM dripd.enroll_request)
        FROM dripd.enrollment"""
    assert tuple(world.sql(together)[0]) == (True, "accepted")
    world.event("c1", "reply")
    world.tick()
    assert world.run("c1", "chase")["status"] == "removed"
    assert world.sql(seen, contact) == []
    assert tuple(world.sql(allowed, contact)[0]) == (True, None, None)


@pytest.mark.feature("Q20")
def test_a_stop_ends_the_chosen_runs_only(world: World) -> None:
    begin(world, 10)
    world.tick()
    world.at("2026-01-06T09:00:00Z")
    chosen = ["c2", "c5", "c9"]
    answer = world.call(
        "enroll.stop", account="acme", campaign=["chase"], contact=chosen, yes=True
    )
    assert answer["changed"] == 3
    ends = world.sql(
        """SELECT k.external_id, e.status, e.end_reason FROM dripd.enrollment AS e
           JOIN dripd.contact AS k ON k.id = e.contact_id WHERE e.ended_at IS NOT NULL
           ORDER BY k.id"""
    )
    assert [tuple(row) for row in ends] == [(who, "terminated", "stopped") for who in chosen]
    assert world.one("SELECT count(*) FROM dripd.enrollment WHERE ended_at IS NULL") == 7
    world.at("2026-01-20T00:00:00Z")
    second = world.column("SELECT recipient FROM dripd.sink_message WHERE subject = 'Two'")
    assert len(second) == 7
    assert not {f"{who}@acme.x.test" for who in chosen} & set(second)


@pytest.mark.feature("F2")
@pytest.mark.feature("Q20")
def test_a_stop_that_races_the_sending_leaves_no_message_half_sent(world: World) -> None:
    begin(world, 300)
    world.at("2026-01-08T08:59:59Z")
    mover = threading.Thread(target=world.at, args=("2026-01-08T09:00:00Z",))
    mover.start()
    world.call("enroll.stop", account="acme", campaign=["chase"], yes=True)
    mover.join()
    world.at("2026-01-20T00:00:00Z")
    ends = world.sql("SELECT status, end_reason, count(*) FROM dripd.enrollment GROUP BY 1, 2")
    assert [tuple(row) for row in ends] == [("terminated", "stopped", 300)]
    received = world.column(
        "SELECT enrollment_id || step_key FROM dripd.sink_message WHERE step_key <> 'one'"
    )
    assert len(received) == len(set(received))
    told = world.column(
        """SELECT enrollment_id || step_key FROM dripd.delivery
           WHERE step_key <> 'one' AND state = 'accepted'"""
    )
    assert sorted(told) == sorted(received)
    assert "three" not in {row["step_key"] for row in world.sent()}
    states = world.column("SELECT DISTINCT state FROM dripd.delivery")
    assert set(states) <= {"accepted", "cancelled"}
    late = """SELECT d.id FROM dripd.delivery AS d JOIN dripd.enrollment AS e
        ON e.account_id = d.account_id AND e.id = d.enrollment_id
        WHERE d.state = 'accepted' AND d.leased_at > e.ended_at"""
    assert world.column(late) == []


@pytest.mark.feature("D15")
def test_a_reply_that_is_heard_too_late_is_told_with_what_it_should_have_stopped(
    world: World,
) -> None:
    """Each of ten replies came before the second message and was ingested after it."""
    begin(world, 11)
    world.at("2026-01-08T10:00:00Z")
    for n in range(1, 11):
        world.event(f"c{n}", "reply", at="2026-01-07T10:00:00Z", key=f"late-{n}")
        world.event(f"c{n}", "reply", at="2026-01-07T10:00:00Z", key=f"late-{n}")
    world.event("c11", "reply")
    world.at("2026-01-20T00:00:00Z")

    told = world.sql(
        "SELECT detail ->> 'reason', detail -> 'sent', detail -> 'late_ms' "
        "FROM dripd.journal WHERE kind = 'regret'"
    )
    assert [tuple(row) for row in told] == [("reply", "1", "86400000")] * 10
    assert world.call("daemon.status")["counters"]["regret"] == 10
    assert len(world.sent()) == 22
