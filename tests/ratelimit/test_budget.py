"""Retries are a share of first tries, with a floor for quiet hours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import Instant
from dripd.ratelimit.budget import FULL_S, RetryBudget

T0 = Instant(1_767_225_600_000)


@given(
    st.integers(0, 100),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 50), st.integers(0, 80))),
)
def test_retries_are_at_most_a_share_and_a_floor(
    share: int, floor: int, moves: list[tuple[int, int, int]]
) -> None:
    budget, now, first, retried = RetryBudget(share, floor), T0, 0, 0
    for wait, n_first, n_retries in moves:
        now = Instant(now + wait)
        budget.earn(n_first)
        first += n_first
        granted = sum(budget.take(now) is None for _ in range(n_retries))
        budget.earn(granted)
        retried += granted
        allowed = FULL_S * floor + first * share / 100 + (now - T0) * floor / 1_000

        assert retried <= allowed


@given(st.integers(1, 20), st.integers(1, 200))
def test_those_that_wait_are_told_different_instants_at_which_they_may(
    floor: int, n: int
) -> None:
    budget = RetryBudget(10, floor)
    while budget.take(T0) is None:
        pass
    slots = [budget.take(T0) for _ in range(n)]
    told = [slot for slot in slots if slot is not None]

    assert len(set(told)) == n
    for slot in told:
        assert budget.take(slot) is None
        budget.earn(1)


def test_a_retry_that_did_not_leave_is_given_back() -> None:
    budget = RetryBudget(10, 1)
    while budget.take(T0) is None:
        pass
    budget.refund()

    assert budget.take(T0) is None
    assert budget.take(T0) is not None


@pytest.mark.parametrize(("share", "floor"), [(-1, 5), (101, 5), (10, 0)])
def test_a_budget_that_means_nothing_is_refused(share: int, floor: int) -> None:
    with pytest.raises(ValueError, match="percent"):
        RetryBudget(share, floor)
