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
    FLAG_AMBIGUOUS,
    FLAG_HELD,
    FLAG_PUT_OFF,
    FLAG_TRIED,
    MENDABLE,
    PRESUMED,
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
    Presumed,
    Rejected,
    Retryable,
    Settled,
    Skipped,
    StepEvent,
    Stopped,
    Throttled,
    Uncertain,
    Unknown,
)
from dripd.campaigns.version import Version
from dripd.clock import FAR_FUTURE, MINUTE, SECOND, Instant, Millis
from dripd.policy.rooms import Rooms, lane_and_due
from dripd.scheduler.backoff import delay_ms, exhausted

DOUBT_MS = Millis(15 * SECOND)
"""The first wait for another attempt at a message in doubt: a key makes it harmless, and what
follows in the run waits for it."""

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
    to: str | None
    subject: str | None
    segments: int | None
    sender_id: int | None
    sent_at: Instant | None = None


NOTHING_SENT = Sent("", None, None, None, None)


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
    before *now* and never beyond `FAR_FUTURE`; a step that is given back keeps its own. What
    is once in doubt stays so until somebody knows: no later attempt makes it failed.
    """
    if leased.flags & FLAG_AMBIGUOUS and isinstance(event, Unknown | Retryable | Rejected):
        event = _still(leased, event, now)
    match event:
        case Accepted():
            row = _row(
                leased, LogState.ACCEPTED, now, sent, provider_id=event.provider_id or None
            )
            return _go_on(leased, version, row, now, rooms, refund=False)
        case Unknown():
            row = _row(leased, LogState.UNKNOWN, now, sent, reason=event.reason)
            return _go_on(leased, version, row, now, rooms, refund=False)
        case Uncertain() | Presumed() | Settled():
            return _in_doubt(leased, version, event, now, rooms, sent)
        case Done() | Skipped():
            state = LogState.DONE if isinstance(event, Done) else LogState.SKIPPED
            row = _row(leased, state, now, None, reason=event.reason or None)
            return _go_on(leased, version, row, now, rooms, refund=True)
        case Retryable():
            return _again(leased, version, event, now, rooms, sent)
        case Throttled():
            due = _later(now, event.after_ms)
            return _put_off(leased, version, due, now, rooms, attempt=leased.attempt)
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

    *to* is the step that it decided to go on to. *sent*: that step was a message. The next one
    keeps the policy's `min_gap` to it, or to the run's latest before.
    """
    following = version.definition.next_index(step_no, to)
    if following is None:
        return None
    start = leased.started_at if leased.started_at is not None else now
    lane, due = lane_and_due(
        rooms, version, following, leased.account_id, leased.timezone, now, start
    )
    left = now if sent else _latest_of(leased)
    if left is not None and version.steps[following].is_message:
        due = max(due, _later(left, version.definition.policy.min_gap_ms))
    return Next(due_at=due, lane=lane, step_no=following, seq=seq)


def _latest_of(leased: Leased) -> Instant | None:
    """When the latest message of this run left; None: of none is known."""
    own = (at for enrollment_id, _, at in leased.sent if enrollment_id == leased.enrollment_id)
    return max(own, default=None)


def _go_on(
    leased: Leased,
    version: Version,
    row: LogRow | None,
    now: Instant,
    rooms: Rooms,
    *,
    refund: bool,
) -> Change:
    """The step is behind the run. *row* None: its message had left, as the record has it."""
    told = version.steps[leased.step_no].is_notice
    sent = row is None or row.state in {LogState.ACCEPTED, LogState.UNKNOWN}
    since = now if row is not None and row.state is LogState.ACCEPTED else _left_at(leased, now)
    step = follow(
        version,
        leased.step_no,
        since,
        leased,
        rooms,
        leased.seq + 1,
        sent=sent and not told,
    )
    if step is not None:
        step.due_at = max(step.due_at, now)
    end = COMPLETED if step is None else None
    log = [] if row is None else [row]
    change = Change(leased=leased, log=log, next=step, end=end, refund=refund)
    if told and sent:
        change.effects.append(CountNotice())
    watch = version.steps[leased.step_no].track.no_reply_after_ms
    if watch is not None and sent:
        change.effects.append(_watch(leased, version, _later(now, watch)))
    return change


def _left_at(leased: Leased, now: Instant) -> Instant:
    """When a message left of which only that much is known: at its one attempt. Of several
    nobody knows which it was, and what follows is not to come too soon."""
    is_sole = leased.flags & FLAG_AMBIGUOUS and leased.attempt == 1
    return leased.kept.since or now if is_sole and leased.kept is not None else now


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
    step = Next(
        due_at=due_at,
        lane=version.lane_key(leased.step_no, leased.timezone, rooms.zones, leased.flags),
        step_no=leased.step_no,
        seq=leased.seq,
        attempt=attempt,
        flags=leased.flags & ~FLAG_HELD,
    )
    return Change(leased=leased, log=[], next=step, refund=True)


def _in_doubt(
    leased: Leased,
    version: Version,
    event: Uncertain | Presumed | Settled,
    now: Instant,
    rooms: Rooms,
    sent: Sent | None,
) -> Change:
    match event:
        case Uncertain():
            return _doubt(leased, version, event, now, rooms, sent)
        case Settled():
            return _settled(leased, version, event, now, rooms)
        case Presumed():
            row = _row(leased, LogState.UNKNOWN, now, sent, reason=PRESUMED)
            row.attempt = leased.attempt
            return _go_on(leased, version, row, now, rooms, refund=False)
        case _:
            assert_never(event)


def _doubt(
    leased: Leased,
    version: Version,
    event: Uncertain,
    now: Instant,
    rooms: Rooms,
    sent: Sent | None,
) -> Change:
    """The step waits for evidence, on record as unknown: it keeps what it took of the cap."""
    until, flags = event.due_at, leased.flags | FLAG_AMBIGUOUS
    step = Next(
        due_at=FAR_FUTURE if until is None else Instant(min(max(until, now), FAR_FUTURE)),
        lane=version.lane_key(leased.step_no, leased.timezone, rooms.zones, flags),
        step_no=leased.step_no,
        seq=leased.seq,
        attempt=leased.attempt + 1,
        flags=flags | FLAG_HELD,
        hold_reason="unknown",
        release_at=until,
    )
    row = _row(leased, LogState.UNKNOWN, now, sent, reason=event.reason)
    return Change(leased=leased, log=[row], next=step)


def _still(leased: Leased, event: Unknown | Retryable | Rejected, now: Instant) -> Uncertain:
    """Another attempt found nothing out: the next one, as long as the key lives, or none."""
    if leased.kept is None:  # taken over: what is kept is looked at when it comes up
        return Uncertain(reason=event.reason, due_at=again_at(leased, now))
    until = leased.kept.until
    if until is None or isinstance(event, Rejected):
        return Uncertain(reason=event.reason, due_at=until)
    wished = event.after_ms or 0 if isinstance(event, Retryable) else 0
    again = max(again_at(leased, now), _later(now, wished))
    return Uncertain(reason=event.reason, due_at=Instant(min(again, until)))


def _backoff(leased: Leased, attempt: int, base: Millis = MINUTE) -> int:
    key = f"{leased.enrollment_id}:{leased.run_no}:{leased.step_no}"
    return delay_ms(attempt, key, base=base)


def again_at(leased: Leased, now: Instant) -> Instant:
    """When the next attempt at a message in doubt is made, after one just now."""
    return _later(now, _backoff(leased, leased.attempt + 1, DOUBT_MS))


def _settled(
    leased: Leased, version: Version, event: Settled, now: Instant, rooms: Rooms
) -> Change:
    """What was in doubt is known: it had left; or it had not, and an operator's word lets the
    step be done anew, a provider's is a refusal."""
    if not event.reason:
        return _go_on(leased, version, None, now, rooms, refund=False)
    if event.reason != "resolved":
        change = _unable(leased, version, Rejected(reason=event.reason), now, rooms, None)
        change.log = []
        return change
    flags = leased.flags & ~(FLAG_TRIED | FLAG_HELD)
    lane = version.lane_key(leased.step_no, leased.timezone, rooms.zones, flags)
    step = Next(due_at=now, lane=lane, step_no=leased.step_no, seq=leased.seq + 1, flags=flags)
    return Change(leased=leased, log=[], next=step)


def _give_back(
    leased: Leased, version: Version, event: Deferred, now: Instant, rooms: Rooms
) -> Change:
    """What holds a whole lane leaves the due alone; what holds this contact moves it."""
    if not event.alone or event.until is None:
        return _stay(leased, version, rooms, due_at=leased.due_at, attempt=leased.attempt)
    due = Instant(min(max(event.until, now), FAR_FUTURE))
    change = _put_off(leased, version, due, now, rooms, attempt=leased.attempt)
    if change.stays and change.next is not None:
        change.next.hold_reason, change.next.release_at = event.reason, due
        change.next.flags |= FLAG_HELD
    return change


def _put_off(
    leased: Leased, version: Version, due: Instant, now: Instant, rooms: Rooms, *, attempt: int
) -> Change:
    """The same step at *due*; skipped now, where it would have expired by then. What may have
    left does not expire: it is known, or presumed, what became of it."""
    step = version.steps[leased.step_no]
    if step.expires(due - leased.came_due) and not leased.flags & FLAG_AMBIGUOUS:
        return advance(leased, version, Skipped(reason="expired"), now, rooms)
    change = _stay(leased, version, rooms, due_at=due, attempt=attempt)
    if step.may_expire and change.next is not None:
        change.next.flags |= FLAG_PUT_OFF
        change.next.due_was = leased.came_due
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
        is_mendable=reason.startswith(MENDABLE),
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
        if change.next is not None:
            change.next.flags &= ~FLAG_TRIED
        change.log = [_row(leased, LogState.FAILED, now, sent, reason=event.reason)]
        return change
    wait = max(_backoff(leased, attempt), event.after_ms or 0)
    change = _put_off(leased, version, _later(now, wait), now, rooms, attempt=attempt)
    tried = _row(leased, LogState.AGAIN, now, sent, reason=event.reason)
    change.log = [tried, *change.log]
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
    why = f"unable:{event.reason}"
    said = why if sent is None else event.reason
    row = _row(leased, LogState.FAILED, now, sent, reason=said)
    if version.steps[leased.step_no].on_unable == "exit":
        end = End(RunStatus.REMOVED, why)
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
    if sent is None:
        sent = NOTHING_SENT
    return LogRow(
        leased.seq,
        leased.step_no,
        state,
        now,
        leased.attempt + 1,
        CHANNEL_NO[sent.channel],
        sent.sent_at,
        sent.sender_id,
        sent.segments,
        sent.to,
        sent.subject,
        provider_id,
        reason,
    )
