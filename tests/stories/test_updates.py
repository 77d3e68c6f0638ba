"""Stories of fields that steps, rules and people change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dripd.errors import DripdError
from tests.stories.test_tasks import campaign, play
from tests.stories.world import World


def attrs(world: World, contact: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        world.one("SELECT attrs FROM dripd.contact WHERE external_id = $1", contact)
    )
    return found


@pytest.mark.feature("F16")
@pytest.mark.feature("F19")
def test_a_step_holds_values_as_the_account_declares_its_fields(world: World) -> None:
    """Declared in SQL, or by the file of another campaign."""
    world.sql(
        "INSERT INTO dripd.field (account_id, key, type, target)"
        " SELECT id, f.* FROM dripd.account,"
        " (VALUES ('flag', 'bool', 'contact'), ('size', 'number', 'company')) AS f (key, type, target)"
    )
    world.apply(campaign("other", "{key: a, do: end}", more="fields: {n: number}"))
    company = world.one(
        "INSERT INTO dripd.company (account_id) SELECT id FROM dripd.account RETURNING id"
    )
    world.contact("c1", company_id=company, attrs="{}")
    world.contact("c2", attrs="{}")
    ops = ["flag set true", "n set 5"]
    play(
        world,
        campaign(
            "update",
            f"{{key: up, do: update, ops: {json.dumps(ops)}}}",
            "{key: firm, do: update, target: company, ops: ['size set 3']}",
        ),
        "c1",
    )
    world.call("contact.update", contact="c2", ops=ops)

    assert {"flag": True, "n": 5} == attrs(world, "c1") == attrs(world, "c2")
    assert {"size": 3} == json.loads(world.one("SELECT attrs FROM dripd.company"))


@pytest.mark.feature("F15")
@pytest.mark.feature("F17")
@pytest.mark.feature("F18")
@pytest.mark.feature("F19")
def test_fields_are_changed_all_or_none_and_later_steps_see_it(world: World) -> None:
    company = world.one(
        "INSERT INTO dripd.company (account_id, attrs) SELECT id, '{}' FROM dripd.account RETURNING id"
    )
    world.contact("c1", company_id=company, attrs='{"first_name": "Ann", "n": 2, "old": "x"}')
    world.contact("c2", company_id=company, attrs='{"first_name": "Bo", "n": "many"}')
    ops = ["city set Oslo", "likes add red", "n increment 5", "old clear", "seen now"]
    lines = ", ".join(json.dumps(op) for op in ops)
    play(
        world,
        campaign(
            "update",
            f"{{key: up, do: update, ops: [{lines}, {{op: set, field: off, value: 1, enabled: false}}]}}",
            "{key: firm, do: update, target: company, ops: ['town set Bergen']}",
            "{key: hi, do: email, subject: 'In {City}', text: 'Of {company.town}'}",
            more="fields: {likes: multi, n: number, city: text, seen: datetime}",
        ),
        "c1",
        "c2",
    )
    changed = attrs(world, "c1")
    assert changed == {
        "first_name": "Ann",
        "city": "Oslo",
        "likes": ["red"],
        "n": 7,
        "seen": "2026-01-05T09:00:00Z",
    }
    assert [(m["subject"], m["body"].split()) for m in world.sent()] == [
        ("In Oslo", ["Of", "Bergen"])
    ]
    held = world.run("c2", "update")
    assert (held["status"], held["hold_reason"]) == ("held", "step_failed")
    assert [(s["outcome"], s["reason"]) for s in world.steps("c2")] == [("failed", "unable:n")]
    assert attrs(world, "c2") == {"first_name": "Bo", "n": "many"}

    world.contact("c3", attrs='{"first_name": "Ann", "n": 2, "old": "x"}')
    world.call("contact.update", contact="c3", account="acme", ops=ops)
    assert attrs(world, "c3") == changed
    world.sql(
        "INSERT INTO dripd.field (account_id, key, type) SELECT id, 'appt', 'datetime' FROM dripd.account"
    )
    with pytest.raises(DripdError) as caught:
        world.call(
            "contact.update", contact="c3", account="acme", ops=["x set 1", "appt set soon"]
        )
    assert caught.value.code == "bad_op"
    assert attrs(world, "c3") == changed

    with pytest.raises(DripdError) as caught:
        world.call("contact.update", contact="c2", account="acme", ops=["n increment 1"])
    assert caught.value.message == "n: 'many' is no number"
    world.call("contact.update", contact="c2", account="acme", ops=["mood set well"])
    world.tick()
    assert len(world.steps("c2")) == 1
    world.call("contact.update", contact="c2", account="acme", ops=["n set 1", "n increment 1"])
    world.tick()
    assert world.run("c2", "update")["status"] == "completed"


@pytest.mark.feature("F15")
def test_what_a_company_lacks_holds_until_the_company_has_it(world: World) -> None:
    firm, other = world.column(
        "INSERT INTO dripd.company (account_id, attrs) SELECT id, a::jsonb FROM dripd.account, "
        """unnest(ARRAY['{}', '{"town": "Bonn", "renewal": "2026-01-20"}']) AS a RETURNING id"""
    )
    play(
        world,
        campaign("lacks", "{key: hi, do: email, subject: 'In {company.town}', text: Hi}"),
    )
    world.apply(
        campaign(
            "renews",
            "{key: r, do: date_timer, field: company.renewal, offset: -2d}",
            "{key: t, do: tag_add, tag: due}",
        )
    )
    for contact in ("c1", "c2"):
        world.contact(contact, company_id=firm)
    world.enroll("lacks", "c1", "c2")
    world.enroll("renews", "c1")
    world.tick()
    held = [world.run(*who)["hold_reason"] for who in (("c1", "lacks"), ("c1", "renews"))]
    assert held == ["missing_tag:company.town", "bad_date:company.renewal"]

    world.sql("UPDATE dripd.contact SET company_id = $1 WHERE external_id = 'c2'", other)
    world.tick()
    assert [m["subject"] for m in world.sent()] == ["In Bonn"]
    town = json.dumps({"town": "Ulm", "renewal": "2026-01-10"})
    world.sql("UPDATE dripd.company SET attrs = $2::jsonb WHERE id = $1", firm, town)
    world.tick()
    assert [m["subject"] for m in world.sent()] == ["In Bonn", "In Ulm"]
    world.sql(
        'UPDATE dripd.company SET attrs = attrs || \'{"renewal": "2026-01-08"}\' WHERE id = $1',
        firm,
    )
    world.tick()
    assert str(world.run("c1", "renews")["due_at"]) == "2026-01-06 00:00:00+00:00"


@pytest.mark.feature("M29")
@pytest.mark.feature("M25")
def test_a_rule_that_ends_a_run_sets_a_field_in_the_same_commit(world: World) -> None:
    rules = (
        "exit_rules:\n  - {on: reply, set: {status: Engaged}}\n  - {on: open, enabled: false}\n"
    )
    play(
        world, campaign("m", "{key: t, do: tag_add, tag: t, delay: 9d}", more=rules), "c1", "c2"
    )
    world.event("c1", "open")
    world.event("c2", "reply")
    world.tick()
    assert world.run("c1", "m")["status"] == "waiting"
    assert world.run("c2", "m")["end_reason"] == "reply"
    assert attrs(world, "c2")["status"] == "Engaged"
    both = world.one(
        "SELECT count(DISTINCT x)::int FROM (SELECT xmin::text AS x FROM dripd.run WHERE status = 3 "
        "UNION ALL SELECT xmin::text FROM dripd.contact WHERE external_id = 'c2') AS t"
    )
    assert both == 1
