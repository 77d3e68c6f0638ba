from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import DAY, HOUR, Instant
from dripd.ratelimit.caps import carried, is_rezoned

counts = st.integers(0, 10_000)
caps = st.none() | counts


def test_zone_change_carries_what_both_days_used() -> None:
    assert carried(200, 0, 300) == 200
    assert carried(200, 150, 300) == 300
    assert carried(200, 150, None) == 350
    assert carried(400, 0, 300) == 400


@given(old=counts, existing=counts, cap=caps)
def test_zone_change_never_frees_what_was_used(
    old: int, existing: int, cap: int | None
) -> None:
    used = carried(old, existing, cap)

    assert used >= old
    assert cap is None or used <= max(old, cap)


def test_days_of_another_zone_overlap_without_being_equal() -> None:
    monday = (date(2026, 1, 5), Instant(0), Instant(DAY))
    tuesday = (date(2026, 1, 6), Instant(DAY), Instant(2 * DAY))
    east = (date(2026, 1, 6), Instant(12 * HOUR), Instant(36 * HOUR))

    assert not is_rezoned([monday], [monday, tuesday])
    assert not is_rezoned([monday, tuesday], [monday])
    assert is_rezoned([monday], [east])
    assert is_rezoned([monday, tuesday], [east])
