"""Where does an event let a run begin, or go on? Triggers, and the sequences of a campaign.

An entry event moves the contact's live run into its sequence, once a run, and starts a run
where there is none. A run whose step is in flight is not moved: the event waits in the queue
until the step is recorded, and so do later ones of the contact. Nor is one moved that has just
begun, or entered a sequence, with steps that are done at once: these come first, however fast
events follow each other; the event is then told again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from dripd.campaigns.definition import Match
from dripd.campaigns.enrollment import FLAG_WAITING, HELD_LANE
from dripd.campaigns.version import Version
from dripd.clock import Instant
from dripd.policy.inbox_rows import EnterLater, EnterSequence, EventRow, Request, RunRow
from dripd.policy.rooms import Rooms, lane_and_due, step_times
from dripd.scheduler.calendar import is_open

Leavings: TypeAlias = Mapping[tuple[int, object], int]
"""The last event by which a contact left a list."""


class Trigger(Protocol):
    @property
    def campaign_key(self) -> str: ...
    @property
    def match(self) -> Match: ...
    @property
    def after_event_id(self) -> int: ...
    @property
    def after_contact_id(self) -> int: ...
    @property
    def cv_id(self) -> int | None:
        """The live version of its campaign, if it has one that can be read."""


class InboxRooms(Rooms, Protocol):
    def reacting(self, account_id: int) -> Sequence[Version]:
        """The live versions of the account that have handlers. Raises `MissingVersion`."""

    def triggers(self, account_id: int) -> Sequence[Trigger]:
        """The triggers of the account's campaigns."""

    def is_readable(self, cv_id: int) -> bool:
        """Is the version one of those that this dripd cannot read? Then it is False."""

    def is_running(self, account_id: int, campaign_id: int) -> bool:
        """May steps of the campaign be performed?"""


def entered_by(event: EventRow, version: Version) -> int | None:
    """The number of the sequence that *event* enters, the first where several fit."""
    for number, sequence in enumerate(version.definition.sequences):
        if any(fits(event, match) for match in sequence.on):
            return number
    return None


def fits(event: EventRow, match: Match) -> bool:
    """Does *match* want the event, whatever campaign it concerns?"""
    return match.matches(event.kind, event.payload, step_key=event.step_key)


def entry_of(event: EventRow, run: RunRow, version: Version) -> int | None:
    """The sequence into which the event moves the run; one that it has been in is no more."""
    number = entered_by(event, version)
    if number is None or been_in(run, version) & 1 << number:
        return None
    return number


def been_in(run: RunRow, version: Version) -> int:
    """The sequences that the run has been in, as bits."""
    return run.entered | 1 << version.definition.sequence_at(run.step_no)


def enter(
    run: RunRow, version: Version, number: int, now: Instant, rooms: Rooms, *, goal: bool
) -> EnterSequence:
    """The run stands before the first step of the sequence, whose delay counts from *now*;
    *goal*: that of the sequence before was reached."""
    first = version.definition.sequences[number].start
    lane, due = lane_and_due(
        rooms, version, first, run.account_id, run.timezone, now, run.started_at
    )
    entered = been_in(run, version) | 1 << number
    return EnterSequence(run.enrollment_id, first, due, lane, entered, goal)


def begins(
    run: RunRow, version: Version, due_at: Instant, now: Instant, rooms: InboxRooms
) -> bool:
    """Does the run stand before the first step of a sequence, which is performed at once?"""
    no, flags = run.step_no, run.flags
    sequence = version.definition.sequences[version.definition.sequence_at(no)]
    if no != sequence.start or version.sends(no, flags) or version.leased_alone(no):
        return False
    rests = run.parked or run.hold_reason is not None or run.lane == HELD_LANE
    if rests or flags & FLAG_WAITING or due_at > now:
        return False
    _, zone, window = step_times(rooms, version, no, run.account_id, run.timezone, flags)
    is_shut = window is not None and not is_open(window, zone, now)
    return not is_shut and rooms.is_running(run.account_id, run.campaign_id)


def enter_later(
    event: EventRow, run: RunRow, version: Version, number: int, *, goal: bool
) -> EnterLater:
    """The event, told again once the steps before it are done."""
    key = version.definition.sequences[number].key
    source = f"trigger:{event.kind}"
    return EnterLater(
        run.enrollment_id, run.contact_id, version.campaign_key, key, source, goal
    )


def told_again(event: EventRow, version: Version) -> int | None:
    """The number of the sequence that an `ENTER` leads into; None where it is none any more."""
    wanted = event.payload.get("sequence")
    sequences = enumerate(version.definition.sequences)
    return next((no for no, one in sequences if one.key == wanted), None)


def leavings(events: Sequence[EventRow]) -> Leavings:
    """Who left which list, and the id of the last event that says so."""
    return {
        (contact, name): event.id
        for event in events
        if event.kind == "list_removed" and isinstance(name := event.payload.get("list"), str)
        for contact in event.contact_ids
    }


def requests(
    event: EventRow,
    runs: Mapping[int, list[RunRow]],
    over: set[int],
    rooms: InboxRooms,
    left: Leavings,
) -> Iterator[Request]:
    """Triggers that the event fires; what happened before one was attached fires nothing, nor
    does a list that was left again, where that would end the run.

    *runs* are the live runs by contact, *over* those that have ended since they were read,
    *left* the `leavings` of the batch.
    """
    for trigger in rooms.triggers(event.account_id):
        if event.id <= trigger.after_event_id or not _fires(event, trigger):
            continue
        entry = _entry_key(event, trigger, rooms)
        for contact in event.contact_ids:
            if entry and _is_inside(trigger, runs.get(contact, ()), over, rooms):
                continue
            if _has_left(event, contact, trigger, rooms, left):
                continue
            source = f"trigger:{trigger.match.kind}"
            yield Request(trigger.campaign_key, contact, source, entry)


def _fires(event: EventRow, trigger: Trigger) -> bool:
    """A new contact comes to its board in the transaction that makes it, or in one soon after:
    what counts is that it is put there."""
    board = trigger.match.params.get("board")
    if trigger.match.kind != "contact_created" or board is None:
        return fits(event, trigger.match)
    is_there = event.kind == "list_added" and event.payload.get("list") == board
    is_new = event.newcomer and min(event.contact_ids, default=0) > trigger.after_contact_id
    return is_there and is_new


def _entry_key(event: EventRow, trigger: Trigger, rooms: InboxRooms) -> str:
    if trigger.cv_id is None:
        return ""
    version = rooms.version(trigger.cv_id)
    number = entered_by(event, version)
    return "" if number is None else version.definition.sequences[number].key


def _has_left(
    event: EventRow, contact: int, trigger: Trigger, rooms: InboxRooms, left: Leavings
) -> bool:
    """Has the contact left the list since, and would that have ended its run?"""
    if trigger.match.kind != "list_added" or trigger.cv_id is None:
        return False
    name = trigger.match.params.get("list")
    if name is None or left.get((contact, name), 0) < event.id:
        return False
    return rooms.version(trigger.cv_id).definition.policy.on_list_leave == "remove"


def _is_inside(
    trigger: Trigger, runs: Sequence[RunRow], over: set[int], rooms: InboxRooms
) -> bool:
    """Does the contact have a live run of the campaign, which the event moves instead?"""
    return any(
        run.enrollment_id not in over
        and rooms.version(run.cv_id).campaign_key == trigger.campaign_key
        for run in runs
    )
