"""What follows from what befell a step: the reducer, total over `StepEvent`.

`advance` turns a leased step and an event into the one `Change` that is written: where the
run stands next, or how it ends, with the log row and whether the cap is given back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from dripd.campaigns.action import CountNotice, WatchReply
from dripd.campaigns.enrollment import (
    CHANNEL_NO,
    FLAG_HELD,
    Change,
    End,
    Leased,
    LogRow,
    LogState,
    Next,
    RunStatus,
)
from dripd.campaigns.event import (
    Accepted,
    Deferred,
    Done,
    Held,
    Rejected,
    Retryable,
    Skipped,
    StepEvent,
    Stopped,
    Throttled,
    Unknown,
)
from dripd.campaigns.version import Version
from dripd.clock import FAR_FUTURE, Instant
from dripd.policy.rooms import Rooms, due_of, step_times
from dripd.scheduler.backoff import delay_ms, exhausted

COMPLETED = End(RunStatus.COMPLETED, "completed")

STATUS: Mapping[str, RunStatus] = {
    "completed": RunStatus.COMPLETED,
    "removed": RunStatus.REMOVED,
    "terminated": RunStatus.TERMINATED,
}


@dataclass(slots=True)
class Sent:
    """What left, for the log: a message as it was rendered."""

    channel: str
    to: str
    subject: str
    segments: int | None
    sender_id: int | None
    sent_at: Instant | None = None


def advance(
    leased: Leased,
    version: Version,
    event: StepEvent,
    now: Instant,
    rooms: Rooms,
    sent: Sent | None = None,
) -> Change:
    """The change that *event* makes at *now*: exactly one of where it goes on and how it ends.

    `attempt` counts the tries of a step, `seq` the steps behind the run. A due is never
    before *now* and never beyond `FAR_FUTURE`; a step that is given back keeps its own.
    """
    match event:
        case Accepted():
            row = _row(
                leased, LogState.ACCEPTED, now, sent, provider_id=event.provider_id or None
            )
            return _go_on(leased, version, row, now, rooms, refund=False)
        case Unknown():
            row = _row(leased, LogState.UNKNOWN, now, sent, reason=event.reason)
            return _go_on(leased, version, row, now, rooms, refund=False)
        case Done():
            row = _row(leased, LogState.DONE, now, None, reason=event.reason or None)
            return _go_on(leased, version, row, now, rooms, refund=True)
        case Skipped():
            row = _row(leased, LogState.SKIPPED, now, None, reason=event.reason)
            return _go_on(leased, version, row, now, rooms, refund=True)
        case Retryable():
            return _again(leased, version, event, now, rooms, sent)
        case Throttled():
            due = _later(now, event.after_ms)
            return _stay(leased, version, rooms, due_at=due, attempt=leased.attempt)
        case Rejected():
            return _unable(leased, version, event, now, rooms, sent)
        case Deferred():
            return _give_back(leased, version, event, now, rooms)
        case Held():
            return _set_aside(leased, event, now)
        case Stopped():
            end = End(STATUS[event.status], event.reason)
            return Change(leased=leased, log=[], end=end, refund=True)
        case _:
            assert_never(event)


def follow(
    version: Version,
    step_no: int,
    now: Instant,
    leased: Leased,
    rooms: Rooms,
    seq: int,
    *,
    sent: bool = False,
    to: str | None = None,
) -> Next | None:
    """Where the run stands after the step *step_no*; None: there is no more.

    *to* is the step that it decided to go on to. *sent*: that step was a message, and one right behind it keeps the policy's `min_gap`.
    """
    following = version.definition.next_index(step_no, to)
    if following is None:
        return None
    lane, zone, window = step_times(
        rooms, version, following, leased.account_id, leased.timezone
    )
    start = leased.started_at if leased.started_at is not None else now
    due = due_of(version.steps[following].timing, now, start, zone, window)
    if sent and version.steps[following].is_message:
        due = max(due, _later(now, version.definition.policy.min_gap_ms))
    return Next(due_at=due, lane=lane, step_no=following, seq=seq)


def _go_on(
    leased: Leased, version: Version, row: LogRow, now: Instant, rooms: Rooms, *, refund: bool
) -> Change:
    told = version.steps[leased.step_no].is_notice
    sent = row.state in {LogState.ACCEPTED, LogState.UNKNOWN}
    step = follow(
        version, leased.step_no, now, leased, rooms, leased.seq + 1, sent=sent and not told
    )
    end = COMPLETED if step is None else None
    change = Change(leased=leased, log=[row], next=step, end=end, refund=refund)
    if told and sent:
        change.effects.append(CountNotice())
    watch = version.steps[leased.step_no].track.no_reply_after_ms
    if watch is not None and sent:
        change.effects.append(_watch(leased, version, _later(now, watch)))
    return change


def _watch(leased: Leased, version: Version, due_at: Instant) -> WatchReply:
    """Who is told if no reply comes: a person of the contact, else the campaign's owner."""
    field = version.definition.notify.field
    person = leased.attrs.get(field) if field else None
    return WatchReply(
        seq=leased.seq,
        step_key=version.steps[leased.step_no].key,
        due_at=due_at,
        recipient=str(person or version.owner),
    )


def _stay(
    leased: Leased, version: Version, rooms: Rooms, *, due_at: Instant, attempt: int
) -> Change:
    """The same step again, lease and cap given back."""
    lane, _, _ = step_times(
        rooms, version, leased.step_no, leased.account_id, leased.timezone, leased.flags
    )
    step = Next(
        due_at=due_at,
        lane=lane,
        step_no=leased.step_no,
        seq=leased.seq,
        attempt=attempt,
        flags=leased.flags & ~FLAG_HELD,
    )
    return Change(leased=leased, log=[], next=step, refund=True)


def _give_back(
    leased: Leased, version: Version, event: Deferred, now: Instant, rooms: Rooms
) -> Change:
    """What holds a whole lane leaves the due alone; what holds this contact moves it."""
    if not event.alone or event.until is None:
        return _stay(leased, version, rooms, due_at=leased.due_at, attempt=leased.attempt)
    due = Instant(min(max(event.until, now), FAR_FUTURE))
    change = _stay(leased, version, rooms, due_at=due, attempt=leased.attempt)
    if change.next is not None:
        change.next.hold_reason, change.next.release_at = event.reason, due
        change.next.flags |= FLAG_HELD
    return change


def _hold(leased: Leased, reason: str, *, attempt: int = 0, seq: int | None = None) -> Change:
    """The same step, out of every lane until somebody puts right what *reason* says."""
    step = Next(
        due_at=leased.due_at,
        lane=None,
        step_no=leased.step_no,
        seq=leased.seq if seq is None else seq,
        attempt=attempt,
        flags=leased.flags & ~FLAG_HELD,
        hold_reason=reason,
    )
    return Change(leased=leased, log=[], next=step, refund=True)


def _set_aside(leased: Leased, event: Held, now: Instant) -> Change:
    """Held; where the step was tried and failed, its failure is on record."""
    if not event.failed:
        return _hold(leased, event.reason, attempt=leased.attempt)
    change = _hold(leased, event.reason, attempt=leased.attempt, seq=leased.seq + 1)
    change.log = [_row(leased, LogState.FAILED, now, None, reason=event.failed)]
    return change


def _again(
    leased: Leased,
    version: Version,
    event: Retryable,
    now: Instant,
    rooms: Rooms,
    sent: Sent | None,
) -> Change:
    """Another try after a growing wait; after the last one the step is held `step_failed`.

    That delivery has failed for good: who releases the step begins a new one, with its own seq.
    """
    attempt = leased.attempt + 1
    if exhausted(attempt):
        change = _hold(leased, "step_failed", seq=leased.seq + 1)
        change.log = [_row(leased, LogState.FAILED, now, sent, reason=event.reason)]
        return change
    key = f"{leased.enrollment_id}:{leased.run_no}:{leased.step_no}"
    wait = max(delay_ms(attempt, key), event.after_ms or 0)
    change = _stay(leased, version, rooms, due_at=_later(now, wait), attempt=attempt)
    change.log = [_row(leased, LogState.AGAIN, now, sent, reason=event.reason)]
    return change


def _unable(
    leased: Leased,
    version: Version,
    event: Rejected,
    now: Instant,
    rooms: Rooms,
    sent: Sent | None,
) -> Change:
    """Refused for good: the run goes on or ends, as `on_unable` says."""
    row = _row(leased, LogState.FAILED, now, sent, reason=event.reason)
    if version.steps[leased.step_no].on_unable == "exit":
        end = End(RunStatus.REMOVED, f"unable:{event.reason}")
        return Change(leased=leased, log=[row], end=end, refund=True)
    return _go_on(leased, version, row, now, rooms, refund=True)


def _later(now: Instant, wait_ms: int) -> Instant:
    return Instant(min(now + wait_ms, FAR_FUTURE))


def _row(
    leased: Leased,
    state: LogState,
    now: Instant,
    sent: Sent | None,
    *,
    provider_id: str | None = None,
    reason: str | None = None,
) -> LogRow:
    row = LogRow(
        seq=leased.seq,
        step_no=leased.step_no,
        state=state,
        at=now,
        attempt=leased.attempt + 1,
        provider_id=provider_id,
        reason=reason,
    )
    if sent is not None:
        row.channel = CHANNEL_NO[sent.channel]
        row.sent_at = sent.sent_at
        row.sender_id = sent.sender_id
        row.segments = sent.segments
        row.to_address = sent.to
        row.subject = sent.subject
    return row
