from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import Instant, Millis
from dripd.ratelimit.bucket import GRANTED, Bucket, Wait, parse_rate
from dripd.ratelimit.buckets import take_all

START = Instant(1_767_225_600_000)
RATES = ("20/s", "7/s burst 3", "100/min burst 10", "5/h burst 4")


def test_no_bucket_grants() -> None:
    assert take_all((), 5, START) == GRANTED


def test_all_or_none_are_taken_from() -> None:
    fast, slow = Bucket(parse_rate("20/s")), Bucket(parse_rate("2/s"))

    assert take_all((fast, slow), 2, START) == GRANTED
    assert take_all((fast, slow), 2, START) == Wait(Millis(1000))
    assert fast.wait_ms(18, START) == 0
    assert fast.wait_ms(19, START) == 50
    assert take_all((slow, fast), 2, Instant(START + 1000)) == GRANTED


def test_too_many_for_one_takes_from_none() -> None:
    fast, slow = Bucket(parse_rate("20/s")), Bucket(parse_rate("2/s"))

    with pytest.raises(ValueError, match="holds 2"):
        take_all((fast, slow), 3, START)
    assert fast.wait_ms(20, START) == 0


def test_bucket_named_twice_is_taken_from_once() -> None:
    bucket = Bucket(parse_rate("2/s"))

    assert take_all((bucket, bucket), 2, START) == GRANTED


@given(
    story=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3)), max_size=30),
    order=st.permutations(range(4)),
)
def test_order_of_buckets_does_not_matter(
    story: list[tuple[int, int]], order: list[int]
) -> None:
    some = [Bucket(parse_rate(rate)) for rate in RATES]
    same = [Bucket(parse_rate(rate)) for rate in RATES]
    now = START
    for passed, n in story:
        now = Instant(now + passed)
        answer = take_all(some, n, now)

        assert answer == take_all([same[i] for i in order], n, now)
        if isinstance(answer, Wait):
            assert any(b.wait_ms(n, Instant(now + answer.ms - 1)) for b in some)
            assert not any(b.wait_ms(n, Instant(now + answer.ms)) for b in some)
