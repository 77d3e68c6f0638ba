"""A breaker opens on evidence, lets one probe pass, and believes its answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import Instant
from dripd.ratelimit.breaker import FIRST_MS, LEAST, MOST_MS, PROBE_MS, SPAN_MS, Breaker

T0 = Instant(1_767_225_600_000)


def opened() -> Breaker:
    breaker = Breaker()
    breaker.record(0, LEAST, T0)
    return breaker


def test_few_failures_prove_nothing() -> None:
    breaker = Breaker()
    breaker.record(0, LEAST - 1, T0)

    assert breaker.wait_until(T0) is None


def test_half_of_twenty_opens_it() -> None:
    breaker = Breaker()
    breaker.record(LEAST // 2, 0, T0)
    breaker.record(0, LEAST // 2, Instant(T0 + 1))

    assert breaker.wait_until(Instant(T0 + 1)) == T0 + 1 + FIRST_MS


def test_failures_are_few_beside_what_is_still_in_hand() -> None:
    """A provider that takes 500 at a time and refuses 30 of them is well."""
    breaker = Breaker()
    for _ in range(30):
        breaker.record(0, 1, T0, in_hand=500)
    breaker.record(470, 0, T0)
    breaker.record(0, 0, T0)
    assert not breaker.is_open
    assert not breaker.is_sound(T0)
    assert breaker.is_sound(Instant(T0 + SPAN_MS))


def test_half_of_what_is_in_hand_opens_it_before_the_call_ends() -> None:
    breaker = Breaker()
    for _ in range(250):
        assert not breaker.is_open
        breaker.record(0, 1, T0, in_hand=500)

    assert breaker.is_open


def test_what_failed_is_judged_again_when_a_call_ends() -> None:
    breaker = Breaker()
    for _ in range(LEAST):
        breaker.record(0, 1, T0, in_hand=500)
    breaker.record(0, 0, T0)

    assert breaker.is_open


def test_failures_of_another_span_are_forgotten() -> None:
    breaker = Breaker()
    breaker.record(0, LEAST - 1, T0)
    breaker.record(0, LEAST - 1, Instant(T0 + SPAN_MS))

    assert not breaker.is_open


def test_one_probe_goes_when_its_time_has_come() -> None:
    breaker = opened()
    then = Instant(T0 + FIRST_MS)

    assert breaker.wait_until(Instant(then - 1)) == then
    assert breaker.next_at(then) is None
    assert breaker.wait_until(then) is None
    assert breaker.wait_until(then) == then + PROBE_MS
    assert breaker.next_at(then) == then + PROBE_MS


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker = opened()
    then = Instant(T0 + FIRST_MS)
    breaker.wait_until(then)
    breaker.record(1, 0, then)

    assert not breaker.is_open


def test_a_probe_that_fails_opens_it_for_twice_as_long() -> None:
    breaker = opened()
    then = Instant(T0 + FIRST_MS)
    breaker.wait_until(then)
    breaker.record(0, 1, then)

    assert breaker.wait_until(then) == then + 2 * FIRST_MS


def test_one_that_is_hastened_lets_a_probe_pass_at_once() -> None:
    breaker = opened()
    breaker.hasten()
    assert breaker.next_at(T0) is None
    assert breaker.wait_until(T0) is None
    breaker.hasten()
    assert breaker.wait_until(T0) is None
    breaker.record(0, 1, T0)
    assert breaker.wait_until(T0) == T0 + 2 * FIRST_MS
    closed = Breaker()
    closed.hasten()

    assert not closed.is_open


def test_late_answers_to_what_went_before_change_nothing() -> None:
    breaker = opened()
    breaker.record(500, 0, Instant(T0 + 1))

    assert breaker.is_open


def test_a_fault_of_the_account_opens_it_at_once() -> None:
    breaker = Breaker()
    breaker.trip(T0)

    assert breaker.wait_until(T0) == T0 + FIRST_MS


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 10**6))))
def test_it_never_closes_for_good(calls: list[tuple[int, int, int]]) -> None:
    """Whatever happened, within its longest time and a probe's somebody may pass."""
    breaker, now = Breaker(), T0
    for n_ok, n_failed, later in calls:
        now = Instant(now + later)
        breaker.wait_until(now)
        breaker.record(n_ok, n_failed, now)
    until = breaker.wait_until(now)

    assert until is None or now < until <= now + MOST_MS + PROBE_MS
    assert until is None or breaker.wait_until(until) is None


def test_its_openings_are_remembered_and_vain_probes_are_none() -> None:
    breaker = opened()
    at = Instant(T0 + FIRST_MS)
    assert breaker.wait_until(at) is None
    breaker.record(0, 1, at)
    assert list(breaker.trips) == [T0]
    again = Instant(at + 2 * FIRST_MS)
    assert breaker.wait_until(again) is None
    breaker.record(1, 0, again)
    breaker.trip(Instant(again + 1))

    assert list(breaker.trips) == [T0, again + 1]
