"""A ramp grows by the day, up to the sender's own limit."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from dripd.ratelimit.warmup import parse_ramp

DAY = date(2026, 1, 5)


def test_a_ramp_grows_by_the_day_up_to_the_limit() -> None:
    ramp = parse_ramp("20 +10/d", DAY)
    days = [DAY + timedelta(days=n) for n in range(5)]

    assert [20, 30, 40, 45, 45] == [ramp.limit(day, 45) for day in days]
    assert 60 == ramp.limit(days[4], None)
    assert 20 == ramp.limit(DAY - timedelta(days=3), None)


def test_a_ramp_is_read_as_it_is_written() -> None:
    ramp = parse_ramp("5 + 2/d from 2025-12-30", DAY)

    assert parse_ramp(str(ramp), DAY) == ramp
    assert 17 == ramp.limit(DAY, None)


@pytest.mark.parametrize("text", ["", "20", "0 +1/d", "20 +10/w", "20 +10/d from 2026-02-30"])
def test_what_is_no_ramp_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 20 \+10/d"):
        parse_ramp(text, DAY)
