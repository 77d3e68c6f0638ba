from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import Instant, Millis
from dripd.ratelimit.bucket import GRANTED, Bucket, Granted, Rate, Wait, parse_rate

START = Instant(1_767_225_600_000)

rates = st.builds(
    Rate,
    n=st.integers(1, 1000),
    per_ms=st.sampled_from([1, 7, 1000, 60_000, 86_400_000]).map(Millis),
    burst=st.integers(1, 50),
)


def drained(rate: Rate) -> Bucket:
    bucket = Bucket(rate)
    bucket.take(rate.burst, START)
    return bucket


@pytest.mark.parametrize(
    ("text", "n", "per_ms", "burst"),
    [
        ("20/s", 20, 1000, 20),
        ("100/min burst 10", 100, 60_000, 10),
        ("100/min", 100, 60_000, 1),
        (" 5 / h ", 5, 3_600_000, 1),
        ("1000/d", 1000, 86_400_000, 1),
    ],
)
def test_rates_are_read(text: str, n: int, per_ms: int, burst: int) -> None:
    assert parse_rate(text) == Rate(n=n, per_ms=Millis(per_ms), burst=burst)


@pytest.mark.parametrize("text", ["", "20", "20/y", "-1/s", "1.5/s", "20/s burst", "٣/s"])
def test_what_is_no_rate_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no rate; write 20/s"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0/s", "20/s burst 0"])
def test_rate_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="let nothing pass"):
        parse_rate(text)


def test_bucket_is_full_when_made() -> None:
    bucket = Bucket(parse_rate("20/s"))

    assert bucket.take(20, START) == GRANTED
    assert bucket.take(1, START) == Wait(Millis(50))


def test_bucket_refuses_more_than_its_burst() -> None:
    bucket = Bucket(parse_rate("20/s burst 3"))

    with pytest.raises(ValueError, match="4 tokens of a bucket that holds 3"):
        bucket.take(4, START)
    with pytest.raises(ValueError, match="-1 tokens"):
        bucket.wait_ms(-1, START)
    with pytest.raises(ValueError, match="cannot be given back"):
        bucket.refund(-1)


def test_no_token_is_always_granted() -> None:
    assert drained(parse_rate("1/d")).take(0, START) == GRANTED


def test_time_that_runs_backwards_gives_no_tokens() -> None:
    bucket = drained(parse_rate("1/s burst 2"))
    earlier = Instant(START - 5000)

    assert bucket.take(1, earlier) == Wait(Millis(6000))
    assert bucket.take(1, Instant(START + 1000)) == GRANTED
    assert bucket.take(1, Instant(earlier + 5999)) == Wait(Millis(1001))


def test_three_a_second_do_not_drift() -> None:
    bucket = drained(parse_rate("3/s burst 1"))
    now, taken = START, 0
    while now < START + 100_000:
        answer = bucket.take(1, now)
        if isinstance(answer, Wait):
            now = Instant(now + answer.ms)
        else:
            taken += 1

    assert taken == 299


@given(rate=rates, data=st.data())
def test_wait_is_exact(rate: Rate, data: st.DataObject) -> None:
    bucket = drained(rate)
    n = data.draw(st.integers(1, rate.burst))
    now = Instant(START + data.draw(st.integers(0, 2 * rate.per_ms)))
    answer = bucket.take(n, now)
    if isinstance(answer, Granted):
        return

    assert bucket.wait_ms(n, Instant(now + answer.ms - 1)) == 1
    assert bucket.take(n, Instant(now + answer.ms)) == GRANTED


@given(rate=rates, story=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 50))))
def test_no_interval_grants_more_than_burst_and_rate(
    rate: Rate, story: list[tuple[int, int]]
) -> None:
    bucket, now = Bucket(rate), START
    grants: list[tuple[int, int]] = []
    for passed, n in story:
        now = Instant(now + passed)
        if n <= rate.burst and bucket.take(n, now) == GRANTED:
            grants.append((now, n))

    for i, (since, _) in enumerate(grants):
        for j in range(i, len(grants)):
            taken = sum(n for _, n in grants[i : j + 1])
            assert (taken - rate.burst) * rate.per_ms <= rate.n * (grants[j][0] - since)


@given(rate=rates, data=st.data())
def test_bucket_refund_never_exceeds_burst(rate: Rate, data: st.DataObject) -> None:
    bucket = drained(rate)
    bucket.refund(data.draw(st.integers(0, 3 * rate.burst)))
    now = Instant(START + data.draw(st.integers(0, 100)))
    taken = 0
    while bucket.take(1, now) == GRANTED:
        taken += 1

    assert taken <= rate.burst


@given(rate=rates, n=st.integers(1, 50))
def test_refund_is_taking_undone(rate: Rate, n: int) -> None:
    n = min(n, rate.burst)
    bucket, other = drained(rate), drained(rate)
    later = Instant(START + rate.per_ms * n // rate.n + 1)
    bucket.take(n, later)
    bucket.refund(n)

    assert bucket.wait_ms(rate.burst, later) == other.wait_ms(rate.burst, later)


@given(rate=rates, cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_split_time_is_whole_time(rate: Rate, cuts: list[int]) -> None:
    split, whole, now = drained(rate), drained(rate), START
    for cut in cuts:
        now = Instant(now + cut)
        split.wait_ms(rate.burst, now)

    assert split.wait_ms(1, now) == whole.wait_ms(1, now)


@given(rates, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100_000)), max_size=20))
def test_what_is_ready_can_be_taken_and_one_more_cannot(
    rate: Rate, takes: list[tuple[int, int]]
) -> None:
    bucket, now = Bucket(rate), START
    for n, later in takes:
        now = Instant(now + later)
        bucket.take(min(n, rate.burst), now)
    ready = bucket.ready(now)

    assert 0 <= ready <= rate.burst
    assert bucket.wait_ms(ready, now) == 0
    assert ready == rate.burst or bucket.wait_ms(ready + 1, now) > 0
