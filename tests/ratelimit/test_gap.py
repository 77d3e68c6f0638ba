"""How long a mailbox rests between two messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import DAY, SECOND, Millis
from dripd.ratelimit.gap import Gap, parse_gap


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("90s", 90, 90),
        ("60s-120s", 60, 120),
        ("60-120s", 60, 120),
        ("1m - 90s", 60, 90),
        (" 1h ", 3_600, 3_600),
    ],
)
def test_a_gap_is_read(text: str, least: int, most: int) -> None:
    gap = parse_gap(text)

    assert (least * SECOND, most * SECOND) == (gap.least_ms, gap.most_ms)


@pytest.mark.parametrize(
    "text", ["", "60", "60-120", "0s", "0s-5s", "9s-3s", "25h", "-5s", "1d"]
)
def test_what_is_no_gap_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 90s|up to a day"):
        parse_gap(text)


@given(st.integers(1, DAY), st.integers(0, DAY), st.text(max_size=20))
def test_a_gap_lies_within_its_span_and_is_the_same_for_the_same_key(
    least: int, span: int, key: str
) -> None:
    gap = Gap(least_ms=Millis(least), most_ms=Millis(least + span))
    found = gap.after(key)

    assert gap.least_ms <= found <= gap.most_ms
    assert found == Gap(least_ms=gap.least_ms, most_ms=gap.most_ms).after(key)


def test_gaps_are_spread_over_the_span() -> None:
    gap = parse_gap("60s-120s")
    found = [gap.after(f"{n}:1:0") for n in range(2_000)]
    tenths = {(one - gap.least_ms) * 10 // (60 * SECOND + 1) for one in found}

    assert set(range(10)) == tenths
