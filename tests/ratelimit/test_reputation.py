"""What came back against what left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.ratelimit.reputation import Guard


@pytest.mark.parametrize(
    ("sent", "bounced", "complained", "why"),
    [
        (100, 5, 0, None),
        (100, 6, 0, "bounce_rate"),
        (99, 99, 99, None),
        (1_000, 0, 3, None),
        (999, 0, 3, "complaint_rate"),
        (100, 0, 2, None),
        (1_000, 60, 4, "complaint_rate"),
    ],
)
def test_a_sender_is_stopped_above_the_rates(
    sent: int, bounced: int, complained: int, why: str | None
) -> None:
    assert why == Guard().judge(sent, bounced, complained)


def test_a_rate_of_nothing_judges_nobody() -> None:
    guard = Guard(bounces_permille=0, complaints_permille=0)

    assert not guard.is_on
    assert guard.judge(1_000, 1_000, 1_000) is None


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 50))
def test_more_that_comes_back_never_clears_a_sender(
    sent: int, bounced: int, complained: int, more: int
) -> None:
    guard = Guard()
    if guard.judge(sent, bounced, complained) is not None:
        assert guard.may_judge(bounced, complained)
        assert guard.judge(sent, bounced + more, complained + more) is not None
