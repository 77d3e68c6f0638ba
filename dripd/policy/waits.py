"""What decides where a run goes on, and when? Branches, events waited for, dates followed.

A step that waits stands in its lane at the last instant of its wait, and is judged again then,
or as soon as the inbox wakes it (`wakes`). What it waited for is read from what is so (events
processed since the step before was leased, the field as it stands), never from the waking,
so a waking more or less does no harm.
"""

from __future__ import annotations

from dripd.campaigns.action import Note
from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import End, LogState, RunStatus
from dripd.campaigns.event import Held
from dripd.campaigns.template import instant_of, is_mere_date, normalise
from dripd.campaigns.version import COMPANY_CHANGED
from dripd.clock import FAR_FUTURE, Instant
from dripd.policy.facts import condition_facts, lookup
from dripd.policy.inbox_rows import FIELD_KINDS, EventRow
from dripd.policy.performance import NOTHING, Pass, Performed, Verdict, Waiting
from dripd.policy.rooms import home_zone
from dripd.scheduler.due import add_delay


def branch(here: Pass, step: Step, step_no: int) -> Verdict:
    """On to the first case whose condition holds, else to `else`, else to the step below."""
    facts = condition_facts(here.leased)
    for case in step.cases:
        if case.when(facts):
            return Performed(to=case.then)
    return Performed(to=step.otherwise)


def wait_for(here: Pass, step: Step, step_no: int) -> Verdict:
    """Until the event comes, or the timeout: what came since the step before counts too."""
    if _came(here, step):
        return Performed(to=step.then)
    if here.resumes(step_no):
        return Performed("expired", to=step.otherwise)
    if step.timeout_ms is None:
        return Waiting(FAR_FUTURE)
    return Waiting(Instant(min(here.now + step.timeout_ms, FAR_FUTURE)))


def _came(here: Pass, step: Step) -> bool:
    count = here.version.definition.policy.machine_opens == "count"
    return step.on is not None and any(
        step.on.matches(
            one.kind,
            one.payload,
            step_key=one.step_key,
            lists=here.leased.lists,
            machine_opens=count,
        )
        for one in here.leased.recent
    )


def date_timer(here: Pass, step: Step, step_no: int) -> Verdict:
    """Until the date of a field, off by `offset`; it moves with the field."""
    due = date_of(here, step, step_no)
    if due is None:
        return Held(reason=f"bad_date:{step.field}")
    if due <= here.now and here.resumes(step_no) and here.leased.due_at <= due:
        return NOTHING
    _doubt_date(here, step)
    if due > here.now:
        return Waiting(due)
    if due == here.now:
        return NOTHING
    match step.past:
        case "send_now":
            return NOTHING
        case "exit":
            return Performed("date_past", End(RunStatus.REMOVED, "date_past"), LogState.SKIPPED)
        case "skip":
            timed = here.version.definition.next_index(step_no)
            return Performed("date_past", state=LogState.SKIPPED, passes=timed)


def _doubt_date(here: Pass, step: Step) -> None:
    """A mere date in a field that is not declared as one lacks its time: the journal says so."""
    name = step.field.removeprefix("attrs.")
    value = lookup(here.leased)(normalise(step.field))
    if here.version.types.get(name) != "date" and is_mere_date(value):
        here.effects.append(Note(kind="date_only", detail={"field": name}))


def date_of(here: Pass, step: Step, step_no: int) -> Instant | None:
    """The instant that the timer names, None where the field holds no date.

    A wall time without offset is the contact's own, else the campaign's; a mere date is its
    midnight. The offset counts days as a delay does; beyond all calendars it is the last
    instant there is, or the first.
    """
    leased, rooms = here.leased, here.rooms
    zone = home_zone(rooms, here.version, leased.account_id, leased.timezone)
    at = instant_of(lookup(leased)(normalise(step.field)), zone)
    if at is None:
        return None
    window = rooms.window(leased.account_id, here.version.hours(step_no))
    unit = step.timing.unit
    try:
        moved = add_delay(step.offset, at, unit=unit, zone=zone, window=window)
    except (ValueError, OverflowError):
        is_back = min(step.offset.days, step.offset.business_days) < 0
        moved = Instant(0) if is_back else FAR_FUTURE
    return Instant(min(max(moved, 0), FAR_FUTURE))


def wakes(event: EventRow, step: Step, *, machine_opens: bool) -> bool:
    """Is it what *step* waits for?"""
    if step.kind == "date_timer":
        if step.field.startswith("company."):
            return event.kind == COMPANY_CHANGED or event.payload.get("field") == "company_id"
        changed = event.kind in FIELD_KINDS
        return changed and normalise(str(event.payload.get("field"))) == normalise(
            step.field.removeprefix("attrs.")
        )
    return step.on is not None and step.on.matches(
        event.kind,
        event.payload,
        step_key=event.step_key,
        machine_opens=machine_opens,
    )
