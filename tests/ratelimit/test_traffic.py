"""What left through senders lately, counted by several daemons, adds up."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import HOUR, MINUTE, SECOND, Instant
from dripd.ratelimit.traffic import (
    FRESH_MS,
    PART_MS,
    SLOT_MS,
    SLOTS,
    Place,
    Refusal,
    Told,
    Traffic,
    total,
)

T0 = Instant(1_767_225_600_000)
ANN: Place = (1, 7)
BOB: Place = (1, 8)


def refused(n: int, reason: str, *, place: Place = ANN, late: bool = False) -> list[Refusal]:
    return [Refusal(place, reason, late)] * n


def shown(traffic: Traffic, now: Instant, place: Place = ANN) -> dict[str, Any]:
    return dict(traffic.lately(HOUR, now))[place]


def added(traffic: Traffic, now: Instant, *, age_ms: int = 0) -> dict[str, Any]:
    return total([Told(shown(traffic, now), age_ms)], now)


def test_a_rate_is_the_mean_of_ten_seconds() -> None:
    traffic = Traffic()
    for second in range(20):
        traffic.note([ANN] * 30, [], 0.1, Instant(T0 + second * SECOND))

    assert added(traffic, Instant(T0 + 20 * SECOND))["sent_per_s"] == 30
    assert added(traffic, Instant(T0 + 25 * SECOND))["sent_per_s"] == 15
    assert added(traffic, Instant(T0 + 30 * SECOND))["sent_per_s"] == 0


def test_what_was_not_accepted_is_no_part_of_the_rate() -> None:
    traffic = Traffic()
    traffic.note([ANN] * 10, refused(30, "http_503"), 0.1, T0)

    assert added(traffic, Instant(T0 + 1))["sent_per_s"] == 1


def test_failures_are_told_from_what_is_to_come_later() -> None:
    traffic = Traffic()
    refusals = [*refused(2, "throttled", late=True), *refused(3, "smtp_550")]
    traffic.note([ANN] * 5, refusals, 0.1, T0)
    found = added(traffic, T0)

    assert (found["tried_1h"], found["failed_1h"]) == (10, 3)
    assert found["last_error"] == {"reason": "smtp_550", "at": "2026-01-01T00:00:00Z"}


def test_senders_are_counted_apart_though_they_went_in_one_call() -> None:
    traffic = Traffic()
    traffic.note([ANN] * 5, refused(3, "http_503", place=BOB), 0.1, T0)

    assert shown(traffic, T0)["hour"] == [[T0 // SLOT_MS, 5, 0]]
    assert shown(traffic, T0, BOB)["hour"] == [[T0 // SLOT_MS, 3, 3]]


def test_an_hour_is_forgotten_slot_by_slot() -> None:
    traffic = Traffic()
    traffic.note([], refused(7, "http_503"), 0.1, T0)
    traffic.note([ANN] * 3, [], 0.1, Instant(T0 + 50 * MINUTE))

    assert added(traffic, Instant(T0 + HOUR - 1))["tried_1h"] == 10
    assert added(traffic, Instant(T0 + HOUR))["tried_1h"] == 3


def test_the_time_of_calls_is_that_of_the_last_two_slots() -> None:
    traffic = Traffic()
    traffic.note([ANN], [], 20.0, T0)
    later = Instant(T0 + 2 * SLOT_MS)
    for _ in range(95):
        traffic.note([ANN], [], 0.040, later)
    for _ in range(5):
        traffic.note([ANN], [], 9.0, Instant(later + SLOT_MS))

    assert added(traffic, Instant(later + SLOT_MS))["p95_ms"] == 50
    assert added(traffic, Instant(later + 2 * SLOT_MS))["p95_ms"] > 7_000
    assert added(traffic, Instant(later + 3 * SLOT_MS))["p95_ms"] is None


def test_who_was_quiet_for_an_hour_is_forgotten() -> None:
    traffic = Traffic()
    traffic.note([ANN], [], 0.1, T0)
    traffic.note([BOB], [], 0.1, Instant(T0 + MINUTE))

    assert [place for place, _ in traffic.lately(30_000, Instant(T0 + MINUTE))] == [BOB]
    assert [place for place, _ in traffic.lately(HOUR, Instant(T0 + HOUR))] == [BOB]
    assert traffic.lately(2 * HOUR, Instant(T0 + 1)) != []


def test_a_daemon_that_tells_nothing_more_sends_nothing_more_but_had() -> None:
    traffic = Traffic()
    traffic.note([ANN] * 10, refused(10, "http_503"), 0.1, T0)
    found = added(traffic, T0, age_ms=FRESH_MS)

    assert (found["sent_per_s"], found["tried_1h"], found["failed_1h"]) == (0, 20, 10)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 2 * HOUR),
            st.integers(1, 5),
            st.sampled_from(["", "smtp_550"]),
        )
    ),
)
def test_what_several_daemons_count_is_what_one_would_have(
    calls: list[tuple[int, int, int, str]],
) -> None:
    alone, others = Traffic(), [Traffic() for _ in range(4)]
    for daemon, ms, n, reason in sorted(calls, key=lambda one: one[1]):
        for traffic in (alone, others[daemon]):
            passed = [] if reason else [ANN] * n
            traffic.note(passed, refused(0 if passed else n, reason), 0.1, Instant(T0 + ms))
    now = Instant(T0 + 2 * HOUR)

    def counted(*given: Traffic) -> tuple[object, object]:
        told = [Told(figures, 0) for one in given for _, figures in one.lately(9 * HOUR, now)]
        found = total(told, now)
        return found["tried_1h"], found["failed_1h"]

    assert counted(*others) == counted(alone)
    first = now // SLOT_MS - SLOTS
    by_reason: Counter[str] = Counter()
    for _, ms, n, reason in calls:
        if (T0 + ms) // SLOT_MS > first:
            by_reason[reason] += n
    assert counted(alone) == (by_reason.total(), by_reason["smtp_550"])


@pytest.mark.parametrize("n", [1, 3])
def test_nothing_tried_is_no_share_and_no_rate(n: int) -> None:
    assert total([], Instant(T0 + n * PART_MS)) == {
        "sent_per_s": 0, "tried_1h": 0, "failed_1h": 0, "p95_ms": None, "last_error": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("n_ok", "n_failed", "is_told"),
    [(18, 1, False), (19, 1, True), (20, 1, False), (0, 19, False), (0, 20, True)],
)
def test_much_fails_from_a_twentieth_of_twenty_attempts_on(
    n_ok: int, n_failed: int, *, is_told: bool
) -> None:
    traffic = Traffic()
    traffic.note([ANN] * n_ok, refused(n_failed, "smtp_550"), 0.1, T0)
    told = [(ANN, n_ok + n_failed, n_failed)] if is_told else []

    assert [tuple(one) for one in traffic.failing(T0)] == told
    assert traffic.failing(Instant(T0 + HOUR)) == []


def test_the_worst_comes_first_and_who_is_told_to_come_later_fails_not() -> None:
    traffic = Traffic()
    eve = (2, 1)
    traffic.note([ANN] * 20, refused(20, "http_503"), 0.1, T0)
    traffic.note(
        [],
        [*refused(30, "http_503", place=BOB), *refused(99, "throttled", place=eve, late=True)],
        0.1,
        T0,
    )

    assert [one.place for one in traffic.failing(T0)] == [BOB, ANN]
    traffic.lately(0, Instant(T0 + HOUR))
    assert traffic.failing(Instant(T0 + HOUR)) == []


def test_what_is_noted_in_many_calls_is_counted_once_each() -> None:
    traffic = Traffic()
    places = [(1, n) for n in range(300)]
    for _ in range(40):
        traffic.note(places, refused(1, "smtp_550", place=places[0]), 0.1, T0)
    found = dict(traffic.lately(HOUR, T0))

    assert len(found) == 300
    assert found[places[0]]["hour"] == [[T0 // SLOT_MS, 80, 40]]
    assert found[places[299]]["hour"] == [[T0 // SLOT_MS, 40, 0]]
    assert dict(traffic.lately(HOUR, T0)) == found
    assert 70 < int(str(found[places[0]]["p95_ms"])) <= 100
