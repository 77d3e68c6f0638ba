"""Whatever befalls a step, exactly one change follows, and nothing is lost or done twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.enrollment import (
    CHANNEL_NO,
    FLAG_AMBIGUOUS,
    FLAG_APPROVED,
    FLAG_HELD,
    FLAG_KEPT,
    FLAG_PUT_OFF,
    PRESUMED,
    Asked,
    Change,
    End,
    Kept,
    LaneClass,
    Leased,
    LogState,
    Needs,
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
from dripd.campaigns.lifecycle import TRANSITIONS, Status, status_of
from dripd.campaigns.version import Version
from dripd.clock import (
    DAY,
    FAR_FUTURE,
    HOUR,
    MINUTE,
    Instant,
    Millis,
    format_instant,
    parse_instant,
)
from dripd.policy.advance import Sent, advance
from tests.support.rooms import NOW, World, email, leased, make_version, sms, tag

SENT = Sent("email", "ann@example.test", "Hi Ann", None, 5, NOW)


def step(event: StepEvent, version: Version | None = None, **keys: Any) -> Change:
    version = version or make_version(email(), email(delay="3d"))
    sent = keys.pop("sent", SENT)
    now = keys.pop("now", NOW)
    return advance(leased(**keys), version, event, now, World(), sent)


def after(change: Change) -> Next:
    assert change.next is not None
    return change.next


def test_an_accepted_message_is_logged_and_the_next_delay_counts_from_its_acceptance() -> None:
    change = step(Accepted(provider_id="p1"), now=Instant(NOW + 5_000))

    (row,) = change.log
    assert (row.state, row.channel, row.to_address) == (1, CHANNEL_NO["email"], SENT.to)
    assert (row.provider_id, row.sender_id, row.seq, row.attempt) == ("p1", 5, 1, 1)
    assert not change.refund
    assert after(change).due_at == NOW + 5_000 + 3 * DAY
    assert (after(change).step_no, after(change).seq, after(change).attempt) == (1, 2, 0)
    lane = after(change).lane
    assert lane is not None
    assert lane.kind == LaneClass.FOLLOW_UP


def test_the_last_step_completes_the_run() -> None:
    change = step(Accepted(), step_no=1, seq=2)

    assert change.next is None
    assert change.end == End(RunStatus.COMPLETED, "completed")


def test_an_unknown_outcome_keeps_the_cap_and_the_run_goes_on() -> None:
    change = step(Unknown(reason="deadline"))

    assert [row.state for row in change.log] == [LogState.UNKNOWN]
    assert not change.refund
    assert after(change).step_no == 1


def test_a_message_in_doubt_waits_and_keeps_the_cap() -> None:
    change = step(Uncertain(reason="timeout", due_at=Instant(NOW + HOUR)))

    assert [(row.state, row.reason) for row in change.log] == [(LogState.UNKNOWN, "timeout")]
    assert not change.refund
    assert (after(change).step_no, after(change).seq, after(change).attempt) == (0, 1, 1)
    assert (after(change).due_at, after(change).release_at) == (NOW + HOUR, NOW + HOUR)
    assert (after(change).flags, after(change).hold_reason) == (
        FLAG_AMBIGUOUS | FLAG_HELD,
        "unknown",
    )
    lane = after(change).lane
    assert lane is not None
    assert (lane.kind, lane.channel, lane.calendar) == (LaneClass.IN_DOUBT, "email", "")


def test_a_message_in_doubt_that_somebody_must_judge_is_never_due_by_itself() -> None:
    change = step(Uncertain(reason="timeout", due_at=None))

    assert (after(change).due_at, after(change).release_at) == (FAR_FUTURE, None)


DOUBTFUL = {"flags": FLAG_AMBIGUOUS, "attempt": 1, "counted": False}


def kept(**keys: Any) -> Kept:
    return Kept(**{"since": Instant(NOW - MINUTE), "until": Instant(NOW + HOUR), **keys})


@pytest.mark.parametrize(
    "event",
    [Unknown(reason="lost"), Retryable(reason="connect"), Rejected(reason="http_400")],
)
@pytest.mark.parametrize("attempt", [1, 7, 30])
def test_no_later_attempt_makes_what_is_in_doubt_failed(event: StepEvent, attempt: int) -> None:
    change = step(event, **{**DOUBTFUL, "attempt": attempt}, kept=kept())

    assert [row.state for row in change.log] == [LogState.UNKNOWN]
    assert (after(change).seq, after(change).hold_reason) == (1, "unknown")
    assert NOW < after(change).due_at <= NOW + HOUR
    assert not change.refund


def test_what_is_refused_for_good_is_not_asked_again() -> None:
    change = step(Rejected(reason="http_400"), **DOUBTFUL, kept=kept())

    assert after(change).due_at == NOW + HOUR


def test_what_is_presumed_sent_counts_from_its_one_attempt() -> None:
    change = step(Presumed(), **DOUBTFUL, kept=kept())

    assert [(row.state, row.reason) for row in change.log] == [(LogState.UNKNOWN, PRESUMED)]
    assert after(change).due_at == NOW - MINUTE + 3 * DAY
    assert (after(change).flags, after(change).seq) == (0, 2)
    twice = step(Presumed(), **{**DOUBTFUL, "attempt": 2}, kept=kept())
    assert after(twice).due_at == NOW + 3 * DAY


def test_what_turns_out_to_have_left_goes_on_without_another_row() -> None:
    change = step(Settled(), **DOUBTFUL, kept=kept())

    assert (change.log, after(change).step_no, change.refund) == ([], 1, False)


def test_what_an_operator_says_had_not_left_is_done_anew() -> None:
    change = step(Settled(reason="resolved"), **DOUBTFUL, kept=kept())

    assert change.log == []
    assert (after(change).step_no, after(change).seq, after(change).attempt) == (0, 2, 0)
    assert (after(change).due_at, after(change).flags) == (NOW, 0)
    lane = after(change).lane
    assert lane is not None
    assert lane.kind == LaneClass.FIRST


def test_what_a_provider_says_had_not_left_was_refused() -> None:
    change = step(Settled(reason="undelivered"), **DOUBTFUL, kept=kept())

    assert change.log == []
    assert change.end == End(RunStatus.REMOVED, "unable:undelivered")


def test_a_retry_waits_longer_each_time_and_gives_the_cap_back() -> None:
    waits = []
    for attempt in range(7):
        change = step(Retryable(reason="timeout"), attempt=attempt)
        assert change.refund
        assert after(change).attempt == attempt + 1
        assert (after(change).step_no, after(change).seq) == (0, 1)
        assert [row.state for row in change.log] == [LogState.AGAIN]
        waits.append(after(change).due_at - NOW)

    assert waits == sorted(waits)
    assert 48_000 <= waits[0] <= 72_000


def test_a_provider_may_ask_for_more_patience_than_the_backoff() -> None:
    change = step(Retryable(reason="busy", after_ms=HOUR))

    assert after(change).due_at == NOW + HOUR


def test_the_eighth_failure_holds_the_step_and_its_delivery_has_failed() -> None:
    change = step(Retryable(reason="timeout"), attempt=7)

    assert [(row.state, row.reason) for row in change.log] == [(LogState.FAILED, "timeout")]
    assert (after(change).lane, after(change).hold_reason) == (None, "step_failed")
    assert not after(change).is_mendable
    assert (after(change).step_no, after(change).attempt) == (0, 0)
    assert after(change).seq == 2  # who releases it begins another delivery
    assert change.refund


def test_being_too_fast_counts_no_attempt() -> None:
    change = step(Throttled(after_ms=MINUTE), attempt=2)

    assert (after(change).attempt, after(change).due_at) == (2, NOW + MINUTE)
    assert change.refund
    assert change.log == []


@pytest.mark.feature("F13")
def test_a_refusal_for_good_is_skipped_or_ends_the_run_as_the_step_says() -> None:
    skip = make_version(sms(on_unable="skip"), sms(delay="1d"))
    leave = make_version(sms(on_unable="exit"), sms(delay="1d"))

    on, out = (step(Rejected(reason="blocked"), version) for version in (skip, leave))

    assert after(on).step_no == 1
    assert out.end == End(RunStatus.REMOVED, "unable:blocked")
    for change in (on, out):
        assert [(r.state, r.reason) for r in change.log] == [(LogState.FAILED, "blocked")]
        assert change.refund


def test_what_holds_a_lane_gives_the_step_back_as_it_was() -> None:
    late = Instant(NOW + 2 * HOUR)
    change = step(Deferred(reason="window", until=None), now=late, attempt=3, flags=1)

    assert after(change).due_at == NOW
    assert (after(change).attempt, after(change).flags, after(change).seq) == (3, 1, 1)
    assert change.refund
    assert change.log == []


def test_what_holds_one_contact_moves_its_due() -> None:
    until = Instant(NOW + DAY)

    held = after(step(Deferred(reason="frequency", until=until, alone=True)))

    assert (held.due_at, held.hold_reason, held.release_at) == (until, "frequency", until)
    assert held.lane is not None
    assert held.flags & FLAG_HELD


@pytest.mark.parametrize(
    "limit", [{"expires_after": "1d"}, {"max_lateness": {"after": "1d", "then": "skip"}}]
)
def test_a_second_hold_does_not_begin_the_time_anew(limit: dict[str, Any]) -> None:
    version = make_version(email(**limit), email())
    first = after(
        step(Deferred(reason="frequency", until=Instant(NOW + DAY), alone=True), version)
    )
    assert (first.due_was, first.flags & FLAG_PUT_OFF) == (NOW, FLAG_PUT_OFF)

    late = Deferred(reason="rate", until=Instant(NOW + DAY + 1), alone=True)
    facts = {"due_at": first.due_at, "due_was": first.due_was, "flags": first.flags}
    change = step(late, version, now=first.due_at, **facts)
    assert [row.reason for row in change.log] == ["expired"]


@pytest.mark.parametrize(
    "limit", [{"expires_after": "1d"}, {"max_lateness": {"after": "1d", "then": "skip"}}]
)
def test_what_would_be_too_late_by_then_is_not_held(limit: dict[str, Any]) -> None:
    version = make_version(email(**limit), email())
    until = Instant(NOW + DAY)
    held = Deferred(reason="frequency", until=until, alone=True)
    assert after(step(held, version)).due_at == until

    change = step(Deferred(reason="frequency", until=Instant(until + 1), alone=True), version)
    assert [(row.state, row.reason) for row in change.log] == [(LogState.SKIPPED, "expired")]
    assert (after(change).step_no, change.refund) == (1, True)
    doubtful = step(
        Deferred(reason="unknown", until=Instant(until + 1), alone=True), version,
        flags=FLAG_AMBIGUOUS,
    )  # fmt: skip
    assert after(doubtful).step_no == 0


@pytest.mark.parametrize("busy", [
    Retryable(reason="busy", after_ms=Millis(DAY)), Throttled(after_ms=Millis(DAY))
])  # fmt: skip
def test_another_try_does_not_begin_the_time_anew(busy: Retryable | Throttled) -> None:
    version = make_version(email(expires_after="1d"), email())
    tried = [LogState.AGAIN] if isinstance(busy, Retryable) else []
    first = step(busy, version)
    again = after(first)
    assert ([row.state for row in first.log], again.step_no) == (tried, 0)
    assert (again.due_at, again.due_was, again.hold_reason) == (NOW + DAY, NOW, None)
    assert again.flags & FLAG_PUT_OFF

    facts = {"due_at": again.due_at, "due_was": again.due_was, "flags": again.flags | FLAG_KEPT}
    second = step(busy, version, now=again.due_at, **facts)
    assert [(row.state, row.seq) for row in second.log] == [
        *((state, 1) for state in tried), (LogState.SKIPPED, 1)
    ]  # fmt: skip
    assert (second.log[-1].reason, after(second).step_no, second.refund) == ("expired", 1, True)
    facts["flags"] |= FLAG_AMBIGUOUS
    doubtful = step(busy, version, now=again.due_at, kept=kept(), **facts)
    assert after(doubtful).step_no == 0

    plain = after(step(busy))
    assert (plain.flags & FLAG_PUT_OFF, plain.due_was) == (0, None)


def test_an_approval_does_not_begin_the_time_anew() -> None:
    version = make_version(email(expires_after="1d", require_approval=True), email())
    held = Deferred(reason="frequency", until=Instant(NOW + DAY), alone=True)
    asked = Asked(state="done", payload={}, created_at=Instant(NOW - HOUR))
    assert after(step(held, version, asked=asked)).step_no == 0
    late = step(held, version, asked=asked, flags=FLAG_APPROVED)
    assert [row.reason for row in late.log] == ["expired"]


def test_a_hold_leaves_every_lane_and_keeps_the_due() -> None:
    change = step(Held(reason="no_address"), now=Instant(NOW + HOUR), attempt=1)

    assert (after(change).lane, after(change).hold_reason) == (None, "no_address")
    assert (after(change).due_at, after(change).seq, after(change).attempt) == (NOW, 1, 1)
    assert after(change).is_mendable
    assert change.refund


def test_a_skipped_message_gives_the_cap_back_and_goes_on() -> None:
    change = step(Skipped(reason="condition_false"), sent=None)

    assert [(r.state, r.reason) for r in change.log] == [(LogState.SKIPPED, "condition_false")]
    assert change.refund
    assert after(change).due_at == NOW + 3 * DAY


def test_a_stopped_step_ends_the_run_with_its_word() -> None:
    change = step(Stopped(status="removed", reason="suppressed"), sent=None)

    assert change.end == End(RunStatus.REMOVED, "suppressed")
    assert change.refund


def test_overdue_messages_keep_the_gap_that_the_policy_wants() -> None:
    start = Instant(NOW - 10 * DAY)
    policy = {"anchor": "after_start", "min_gap": "24h"}
    version = make_version(email(), email(day=3), policy=policy)

    sent = step(Accepted(), version, started_at=start)
    skipped = step(Skipped(reason="expired"), version, started_at=start)

    assert after(sent).due_at == NOW + DAY
    assert after(skipped).due_at == NOW


@pytest.mark.parametrize("between", [tag(day=3), email(day=3, when="false")])
def test_the_gap_lasts_through_what_is_no_message(between: dict[str, Any]) -> None:
    policy = {"anchor": "after_start", "min_gap": "24h"}
    version = make_version(email(), between, sms(day=3), policy=policy)
    left, elsewhere = Instant(NOW - HOUR), Instant(NOW - 1)
    facts = leased(
        step_no=1,
        started_at=Instant(NOW - 10 * DAY),
        sent=((leased().enrollment_id, 1, left), (99, 1, elsewhere)),
    )

    for event in (Done(), Skipped(reason="condition_false")):
        assert after(advance(facts, version, event, NOW, World())).due_at == left + DAY
    assert all(version.mask(channel) & Needs.SENT for channel in _channels(version))
    plain = make_version(email(), between, sms(day=3))
    assert not any(plain.mask(channel) & Needs.SENT for channel in _channels(plain))


def _channels(version: Version) -> set[str]:
    """The lanes of the steps that have a message behind them."""
    return {one.kind if one.is_message else "" for one in version.steps[1:-1]}


def test_a_calendar_without_business_days_never_raises() -> None:
    days = [f"{year}-{month:02}-{day:02}" for year in range(2026, 2031)
            for month in range(1, 13) for day in range(1, 29)]  # fmt: skip
    days += [f"{y}-{m:02}-{d}" for y in range(2026, 2031) for m in range(1, 13)
             for d in (29, 30, 31) if not (m == 2 and (d > 29 or y % 4)) and
             not (d == 31 and m in {4, 6, 9, 11})]  # fmt: skip
    version = make_version(email(), email(delay="1bd"), window={"holidays": days})

    assert after(step(Accepted(), version)).due_at == FAR_FUTURE


def test_the_due_of_a_window_open_day_asks_the_window_of_that_step() -> None:
    window = {"days": ["wed"], "from": "09:00", "to": "17:00"}
    version = make_version(
        email(), email(day=1, day_at="window_open"), timezone="Europe/Berlin", window=window
    )

    change = step(Accepted(), version, started_at=NOW)

    assert after(change).due_at == NOW + 2 * DAY - 2 * HOUR  # Wednesday 09:00 in Berlin


@pytest.mark.parametrize("keys", [{"day": 1, "day_at": "window_open"}, {"delay": "1bd"}])
def test_the_days_of_a_task_count_by_the_hours_of_its_campaign(keys: dict[str, Any]) -> None:
    """It is held to no window, but no holiday is a business day to it, and mornings begin there."""
    window = {"from": "09:00", "to": "17:00", "holidays": ["2026-03-03"]}
    version = make_version(
        email(), {"do": "task", "title": "Call", **keys}, timezone="UTC", window=window
    )
    free = make_version(email(), {"do": "task", **keys, "window": "off"}, window=window)
    start = parse_instant("2026-03-02T10:00:00Z")

    due = after(step(Accepted(), version, now=start, started_at=start)).due_at
    at_once = after(step(Accepted(), free, now=start, started_at=start)).due_at

    hour = "09" if "day" in keys else "10"
    assert format_instant(due) == f"2026-03-04T{hour}:00:00Z"
    assert at_once < parse_instant("2026-03-04T00:00:00Z")


events = st.one_of(
    st.builds(Accepted),
    st.builds(Unknown, reason=st.just("r")),
    st.builds(Done),
    st.builds(Skipped, reason=st.just("r")),
    st.builds(Rejected, reason=st.just("r")),
    st.builds(
        Retryable, reason=st.just("r"), after_ms=st.none() | st.integers(0, 10 * FAR_FUTURE)
    ),
    st.builds(Throttled, after_ms=st.integers(0, 10 * FAR_FUTURE)),
    st.builds(
        Deferred,
        reason=st.sampled_from(["window", "rate", "frequency"]),
        until=st.none() | st.integers(0, 2 * FAR_FUTURE),
        alone=st.booleans(),
    ),
    st.builds(Held, reason=st.just("no_sender")),
    st.builds(
        Stopped,
        status=st.sampled_from(["completed", "removed", "terminated"]),
        reason=st.just("r"),
    ),
)
versions = st.sampled_from(
    [
        make_version(email(), tag(delay="2d"), sms(on_unable="exit"), email(delay="3bd")),
        make_version(
            email(),
            sms(day=2, day_at="09:00"),
            email(day=4),
            policy={"anchor": "after_start", "day_base": 1, "min_gap": "24h"},
            timezone="contact",
        ),
        make_version(sms(), tag(send_at="02:30"), email(delay="1d", send_at="02:30")),
    ]
)


@given(version=versions, event=events, data=st.data())
def test_advance_is_total_and_keeps_what_it_promises(
    version: Version, event: StepEvent, data: st.DataObject
) -> None:
    now = Instant(data.draw(st.integers(NOW, NOW + 400 * DAY)))
    row = _row(data, version, now)

    change = advance(row, version, event, now, World(), SENT)

    status = status_of(change)
    assert status in TRANSITIONS[Status.EXECUTING, type(event)]
    assert len(change.log) <= 1
    assert all(entry.seq == row.seq for entry in change.log)
    if change.next is not None:
        _is_sound(change.next, row, event, now)


def _row(data: st.DataObject, version: Version, now: Instant) -> Leased:
    return leased(
        due_at=Instant(now - data.draw(st.integers(0, 10 * DAY))),
        started_at=Instant(NOW - DAY),
        step_no=data.draw(st.integers(0, len(version.steps) - 1)),
        seq=data.draw(st.integers(1, 9)),
        attempt=data.draw(st.integers(0, 9)),
        timezone=data.draw(st.sampled_from([None, "America/New_York", "Mars/Olympus"])),
    )


def _is_sound(place: Next, row: Leased, event: StepEvent, now: Instant) -> None:
    """The cursor never falls, the due is in the future or where it was."""
    assert (place.step_no, place.seq) >= (row.step_no, row.seq)
    assert place.step_no == row.step_no or place.seq == row.seq + 1
    given_back = isinstance(event, Held | Deferred) or place.hold_reason == "step_failed"
    assert place.due_at <= FAR_FUTURE
    assert place.due_at >= now or (given_back and place.due_at == row.due_at)
    waits_in_its_lane = bool(place.flags & FLAG_HELD)
    assert (place.lane is None) == (place.hold_reason is not None and not waits_in_its_lane)


@given(version=versions, kinds=st.lists(events, max_size=30))
def test_folding_the_events_rebuilds_the_run(version: Version, kinds: list[StepEvent]) -> None:
    """Every final log row of a run has a seq of its own, one after the other."""
    row, now, final = leased(started_at=NOW), NOW, list[int]()
    for event in kinds:
        change = advance(row, version, event, now, World(), SENT)
        final += [entry.seq for entry in change.log if entry.state is not LogState.AGAIN]
        if change.next is None:
            break
        place = change.next
        now = max(now, min(place.due_at, Instant(now + 400 * DAY)))
        row = leased(
            started_at=NOW,
            step_no=place.step_no,
            seq=place.seq,
            attempt=place.attempt,
            due_at=place.due_at,
        )

    assert final == list(range(1, len(final) + 1))
