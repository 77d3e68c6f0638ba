"""What the behaviours of others leave open and dripd decides, told as a user sees it. One daemon for all of it."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.errors import BadRequest, Conflict
from tests.stories.test_everyday import campaign, mail
from tests.stories.world import World


def stats(house: World, key: str) -> Any:
    return house.sql("SELECT * FROM dripd.campaign_stats WHERE campaign_key = $1", key)[0]


def capped(house: World, account: str) -> None:
    """An account of one mail a day."""
    house.sql(
        "INSERT INTO dripd.plan (key, daily_email_cap) VALUES ('one', 1) ON CONFLICT DO NOTHING"
    )
    house.account(account, plan="one")


@pytest.mark.feature("C36")
def test_a_move_that_is_refused_is_told_by_the_end_of_the_run(house: World) -> None:
    house.apply(campaign("shut", "{key: a, do: delay, delay: 9d}"))
    house.call("campaign.deactivate", key="shut", account="acme")
    house.apply(campaign("once", "{key: a, do: end}"))
    for key, to in (("to-shut", "shut"), ("to-once", "once"), ("to-gone", "gone")):
        house.apply(campaign(key, f"{{key: over, do: move, campaign: {to}}}"))
    house.contact("mover")
    house.enroll("once", "mover")
    house.tick()
    house.enroll("to-shut", "mover")
    house.enroll("to-once", "mover")
    house.enroll("to-gone", "mover")
    house.tick()

    ends = {
        key: house.run("mover", key)["end_reason"] for key in ("to-shut", "to-once", "to-gone")
    }
    assert ends == {
        "to-shut": "unable:not_active",
        "to-once": "unable:already_ran",
        "to-gone": "unable:unknown_campaign",
    }
    steps = [(s["outcome"], s["reason"]) for s in house.steps("mover") if s["kind"] == "move"]
    assert steps == [("failed", why) for why in ends.values()]


def test_campaigns_that_move_to_each_other_are_doubtful(house: World) -> None:
    again = {"policy": "{reentry: after_end}"}
    house.apply(campaign("ping", "{key: a, do: move, campaign: pong}", **again))

    def warned(*steps: str, **top: str) -> list[tuple[str, str]]:
        documents = [{"filename": "a.yaml", "text": campaign("pong", *steps, **top)}]
        (item,) = house.call("campaign.validate", documents=documents)["items"]
        return [(one["code"], one["path"]) for one in item["warnings"]]

    back = "{key: a, do: move, campaign: ping}"
    assert warned(back, **again) == [("cycle", "steps[0].campaign")]
    assert warned(back) == []  # who has run once does not come back
    assert warned("{key: a, do: move, campaign: once}", **again) == []


@pytest.mark.feature("M44")
@pytest.mark.feature("Q10")
@pytest.mark.feature("Q11")
def test_who_reaches_the_goal_has_completed_and_who_is_moved_on_has_reached_it(
    house: World,
) -> None:
    house.apply(
        campaign("goals", "{key: a, do: delay, delay: 9d}", goal="{on: tag_added, tag: won}")
    )
    text = """
campaign: path
account: acme
name: path
sequences:
  - key: invite
    goal: {on: tag_added, tag: booked}
    steps: [{key: a, do: delay, delay: 9d}]
  - key: confirm
    on: [{on: tag_added, tag: booked}]
    steps: [{key: b, do: delay, delay: 9d}]
"""
    house.apply(text)
    for key in ("goal1", "goal2", "goal3"):
        house.contact(key)
        house.enroll("goals", key)
        house.enroll("path", key)
    house.tick()
    house.call("contact.tag", contact="goal1", tags=["won", "booked"], account="acme")
    house.tick()
    house.call("enroll.stop", contact=["goal2"], campaign=["goals"], account="acme")

    found = stats(house, "goals")
    counted = ("enrolled", "active", "completed", "removed", "terminated", "goal")
    assert [found[name] for name in counted] == [3, 1, 1, 0, 1, 1]
    direct = house.one(
        "SELECT count(*) FROM dripd.enrollment "
        "WHERE campaign_key = 'goals' AND status = 'completed'"
    )
    assert direct == found["completed"]
    moved = stats(house, "path")
    assert [moved[name] for name in counted] == [3, 3, 0, 0, 0, 1]
    assert house.run("goal1", "path")["step_key"] == "b"
    assert house.call("campaign.stats", key="path", account="acme")["goal"] == 1


@pytest.mark.feature("C52")
def test_what_a_cap_holds_is_told_to_go_when_the_window_opens(house: World) -> None:
    capped(house, "tight")
    window = '{from: "08:00", to: "20:00"}'
    top = {"account": "tight", "sender": "hello@tight.test", "window": window}
    house.apply(campaign("capped", mail("a"), **top), "tight")
    for key in ("tight1", "tight2"):
        house.contact(key, "tight")
    house.enroll("capped", "tight1", "tight2", account="tight")
    house.tick()
    held = "SELECT id, hold_reason, release_at::text AS at FROM dripd.enrollment WHERE status = 'held' AND campaign_key = 'capped'"
    (run,) = house.sql(held)
    tomorrow = house.one("SELECT ((dripd.now() + interval '1 day')::date)::text")
    (told,) = house.call("enroll.explain", enrollment=run["id"])["enrollments"]

    assert (run["hold_reason"], run["at"]) == ("cap", f"{tomorrow} 08:00:00+00")
    assert [gate["gate"] for gate in told["chain"]] == ["cap", "window"]
    assert told["ready_at"] == f"{tomorrow}T08:00:00Z"
    house.advance("1d")

    came = house.column(
        "SELECT received_at::text FROM dripd.sink_message WHERE enrollment_id = $1", run["id"]
    )
    assert came == [f"{tomorrow} 08:00:00+00"]


@pytest.mark.feature("C52")
def test_a_cap_s_lane_opens_with_the_window_that_the_account_has_by_then(house: World) -> None:
    capped(house, "wide")
    house.call("account.set", key="wide", window='{from: "08:00", to: "20:00"}')
    top = {"account": "wide", "sender": "hello@wide.test"}
    house.apply(campaign("follows", mail("a"), **top), "wide")
    for key in ("wide1", "wide2"):
        house.contact(key, "wide")
    house.enroll("follows", "wide1", "wide2", account="wide")
    house.tick()
    assert house.run("wide2", "follows")["hold_reason"] == "cap"
    house.call("account.set", key="wide", window='{from: "06:00", to: "20:00"}')
    house.advance("1d")

    came = house.column(
        "SELECT received_at::time::text FROM dripd.sink_message WHERE sender = 'hello@wide.test' ORDER BY 1"
    )
    assert came[0] == "06:00:00"


@pytest.mark.feature("Q7")
def test_a_date_without_its_time_is_told_by_the_journal(house: World) -> None:
    timer = "{key: t, do: date_timer, field: FIELD, offset: -1h}"
    for field, kind in (("appt", "datetime"), ("day", "date")):
        text = campaign(
            f"timer-{field}", timer.replace("FIELD", field), fields=f"{{{field}: {kind}}}"
        )
        house.apply(text)
        house.contact(f"dated-{field}", attrs=f'{{"{field}": "2027-03-01"}}')
        house.enroll(f"timer-{field}", f"dated-{field}")
    house.tick()
    house.call(
        "contact.update",
        contact="dated-appt",
        account="acme",
        ops=["appt set 2027-03-01T10:00Z"],
    )
    house.tick()
    items = house.call("contact.timeline", contact="dated-appt", account="acme")["items"]

    assert [one["detail"] for one in items if one["kind"] == "date_only"] == [{"field": "appt"}]
    assert house.column("SELECT count(*) FROM dripd.journal WHERE kind = 'date_only'") == [1]


def test_an_event_that_nobody_listens_to_is_shown_with_its_contact(house: World) -> None:
    contact = house.contact("silent")
    house.event("silent", "interaction")
    house.tick()
    items = house.call("event.tail", limit=100)["items"]

    assert contact in {one["contact_id"] for one in items if one["kind"] == "interaction"}


def test_a_sender_goes_by_a_provider_that_is_there(house: World) -> None:
    with pytest.raises(BadRequest) as refused:
        house.call("sender.set", address="x@acme.test", account="acme", provider="sinc")

    assert (refused.value.path, refused.value.hint) == ("provider", "did you mean 'sink'?")
    assert house.call("sender.set", address="x@acme.test", account="acme", provider="sink")[
        "created"
    ]


@pytest.mark.feature("S20")
def test_a_pause_that_removes_everybody_asks_first(house: World) -> None:
    house.apply(
        campaign("wide", "{key: a, do: delay, delay: 9d}", policy="{pause: remove_all}")
    )
    for key in ("paused1", "paused2"):
        house.contact(key)
    house.enroll("wide", "paused1", "paused2")
    house.tick()
    with pytest.raises(Conflict) as refused:
        house.call("campaign.pause", key="wide", account="acme")
    plan = house.call("campaign.pause", key="wide", account="acme", dry_run=True)

    assert refused.value.code == "confirm:2"
    assert house.run("paused1", "wide")["status"] == "waiting"
    assert (plan["removed"], plan["set"]["n"]) == (2, 2)
    assert house.call("campaign.pause", key="wide", account="acme", yes=True)["removed"] == 2
    assert house.run("paused1", "wide")["end_reason"] == "paused"
