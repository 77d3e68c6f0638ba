"""Stories of runs that branch, wait for what people do, and follow a date."""

from __future__ import annotations

import json
from contextlib import nullcontext

import asyncpg
import pytest

from dripd.errors import DefinitionError, DripdError
from tests.stories.test_tasks import campaign, play
from tests.stories.world import World

FLOW = campaign(
    "flow",
    "{key: hi, do: email, subject: Hi, text: 'See http://x.test', track: {click: true}}",
    "{key: wait, do: wait_for, on: click, step: hi, timeout: 3d, then: hot, else: cold}",
    "{key: hot, do: tag_add, tag: hot, next: end}",
    "{key: cold, do: tag_add, tag: cold}",
)


def tags(world: World, contact: str) -> list[str]:
    return world.column(
        "SELECT t.tag FROM dripd.contact_tag AS t JOIN dripd.contact AS c "
        "ON c.account_id = t.account_id AND c.id = t.contact_id "
        "WHERE c.external_id = $1 ORDER BY 1",
        contact,
    )


def click(world: World, contact: str, campaign_key: str, payload: str = "{}") -> None:
    """The contact clicks in its first message."""
    run = world.run(contact, campaign_key)["id"]
    world.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind, payload) "
        "SELECT account_id, id, 'click', $2::text::jsonb FROM dripd.delivery "
        "WHERE enrollment_id = $1 ORDER BY id LIMIT 1",
        *(run, payload),
    )
    world.tick()


@pytest.mark.feature("F40")
def test_a_run_waits_for_a_click_or_for_its_time_to_be_over(world: World) -> None:
    play(world, FLOW, "c1", "c2", "c3")
    assert world.run("c1", "flow")["status"] == "waiting"
    assert str(world.run("c1", "flow")["due_at"]) == "2026-01-08 09:00:00+00:00"
    world.advance("1d")
    click(world, "c1", "flow")
    click(world, "c3", "flow", '{"machine": true}')
    assert tags(world, "c1") == ["hot"]
    assert world.steps("c1")[-1]["finished_at"] == world.one("SELECT dripd.now()")
    world.at("2026-01-08T08:59:59Z")
    assert tags(world, "c2") == tags(world, "c3") == []
    world.restart()
    world.advance("1s")
    assert tags(world, "c2") == tags(world, "c3") == ["cold"]
    assert [s["step_key"] for s in world.steps("c1")] == ["hi", "wait", "hot"]
    assert [s["step_key"] for s in world.steps("c2")] == ["hi", "wait", "cold"]


def test_what_came_before_the_wait_was_stored_is_not_missed(world: World) -> None:
    play(world, FLOW.replace("timeout: 3d", "timeout: 3d, delay: 2d"), "c1")
    world.advance("1h")
    click(world, "c1", "flow")
    world.advance("2d")
    assert tags(world, "c1") == ["hot"]


def test_a_branch_takes_the_first_case_that_holds(world: World) -> None:
    for key, tier in (("c1", "gold"), ("c2", "tin"), ("c3", None)):
        world.contact(key, attrs=json.dumps({"first_name": "Ann", "tier": tier}))
    play(
        world,
        campaign(
            "branch",
            "{key: b, do: branch, cases: [{when: \"attrs.tier == 'gold'\", then: gold}, "
            "{when: \"attrs.tier == 'tin' or 'x' in tags\", then: end}], else: rest}",
            "{key: gold, do: tag_add, tag: gold, next: all}",
            "{key: rest, do: tag_add, tag: rest}",
            "{key: all, do: tag_add, tag: all}",
        ),
        "c1",
        "c2",
        "c3",
    )
    assert [tags(world, c) for c in ("c1", "c2", "c3")] == [
        ["all", "gold"],
        [],
        ["all", "rest"],
    ]
    ended = world.column("SELECT end_reason FROM dripd.enrollment ORDER BY contact_id")
    assert ended == ["completed"] * 3


@pytest.mark.feature("F41")
def test_a_flow_with_loose_ends_is_refused(world: World) -> None:
    with pytest.raises(DefinitionError) as caught:
        world.apply(
            campaign(
                "loose",
                "{key: b, do: branch, cases: [{when: 'true', then: nowhere}], else: z}",
                "{key: never, do: tag_add, tag: x}",
                "{key: z, do: wait_for, on: reply, timeout: 1d, then: z2, else: end}",
                "{key: z2, do: tag_add, tag: z, next: z}",
            )
        )
    found = {fault.code: fault.path for fault in caught.value.faults}
    assert found == {"dangling": "steps[0].cases[0].then", "cycle": "steps[3].next"}
    with pytest.raises(DefinitionError) as caught:
        world.apply(
            campaign(
                "island",
                "{key: b, do: branch, cases: [{when: 'true', then: z}], else: z}",
                "{key: never, do: tag_add, tag: x}",
                "{key: z, do: tag_add, tag: z}",
            )
        )
    (fault,) = caught.value.faults
    assert (fault.code, fault.path) == ("unreachable", "steps[1]")


TIMER = campaign(
    "appointment",
    "{key: at, do: date_timer, field: appt, offset: -1h PAST}",
    "{key: remind, do: email, subject: 'At {appt:%H:%M}', text: Soon}",
    "{key: after, do: tag_add, tag: after}",
    more="fields: {appt: datetime}\ntimezone: contact",
)


def appointment(world: World, contact: str, at: str | None) -> None:
    world.sql(
        "UPDATE dripd.contact SET attrs = attrs || jsonb_build_object('appt', $2::text) "
        "WHERE external_id = $1",
        *(contact, at),
    )
    world.tick()


@pytest.mark.feature("Q12")
@pytest.mark.feature("Q13")
def test_a_reminder_follows_the_date_of_the_field(world: World) -> None:
    for key in ("c1", "c2", "c3"):
        world.contact(key, timezone="Europe/Berlin", attrs='{"appt": "2026-01-06T10:00:00Z"}')
    play(world, TIMER.replace("PAST", ""), "c1", "c2", "c3")
    world.at("2026-01-06T08:30:00Z")
    assert world.sent() == []
    appointment(world, "c2", "2026-01-06T12:00:00Z")
    appointment(world, "c3", "2026-01-06T09:45:00Z")
    world.at("2026-01-06T08:45:00Z")
    assert [m["recipient"] for m in world.sent()] == ["c3@x.test"]
    world.at("2026-01-06T09:00:00Z")
    assert [(m["recipient"], m["subject"]) for m in world.sent()] == [
        ("c3@x.test", "At 10:45"),
        ("c1@x.test", "At 11:00"),
    ]
    world.at("2026-01-06T11:00:00Z")
    assert [str(m["received_at"])[11:16] for m in world.sent()] == ["08:45", "09:00", "11:00"]
    assert world.sent()[2]["subject"] == "At 13:00"


@pytest.mark.feature("Q13")
def test_a_date_that_is_past_skips_sends_or_ends(world: World) -> None:
    for key in ("c1", "c2", "c3", "c4"):
        world.contact(key, attrs='{"appt": "2026-01-05T09:30:00Z"}')
    play(world, TIMER.replace("PAST", ""), "c1")
    assert [(s["step_key"], s["outcome"], s["reason"]) for s in world.steps("c1")] == [
        ("at", "skipped", "date_past"),
        ("remind", "skipped", "date_past"),
        ("after", "done", None),
    ]
    play(world, TIMER.replace("PAST", ", past: send_now").replace("appointment", "now"), "c2")
    assert len(world.sent()) == 1
    play(world, TIMER.replace("PAST", ", past: exit").replace("appointment", "leave"), "c3")
    assert world.run("c3", "leave")["end_reason"] == "date_past"
    play(
        world, TIMER.replace("offset: -1h PAST", "offset: 3d").replace("appointment", "d"), "c4"
    )
    appointment(world, "c4", "2026-01-01T08:00:00Z")
    assert world.steps("c4")[0]["reason"] == "date_past"


@pytest.mark.feature("Q7")
def test_the_helpers_refuse_what_a_declared_field_cannot_hold(world: World) -> None:
    world.sql(
        "INSERT INTO dripd.field (account_id, key, type) "
        "SELECT a.id, f.key, f.type FROM dripd.account AS a, "
        "(VALUES ('appt', 'datetime'), ('n', 'number'), ('vip', 'bool')) AS f (key, type)"
    )
    good = ["2026-03-01T10:00+01:00", "2026-03-01 10:00", "2026-03-01", "", None]
    bad = [("appt", "soon"), ("appt", "tomorrow"), ("appt", "2026-02-30"), ("n", "many"),
           ("vip", "perhaps")]  # fmt: skip
    put = "SELECT dripd.upsert_contact('acme', 'c1', attrs => jsonb_build_object($1::text, $2::text))"
    for value in good:
        world.sql(put, "appt", value)
        world.call("contact.add", external_id="c2", account="acme", attrs={"appt": value})
    for key, value in (*bad, ("other", "soon")):
        refuses = key != "other"
        with pytest.raises(asyncpg.InvalidParameterValueError) if refuses else nullcontext():
            world.sql(put, key, value)
        with pytest.raises(DripdError) if refuses else nullcontext():
            world.call("contact.add", external_id="c2", account="acme", attrs={key: value})

    day = {"appt": "2026-03-01"}
    doubts = [
        world.call("contact.add", external_id="c2", account="acme", attrs=day)["warnings"],
        world.call("contact.update", contact="c2", account="acme", ops=["x set 1"])["warnings"],
    ]
    assert [[(one["code"], one["path"]) for one in some] for some in doubts] == [
        [("date_only", "attrs.appt")],
        [],
    ]
    world.call("contact.update", contact="c2", account="acme", ops=["appt clear", "x clear"])
    kept = world.column("SELECT attrs::text FROM dripd.contact ORDER BY external_id")
    assert [json.loads(one) for one in kept] == [
        {"appt": None, "other": "soon"},
        {"other": "soon"},
    ]


@pytest.mark.feature("Q7")
def test_a_field_that_holds_no_date_holds_the_run_until_it_does(world: World) -> None:
    world.contact("c1", attrs='{"appt": "soon"}', timezone="America/New_York")
    play(world, TIMER.replace("PAST", ""), "c1")
    held = world.run("c1", "appointment")
    assert (held["status"], held["hold_reason"]) == ("held", "bad_date:appt")
    appointment(world, "c1", "2026-03-01T10:00+01:00")
    assert str(world.run("c1", "appointment")["due_at"]) == "2026-03-01 08:00:00+00:00"
    appointment(world, "c1", "2026-03-02")
    assert str(world.run("c1", "appointment")["due_at"]) == "2026-03-02 04:00:00+00:00"
    appointment(world, "c1", "later")
    assert world.run("c1", "appointment")["hold_reason"] == "bad_date:appt"
