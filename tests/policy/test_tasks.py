"""What a step asks of a person, and what its answer does to the run."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.campaigns.action import MakeTask
from dripd.campaigns.enrollment import (
    FLAG_APPROVED,
    FLAG_VARS,
    FLAG_WAITING,
    Asked,
    Change,
    LaneClass,
    RunStatus,
)
from dripd.clock import DAY, HOUR, Instant
from dripd.policy.perform import Rendered, chain, perform
from tests.support.rooms import NOW, World, email, leased, make_version, sms, tag

DRAFT: dict[str, object] = {"subject": "Dear Ann", "text": "Edited", "html": ""}


def ran(*steps: dict[str, Any], now: Instant = NOW, **keys: Any) -> Change:
    top = keys.pop("top", {})
    return chain(leased(**keys), make_version(*steps, **top), now, World())


def asked(state: str, payload: dict[str, object] | None = None) -> Asked:
    return Asked(state, payload or {}, Instant(NOW - DAY))


def told(change: Change) -> list[tuple[str, str | None]]:
    return [(row.state.name, row.reason) for row in change.log]


def answered(state: str, step: dict[str, Any], **keys: Any) -> Change:
    return ran(step, tag(), flags=FLAG_WAITING | FLAG_VARS, asked=asked(state), **keys)


TODO = {"do": "task", "title": "Do it", "blocking": True}


def test_a_blocking_task_is_made_once_and_waited_for_by_itself() -> None:
    change = ran(TODO, tag(), flags=FLAG_VARS)
    (made,) = change.effects

    assert isinstance(made, MakeTask)
    assert (made.awaited, change.log) == (True, [])
    assert change.next is not None
    assert (change.next.lane, change.next.hold_reason) == (None, "task")
    assert change.next.flags == FLAG_WAITING | FLAG_VARS
    again = answered("open", TODO)
    assert again.effects == []
    assert again.next is not None
    assert again.next.hold_reason == "task"


def test_a_wait_with_a_timeout_stands_in_its_lane_until_then() -> None:
    change = ran({**TODO, "timeout": "3d"})

    assert change.next is not None
    assert change.next.lane is not None
    assert change.next.due_at == change.next.release_at == NOW + 3 * DAY
    early = answered("open", {**TODO, "timeout": "3d"})
    assert early.next is not None
    assert early.next.due_at == NOW + 2 * DAY


@pytest.mark.parametrize(
    ("state", "step", "log"),
    [
        ("done", TODO, ("DONE", None)),
        ("cancelled", TODO, ("CANCELLED", "cancelled")),
        ("open", {**TODO, "timeout": "1d"}, ("SKIPPED", "expired")),
    ],
)
def test_a_closed_or_overdue_task_lets_the_run_go_on(
    state: str, step: dict[str, Any], log: tuple[str, str | None]
) -> None:
    change = answered(state, step)

    assert told(change) == [log, ("DONE", None)]
    assert change.end is not None


def test_a_timeout_may_end_the_run() -> None:
    change = answered("open", {**TODO, "timeout": "1d", "on_timeout": "exit"})

    assert change.end == (RunStatus.REMOVED, "timeout")
    assert told(change) == [("SKIPPED", "expired")]


def test_a_step_that_has_begun_is_not_asked_again_whether_it_should() -> None:
    change = answered("done", {**TODO, "when": "attrs.x == 1", "expires_after": "1h"})

    assert told(change)[0] == ("DONE", None)


ASKING = email(require_approval=True, window={"from": "09:00", "to": "10:00"})


def test_approval_is_asked_for_in_no_lane_of_messages() -> None:
    version = make_version(ASKING)
    before = version.lane_key(0, None, frozenset())
    after = version.lane_key(0, None, frozenset(), FLAG_APPROVED)

    assert (before.kind, before.channel, before.calendar) == (LaneClass.INTERNAL, "", "")
    assert (after.kind, after.channel) == (LaneClass.FIRST, "email")
    assert after.calendar


def test_an_approval_carries_the_rendered_draft() -> None:
    (made,) = ran(ASKING).effects

    assert isinstance(made, MakeTask)
    assert (made.kind, made.title, made.awaited) == ("approval", "Hi Ann", True)
    assert made.payload == {"campaign": "c1", "subject": "Hi Ann", "text": "Hello", "html": ""}


def test_an_approved_message_goes_to_its_lane_and_leaves_as_it_was_edited() -> None:
    change = answered("done", ASKING)

    assert (change.log, change.effects) == ([], [])
    assert change.next is not None
    assert change.next.flags == FLAG_APPROVED | FLAG_VARS
    assert change.next.lane is not None
    assert change.next.lane.channel == "email"
    row = leased(flags=FLAG_APPROVED, asked=Asked("done", DRAFT, NOW))
    ready = perform(row, make_version(email(require_approval=True)), NOW, World())
    assert isinstance(ready, Rendered)
    assert (ready.subject, ready.text) == ("Dear Ann", "Edited")


def test_an_approved_subject_is_one_line() -> None:
    draft = {**DRAFT, "subject": "Dear\r\nBcc: all@acme.test"}
    row = leased(flags=FLAG_APPROVED, asked=Asked("done", draft, NOW))
    ready = perform(row, make_version(email(require_approval=True)), NOW, World())

    assert isinstance(ready, Rendered)
    assert ready.subject == "Dear Bcc: all@acme.test"


def test_an_approved_text_is_counted_as_it_was_edited() -> None:
    row = leased(flags=FLAG_APPROVED, asked=Asked("done", {"text": "x" * 161}, NOW))
    ready = perform(row, make_version(sms(require_approval=True)), NOW, World())

    assert isinstance(ready, Rendered)
    assert ready.segments == 2


@pytest.mark.parametrize(("policy", "ends"), [("skip", False), ("exit", True)])
def test_a_cancelled_approval_skips_the_message_or_ends_the_run(
    policy: str, ends: bool
) -> None:
    top = {"policy": {"approval_cancel": policy}}
    change = ran(ASKING, tag(), top=top, flags=FLAG_WAITING, asked=asked("cancelled"))

    assert told(change)[0] == ("CANCELLED", "cancelled")
    assert change.log[0].channel == 1
    assert (change.end == (RunStatus.REMOVED, "approval_cancelled")) is ends


def test_whose_run_it_is_does_what_nobody_is_named_for() -> None:
    (mine,) = ran({"do": "task", "title": "T"}, run_owner="eve", owner="bob").effects
    (named,) = ran({"do": "task", "title": "T", "assignee": "zoe"}, run_owner="eve").effects

    assert isinstance(mine, MakeTask)
    assert isinstance(named, MakeTask)
    assert (mine.assignee, named.assignee) == ("eve", "zoe")


def test_a_person_is_told_at_once_only_where_nothing_lies_ahead() -> None:
    (now,) = ran({"do": "task", "title": "T"}).effects
    (later,) = ran({"do": "task", "title": "T", "due": "2h"}).effects
    (never,) = ran({"do": "task", "title": "T", "due": "2h", "notify": False}).effects

    assert isinstance(now, MakeTask)
    assert isinstance(later, MakeTask)
    assert isinstance(never, MakeTask)
    assert (now.reminder_at, later.reminder_at) == (None, NOW + 2 * HOUR)
    assert (never.recipient, never.reminder_at) == (None, None)


def test_a_call_says_what_number_to_ring() -> None:
    call = {"do": "call_task", "title": "Ring"}
    (ring,) = ran(call).effects
    (mute,) = ran(call, phone=None).effects

    assert isinstance(ring, MakeTask)
    assert isinstance(mute, MakeTask)
    assert ring.payload["phone"] == "+15551234"
    assert (mute.payload["phone"], mute.payload["no_phone"]) == (None, True)
