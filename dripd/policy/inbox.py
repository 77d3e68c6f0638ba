"""What does an event do? Ends, goals and resets of live runs, then new requests.

One order inside a transaction: ends, resets, then triggers. The first end of a run wins. A
run that was asked for before an event hears it: the event waits until that is decided, as no
lease passes it. An event with a delivery concerns that campaign, one with a conversation the
runs that carry it, one with only a contact or address every live run of that contact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType

from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import (
    FLAG_HELD,
    FLAG_TRIED,
    FLAG_WAITING,
    HELD_LANE,
    MENDABLE,
    RunStatus,
)
from dripd.campaigns.version import (
    COMPANY_CHANGED,
    ENTER,
    INTERNAL_KINDS,
    RESET,
    TASK_CLOSED,
    Version,
    kind_bit,
)
from dripd.clock import Instant
from dripd.policy.entries import (
    InboxRooms,
    Leavings,
    Trigger,
    been_in,
    begins,
    enter,
    enter_later,
    entry_of,
    leavings,
    requests,
    told_again,
)
from dripd.policy.exits import end_of, left_list
from dripd.policy.fields import field_name
from dripd.policy.inbox_rows import (
    FIELD_KINDS,
    ContactRow,
    EventRow,
    ForgetRuns,
    InboxEffect,
    Later,
    MoveDue,
    Poke,
    Refuse,
    Release,
    Request,
    RunRow,
    TellOpened,
)
from dripd.policy.reactions import KINDS as REACTED
from dripd.policy.reactions import reactions
from dripd.policy.rooms import Rooms, due_of, zone_of
from dripd.policy.suppression import suppressions_of
from dripd.policy.waits import wakes

UNTOLD_LANE = 0
"""The lane of a run that was moved in this batch: not the one of those that are held."""


@dataclass(slots=True)
class _Batch:
    """What a pass over the events of one account has come to so far."""

    rooms: InboxRooms
    now: Instant
    runs: Mapping[int, list[RunRow]]
    homes: Mapping[int, int]
    """Live enrollment to its campaign."""
    effects: list[InboxEffect] = field(default_factory=list)
    over: set[int] = field(default_factory=set)
    dues: dict[int, Instant] = field(default_factory=dict)
    soft: Counter[int] = field(default_factory=Counter)
    delayed: set[int] = field(default_factory=set)
    """Contacts of which an event stays in the queue."""
    asked: dict[int, set[int]] = field(default_factory=dict)
    """Contacts to the live versions of campaigns that a trigger of this batch asked for."""


def digest(
    events: Sequence[EventRow],
    runs: Sequence[RunRow],
    now: Instant,
    rooms: InboxRooms,
    facts: Mapping[int, ContactRow | None] = MappingProxyType({}),
    delayed: Set[int] = frozenset(),
) -> list[InboxEffect]:
    """The effects of *events* on *runs*, event by event, each in the order above.

    An event sees what those before it in the batch did: a run that ended is over, a due that
    moved stands where it was moved to. No argument is changed. *facts* are those of the
    contacts that actions are about; raises `MissingContacts` for others. *delayed*: contacts of
    which an event before these stays in the queue.
    """
    facts = {contact: row and row.copy() for contact, row in facts.items()}
    by_contact: dict[int, list[RunRow]] = {}
    for run in runs:
        by_contact.setdefault(run.contact_id, []).append(replace(run))
    homes = {run.enrollment_id: run.campaign_id for run in runs}
    batch = _Batch(rooms, now, by_contact, homes, delayed=set(delayed))
    left = leavings(events)
    for _, told in groupby(events, key=attrgetter("id")):
        _hear([*told], batch, left, facts)
    return batch.effects


def _hear(
    told: Sequence[EventRow],
    batch: _Batch,
    left: Leavings,
    facts: Mapping[int, ContactRow | None],
) -> None:
    """What one row of the queue does, of which *told* are the events: all of them, or it stays."""
    event = told[0]
    if _comes_first(event, batch):
        _delay(event, batch)
    elif event.unresolved is not None:
        batch.effects += _refuse(event, event.unresolved)
    elif event.kind == ENTER:
        _enter_again(event, batch)
    elif any(_must_wait(one, batch) for one in told):
        _delay(event, batch)
    else:
        for one in told:
            _happen(one, batch, left, facts)


def _happen(
    event: EventRow,
    batch: _Batch,
    left: Leavings,
    facts: Mapping[int, ContactRow | None],
) -> None:
    batch.effects += suppressions_of(event)
    batch.effects += _opened(event, batch.rooms)
    if event.kind in REACTED:
        versions = batch.rooms.reacting(event.account_id)
        batch.effects += reactions(event, batch.runs, batch.now, batch.rooms, versions, facts)
    for run in concerned(event, batch.runs):
        if run.enrollment_id not in batch.over:
            _apply(event, run, batch)
    if event.kind == RESET:
        key = str(event.payload.get("campaign"))
        batch.effects += [ForgetRuns(contact, key) for contact in event.contact_ids]
    _ask(event, requests(event, batch.runs, batch.over, batch.rooms, left), batch)


def _refuse(event: EventRow, reason: str) -> list[InboxEffect]:
    heard = suppressions_of(event) if reason == "unknown_contact" else ()
    return [*heard, Refuse(event.id, reason)]  # who asks not to be reached is heard


def _delay(event: EventRow, batch: _Batch) -> None:
    """It stays in the queue, and so do later ones of its contacts."""
    batch.delayed.update(event.contact_ids)
    batch.effects.append(Later(event.id))


def _ask(event: EventRow, wanted: Iterable[Request], batch: _Batch) -> None:
    """Runs that triggers ask for: what the contact does next is heard once they have begun."""
    for one in wanted:
        batch.effects.append(one)
        batch.asked.setdefault(one.contact_id, set()).update(
            trigger.cv_id
            for trigger in batch.rooms.triggers(event.account_id)
            if trigger.campaign_key == one.campaign_key and trigger.cv_id is not None
        )


def _comes_first(event: EventRow, batch: _Batch) -> bool:
    """Was a run asked for that would hear the event, and has nobody decided about it?"""
    if event.kind in INTERNAL_KINDS or not (event.asked or batch.asked):
        return False
    asked = {cv_id for cv_id in event.asked if batch.rooms.is_readable(cv_id)}
    asked.update(*(batch.asked.get(contact, ()) for contact in event.contact_ids))
    return any(batch.rooms.version(cv_id).listens(event.kind) for cv_id in asked)


def _enter_again(event: EventRow, batch: _Batch) -> None:
    """An entry that had to wait for the steps a run began with: they are done, or come first."""
    wanted = event.payload.get("enrollment")
    mine = [run for contact in event.contact_ids for run in batch.runs.get(contact, ())]
    run = next((one for one in mine if one.enrollment_id == wanted), None)
    if run is None or run.enrollment_id in batch.over:
        key, source, entry = (
            str(event.payload.get(word)) for word in ("campaign", "source", "sequence")
        )
        batch.effects += [Request(key, one, source, entry) for one in event.contact_ids]
        return
    version = batch.rooms.version(run.cv_id)
    number = told_again(event, version)
    if number is None or been_in(run, version) & 1 << number:
        return
    if run.leased or _begins(run, version, batch):
        batch.effects.append(Later(event.id))
        return
    _enter(run, version, number, batch, goal=event.payload.get("goal") is True)


def _begins(run: RunRow, version: Version, batch: _Batch) -> bool:
    due_at = batch.dues.get(run.enrollment_id, run.due_at)
    return begins(run, version, due_at, batch.now, batch.rooms)


def _enter(run: RunRow, version: Version, number: int, batch: _Batch, *, goal: bool) -> None:
    effect = enter(run, version, number, batch.now, batch.rooms, goal=goal)
    batch.effects.append(effect)
    run.step_no, run.entered, run.flags = effect.step_no, effect.entered, 0
    run.hold_reason, run.parked, run.lane = None, False, UNTOLD_LANE
    batch.dues[run.enrollment_id] = effect.due_at


def _opened(event: EventRow, rooms: InboxRooms) -> Iterator[TellOpened]:
    """Who asked to hear of the opening of a message; a machine's is none."""
    if event.kind != "open" or event.cv_id is None or event.delivery_id is None:
        return
    version = rooms.version(event.cv_id)
    counts = version.definition.policy.machine_opens == "count"
    step = next((one for one in version.steps if one.key == event.step_key), None)
    if step is None or not step.track.notify_if_opened or event.enrollment_id is None:
        return
    if counts or event.payload.get("machine") is not True:
        field = version.definition.notify.field or ""
        yield TellOpened(event.enrollment_id, event.delivery_id, field, version.owner)


def _must_wait(event: EventRow, batch: _Batch) -> bool:
    """Would the event move a run whose step is in flight, or overtake one that does?"""
    if not batch.delayed.isdisjoint(event.contact_ids):
        return True
    return any(
        run.leased
        and run.enrollment_id not in batch.over
        and entry_of(event, run, batch.rooms.version(run.cv_id)) is not None
        for run in concerned(event, batch.runs)
    )


def _apply(event: EventRow, run: RunRow, batch: _Batch) -> None:
    """What the event does to one live run: an end, else a reset, else a release."""
    version, rooms = batch.rooms.version(run.cv_id), batch.rooms
    if event.enrollment_id == run.enrollment_id and version.is_notice(event.step_key):
        return  # somebody of the house answered, not the contact
    if event.kind == "bounce" and event.payload.get("type") == "soft":
        batch.soft[run.enrollment_id] += 1
    softs = run.soft_bounces + batch.soft[run.enrollment_id]
    home = event.campaign_id or batch.homes.get(event.enrollment_id or 0)
    end = end_of(event, run, version, softs=softs, campaign_id=home) or left_list(
        event, run, version, rooms
    )
    entry = entry_of(event, run, version) if home in {None, run.campaign_id} else None
    if entry is not None and (end is None or end.status is RunStatus.COMPLETED):
        goal = end is not None  # the one end that an entry passes over
        if _begins(run, version, batch):
            batch.effects.append(enter_later(event, run, version, entry, goal=goal))
        else:
            _enter(run, version, entry, batch, goal=goal)
        return
    if end is not None:
        batch.over.add(run.enrollment_id)
        batch.effects.append(replace(end, event_id=event.id, since=event.occurred_at))
        return
    due_at = batch.dues.get(run.enrollment_id, run.due_at)
    reset = reset_of(event, run, version, batch.now, rooms, due_at=due_at)
    if reset is not None:
        batch.dues[run.enrollment_id] = reset.due_at
        batch.effects.append(reset)
    step = version.steps[run.step_no]
    if mends(event, run, step) or answers(event, run) or _woken(event, run, version, home):
        batch.effects.append(_wake(run, version, rooms))


def _woken(event: EventRow, run: RunRow, version: Version, home: int | None) -> bool:
    """Has what the run's step waits for come, while it waits or is about to?"""
    step = version.steps[run.step_no]
    if not version.leased_alone(run.step_no) or home not in {None, run.campaign_id}:
        return False
    counts = version.definition.policy.machine_opens == "count"
    waits = run.leased or bool(run.flags & FLAG_WAITING)
    return waits and wakes(event, step, machine_opens=counts)


def _wake(run: RunRow, version: Version, rooms: Rooms) -> Release | Poke:
    """Let the step be judged again: now, or once the lease on it is over."""
    if run.leased:
        return Poke(run.enrollment_id)
    lane = version.lane_key(run.step_no, run.timezone, rooms.zones, run.flags)
    return Release(run.enrollment_id, lane)


def concerned(event: EventRow, runs: Mapping[int, list[RunRow]]) -> Iterator[RunRow]:
    """The live runs that the event is about, whatever rule may want it.

    Those of its contacts; where some of a contact's carry its conversation, only these.
    """
    for contact_id in event.contact_ids:
        mine = runs.get(contact_id, [])
        talking = [run for run in mine if _carries(run, event)]
        yield from talking or mine


def _carries(run: RunRow, event: EventRow) -> bool:
    ref = event.conversation_ref
    return ref is not None and event.enrollment_id is None and run.conversation_ref == ref


def reset_of(
    event: EventRow,
    run: RunRow,
    version: Version,
    now: Instant,
    rooms: Rooms,
    *,
    due_at: Instant,
) -> MoveDue | None:
    """Reset on interaction: the full delay again, for the step waited on, while it waits.

    *due_at* is where the step stands: once that is past, or the step was tried and waits for
    another try, it is the delay no longer that is waited for. The delay
    counts from when the event occurred; a late-logged one never shortens the wait, and a
    delay of 0 or a day number has nothing to restart.
    """
    step = version.steps[run.step_no]
    if not step.reset_on_interaction or event.kind not in {"interaction", "reply"}:
        return None
    if (
        run.leased
        or run.lane == HELD_LANE
        or run.flags & (FLAG_WAITING | FLAG_HELD | FLAG_TRIED)
        or run.attempt
        or due_at <= now
        or event.payload.get("auto") is True
    ):
        return None
    timing = replace(step.timing, anchor="after_previous")
    if not timing.restarts:
        return None
    zone = zone_of(rooms, version, run.account_id, run.timezone)
    window = rooms.window(run.account_id, version.hours(run.step_no))
    again = due_of(timing, event.occurred_at, run.started_at, zone, window)
    return None if again <= due_at else MoveDue(run.enrollment_id, again, event.id)


def mends(event: EventRow, run: RunRow, step: Step) -> bool:
    """May the event have put right what holds the run, or is about to? It is then judged anew."""
    if event.kind not in FIELD_KINDS and event.kind != COMPANY_CHANGED:
        return False
    if run.leased:
        return True
    held = run.hold_reason or ""
    if held == "step_failed":
        return _changes_target(event, step)
    return held.startswith(MENDABLE)


def _changes_target(event: EventRow, step: Step) -> bool:
    """Is what a failed update was to change another value now?"""
    field = event.payload.get("field")
    if step.target == "company":
        return event.kind == COMPANY_CHANGED or field == "company_id"
    return field in {field_name(op, "contact") for op in step.ops}


DECIDED = frozenset({"approval", "task", "connector_missing"})
"""Holds that a person's decision releases."""


def answers(event: EventRow, run: RunRow) -> bool:
    """Is it the task that the run waits for which was closed, or the call answered?"""
    if event.kind != TASK_CLOSED or event.enrollment_id != run.enrollment_id:
        return False
    calls = run.lane == HELD_LANE and run.hold_reason is None and run.flags & FLAG_WAITING
    return run.leased or run.hold_reason in DECIDED or bool(calls)


def interest(triggers: Sequence[Trigger], versions: Sequence[Version]) -> int:
    """The kinds that anything in the account listens to: others are only logged."""
    bits = 0
    for version in versions:
        bits |= version.stops_on | version.asks_of
    for trigger in triggers:
        bits |= kind_bit(trigger.match.kind)
    return bits
