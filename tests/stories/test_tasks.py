"""Stories of what people do: tasks, approvals, reminders, notifications."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dripd.errors import BadRequest, DefinitionError
from tests.stories.world import World

HEAD = """
campaign: CAMPAIGN
account: acme
name: CAMPAIGN
owner: boss
sender: hello@acme.test
steps:
"""


def campaign(key: str, *steps: str, more: str = "") -> str:
    """A campaign of steps, a line each."""
    head = HEAD.replace("CAMPAIGN", key)
    return head.replace("steps:\n", f"{more}\nsteps:\n") + "".join(f"  - {s}\n" for s in steps)


def tasks(world: World) -> list[Any]:
    return world.sql("SELECT * FROM dripd.task ORDER BY id")


def payload(task: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(task["payload"])
    return found


def notices(world: World, kind: str = "task_due") -> list[str]:
    return world.column(
        "SELECT recipient FROM dripd.notification WHERE kind = $1 ORDER BY id", kind
    )


def play(world: World, text: str, *contacts: str) -> None:
    """Make the contacts, apply the campaign, enroll them and let it settle."""
    for contact in contacts:
        if not world.column("SELECT 1 FROM dripd.contact WHERE external_id = $1", contact):
            world.contact(contact)
    world.apply(text)
    key = text.split("campaign: ")[1].split(maxsplit=1)[0]
    world.enroll(key, *contacts)
    world.tick()


ASKING = campaign(
    "asking",
    "{key: hi, do: email, subject: 'Hi {First Name}', text: Hello, require_approval: true}",
    "{key: after, do: tag_add, tag: after}",
)


@pytest.mark.feature("C24")
@pytest.mark.feature("C12")
@pytest.mark.feature("M46")
def test_a_message_waits_for_approval_and_leaves_as_it_was_edited(world: World) -> None:
    play(world, ASKING, "c1", "c2", "c3")
    asked = tasks(world)
    assert world.sent() == []
    assert [t["kind"] for t in asked] == ["approval"] * 3
    assert payload(asked[0]) == {"subject": "Hi Ann", "text": "Hello", "html": ""}
    assert [world.run(f"c{n}", "asking")["hold_reason"] for n in (1, 2, 3)] == ["approval"] * 3
    one, two, three = (
        next(t["id"] for t in asked if t["contact_id"] == c) for c in contacts(world)
    )

    for raw in ("Dear {First Name}", "Dear {{first_name}}"):
        with pytest.raises(BadRequest):
            world.call("task.edit", id=one, subject=raw)
    for path in ("subject", "text"):
        with pytest.raises(BadRequest) as refused:
            world.call("task.edit", id=one, **{path: " "})
        assert refused.value.path == path
    world.call("task.edit", id=one, subject="Dear Ann")
    world.call("task.approve", id=one)
    world.call("task.cancel", id=two)
    world.sql("UPDATE dripd.task SET state = 'done' WHERE id = $1", three)
    world.tick()

    assert sorted(m["subject"] for m in world.sent()) == ["Dear Ann", "Hi Ann"]
    assert [s["outcome"] for s in world.steps("c1")] == ["done", "done"]
    assert [s["outcome"] for s in world.steps("c2")] == ["cancelled", "done"]
    assert {s["finished_at"] for s in world.steps("c1")} == {world.one("SELECT dripd.now()")}
    assert world.run("c3", "asking")["status"] == "completed"


def contacts(world: World) -> list[int]:
    return world.column("SELECT id FROM dripd.contact ORDER BY external_id")


@pytest.mark.feature("C25")
def test_without_the_flag_a_message_leaves_unasked(world: World) -> None:
    play(world, ASKING.replace("require_approval: true", "require_approval: false"), "c1")
    assert len(world.sent()) == 1
    assert tasks(world) == []


def test_a_cancelled_approval_may_end_the_run_and_waits_through_a_restart(world: World) -> None:
    text = ASKING.replace("steps:", "policy: {approval_cancel: exit}\nsteps:")
    play(world, text, "c1", "c2")
    world.advance("40d")
    world.restart()
    one, two = (t["id"] for t in tasks(world))
    world.call("task.cancel", id=one)
    world.call("task.approve", id=two)
    world.tick()
    ended = world.sql("SELECT status, end_reason FROM dripd.enrollment ORDER BY id")
    assert sorted(map(tuple, ended)) == [
        ("completed", "completed"),
        ("removed", "approval_cancelled"),
    ]
    assert len(world.sent()) == 1


@pytest.mark.feature("C3")
@pytest.mark.feature("C35")
@pytest.mark.feature("M3")
def test_a_step_prompts_a_person_who_closes_it(world: World) -> None:
    play(
        world,
        campaign("prompt", "{key: call, do: custom_task, title: 'Call {First Name}'}"),
        "c1",
    )
    (task,) = tasks(world)
    assert (task["state"], task["title"], task["kind"]) == ("open", "Call Ann", "custom")
    assert notices(world) == ["boss"]
    told = world.one("SELECT xmin::text FROM dripd.notification")
    assert told == world.one("SELECT xmin::text FROM dripd.task")
    world.call("task.done", id=task["id"])
    world.call("task.done", id=task["id"])
    (task,) = tasks(world)
    assert task["state"] == "done"
    by = world.sql("SELECT actor, detail FROM dripd.journal WHERE kind = 'task_done'")
    assert [row["actor"] for row in by] == [task["closed_by"]]
    assert payload({"payload": by[0]["detail"]})["task_id"] == task["id"]


@pytest.mark.feature("C4")
def test_a_campaign_may_consist_of_tasks_alone(world: World) -> None:
    text = campaign("three", *(f"{{key: t{n}, do: custom_task, delay: 1d}}" for n in range(3)))
    play(world, text, "c1")
    world.advance("3d")
    assert len(tasks(world)) == 3
    assert world.one("SELECT count(*) FROM dripd.delivery") == 0
    assert world.run("c1", "three")["status"] == "completed"


@pytest.mark.feature("M1")
@pytest.mark.feature("M8")
@pytest.mark.feature("M10")
def test_each_manual_kind_makes_its_task(world: World) -> None:
    world.contact("c2", phone=None)
    play(
        world,
        campaign(
            "flow",
            "{key: auto, do: email, subject: S, text: T}",
            "{key: own, do: manual_email, subject: 'Hi {First Name}', text: 'Dear {First Name}'}",
            "{key: todo, do: task, title: Check}",
            "{key: ring, do: call_task, title: Ring}",
            "{key: wait, do: delay, delay: 2d}",
        ),
        "c1",
        "c2",
    )
    mine = world.sql(
        "SELECT * FROM dripd.task WHERE contact_id = $1 ORDER BY id", contacts(world)[0]
    )
    assert [t["kind"] for t in mine] == ["manual_email", "general", "call"]
    assert payload(mine[0]) == {"subject": "Hi Ann", "text": "Dear Ann", "html": ""}
    assert mine[0]["title"] == "Hi Ann"
    assert payload(mine[2]) == {"phone": "+49301234567"}
    (mute,) = world.sql(
        "SELECT * FROM dripd.task WHERE kind = 'call' AND contact_id <> $1",
        mine[0]["contact_id"],
    )
    assert payload(mute) == {"phone": None, "no_phone": True}
    assert len(world.sent()) == 2
    assert world.run("c1", "flow")["status"] == "waiting"
    world.advance("2d")
    assert world.run("c1", "flow")["status"] == "completed"


@pytest.mark.feature("M9")
def test_a_person_is_told_at_the_due_instant_or_before_it(world: World) -> None:
    play(
        world,
        campaign(
            "later",
            "{key: due, do: task, title: Due, due: 2h, assignee: ann}",
            "{key: early, do: task, title: Early, due: 2h, reminder: 30m, assignee: bob}",
        ),
        "c1",
    )
    assert len(tasks(world)) == 2
    assert notices(world) == []
    world.at("2026-01-05T10:29:59Z")
    assert notices(world) == []
    world.advance("1s")
    assert notices(world) == ["bob"]
    due = world.one("SELECT id FROM dripd.task WHERE title = 'Due'")
    world.call("task.assign", id=due, to="cy")
    world.at("2026-01-05T12:00:00Z")
    assert notices(world) == ["bob", "cy"]
    told = world.column("SELECT created_at::text FROM dripd.notification ORDER BY id")
    assert [at[11:19] for at in told] == ["10:30:00", "11:00:00"]


def test_a_task_that_is_snoozed_is_told_of_when_that_is_over(world: World) -> None:
    step = "{key: due, do: task, title: Due, due: 2h, assignee: ann}"
    play(world, campaign("later", step), "c1")
    (task,) = tasks(world)
    done = world.call("task.snooze", id=task["id"], lasts="1d")
    assert done["snoozed_until"] == "2026-01-06T09:00:00Z"
    world.at("2026-01-06T08:59:59Z")
    assert notices(world) == []
    world.advance("1s")

    assert notices(world) == ["ann"]
    assert world.call("task.list", snoozed=True)["items"] == []
    world.advance("7d")
    assert notices(world) == ["ann"]


@pytest.mark.feature("M17")
def test_a_manual_email_keeps_what_was_finally_sent(world: World) -> None:
    play(world, campaign("own", "{key: own, do: manual_email, subject: S, text: Draft}"), "c1")
    (task,) = tasks(world)
    world.call("task.edit", id=task["id"], text="Better draft")
    world.call("task.done", id=task["id"], text="As sent")
    (task,) = tasks(world)
    assert payload(task)["text"] == "Better draft"
    assert payload(task)["final_body"] == "As sent"
    shown = world.call("campaign.show", key="own", account="acme")
    assert shown["definition"]["steps"][0]["text"] == "Draft"


@pytest.mark.feature("M17")
def test_a_manual_email_that_is_merely_done_was_sent_as_drafted(world: World) -> None:
    step = "{key: own, do: manual_email, subject: S, text: Draft}"
    play(world, campaign("own", step), "c1", "c2")
    by_command, by_sql = tasks(world)
    world.call("task.edit", id=by_command["id"], text="Better draft")
    world.call("task.done", id=by_command["id"])
    world.sql("UPDATE dripd.task SET state = 'done' WHERE id = $1", by_sql["id"])

    assert [payload(task)["final_body"] for task in tasks(world)] == ["Better draft", "Draft"]


@pytest.mark.feature("M33")
@pytest.mark.feature("M35")
def test_who_is_told_of_tasks_and_that_it_can_be_switched_off(world: World) -> None:
    world.contact("c1", attrs='{"first_name": "Ann", "rep": "ann"}')
    steps = ("{key: t, do: task, title: T}",)
    play(world, campaign("told", *steps, more="notify: {field: rep}"), "c1", "c2")
    assert sorted(notices(world)) == ["ann", "boss"]
    play(world, campaign("quiet", *steps, more="notify: {task_due: false}"), "c3")
    assert len(tasks(world)) == 3
    assert len(notices(world)) == 2


@pytest.mark.feature("M34")
def test_ends_by_engagement_are_told(world: World) -> None:
    rules = "notify: {ended: true}\nexit_rules: [{on: reply}, {on: bounce}]"
    text = campaign("told", "{key: t, do: tag_add, tag: t, delay: 9d}", more=rules)
    play(world, text, "c1", "c2")
    world.event("c1", "reply")
    world.event("c2", "bounce")
    world.tick()
    ended = world.column("SELECT end_reason FROM dripd.enrollment ORDER BY contact_id")
    assert ended == ["reply", "bounce"]
    assert len(notices(world, "ended")) == 1


BLOCKING = campaign(
    "block",
    "{key: todo, do: task, title: Do it, blocking: true EXTRA}",
    "{key: after, do: tag_add, tag: after}",
)


def test_nobody_need_approve_what_has_been_stopped(world: World) -> None:
    play(world, ASKING, "c1", "c2")
    world.call("enroll.stop", contact=["c1"], account="acme", yes=True)
    world.event("c2", "unsubscribe")
    world.tick()
    assert [t["state"] for t in tasks(world)] == ["cancelled"] * 2
    assert world.sent() == []


def test_a_blocking_task_holds_the_run_until_it_is_closed(world: World) -> None:
    play(world, BLOCKING.replace("EXTRA", ""), "c1", "c2")
    world.advance("20d")
    assert [world.run(c, "block")["hold_reason"] for c in ("c1", "c2")] == ["task", "task"]
    one, two = (t["id"] for t in tasks(world))
    world.call("task.done", id=one)
    world.sql("UPDATE dripd.task SET state = 'cancelled' WHERE id = $1", two)
    world.tick()
    outcomes = {tuple(s["outcome"] for s in world.steps(c)) for c in ("c1", "c2")}
    assert outcomes == {("done", "done"), ("cancelled", "done")}
    assert world.steps("c1")[0]["finished_at"] == world.one("SELECT dripd.now()")


def test_a_blocking_task_waits_no_longer_than_its_timeout(world: World) -> None:
    play(world, BLOCKING.replace("EXTRA", ", timeout: 3d"), "c1")
    exits = BLOCKING.replace("EXTRA", ", timeout: 3d, on_timeout: exit").replace(
        "block\n", "leave\n"
    )
    play(world, exits, "c2")
    assert world.run("c1", "block")["status"] == "held"
    assert world.run("c1", "block")["release_at"] == world.run("c1", "block")["due_at"]
    world.at("2026-01-08T08:59:59Z")
    assert world.steps("c1") == []
    world.advance("1s")
    assert [(s["outcome"], s["reason"]) for s in world.steps("c1")] == [
        ("skipped", "expired"),
        ("done", None),
    ]
    ended = world.run("c2", "leave")
    assert (ended["status"], ended["end_reason"]) == ("removed", "timeout")
    assert {(t["state"], t["closed_by"]) for t in tasks(world)} == {("cancelled", "dripd")}


@pytest.mark.feature("S18")
def test_a_text_is_not_edited_beyond_what_may_leave(world: World) -> None:
    world.call("sender.set", address="+4930900000", account="acme", channel="sms")
    text = ASKING.replace("do: email, subject: 'Hi {First Name}'", "do: sms")
    limits = "steps:\n", "policy: {limits: {max_sms_segments: 2}}\nsteps:\n"
    play(world, text.replace("sender: hello@acme.test\n", "").replace(*limits), "c1")
    (task,) = tasks(world)
    with pytest.raises(BadRequest) as refused:
        world.call("task.edit", id=task["id"], text="x" * 307)
    assert (refused.value.code, refused.value.path) == ("max_sms_segments", "text")
    world.call("task.edit", id=task["id"], text="x" * 306)
    world.call("task.approve", id=task["id"])
    world.tick()
    assert [len(m["body"]) for m in world.sent()] == [306]


@pytest.mark.feature("C24")
def test_a_message_that_nobody_approves_expires(world: World) -> None:
    text = ASKING.replace("require_approval: true", "require_approval: true, expires_after: 2d")
    play(world, text, "c1", "c2")
    run = world.run("c1", "asking")
    assert (run["hold_reason"], str(run["release_at"])) == (
        "approval",
        "2026-01-07 09:00:00+00:00",
    )
    one, _ = tasks(world)
    world.at("2026-01-07T08:59:59Z")
    world.call("task.approve", id=one["id"])
    world.advance("1s")
    assert len(world.sent()) == 1
    late = next(
        c for c in ("c1", "c2") if len(world.steps(c)) == 2 and world.steps(c)[0]["reason"]
    )
    assert [(s["outcome"], s["reason"]) for s in world.steps(late)] == [
        ("skipped", "expired"),
        ("done", None),
    ]
    assert [t["state"] for t in tasks(world)] == ["done", "cancelled"]
    assert world.column("SELECT DISTINCT status FROM dripd.enrollment") == ["completed"]


@pytest.mark.feature("C18")
def test_an_email_cannot_merely_remind(world: World) -> None:
    with pytest.raises(DefinitionError) as caught:
        world.apply(
            campaign("mail", "{key: a, do: email, subject: S, text: T, remind_only: true}")
        )
    assert caught.value.faults[0].code == "unknown_option"


@pytest.mark.feature("F42")
def test_notifications_are_read_one_by_one(world: World) -> None:
    play(world, campaign("told", "{key: t, do: task, title: T}"), "c1", "c2")
    first = world.call("notification.list", account="acme", unread=True)["items"]
    assert len(first) == 2
    world.call("notification.read", id=first[0]["id"])
    unread = world.call("notification.list", account="acme", unread=True)["items"]
    assert [n["id"] for n in unread] == [first[1]["id"]]
    assert world.one("SELECT count(*) FROM dripd.notification WHERE read_at IS NULL") == 1
