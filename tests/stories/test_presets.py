"""A month of each product's documented example, as a team that moves over would run it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dripd.errors import DripdError
from tests.stories.test_tasks import notices, payload, tasks
from tests.stories.world import World

MONTH = "2026-02-05T09:00:00Z"


def left(world: World, contact: str) -> list[tuple[str, str]]:
    """When each message left for a contact, and what it was called."""
    rows = world.sql(
        "SELECT to_char(m.received_at AT TIME ZONE 'UTC', 'DD HH24:MI') AS at, m.step_key "
        "FROM dripd.sink_message AS m JOIN dripd.run AS r ON r.id = m.enrollment_id "
        "JOIN dripd.contact AS c ON c.account_id = r.account_id AND c.id = r.contact_id "
        "WHERE c.external_id = $1 ORDER BY m.received_at, m.id",
        contact,
    )
    return [(row["at"], row["step_key"]) for row in rows]


def outcome(world: World, contact: str, campaign: str) -> tuple[str, str | None]:
    run = world.run(contact, campaign)
    return run["status"], run["end_reason"]


def test_contactually_a_new_lead_is_welcomed_and_followed_up(world: World) -> None:
    for key in ("ann", "bob"):
        world.contact(key, owner="olga")
    world.bucket("new-leads")
    world.bucket("clients")
    world.apply("""
campaign: new-leads
account: acme
name: New leads
goal_text: Book a viewing
preset: contactually
owner: boss
sender: hello@acme.test
triggers: [{on: list_added, list: new-leads}]
steps:
  - {key: hello, do: email, subject: 'Hi {First Name}', text: Welcome}
  - {key: again, do: email, delay: 3d, send_at: "09:00", subject: News, text: News, require_approval: true}
  - {key: remind, do: follow_up, delay: 7d, title: Call, reset_on_interaction: true}
  - {key: gift, do: custom_task, delay: 1d, title: Send a gift}
  - {key: keep, do: list_add, list: clients, delay: 5d}
  - {key: leave, do: list_remove, list: new-leads}
""")
    world.apply("""
campaign: newsletter
account: acme
name: Newsletter
preset: contactually
sender: hello@acme.test
steps: [{key: news, do: email, subject: News, text: News}]
""")
    world.apply("""
campaign: nurture
account: acme
name: Nurture
preset: contactually
sender: hello@acme.test
steps:
  - {key: tip, do: email, delay: 30d, subject: A tip, text: Tip}
  - {key: on, do: move, campaign: newsletter}
""")
    world.bucket("new-leads", "ann", "bob")
    world.tick()
    assert left(world, "ann") == [("05 09:00", "hello")]
    world.enroll("newsletter", "ann")
    world.at("2026-01-09T10:00:00Z")
    refused = world.column(
        "SELECT reject_reason FROM dripd.enroll_request WHERE status = 'rejected'"
    )
    assert refused == ["already_in:new-leads"]
    for task in tasks(world):
        world.call("task.edit", id=task["id"], subject="Edited")
        world.call("task.approve", id=task["id"])
    world.tick()
    assert {m["subject"] for m in world.sent()} == {"Hi Ann", "Edited"}
    world.at("2026-01-12T09:00:00Z")
    world.event("bob", "interaction")
    world.at(MONTH)
    made = [(t["kind"], t["assignee"], str(t["created_at"])[:10]) for t in tasks(world)]
    assert made[2:] == [
        ("follow_up", "olga", "2026-01-16"),
        ("custom", "olga", "2026-01-17"),
        ("follow_up", "olga", "2026-01-19"),
        ("custom", "olga", "2026-01-20"),
    ]
    assert outcome(world, "ann", "new-leads") == ("completed", "completed:left_list")
    world.enroll("nurture", "ann")
    world.advance("31d")
    assert outcome(world, "ann", "nurture") == ("removed", "moved:newsletter")
    assert outcome(world, "ann", "newsletter") == ("completed", "completed")
    assert [step for _, step in left(world, "ann")] == ["hello", "again", "tip", "news"]
    assert (
        world.column(
            "SELECT l.key FROM dripd.list_member AS m JOIN dripd.contact_list AS l ON l.id = m.list_id"
        )
        == ["clients"] * 2
    )


MESSAGES = """
campaign: sellers
account: acme
name: Sellers
preset: smarter_contact
steps:
  - {key: m1, do: sms, text: 'Hi {First Name}'}
  - {key: m2, do: sms, delay: 7d, text: Still selling?}
  - {key: m3, do: sms, delay: 14d, text: A new offer}
  - {key: m4, do: sms, delay: 30d, text: Last call}
"""


def test_smarter_contact_texts_are_paid_upfront_until_somebody_replies(world: World) -> None:
    for key in ("ann", "bob", "cy"):
        world.contact(key)
    world.call("account.set", key="acme", prices={"sms": "0.01"})
    world.call("account.deposit", key="acme", amount="0.10", reason="story")
    world.apply(MESSAGES)
    quote = world.call("campaign.quote", key="sellers", account="acme", contact="ann")
    assert (quote["total"], quote["ends_at"]) == ("0.04", "2026-02-04T09:00:00Z")
    world.enroll("sellers", "ann", "bob", "cy")
    world.tick()
    active = "SELECT contact_id FROM dripd.contact_active"
    assert len(world.column(active)) == 2
    requests = world.column("SELECT reject_reason FROM dripd.enroll_request ORDER BY id")
    assert requests == [None, None, "insufficient_balance"]
    world.at("2026-01-15T09:00:00Z")
    world.event("bob", "reply")
    world.tick()
    assert outcome(world, "bob", "sellers") == ("removed", "reply")
    text = MESSAGES.replace("m4, do: sms, delay: 30d", "m4, do: sms, delay: 31d")
    world.call("campaign.apply", account="acme", documents=[{"filename": "f", "text": text}])
    with pytest.raises(DripdError) as caught:
        world.call("campaign.publish", key="sellers", account="acme", yes=True)
    assert caught.value.code == "active"
    world.at(MONTH)
    assert [step for _, step in left(world, "ann")] == ["m1", "m2", "m3", "m4"]
    assert [at for at, _ in left(world, "ann")] == [
        "05 09:00",
        "12 09:00",
        "19 09:00",
        "04 09:00",
    ]
    assert [step for _, step in left(world, "bob")] == ["m1", "m2"]
    money = dict(
        map(tuple, world.sql("SELECT kind, sum(amount)::text FROM dripd.ledger GROUP BY kind"))
    )
    assert {kind: float(amount) for kind, amount in money.items()} == {
        "deposit": 0.10,
        "charge": 0.08,
        "refund": 0.02,
    }
    assert world.column(active) == []
    world.contact("dan")
    world.enroll("sellers", "dan")
    world.advance("8d")
    paused = world.call("campaign.pause", key="sellers", account="acme", yes=True)
    assert paused["changed"] is not False
    assert outcome(world, "dan", "sellers") == ("removed", "paused")
    assert world.call("account.show", key="acme")["balance"] == "0.02"
    world.call("campaign.publish", key="sellers", account="acme", yes=True)
    world.call("campaign.resume", key="sellers", account="acme", yes=True)
    world.advance("60d")
    assert [step for _, step in left(world, "dan")] == ["m1", "m2"]


def test_monday_an_interested_lead_runs_through_a_sequence(world: World) -> None:
    for key in ("ann", "bob"):
        world.contact(key, attrs='{"first_name": "Ann", "status": "New", "rep": "rita"}')
    world.bucket("leads", "ann", "bob")
    world.apply("""
campaign: outreach
account: acme
name: Outreach
preset: monday
owner: boss
board: leads
sender: hello@acme.test
timezone: America/New_York
window: {days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}
triggers: [{on: status_changed, field: status, to: Interested}]
exit_rules: [{on: reply, set: {status: Engaged}}, {on: bounce}]
notify: {field: rep, ended: true}
steps:
  - {key: intro, do: email, day: 1, subject: Intro, text: Intro}
  - {key: call, do: call_task, day: 3, title: 'Call {First Name}'}
  - {key: own, do: manual_email, day: 5, subject: Personal, text: Personal}
  - {key: more, do: email, day: 6, subject: More, text: More}
  - {key: todo, do: task, day: 14, title: Decide}
""")
    world.sql("""UPDATE dripd.contact SET attrs = attrs || '{"status": "Interested"}'""")
    world.tick()
    assert world.sent() == []
    world.at("2026-01-05T14:00:00Z")
    assert left(world, "ann") == [("05 14:00", "intro")]
    world.at("2026-01-08T12:00:00Z")
    assert [(t["kind"], payload(t)["phone"]) for t in tasks(world)] == [
        ("call", "+49301234567")
    ] * 2
    world.event("bob", "reply")
    world.at(MONTH)
    assert outcome(world, "ann", "outreach") == ("completed", "completed")
    assert outcome(world, "bob", "outreach") == ("removed", "reply")
    assert left(world, "ann") == [("05 14:00", "intro"), ("12 14:00", "more")]
    assert notices(world, "ended") == ["rita"]
    kinds = [t["kind"] for t in tasks(world)]
    assert kinds == ["call", "call", "manual_email", "general"]
    engaged = world.one(
        "SELECT attrs ->> 'status' FROM dripd.contact WHERE external_id = 'bob'"
    )
    assert engaged == "Engaged"
    assert world.one("SELECT sum(n)::int FROM dripd.meter") == 5 + 1 + 2
    world.contact("cy", attrs='{"first_name": "Cy", "status": "New", "rep": ""}')
    world.bucket("leads", "cy")
    world.sql("""UPDATE dripd.contact SET attrs = attrs || '{"status": "Interested"}' """
              "WHERE external_id = 'cy'")  # fmt: skip
    world.tick()
    text = world.call("campaign.export", key="outreach", account="acme")["text"]
    edited = [{"filename": "f", "text": text.replace("Decide", "Decide now")}]
    world.call("campaign.apply", documents=edited, account="acme")
    with pytest.raises(DripdError) as caught:
        world.call("campaign.publish", key="outreach", account="acme")
    assert caught.value.code == "confirm:1"
    world.call("campaign.publish", key="outreach", account="acme", yes=True)
    world.advance("20d")
    assert outcome(world, "cy", "outreach") == ("terminated", "edited")
    assert left(world, "cy") == []


def test_quentn_an_appointment_is_confirmed_reminded_and_may_be_missed(world: World) -> None:
    world.contact("ann", timezone="Europe/Berlin")
    world.apply("""
campaign: webinar
account: acme
name: Webinar
preset: quentn
sender: hello@acme.test
timezone: contact
fields: {appt: datetime}
triggers: [{on: form, form: signup}]
sequences:
  - key: sell
    goal: {on: tag_added, tag: made}
    steps:
      - {key: s1, do: email, subject: Book, text: Book}
      - {key: s2, do: email, delay: 2d, subject: Book, text: Book}
      - {key: s3, do: email, delay: 2d, subject: Book, text: Book}
  - key: confirm
    on: [{on: tag_added, tag: made}]
    steps:
      - {key: c1, do: email, subject: 'On {appt:%d.%m. %H:%M}', text: See you}
      - {key: wait, do: date_timer, field: appt, offset: -1h}
      - {key: c2, do: email, subject: Soon, text: Soon}
  - key: missed
    on: [{on: tag_added, tag: missed}]
    steps:
      - {key: reset, do: reset_campaign}
      - {key: un, do: tag_remove, tag: made}
      - {key: m1, do: email, subject: Again, text: Again}
""")
    world.sql(
        "INSERT INTO dripd.event_in (account_id, contact_id, kind, payload) "
        """SELECT account_id, id, 'form', '{"form": "signup"}' FROM dripd.contact"""
    )
    world.at("2026-01-08T10:00:00Z")
    book = (
        "SELECT dripd.upsert_contact('acme', 'ann', attrs => $1::text::jsonb, tags => '{made}')"
    )
    world.sql(book, json.dumps({"appt": "2026-01-12T10:00+01:00"}))
    world.at("2026-01-10T08:00:00Z")
    world.sql(
        "UPDATE dripd.contact SET attrs = attrs || $1::text::jsonb",
        json.dumps({"appt": "2026-01-13T10:00+01:00"}),
    )
    world.at("2026-01-14T09:00:00Z")
    world.call("contact.tag", contact="ann", tags=["missed"], account="acme")
    world.at("2026-01-15T09:00:00Z")
    world.sql(book, json.dumps({"appt": "2026-01-20T10:00+01:00"}))
    world.at(MONTH)
    assert left(world, "ann") == [
        ("05 09:00", "s1"),
        ("07 09:00", "s2"),
        ("08 10:00", "c1"),
        ("13 08:00", "c2"),
        ("14 09:00", "m1"),
        ("15 09:00", "c1"),
        ("20 08:00", "c2"),
    ]
    assert [m["subject"] for m in world.sent()][2] == "On 12.01. 10:00"
    for key in ("bob", "cid"):
        world.contact(key)
        world.enroll("webinar", key)
    world.tick()
    stop = {"campaign": ["webinar"], "account": "acme", "yes": True}
    world.call("enroll.stop", contact=["bob"], **stop)
    world.call("enroll.stop", contact=["cid"], reset=True, reset_stats=True, **stop)
    world.enroll("webinar", "bob", "cid")
    world.advance("5d")
    asked = "SELECT reject_reason FROM dripd.enroll_request ORDER BY id DESC LIMIT 2"
    assert world.column(asked) == [None, "already_ran"]
    assert [step for _, step in left(world, "bob")] == ["s1"]
    assert [step for _, step in left(world, "cid")] == ["s1", "s1", "s2", "s3"]


@pytest.mark.feature("F20")
@pytest.mark.feature("F21")
@pytest.mark.feature("F22")
@pytest.mark.feature("F23")
def test_superoffice_a_flow_acts_on_what_people_do(world: World) -> None:
    world.call("account.set", key="acme", prices={"sms": "0.05", "email": "0"})
    world.call("account.deposit", key="acme", amount="1", reason="story")
    for key, kind in (("picked", "selection"), ("build", "project"), ("computed", "selection")):
        world.call("list.set", key=key, account="acme", kind=kind, dynamic=key == "computed")
    for key, phone in (("ann", "+491"), ("bob", None), ("cy", "+493")):
        world.contact(key, phone=phone, owner="olga", service_owner="sam")
    flow = """
campaign: flow
account: acme
name: Flow
preset: superoffice
owner: boss
sender: hello@acme.test
request_types: {support: {statuses: [new, closed], priorities: [low, high]}}
categories: {help: [sam, eva]}
steps:
  - {key: mail, do: email, subject: 'Hi {First Name}', text: 'See http://x.test', track: {click: true}}
  - {key: both, do: list_add, list: [picked, build]}
  - {key: fresh, do: list_add, list: made-here, create_if_missing: true}
  - {key: click, do: wait_for, on: click, timeout: 3d, then: hot, else: cold}
  - {key: hot, do: request, type: support, category: help, owner: auto, title: Interested}
  - {key: meet, do: follow_up, title: Meet, assignee: contact.owner, slot: first_available, next: text}
  - {key: cold, do: update, ops: ["temper set cold"]}
  - {key: text, do: sms, delay: 1d, text: Thanks}
  - {key: out, do: list_remove, list: picked}
  - {key: out2, do: list_remove, list: picked}
"""
    with pytest.raises(DripdError) as caught:
        world.apply(flow.replace("made-here, create_if_missing: true", "computed"))
    assert [fault.code for fault in faults(caught.value)] == ["not_static"]
    world.apply(flow)
    world.enroll("flow", "ann", "bob", "cy")
    world.tick()
    members = (
        "SELECT l.key || ' ' || c.external_id FROM dripd.list_member AS m "
        "JOIN dripd.contact_list AS l ON l.id = m.list_id "
        "JOIN dripd.contact AS c ON c.id = m.contact_id ORDER BY 1"
    )
    everyone = [
        f"{key} {who}"
        for key in ("build", "made-here", "picked")
        for who in ("ann", "bob", "cy")
    ]
    assert world.column(members) == everyone
    world.advance("1d")
    world.sql(
        "INSERT INTO dripd.event_in (account_id, contact_id, kind, payload) "
        "SELECT account_id, id, 'click', '{}' FROM dripd.contact WHERE external_id = 'ann'"
    )
    world.at(MONTH)
    assert sorted((t["kind"], t["assignee"]) for t in tasks(world)) == [
        ("follow_up", "olga"),
        ("request", "sam"),
    ]
    assert left(world, "ann") == [("05 09:00", "mail"), ("07 09:00", "text")]
    assert left(world, "cy") == [("05 09:00", "mail"), ("09 09:00", "text")]
    assert left(world, "bob") == [("05 09:00", "mail")]
    reasons = {s["step_key"]: s["reason"] for s in world.steps("bob")}
    assert (reasons["text"], reasons["out"], reasons["out2"]) == ("no_phone", None, "noop")
    assert world.column(members) == everyone[:6]
    assert outcome(world, "bob", "flow") == ("completed", "completed")
    assert (
        world.one("SELECT sum(amount)::text FROM dripd.ledger WHERE kind = 'charge'") == "0.10"
    )
    assert (
        world.one("SELECT count(*) FROM dripd.contact WHERE attrs ->> 'temper' = 'cold'") == 2
    )


def faults(error: DripdError) -> list[Any]:
    found: list[Any] = list(getattr(error, "faults", ()))
    return found
