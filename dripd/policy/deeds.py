"""What does an internal step do? One performer a kind: effects on facts, and how it came out.

A performer keeps the facts of the lease in step with its effects, so that what follows in the
same pass sees them; what would change nothing is no effect but a `noop`. A kind adds a
function to the table at the end.
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
from dripd.campaigns.enrollment import End, Leased, LogRow, RunStatus
from dripd.campaigns.event import Held, Skipped
from dripd.campaigns.template import Missing, Template, Unrenderable, render
from dripd.campaigns.version import CHANGED, KIND_BITS, Version
from dripd.clock import Instant, format_instant
from dripd.policy.facts import COLUMNS, lookup
from dripd.policy.rooms import Rooms, step_times

TASK_KINDS: Mapping[str, str] = {"custom_task": "custom"}


@dataclass(slots=True)
class Pass:
    """One pass over internal steps: what it wants written, and where it stands."""

    leased: Leased
    version: Version
    now: Instant
    rooms: Rooms
    log: list[LogRow]
    effects: list[Effect]
    seq: int
    told: int = 0


Outcome: TypeAlias = tuple[str | None, End | None]
NOTHING: Outcome = (None, None)
NOOP: Outcome = ("noop", None)


def _delay(here: Pass, step: Step, step_no: int) -> Outcome:
    return NOTHING


def _end(here: Pass, step: Step, step_no: int) -> Outcome:
    return None, End(RunStatus.COMPLETED, "end")


def _tag_add(here: Pass, step: Step, step_no: int) -> Outcome:
    if step.tag in here.leased.tags:
        return NOOP
    here.leased.tags |= {step.tag}
    here.effects.append(AddTag(tag=step.tag))
    here.told |= KIND_BITS["tag_added"]
    return NOTHING


def _tag_remove(here: Pass, step: Step, step_no: int) -> Outcome:
    if step.tag not in here.leased.tags:
        return NOOP
    here.leased.tags -= {step.tag}
    here.effects.append(RemoveTag(tag=step.tag))
    here.told |= KIND_BITS["tag_removed"]
    return NOTHING


def _list_add(here: Pass, step: Step, step_no: int) -> Outcome:
    fresh = [key for key in step.lists if key not in here.leased.lists]
    here.leased.lists |= set(fresh)
    here.effects += [AddToList(list_key=key, create=step.create_if_missing) for key in fresh]
    here.told |= KIND_BITS["list_added"] if fresh else 0
    return NOTHING if fresh else NOOP


def _list_remove(here: Pass, step: Step, step_no: int) -> Outcome:
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


def _update(here: Pass, step: Step, step_no: int) -> Outcome | Skipped:
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
        here.told |= CHANGED if changed else 0
    else:
        here.effects.append(UpdateCompany(attrs=changed))
    return NOTHING


def _field_name(op: Op, target: str) -> str:
    """The field without the scope that it may be written with."""
    scope, dot, name = op.field.partition(".")
    scopes = {"attrs", "contact"} if target == "contact" else {"attrs", "company"}
    return name if dot and name and scope in scopes else op.field


def _operate_column(
    op: Op, name: str, columns: Mapping[str, str | None], here: Pass
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


def _task(here: Pass, step: Step, step_no: int) -> Outcome | Held:
    """A task for a person, with a notification unless the campaign wants none."""
    content = here.version.contents[step_no]
    title, text = _words(here, content.title), _words(here, content.text)
    if not isinstance(title, str):
        return unrendered(title)
    if not isinstance(text, str):
        return unrendered(text)
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


def _words(here: Pass, template: Template) -> str | Missing | Unrenderable:
    _, zone, _ = step_times(
        here.rooms,
        here.version,
        here.leased.step_no,
        here.leased.account_id,
        here.leased.timezone,
    )
    missing = here.version.definition.policy.missing_tag
    return render(template, lookup(here.leased), zone, missing=missing)


def _assignee(here: Pass, step: Step) -> str:
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


def _move(here: Pass, step: Step, step_no: int) -> Outcome:
    here.effects.append(MoveTo(campaign_key=step.campaign))
    return None, End(RunStatus.REMOVED, f"moved:{step.campaign}")


def unrendered(part: Missing | Unrenderable) -> Held:
    if isinstance(part, Missing):
        return Held(reason=f"missing_tag:{part.tag}")
    known = part.reason.startswith("bad_date") or part.reason == "too_long"
    return Held(reason=part.reason if known else "quarantined")


PERFORMERS: Mapping[str, Callable[[Pass, Step, int], Outcome | Skipped | Held]] = {
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
