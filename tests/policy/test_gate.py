"""The gate is asked about now; a deferral is strictly later or lasts until somebody acts."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.event import Deferred
from dripd.clock import DAY, HOUR, Instant, Millis, parse_instant
from dripd.policy.gate import CLEARED, Cleared, Gate, judge
from dripd.scheduler.calendar import Window, is_open
from tests.support.rooms import BERLIN, NOW

ZONE = ZoneInfo(BERLIN)
WORK = Window(days=frozenset(range(5)), opens=540, closes=1020)
NEVER = Window(days=frozenset(), opens=540, closes=1020)
ACTIVE = ("active", True)


def judged(
    now: Instant = NOW,
    *,
    window: Window | None = WORK,
    account: tuple[str, bool] = ACTIVE,
) -> Gate:
    return judge(now, window=window, zone=ZONE, account=account)


def test_an_open_window_clears() -> None:
    assert judged() is CLEARED
    assert judged(window=None) is CLEARED


def test_a_due_that_was_inside_the_window_still_waits_for_the_next_one() -> None:
    """An overdue step is judged now, not when it was due."""
    friday = parse_instant("2026-03-06T17:00:00+01:00")
    monday = parse_instant("2026-03-09T09:00:00+01:00")

    assert judged(friday) == Deferred(reason="window", until=monday)
    assert judged(Instant(friday - 1)) is CLEARED


def test_a_window_that_is_about_to_close_is_shut() -> None:
    closes = parse_instant("2026-03-06T17:00:00+01:00")
    monday = parse_instant("2026-03-09T09:00:00+01:00")
    margin = Millis(2_000)

    def at(before: int, window: Window | None = WORK) -> Gate:
        now = Instant(closes - before)
        return judge(now, window=window, zone=ZONE, account=ACTIVE, margin=margin)

    assert at(2_001) is CLEARED
    assert at(2_000) == Deferred(reason="window", until=monday)
    assert at(2_000, None) is CLEARED
    assert at(0) == Deferred(reason="window", until=monday)


def test_a_window_that_never_opens_waits_for_somebody_to_change_it() -> None:
    assert judged(window=NEVER) == Deferred(reason="window", until=None)


def test_the_first_reason_in_the_fixed_order_is_given() -> None:
    unpaid, paused = ("active", False), ("paused", False)

    assert judged(window=NEVER, account=unpaid) == Deferred(
        reason="no_subscription", until=None
    )
    assert judged(window=NEVER, account=paused) == Deferred(reason="account_paused", until=None)


windows = (
    st.builds(
        Window,
        days=st.frozensets(st.integers(0, 6)),
        opens=st.integers(0, 1439),
        closes=st.integers(0, 1440),
    )
    | st.none()
)


@given(
    now=st.integers(NOW, NOW + 400 * DAY).map(Instant),
    window=windows,
    account=st.tuples(st.sampled_from(["active", "paused", "closed"]), st.booleans()),
)
def test_the_gate_is_total_and_opens_when_it_says(
    now: Instant, window: Window | None, account: tuple[str, bool]
) -> None:
    gate = judged(now, window=window, account=account)

    if isinstance(gate, Cleared):
        assert is_open(window, ZONE, now)
        assert account == ACTIVE
    elif gate.until is not None:
        assert gate.until > now
        again = judged(gate.until, window=window, account=account)
        assert again is CLEARED


@pytest.mark.parametrize("hours", [8, 17, 24])
def test_another_reason_never_turns_a_no_into_a_yes(hours: int) -> None:
    now = Instant(NOW + hours * HOUR)
    worse = [{"account": ("paused", True)}, {"account": ("active", False)}]

    for signal in worse:
        assert not isinstance(judged(now, **signal), Cleared)  # type: ignore[arg-type]
