"""Stories of campaigns that events drive: sequences, resets, the loop of appointments."""

from __future__ import annotations

import json

import pytest

from dripd.errors import DefinitionError
from tests.stories.test_tasks import campaign, play
from tests.stories.world import World

LOOP = """
campaign: loop
account: acme
name: Appointments
preset: quentn
sender: hello@acme.test
timezone: contact
fields: {appt: datetime}
sequences:
  - key: invite
    goal: {on: tag_added, tag: Appointment made}
    steps:
      - {key: invite1, do: email, subject: Book a call, text: Book}
      - {key: invite2, do: email, delay: 2d, subject: Still there, text: Book}
      - {key: invite3, do: email, delay: 7d, subject: Last call, text: Book}
  - key: confirm
    on: [{on: tag_added, tag: Appointment made}]
    steps:
      - {key: confirm1, do: email, subject: 'See you {appt:%d %b %H:%M}', text: Confirmed}
      - {key: timer, do: date_timer, field: appt, offset: -1h}
      - {key: remind, do: email, subject: In an hour, text: Soon}
  - key: missed
    on: [{on: tag_added, tag: Not reached}]
    steps:
      - {key: again, do: reset_campaign}
      - {key: un1, do: tag_remove, tag: Appointment made}
      - {key: un2, do: tag_remove, tag: Not reached}
      - {key: sorry, do: email, subject: We missed you, text: Book again}
      - {key: sorry2, do: email, delay: 5d, subject: Still no date, text: Book again}
"""


def made(world: World, contact: str, at: str) -> None:
    """What an outside booking tool does: contact, date and tag in one transaction."""
    world.sql(
        "SELECT dripd.upsert_contact('acme', $1, attrs => $2::text::jsonb, tags => $3)",
        *(contact, json.dumps({"appt": at}), ["Appointment made"]),
    )
    world.tick()


def tagged(world: World, contact: str, tag: str) -> None:
    world.call("contact.tag", contact=contact, tags=[tag], account="acme")
    world.tick()


def subjects(world: World) -> list[str]:
    return [m["subject"] for m in world.sent()]


def has_tag(world: World, tag: str) -> bool:
    return bool(world.one("SELECT count(*) FROM dripd.contact_tag WHERE tag = $1", tag))


@pytest.mark.feature("Q8")
@pytest.mark.feature("Q9")
@pytest.mark.feature("Q11")
@pytest.mark.feature("Q15")
@pytest.mark.feature("Q16")
@pytest.mark.feature("Q17")
@pytest.mark.feature("Q18")
def test_the_loop_of_appointments_goes_three_rounds(world: World) -> None:
    play(world, LOOP, "c1")
    world.at("2026-01-07T10:00:00Z")
    assert subjects(world) == ["Book a call", "Still there"]
    for round_no, day in ((1, 10), (2, 14), (3, 18)):
        sent = len(world.sent())
        made(world, "c1", f"2026-01-{day}T10:00:00Z")
        run = world.run("c1", "loop")
        assert (run["run_no"], run["status"], run["step_key"]) == (round_no, "waiting", "timer")
        assert subjects(world)[sent:] == [f"See you {day} Jan 10:00"]
        world.at(f"2026-01-{day}T08:59:59Z")
        assert len(world.sent()) == sent + 1
        world.at(f"2026-01-{day}T09:00:00Z")
        assert subjects(world)[sent + 1 :] == ["In an hour"]
        assert world.run("c1", "loop")["status"] == "completed"
        tagged(world, "c1", "Not reached")
        assert subjects(world)[sent + 2 :] == ["We missed you"]
        assert not has_tag(world, "Appointment made")
        assert not has_tag(world, "Not reached")
        assert world.run("c1", "loop")["run_no"] == round_no + 1
        world.advance("1d")
    runs = world.sql(
        "SELECT run_no, subject FROM dripd.delivery WHERE step_key = 'confirm1' ORDER BY run_no"
    )
    assert [row["run_no"] for row in runs] == [1, 2, 3]
    keys = world.column("SELECT idempotency_key FROM dripd.delivery")
    assert len(set(keys)) == len(keys)
    assert world.one("SELECT count(*) FROM dripd.enrollment WHERE reset_at IS NOT NULL") == 4


@pytest.mark.feature("Q14")
def test_a_tag_that_is_there_already_fires_nothing(world: World) -> None:
    text = campaign("t", "{key: a, do: email, subject: S, text: T}",
                    more="triggers: [{on: tag_added, tag: Not reached}]\n"
                         "policy: {reentry: after_end}")  # fmt: skip
    world.contact("c1")
    world.contact("c2")
    tagged(world, "c2", "Not reached")
    world.apply(text)
    world.tick()
    assert world.sent() == []
    tagged(world, "c1", "Not reached")
    tagged(world, "c1", "Not reached")
    world.sql(
        "INSERT INTO dripd.contact_tag (account_id, contact_id, tag) "
        "SELECT account_id, id, 'Not reached' FROM dripd.contact ON CONFLICT DO NOTHING"
    )
    world.tick()
    assert [m["recipient"] for m in world.sent()] == ["c1@x.test"]


@pytest.mark.feature("Q19")
def test_only_tags_given_after_publishing_count(world: World) -> None:
    world.contact("c1")
    tagged(world, "c1", "Not reached")
    world.apply(LOOP)
    world.tick()
    assert world.one("SELECT count(*) FROM dripd.enrollment") == 0
    world.sql("DELETE FROM dripd.contact_tag")
    world.tick()
    tagged(world, "c1", "Not reached")
    assert subjects(world) == ["We missed you"]
    assert world.column(
        "SELECT actor FROM dripd.journal WHERE kind = 'accepted' ORDER BY at"
    ) == ["trigger:tag_added"]


@pytest.mark.feature("Q19")
def test_the_journal_has_who_gave_a_tag_by_hand(world: World) -> None:
    world.apply(LOOP)
    world.contact("c1")
    by = {"contact": "c1", "account": "acme", "as": "ann"}
    world.call("contact.tag", tags=["Not reached"], **by)
    world.call("contact.tag", tags=["Not reached"], **by)
    world.tick()
    world.call("contact.untag", tags=["Not reached", "never there"], **by)

    assert subjects(world) == ["We missed you"]
    noted = (
        "SELECT detail ->> 'event' FROM dripd.journal WHERE kind = 'event' AND actor = 'ann'"
    )
    assert world.column(noted) == ["tag_added"], "the run had withdrawn the tag by itself"


def test_events_that_follow_each_other_fast_skip_no_step_that_is_done_at_once(
    world: World,
) -> None:
    world.contact("ann")
    world.apply("""
campaign: forms
account: acme
name: Forms
preset: quentn
sender: hello@acme.test
sequences:
  - key: wait
    steps: [{key: w1, do: tag_add, tag: begun}, {key: w2, do: tag_add, delay: 9d, tag: late}]
  - key: a
    on: [{on: form, form: a}]
    steps:
      - {key: a1, do: reset_campaign}
      - {key: a2, do: update, ops: ["a increment 1"]}
      - {key: a3, do: email, delay: 1d, subject: A, text: A}
  - key: b
    on: [{on: form, form: b}]
    steps:
      - {key: b1, do: update, ops: ["b increment 1"]}
      - {key: b2, do: email, delay: 1d, subject: B, text: B}
""")
    world.enroll("forms", "ann")
    world.tick()
    world.sql(
        "INSERT INTO dripd.event_in (account_id, contact_id, kind, payload) "
        "SELECT account_id, id, 'form', jsonb_build_object('form', f) FROM dripd.contact, "
        "unnest('{a,b}'::text[]) WITH ORDINALITY AS k (f, o) ORDER BY o"
    )
    world.tick()

    attrs = json.loads(world.one("SELECT attrs FROM dripd.contact"))
    assert (attrs["a"], attrs["b"]) == (1, 1)
    world.advance("2d")
    assert subjects(world) == ["B"]


def test_a_reset_comes_before_the_steps_of_its_instant(world: World) -> None:
    world.contact("ann")
    mail = "{key: m, do: email, delay: 1d, subject: S, text: T}"
    world.apply(campaign("victim", mail))
    world.apply(campaign("x", "{key: r, do: reset_campaign, delay: 1d, campaign: victim}"))
    for _ in range(3):
        world.enroll("victim", "ann")
        world.enroll("x", "ann")
        world.advance("1d")
        assert world.sent() == []
        assert world.run("ann", "victim")["end_reason"] == "reset"
        world.call("enroll.reset", campaign=["x"], account="acme", yes=True)


RESETTING = """
campaign: other
account: acme
name: Other
steps:
  - {key: reset, do: reset_campaign, campaign: loop}
"""


@pytest.mark.feature("Q5")
@pytest.mark.feature("Q3")
def test_a_step_resets_another_campaign_as_a_stop_does(world: World) -> None:
    play(world, LOOP, "c1", "c2")
    world.advance("1d")
    world.apply(RESETTING)
    world.enroll("other", "c1")
    world.tick()
    world.call(
        "enroll.stop", campaign=["loop"], contact=["c2"], account="acme", reset=True, yes=True
    )
    ended = world.sql(
        "SELECT status, end_reason, reset_at IS NOT NULL FROM dripd.enrollment "
        "WHERE campaign_key = 'loop'"
    )
    assert [tuple(row) for row in ended] == [("terminated", "reset", True)] * 2
    assert world.run("c1", "other")["status"] == "completed"
    world.advance("20d")
    assert len(world.sent()) == 2
    world.enroll("loop", "c1", "c2")
    world.tick()
    assert [world.run(c, "loop")["run_no"] for c in ("c1", "c2")] == [2, 2]
    assert len(world.sent()) == 4


@pytest.mark.feature("Q6")
def test_a_reset_in_the_course_of_a_run_is_doubtful_and_never_endless(world: World) -> None:
    text = campaign(
        "circle",
        "{key: un, do: tag_remove, tag: go}",
        "{key: again, do: reset_campaign}",
        "{key: go, do: tag_add, tag: go}",
        more="triggers: [{on: tag_added, tag: go}]",
    )
    found = world.call(
        "campaign.validate", documents=[{"filename": "f", "text": text}], account="acme"
    )["items"][0]
    assert "reset_not_event_driven" in [w["code"] for w in found["warnings"]]
    world.apply(text)
    world.contact("c1")
    tagged(world, "c1", "go")
    assert world.one("SELECT count(*) FROM dripd.enrollment") == 10
    refused = world.column(
        "SELECT reject_reason FROM dripd.enroll_request WHERE status = 'rejected'"
    )
    assert refused == ["max_runs"]


@pytest.mark.feature("Q4")
def test_a_plan_may_be_without_resets(world: World) -> None:
    world.sql(
        "INSERT INTO dripd.plan (key, features) VALUES ('free', '{}'), ('basic', '{reset_campaign}')"
    )
    world.account("small", plan="free")
    text = RESETTING.replace("acme", "small").replace("campaign: loop", "campaign: other")
    with pytest.raises(DefinitionError) as caught:
        world.apply(text, account="small")
    assert caught.value.faults[0].code == "plan_feature:reset_campaign"
    draft = world.sql("SELECT has_draft, live_version FROM dripd.campaign WHERE key = 'other'")
    assert list(map(tuple, draft)) == [(True, None)]
    world.sql("UPDATE dripd.account SET plan = 'basic' WHERE key = 'small'")
    world.tick()
    world.call("campaign.activate", key="other", account="small")
    world.sql("UPDATE dripd.account SET plan = 'free' WHERE key = 'small'")
    world.tick()
    world.apply(
        text.replace("name:", "goal_text: Again\nname:"), account="small", activate=False
    )
    with pytest.raises(DefinitionError):
        world.call("campaign.publish", key="other", account="small", yes=True)


@pytest.mark.feature("Q23")
def test_the_same_address_tests_a_campaign_again_and_again(world: World) -> None:
    play(world, campaign("t", "{key: a, do: email, subject: A, text: T}",
                         "{key: b, do: email, delay: 1d, subject: B, text: T}"), "c1")  # fmt: skip
    for _ in range(4):
        world.advance("1d")
        assert world.run("c1", "t")["status"] == "completed"
        done = world.call("enroll.stop", campaign=["t"], account="acme", reset=True, yes=True)
        assert done["changed"] == 1
        world.enroll("t", "c1")
        world.tick()
    world.advance("1d")
    assert world.column("SELECT run_no FROM dripd.enrollment ORDER BY 1") == [1, 2, 3, 4, 5]
    assert len(world.sent()) == 10
    keys = world.column("SELECT idempotency_key FROM dripd.delivery")
    assert len(set(keys)) == 10


@pytest.mark.feature("Q21")
@pytest.mark.feature("Q22")
def test_a_stop_resets_the_contacts_and_figures_of_runs_that_are_over(world: World) -> None:
    steps = ("{key: a, do: email, subject: A, text: T}",)
    play(world, campaign("t", *steps), "c1", "c2", "c3")
    figures = "SELECT enrolled, completed, sent FROM dripd.campaign_stats"
    kept = "SELECT (SELECT count(*) FROM dripd.delivery), (SELECT sum(n) FROM dripd.cap_usage)"
    before = tuple(world.sql(kept)[0])
    chosen: dict[str, object] = {"campaign": ["t"], "account": "acme", "contact": ["c1", "c2"]}
    assert world.call("enroll.stop", yes=True, **chosen)["changed"] == 0
    assert tuple(world.sql(figures)[0]) == (3, 3, 3)
    done = world.call("enroll.stop", yes=True, reset=True, reset_stats=True, **chosen)
    again = world.call("enroll.stop", yes=True, reset=True, reset_stats=True, **chosen)

    assert (done["changed"], again["changed"]) == (2, 0)
    assert tuple(world.sql(figures)[0]) == (1, 1, 1)
    assert tuple(world.sql(kept)[0]) == before
    assert world.run("c1", "t")["status"] == "completed"
    world.enroll("t", "c1", "c3")
    world.tick()
    assert world.run("c1", "t")["run_no"] == 2
    assert world.run("c3", "t")["run_no"] == 1


def test_an_entry_event_waits_for_a_step_in_flight(world: World) -> None:
    """The run stands in invite while its mail hangs at the provider; then it moves."""
    world.sql(
        "INSERT INTO dripd.sink_rule (recipient_like, answer, times) VALUES ('%', 'temporary', 1)"
    )
    play(world, LOOP, "c1")
    made(world, "c1", "2026-01-10T10:00:00Z")
    assert subjects(world)[-1] == "See you 10 Jan 10:00"
    tagged(world, "c1", "Appointment made")
    world.advance("1d")
    assert "Still there" not in subjects(world)
