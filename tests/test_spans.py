"""Spans are a set of numbers, and small where the numbers have few gaps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dripd.spans import Spans

NUMBERS = st.lists(st.integers(min_value=-3, max_value=40))


@given(NUMBERS)
def test_it_holds_what_was_added_and_nothing_else(numbers: list[int]) -> None:
    spans = Spans(numbers)

    assert {n for n in range(-5, 45) if n in spans} == set(numbers)


@given(NUMBERS)
def test_its_spans_are_in_order_and_none_touches_the_next(numbers: list[int]) -> None:
    pairs = Spans(numbers).as_pairs()

    assert [n for low, high in pairs for n in range(low, high)] == sorted(set(numbers))
    assert all(left[1] < right[0] for left, right in pairwise(pairs))


def test_what_comes_in_order_is_one_span() -> None:
    assert Spans(range(1, 20_001)).as_pairs() == [(1, 20_001)]


@given(NUMBERS, st.integers(min_value=1, max_value=4))
def test_of_too_many_spans_the_highest_stay(numbers: list[int], most: int) -> None:
    spans = Spans(most=most)
    for n in numbers:
        spans.add(n)
        assert len(spans.as_pairs()) <= most

    kept = {n for n in range(-5, 45) if n in spans}
    assert kept <= set(numbers)
    assert not numbers or max(numbers) in kept
