"""All limits of a message at once: every one of them lets it pass, or none has taken anything."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import HOUR, Instant
from dripd.ratelimit.bucket import Bucket
from dripd.ratelimit.limits import Day, Line, give_back, room, take

T0 = Instant(1_767_600_000_000)

RATES = st.sampled_from(["", "1/s", "3/min burst 2", "5/h burst 5"])
GAPS = st.sampled_from(["", "", "5s", "2s-9s"])
DAYS = st.one_of(st.none(), st.integers(0, 6))
MOVES = st.lists(
    st.tuples(st.integers(0, 20_000), st.sampled_from(["take", "unused", "tried"])),
    min_size=1,
    max_size=40,
)


@st.composite
def lines(draw: st.DrawFn) -> list[Line]:
    found = []
    for _ in range(draw(st.integers(1, 3))):
        line = Line(draw(RATES), draw(GAPS))
        limit = draw(DAYS)
        if limit is not None:
            line.day = Day(limit, 0, 0, T0, Instant(T0 + 24 * HOUR))
        if draw(st.booleans()):
            line.breaker.trip(T0)
        found.append(line)
    return found


def state(several: list[Line], buckets: list[Bucket], now: Instant) -> list[Any]:
    """What a taking may change."""
    found: list[Any] = [bucket.ready(now) for bucket in buckets]
    for line in several:
        found += [line.opens_at, line.day and line.day.used, line.breaker.next_at(now)]
    return found


@given(lines(), MOVES)
def test_a_message_takes_from_all_of_its_limits_or_from_none(
    several: list[Line], moves: list[tuple[int, str]]
) -> None:
    buckets = [line.bucket for line in several if line.bucket is not None]
    now = T0
    for n, (wait, how) in enumerate(moves):
        now = Instant(now + wait)
        before = state(several, buckets, now)
        most, _ = room(several, buckets, now)
        shut = take(several, buckets, now, str(n))

        assert (shut is None) == (most > 0)
        if shut is not None:
            assert shut.until > now
            assert before == state(several, buckets, now)
            continue
        for line in several:
            assert line.day is None or line.day.used <= line.day.limit
            assert line.gap is None or line.opens_at == now + line.gap.after(str(n))
        if how != "take":
            days = [line.day.used for line in several if line.day]
            give_back(several, buckets, left=how == "tried")
            assert [used - 1 for used in days] == [
                line.day.used for line in several if line.day
            ]


@given(GAPS.filter(bool), st.lists(st.integers(0, 30_000), min_size=2, max_size=40))
def test_messages_of_a_line_keep_its_gap_whenever_they_come(gap: str, waits: list[int]) -> None:
    line, now, left = Line(gap=gap), T0, []
    assert line.gap is not None
    for n, wait in enumerate(waits):
        now = Instant(now + wait)
        if take([line], [], now, str(n)) is None:
            left.append((now, str(n)))

    for (at, key), (after, _) in pairwise(left):
        assert after - at >= line.gap.after(key)


@given(st.integers(1, 50))
def test_a_backlog_behind_a_gap_is_put_off_once(n: int) -> None:
    """Each finds the sender free at the instant that it was told, and none is told another's."""
    line = Line(gap="60s-120s")
    assert take([line], [], T0, "first") is None
    slots = [(line.slot(str(i)), str(i)) for i in range(n)]

    assert len({at for at, _ in slots}) == n
    for at, key in slots:
        assert take([line], [], at, key) is None
