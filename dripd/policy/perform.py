"""What is a leased step, on its facts: a message to send, or something done here and now?

`perform` answers with a `Ready` message or with a step event. `chain` performs internal steps,
and those without delay behind them, in one pass: it breaks off before a message, and after a
step that makes an event its own version listens to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dripd.campaigns.action import (
    AddTag,
    AddToList,
    Effect,
    MakeTask,
    MoveTo,
    Note,
    RemoveFromList,
    RemoveTag,
    UpdateCompany,
    UpdateContact,
)
from dripd.campaigns.definition import Op, Step
from dripd.campaigns.enrollment import Change, End, Leased, LogRow, LogState, Next, RunStatus
from dripd.campaigns.event import Held, Rejected, Skipped, Stopped
from dripd.campaigns.sms import segments, truncate
from dripd.campaigns.template import Missing, Template, Unrenderable, render
from dripd.campaigns.version import KIND_BITS, Version
from dripd.clock import Instant, format_instant
from dripd.policy.advance import COMPLETED, follow
from dripd.policy.facts import COLUMNS, address_of, condition_facts, is_address, lookup
from dripd.policy.rooms import Rooms, Sender, step_times

CHAIN_MOST = 5_000
"""Internal steps performed in one pass: more go on in the next, so that none holds up a batch."""

TASK_KINDS: Mapping[str, str] = {"custom_task": "custom"}


@dataclass(slots=True)
class Ready:
    """A message, rendered and addressed: all it lacks is a moment to leave."""

    leased: Leased
    version: Version
    channel: str
    sender: Sender
    to: str
    subject: str
    text: str
    html: str
    segments: int | None


Verdict: TypeAlias = Ready | Skipped | Held | Stopped | Rejected


def perform(leased: Leased, version: Version, now: Instant, rooms: Rooms) -> Verdict:
    """Judge and render a message step, in this order: its condition and its time, then
    suppression, address, sender, content. What is not to be performed is not judged further.
    """
    step = version.steps[leased.step_no]
    skipped = passed_over(step, leased, now)
    if skipped is not None:
        return skipped
    if leased.suppressed:
        return _suppressed(step)
    to = address_of(leased, step.kind, version.definition.field_map)
    if to is None:
        return _no_address(step)
    if not is_address(to, step.kind):
        return Rejected(reason="invalid_address")
    sender = rooms.sender(leased.account_id, step.kind, step.sender, leased.contact_id)
    if sender is None:
        return Held(reason="no_sender")
    return _render(leased, version, step, sender, to, rooms)


def _suppressed(step: Step) -> Stopped | Skipped:
    if step.on_unable == "skip":
        return Skipped(reason="suppressed")
    return Stopped(status="removed", reason="suppressed")


def _no_address(step: Step) -> Held | Skipped | Stopped:
    if step.kind == "email":
        return Held(reason="no_address")
    if step.on_no_phone == "skip":
        return Skipped(reason="no_phone")
    return Stopped(status="removed", reason="no_phone")


def passed_over(step: Step, leased: Leased, now: Instant) -> Skipped | None:
    """Is the step to be skipped: its condition false, its time over?"""
    return _passed_over(step, leased, now - leased.due_at)


def _passed_over(step: Step, leased: Leased, late: int) -> Skipped | None:
    if step.when is not None and not step.when(condition_facts(leased)):
        return Skipped(reason="condition_false")
    if step.expires_after_ms is not None and late > step.expires_after_ms:
        return Skipped(reason="expired")
    lateness = step.max_lateness
    if lateness is not None and lateness.then == "skip" and late > lateness.after_ms:
        return Skipped(reason="expired")
    return None


def _render(
    leased: Leased, version: Version, step: Step, sender: Sender, to: str, rooms: Rooms
) -> Ready | Held:
    content = version.contents[leased.step_no]
    parts: list[str] = []
    reader = lookup(leased)
    _, zone, _ = step_times(rooms, version, leased.step_no, leased.account_id, leased.timezone)
    missing = version.definition.policy.missing_tag
    for template in (content.subject, content.text, content.html):
        part = render(template, reader, zone, missing=missing)
        if not isinstance(part, str):
            return _unrendered(part)
        parts.append(part)
    subject, text, html = parts
    ready = Ready(leased, version, step.kind, sender, to, subject, text, html, None)
    return ready if step.kind == "email" else _fit(ready, version)


def _unrendered(part: Missing | Unrenderable) -> Held:
    if isinstance(part, Missing):
        return Held(reason=f"missing_tag:{part.tag}")
    known = part.reason.startswith("bad_date") or part.reason == "too_long"
    return Held(reason=part.reason if known else "quarantined")


def _fit(ready: Ready, version: Version) -> Ready | Held:
    """A text message within `max_sms_segments`, or as `sms_overflow` says."""
    policy = version.definition.policy
    most = policy.limits.max_sms_segments
    ready.segments = segments(ready.text).n
    if most is None or ready.segments <= most or policy.sms_overflow == "send":
        return ready
    if policy.sms_overflow == "hold":
        return Held(reason="too_long")
    ready.text = truncate(ready.text, most)
    ready.segments = segments(ready.text).n
    return ready


@dataclass(slots=True)
class _Pass:
    """One pass over internal steps: what it wants written, and where it stands."""

    leased: Leased
    version: Version
    now: Instant
    rooms: Rooms
    log: list[LogRow]
    effects: list[Effect]
    seq: int
    told: int = 0


def chain(leased: Leased, version: Version, now: Instant, rooms: Rooms) -> Change:
    """Perform the leased internal step, and those that follow without delay."""
    here = _Pass(leased, version, now, rooms, [], [], leased.seq)
    step_no = leased.step_no
    while True:
        end = _perform_one(here, step_no)
        here.seq += 1
        if isinstance(end, Held):
            held = Next(
                due_at=leased.due_at,
                lane=None,
                step_no=step_no,
                seq=here.seq - 1,
                flags=leased.flags,
                hold_reason=end.reason,
            )
            return Change(leased=leased, log=here.log, next=held, effects=here.effects)
        if end is not None:
            return Change(leased=leased, log=here.log, end=end, effects=here.effects)
        after = follow(version, step_no, now, leased, rooms, here.seq)
        if after is None:
            return Change(leased=leased, log=here.log, end=COMPLETED, effects=here.effects)
        if (
            after.due_at > now
            or version.steps[after.step_no].is_message
            or here.told & version.stops_on
            or after.lane != _lane_of(here, step_no)
            or len(here.log) >= CHAIN_MOST
        ):
            return Change(leased=leased, log=here.log, next=after, effects=here.effects)
        step_no = after.step_no


def _lane_of(here: _Pass, step_no: int) -> object:
    """The lane of the step just performed: a chain does not pass from one window to another."""
    lane, _, _ = step_times(
        here.rooms, here.version, step_no, here.leased.account_id, here.leased.timezone
    )
    return lane


def _perform_one(here: _Pass, step_no: int) -> End | Held | None:
    """Perform one internal step; an `End` where the run ends with it."""
    step = here.version.steps[step_no]
    late = here.now - here.leased.due_at if step_no == here.leased.step_no else 0
    skipped = _passed_over(step, here.leased, late)
    if skipped is not None:
        here.log.append(_log(here, step_no, LogState.SKIPPED, skipped.reason))
        return None
    outcome = PERFORMERS[step.kind](here, step, step_no)
    if isinstance(outcome, Held):
        return outcome
    if isinstance(outcome, Skipped):
        here.log.append(_log(here, step_no, LogState.SKIPPED, outcome.reason))
        return None
    here.log.append(_log(here, step_no, LogState.DONE, outcome[0]))
    return outcome[1]


def _log(here: _Pass, step_no: int, state: LogState, reason: str | None) -> LogRow:
    return LogRow(
        seq=here.seq, step_no=step_no, state=state, at=here.now, reason=reason or None
    )


Outcome: TypeAlias = tuple[str | None, End | None]
NOTHING: Outcome = (None, None)
NOOP: Outcome = ("noop", None)


def _delay(here: _Pass, step: Step, step_no: int) -> Outcome:
    return NOTHING


def _end(here: _Pass, step: Step, step_no: int) -> Outcome:
    return None, End(RunStatus.COMPLETED, "end")


def _tag_add(here: _Pass, step: Step, step_no: int) -> Outcome:
    if step.tag in here.leased.tags:
        return NOOP
    here.leased.tags |= {step.tag}
    here.effects.append(AddTag(tag=step.tag))
    here.told |= KIND_BITS["tag_added"]
    return NOTHING


def _tag_remove(here: _Pass, step: Step, step_no: int) -> Outcome:
    if step.tag not in here.leased.tags:
        return NOOP
    here.leased.tags -= {step.tag}
    here.effects.append(RemoveTag(tag=step.tag))
    here.told |= KIND_BITS["tag_removed"]
    return NOTHING


def _list_add(here: _Pass, step: Step, step_no: int) -> Outcome:
    fresh = [key for key in step.lists if key not in here.leased.lists]
    here.leased.lists |= set(fresh)
    here.effects += [AddToList(list_key=key, create=step.create_if_missing) for key in fresh]
    here.told |= KIND_BITS["list_added"] if fresh else 0
    return NOTHING if fresh else NOOP


def _list_remove(here: _Pass, step: Step, step_no: int) -> Outcome:
    """Leaving an attached list ends the run; as the last step it completes it (C31)."""
    going = [key for key in step.lists if key in here.leased.lists]
    here.leased.lists -= set(going)
    here.effects += [RemoveFromList(list_key=key) for key in going]
    definition = here.version.definition
    attached = [key for key in going if key in definition.attached_lists()]
    if attached and definition.policy.on_list_leave == "remove":
        if definition.next_index(step_no) is None:
            return None, End(RunStatus.COMPLETED, "completed:left_list")
        return None, End(RunStatus.REMOVED, f"left_list:{attached[0]}")
    here.told |= KIND_BITS["list_removed"] if going else 0
    return NOTHING if going else NOOP


SETTABLE = frozenset(COLUMNS) - {"external_id"}
"""The columns of `contact` that a step may write."""


def _update(here: _Pass, step: Step, step_no: int) -> Outcome | Skipped:
    """Typed operations, all or nothing; what changes nothing is no effect."""
    target = here.leased.attrs if step.target == "contact" else here.leased.company
    attrs: dict[str, object] = {}
    columns: dict[str, str | None] = {}
    for op in step.ops:
        if not op.enabled:
            continue
        name = _field_name(op, step.target)
        try:
            if step.target == "contact" and name in COLUMNS:
                columns[name] = _operate_column(op, name, columns, here)
            else:
                attrs[name] = operate(op, attrs.get(name, target.get(name)), here.now)
        except ValueError:  # the value there takes no such change: nothing is changed at all
            return Skipped(reason=f"unable:{name}")
    changed = {key: value for key, value in attrs.items() if target.get(key) != value}
    moved = {key: value for key, value in columns.items() if getattr(here.leased, key) != value}
    if not changed and not moved:
        return NOOP
    target.update(changed)
    for key, value in moved.items():
        setattr(here.leased, key, value)
    if step.target == "contact":
        here.effects.append(UpdateContact(attrs=changed, columns=moved))
        here.told |= KIND_BITS["field_changed"] | KIND_BITS["status_changed"] if changed else 0
    else:
        here.effects.append(UpdateCompany(attrs=changed))
    return NOTHING


def _field_name(op: Op, target: str) -> str:
    """The field without the scope that it may be written with."""
    scope, dot, name = op.field.partition(".")
    scopes = {"attrs", "contact"} if target == "contact" else {"attrs", "company"}
    return name if dot and name and scope in scopes else op.field


def _operate_column(
    op: Op, name: str, columns: Mapping[str, str | None], here: _Pass
) -> str | None:
    if name not in SETTABLE:
        raise ValueError(f"{name} names the contact and is not changed")
    before = columns[name] if name in columns else getattr(here.leased, name)
    value = operate(op, before, here.now)
    return None if value is None else str(value)


def operate(op: Op, value: object, now: Instant) -> object:
    """The value that *op* makes of *value*; None where it is cleared.

    Raises `ValueError` where *value* is no number and is to be incremented.
    """
    match op.op:
        case "set":
            return op.value
        case "clear":
            return None
        case "now":
            return format_instant(now)
        case "increment":
            by = op.value if isinstance(op.value, int | float) else 1
            return _finite(_number(value) + by)
        case "add":
            held = _many(value)
            return held if op.value in held else [*held, op.value]
        case "remove":
            return [one for one in _many(value) if one != op.value]


def _number(value: object) -> int | float:
    """*value* as a number, 0 where there is none yet. Raises `ValueError`."""
    match value:
        case None | "":
            return 0
        case bool():
            raise ValueError(f"{value} is no number")
        case int() | float():
            return value
        case str():
            return int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
    raise ValueError(f"{type(value).__name__} is no number")


def _finite(number: int | float) -> int | float:
    if not math.isfinite(number):
        raise ValueError("endless numbers cannot be stored")
    return number


def _many(value: object) -> list[object]:
    if isinstance(value, list):
        return list(value)
    return [] if value is None else [value]


def _task(here: _Pass, step: Step, step_no: int) -> Outcome | Held:
    """A task for a person, with a notification unless the campaign wants none."""
    content = here.version.contents[step_no]
    title, text = _words(here, content.title), _words(here, content.text)
    if not isinstance(title, str):
        return _unrendered(title)
    if not isinstance(text, str):
        return _unrendered(text)
    payload: dict[str, object] = {"campaign": here.version.campaign_key}
    if text:
        payload["text"] = text
    leased, definition = here.leased, here.version.definition
    due = Instant(here.now + (step.due_ms or 0))
    notify = definition.notify.task_due if step.notify is None else step.notify
    assignee = _assignee(here, step)
    recipient = assignee
    if definition.notify.field:
        recipient = str(leased.attrs.get(definition.notify.field) or here.version.owner)
    here.effects.append(
        MakeTask(
            seq=here.seq,
            step_key=step.key,
            kind=TASK_KINDS[step.kind],
            title=title,
            assignee=assignee,
            due_at=due,
            reminder_at=None if step.reminder_ms is None else Instant(due - step.reminder_ms),
            recipient=recipient if notify else None,
            payload=payload,
        )
    )
    return NOTHING


def _words(here: _Pass, template: Template) -> str | Missing | Unrenderable:
    _, zone, _ = step_times(
        here.rooms,
        here.version,
        here.leased.step_no,
        here.leased.account_id,
        here.leased.timezone,
    )
    missing = here.version.definition.policy.missing_tag
    return render(template, lookup(here.leased), zone, missing=missing)


def _assignee(here: _Pass, step: Step) -> str:
    """Who is to do it; where the contact names nobody, the campaign's owner, and it is noted."""
    named = {
        "contact.owner": here.leased.owner,
        "": here.leased.owner,
        "contact.service_owner": here.leased.service_owner,
    }
    found = named.get(step.assignee, step.assignee)
    if not found and step.assignee:
        detail = {"seq": here.seq, "wanted": step.assignee}
        here.effects.append(Note(kind="assignee_missing", detail=detail))
    return found or here.version.owner


def _move(here: _Pass, step: Step, step_no: int) -> Outcome:
    here.effects.append(MoveTo(campaign_key=step.campaign))
    return None, End(RunStatus.REMOVED, f"moved:{step.campaign}")


PERFORMERS: Mapping[str, Callable[[_Pass, Step, int], Outcome | Skipped | Held]] = {
    "delay": _delay,
    "end": _end,
    "tag_add": _tag_add,
    "tag_remove": _tag_remove,
    "list_add": _list_add,
    "list_remove": _list_remove,
    "update": _update,
    "custom_task": _task,
    "move": _move,
}
