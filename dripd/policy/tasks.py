"""What does a step ask of a person? Tasks and approvals, who is to do them, who is told when.

A step that waits for an answer is judged again once its task is closed, by whatever way, or
once its time is over. The lease brings the task as it then stands (`Leased.asked`), so the
answer is what the task says, not what some event said about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dripd.campaigns.action import CancelTask, MakeTask, Note, Rota, Slot
from dripd.campaigns.activities import AUTO, NOBODY
from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import (
    CHANNEL_NO,
    FLAG_APPROVED,
    End,
    LogState,
    RunStatus,
)
from dripd.campaigns.event import Held, Skipped
from dripd.clock import FAR_FUTURE, Instant, format_instant
from dripd.policy.facts import address_of
from dripd.policy.performance import NOTHING, Pass, Performed, Verdict, Waiting, words
from dripd.policy.watching import render_words
from dripd.scheduler.diary import Span, working_hours

TASK_KINDS: Mapping[str, str] = {
    "custom_task": "custom",
    "task": "general",
    "call_task": "call",
    "manual_email": "manual_email",
    "follow_up": "follow_up",
    "request": "request",
    "sale": "sale",
}
"""What the task of each kind of manual step is called."""


def task(here: Pass, step: Step, step_no: int) -> Verdict:
    """A task for a person; a blocking one is waited for."""
    if here.resumes(step_no):
        return _answered(here, step)
    made = _make(here, step, step_no)
    if isinstance(made, Held):
        return made
    here.effects.append(made)
    if not step.blocking:
        return NOTHING
    return Waiting(_after(here.now, step.timeout_ms), "task")


def _after(since: Instant, ms: int | None) -> Instant | None:
    return None if ms is None else Instant(min(since + ms, FAR_FUTURE))


def _answered(here: Pass, step: Step) -> Verdict:
    """What the task that the run waits for came to."""
    asked = here.leased.asked
    if asked is None or asked.state == "done":
        return NOTHING
    if asked.state == "cancelled":
        return Performed("cancelled", state=LogState.CANCELLED)
    until = _after(asked.created_at, step.timeout_ms)
    if until is None or until > here.now:
        return Waiting(until, "task")
    here.effects.append(CancelTask(seq=here.seq))
    if step.on_timeout == "exit":
        return Performed("expired", End(RunStatus.REMOVED, "timeout"), LogState.SKIPPED)
    return Skipped(reason="expired")


def _make(here: Pass, step: Step, step_no: int) -> MakeTask | Held:
    title = words(here, here.version.contents[step_no].title)
    if isinstance(title, Held):
        return title
    payload = _payload(here, step, step_no)
    if isinstance(payload, Held):
        return payload
    due = Instant(here.now + (step.due_ms or 0))
    made = _task_of(here, step, TASK_KINDS[step.kind], title, due, payload)
    return _as_activity(here, step, made)


def fitted(made: MakeTask, assignee: str | None, span: Span | None) -> MakeTask:
    """*made* for whoever's turn it is, at the time that was reserved for them.

    *span* None, though it wants a slot and has an assignee: no time is free. Then the task says
    so, and its assignee is told at once, also where no notice is wanted.
    """
    payload: dict[str, object] = {**made.payload}
    recipient = assignee if made.recipient == "" else made.recipient
    due_at, reminder_at = made.due_at, made.reminder_at
    if made.slot is not None and assignee is not None:
        if span is None:
            payload["no_free_time"] = True
            recipient, reminder_at = recipient or assignee, None
        else:
            due_at = span[0]
            begins, ends = map(format_instant, span)
            payload["slot"] = {"from": begins, "to": ends, "person": assignee}
    return replace(
        made,
        assignee=assignee,
        due_at=due_at,
        reminder_at=reminder_at,
        recipient=recipient,
        payload=payload,
    )


def _as_activity(here: Pass, step: Step, made: MakeTask) -> MakeTask:
    """Whose turn it is, and the time to reserve."""
    activity, definition = step.activity, here.version.definition
    made.category = activity.category or None
    members = definition.categories.get(activity.category, {})
    if step.assignee == AUTO and members:
        made.rota = Rota(category=activity.category, members=members)
    if activity.slot_ms is not None:
        zone = here.rooms.zone(here.leased.account_id, "account")
        hours = tuple(working_hours(zone, made.due_at or here.now))
        made.slot = Slot(openings=hours, length_ms=activity.slot_ms)
        if step.reminder_ms is None:
            made.reminder_at = None
    return made


def _payload(here: Pass, step: Step, step_no: int) -> dict[str, object] | Held:
    """What the task carries: the words, a call's number, a mail's draft."""
    if step.kind == "manual_email":
        return _draft(here, step, step_no)
    text = words(here, here.version.contents[step_no].text)
    if isinstance(text, Held):
        return text
    payload: dict[str, object] = {"text": text} if text else {}
    activity = step.activity
    payload |= {"type": activity.type} if activity.type else {}
    payload |= activity.words
    payload |= {"fields": dict(activity.fields)} if activity.fields else {}
    if step.kind == "call_task":
        phone = address_of(here.leased, "sms", here.version.definition.field_map)
        payload["phone"] = phone
        if phone is None:
            payload["no_phone"] = True
    return payload


def _draft(here: Pass, step: Step, step_no: int) -> dict[str, object] | Held:
    """A message as it would leave: what a person approves, or sends."""
    leased, rooms = here.leased, here.rooms
    sender = rooms.sender(leased.account_id, step.kind, step.sender, leased.contact_id)
    links = None if sender is None else rooms.links(sender)
    words = render_words(leased, here.version, here.now, rooms, links, step_no=step_no)
    if isinstance(words, Held):
        return words
    return dict(zip(("subject", "text", "html"), words, strict=True))


def _task_of(
    here: Pass, step: Step, kind: str, title: str, due: Instant, payload: dict[str, object]
) -> MakeTask:
    """The task with who is to do it, and who is told of it when: at its reminder, else its due."""
    definition = here.version.definition
    tell_at = Instant(due - (step.reminder_ms or 0))
    notify = definition.notify.task_due if step.notify is None else step.notify
    assignee = assignee_of(here, step.assignee)
    told = _recipient(here, step, assignee) if notify else None
    return MakeTask(
        seq=here.seq,
        step_key=step.key,
        kind=kind,
        title=title,
        assignee=assignee,
        due_at=due,
        reminder_at=tell_at if notify and tell_at > here.now else None,
        recipient=told,
        awaited=step.blocking or kind == "approval",
        payload={"campaign": here.version.campaign_key, **payload},
    )


def _recipient(here: Pass, step: Step, assignee: str | None) -> str:
    """Who is told; "" where it is whoever's turn it is."""
    field = here.version.definition.notify.field
    if not field and step.assignee == AUTO:
        return ""
    if not field:
        return assignee or here.version.owner
    return str(here.leased.attrs.get(field) or here.version.owner)


def assignee_of(here: Pass, wanted: str) -> str | None:
    """Who is to do it: whom the step names, else whose run it is; None for nobody.

    Where the contact names nobody, the campaign's owner, and it is noted.
    """
    leased = here.leased
    if wanted in {AUTO, NOBODY}:
        return None
    if not wanted:
        return leased.run_owner or leased.owner or here.version.owner
    named = {"contact.owner": leased.owner, "contact.service_owner": leased.service_owner}
    found = named.get(wanted, wanted)
    if not found:
        detail = {"seq": here.seq, "wanted": wanted}
        here.effects.append(Note(kind="assignee_missing", detail=detail))
    return found or here.version.owner


def approval(here: Pass, step: Step, step_no: int) -> Verdict:
    """A message that a person must approve first: its draft is the task's payload."""
    asked = here.leased.asked if here.resumes(step_no) else None
    if asked is None:
        draft = _draft(here, step, step_no)
        if isinstance(draft, Held):
            return draft
        title = str(draft["subject"] or step.name or step.key)
        here.effects.append(_task_of(here, step, "approval", title, here.now, draft))
        return Waiting(_after(here.now, step.expires_after_ms), "approval")
    if asked.state == "open":
        until = _after(asked.created_at, step.expires_after_ms)
        if until is None or until > here.now:
            return Waiting(until, "approval")
        here.effects.append(CancelTask(seq=here.seq))
        return Skipped(reason="expired")
    if asked.state == "done":
        return Waiting(here.now, flags=FLAG_APPROVED)
    exits = here.version.definition.policy.approval_cancel == "exit"
    end = End(RunStatus.REMOVED, "approval_cancelled") if exits else None
    return Performed("cancelled", end, LogState.CANCELLED, CHANNEL_NO[step.kind])
