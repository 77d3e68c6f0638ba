from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import HOUR, MINUTE, Millis
from dripd.scheduler.backoff import delay_ms, exhausted


@given(attempt=st.integers(1, 200), key=st.text("abcdef0123456789:"))
def test_backoff_doubles_to_its_ceiling_within_a_fifth(attempt: int, key: str) -> None:
    plain = min(2 ** (attempt - 1) * MINUTE, 6 * HOUR)

    assert plain * 8 // 10 <= delay_ms(attempt, key) <= plain * 12 // 10
    assert delay_ms(attempt, key) == delay_ms(attempt, key)


def test_backoff_is_the_same_in_every_process() -> None:
    """A restarted daemon must wait as the one before it did."""
    assert [delay_ms(n, "e1:1:hello") for n in (1, 2, 3)] == [52200, 101040, 216000]


def test_backoff_spreads_its_keys() -> None:
    assert len({delay_ms(1, f"key {n}") for n in range(1000)}) > 300


def test_backoff_takes_another_base_and_ceiling() -> None:
    assert 800 <= delay_ms(1, "k", base=Millis(1000), ceiling=Millis(2000)) <= 1200
    assert 1600 <= delay_ms(9, "k", base=Millis(1000), ceiling=Millis(2000)) <= 2400


def test_attempts_are_numbered_from_one() -> None:
    with pytest.raises(ValueError, match="numbered from 1"):
        delay_ms(0, "k")


def test_attempts_are_exhausted_after_the_last() -> None:
    assert not exhausted(7)
    assert exhausted(8)
    assert exhausted(3, most=3)
