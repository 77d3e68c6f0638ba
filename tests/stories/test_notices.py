"""Stories of messages to people of the house."""

from __future__ import annotations

import pytest

from tests.stories.test_tasks import campaign, play
from tests.stories.world import World


@pytest.mark.feature("F36")
@pytest.mark.feature("F37")
@pytest.mark.feature("F43")
def test_people_of_the_house_are_told_whatever_protects_contacts(world: World) -> None:
    words = "'{First Name|there} of {attrs.firm}'"
    world.contact(
        "c1",
        attrs='{"first_name": "Ann", "firm": "X", "rep": "rep@acme.test", "mobile": "+4912345"}',
    )
    world.contact("c2", attrs='{"first_name": "Bo", "firm": "Y", "rep": "rep@acme.test"}')
    for address in ("c1@x.test", "rep@acme.test"):
        world.sql(
            "INSERT INTO dripd.suppression (account_id, channel, address) VALUES (0, 'email', $1)",
            address,
        )
    play(
        world,
        campaign(
            "tell",
            f"{{key: mail, do: notify_email, to: '{{rep}}', subject: {words}, text: {words}}}",
            f"{{key: text, do: notify_sms, to: '{{mobile}}', text: {words}}}",
            "{key: nobody, do: notify_email, to: '{nobody|}', subject: S, text: T}",
            f"{{key: own, do: sms, text: {words}, window: 'off'}}",
            more="window: {days: [sun]}\nfields: {nobody: text}\npolicy: {frequency: {per_contact: 1/1d}}",
        ),
        "c1",
        "c2",
    )
    sent = [(m["channel"], m["recipient"], m["body"].strip()) for m in world.sent()]
    assert sorted(sent) == [
        ("email", "rep@acme.test", "Ann of X"),
        ("email", "rep@acme.test", "Bo of Y"),
        ("sms", "+4912345", "Ann of X"),
        ("sms", "+49301234567", "Ann of X"),
        ("sms", "+49301234567", "Bo of Y"),
    ]
    assert {m["subject"] for m in world.sent() if m["channel"] == "email"} == {
        "Ann of X",
        "Bo of Y",
    }
    assert [(s["step_key"], s["outcome"], s["reason"]) for s in world.steps("c2")] == [
        ("mail", "done", None),
        ("text", "skipped", "no_phone"),
        ("nobody", "skipped", "no_address"),
        ("own", "done", None),
    ]
    used = dict(map(tuple, world.sql("SELECT source, n FROM dripd.cap_usage")))
    assert used == {"program": 0, "individual": 3}
    assert world.column("SELECT DISTINCT step_key FROM dripd.delivery") == ["own"]


def test_who_was_told_does_not_answer_for_the_contact(world: World) -> None:
    world.contact("c1")
    play(
        world,
        campaign(
            "tell",
            "{key: mail, do: notify_email, to: rep@acme.test, subject: S, text: T}",
            "{key: later, do: tag_add, tag: t, delay: 9d}",
        ),
        "c1",
    )
    run = world.run("c1", "tell")["id"]
    world.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind) "
        "SELECT id, $1, 'reply' FROM dripd.account",
        f"{run}-1",
    )
    world.tick()
    assert world.run("c1", "tell")["status"] == "waiting"


@pytest.mark.feature("F13")
def test_an_address_that_is_none_says_so_as_a_refusal_does(world: World) -> None:
    world.contact("c1", phone="abc")
    play(
        world,
        campaign(
            "tell",
            "{key: text, do: sms, text: T}",
            "{key: mail, do: email, subject: S, text: T}",
            "{key: out, do: sms, text: T, on_unable: exit}",
        ),
        "c1",
    )

    assert [(s["outcome"], s["reason"]) for s in world.steps("c1")] == [
        ("failed", "unable:invalid_address"),
        ("done", None),
        ("failed", "unable:invalid_address"),
    ]
    run = world.run("c1", "tell")
    assert (run["status"], run["end_reason"]) == ("removed", "unable:invalid_address")
