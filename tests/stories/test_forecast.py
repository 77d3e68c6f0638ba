"""What is promised about the future is what comes: the forecast is the engine itself."""

from __future__ import annotations

import pytest

from tests.stories.crowd import contacts, enroll_all
from tests.stories.world import World

TWO = """
campaign: two
account: pro
name: Two
sender: hello@pro.test
window: {from: "09:00", to: "17:00"}
steps:
  - {key: a, do: email, subject: a, text: x}
  - {key: b, do: email, delay: 1d, subject: b, text: x}
"""


def capped(world: World, n: int) -> None:
    """Account pro may send ten mails a day, and *n* contacts have entered its campaign."""
    world.sql("INSERT INTO dripd.plan (key, daily_email_cap) VALUES ('ten', 10)")
    world.account("pro", plan="ten")
    contacts(world, n, "pro")
    world.apply(TWO, "pro")
    enroll_all(world, "two", "pro")
    world.tick()


def test_every_waiting_run_goes_when_it_was_told_to(world: World) -> None:
    capped(world, 33)
    waiting = world.sql(
        "SELECT id, step_key FROM dripd.enrollment WHERE ended_at IS NULL ORDER BY id"
    )
    told = {}
    for run, step in waiting:
        (one,) = world.call("enroll.explain", enrollment=run)["enrollments"]
        told[run, step] = one["ready_at"]
    world.at("2026-01-20T00:00:00Z")
    sent = {
        (row[0], row[1]): row[2]
        for row in world.sql(
            "SELECT enrollment_id, step_key, to_char(received_at AT TIME ZONE 'UTC', "
            '\'YYYY-MM-DD"T"HH24:MI:SS"Z"\') FROM dripd.sink_message'
        )
    }

    assert len(told) == 33
    assert {key: sent[key] for key in told} == told
    assert len(set(told.values())) > 2


def test_campaigns_in_which_nobody_waits_keep_nothing_from_being_played(world: World) -> None:
    world.contact("ann")
    for key in ("over", "two"):
        text = TWO.replace("campaign: two", f"campaign: {key}").replace("pro", "acme")
        world.apply(text, "acme")
    world.enroll("over", "ann")
    world.at("2026-01-20T00:00:00Z")
    assert world.run("ann", "over")["status"] == "completed"
    world.enroll("two", "ann")
    world.tick()
    told = world.call("enroll.simulate", enrollment=world.run("ann", "two")["id"])

    assert told["status"] == "completed"
    assert [step["step_key"] for step in told["steps"]] == ["a", "b"]


def test_a_run_does_what_was_simulated(world: World) -> None:
    capped(world, 13)
    (last,) = world.sql("SELECT max(id) FROM dripd.enrollment WHERE ended_at IS NULL")[0]
    told = world.call("enroll.simulate", enrollment=last)
    world.at("2026-01-20T00:00:00Z")
    done = world.call("enroll.show", enrollment=last)
    over = world.call("enroll.simulate", enrollment=last)

    assert [(one["step_key"], one["outcome"], one["at"]) for one in told["steps"]] == [
        (one["step_key"], one["outcome"], one["finished_at"]) for one in done["steps"]
    ]
    assert [one["sent"] for one in told["steps"]] == [True, True]
    assert told["whole"] is True
    names = ("status", "end_reason", "ended_at")
    assert [told[name] for name in names] == [done[name] for name in names]
    assert (over["steps"], over["status"]) == ([], "completed")


@pytest.mark.feature("S4")
def test_a_quote_knows_the_backlog_of_the_account(world: World) -> None:
    capped(world, 25)
    world.contact("late", "pro")
    quote = world.call("campaign.quote", key="two", account="pro", contact="late")
    world.enroll("two", "late", account="pro")
    world.at("2026-01-20T00:00:00Z")
    sent = world.column(
        "SELECT to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') "
        "FROM dripd.sink_message WHERE recipient = 'late@x.test' ORDER BY received_at"
    )

    assert [one["at"] for one in quote["messages"]] == sent
    assert sent[0] > "2026-01-07"


LATE = """
campaign: late
account: acme
name: Late
sender: hello@acme.test
window: {from: "09:00", to: "17:00"}
steps:
  - {key: a, do: email, subject: a, text: x}
  - {key: b, do: email, delay: 8h5s, subject: b, text: x}
  - {key: c, do: email, delay: 1d, subject: c, text: x}
  - {key: d, do: email, delay: 13h, subject: d, text: x}
"""


@pytest.mark.parametrize("plan", ["unlimited", "professional"])
def test_a_quote_tells_by_how_much_messages_miss_their_window(world: World, plan: str) -> None:
    world.sql("UPDATE dripd.account SET plan = $1 WHERE key = 'acme'", plan)
    world.apply(LATE)
    world.contact("ann")
    world.at("2026-01-05T09:00:00Z")
    quote = world.call("campaign.quote", key="late", account="acme", contact="ann")
    world.enroll("late", "ann")
    world.at("2026-01-20T00:00:00Z")

    assert [
        ("a", "2026-01-05T09:00:00Z", None),
        ("b", "2026-01-06T09:00:00Z", 5.0),
        ("c", "2026-01-07T09:00:00Z", None),
        ("d", "2026-01-08T09:00:00Z", 5 * 3600.0),
    ] == [(one["step_key"], one["at"], one["missed_s"]) for one in quote["messages"]]
    assert [(10.0, 1), (16 * 3600.0, 1)] == [
        (one["up_to_s"], one["n"]) for one in quote["missed"] if one["n"]
    ]
    assert quote["missed"][-1]["up_to_s"] is None
    assert [one["at"] for one in quote["messages"]] == world.column(
        "SELECT to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') "
        "FROM dripd.sink_message ORDER BY received_at"
    )
