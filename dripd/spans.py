"""Which numbers were seen? A set that costs what its gaps cost.

Numbers of a sequence come nearly in order: thousands of them are a handful of spans, small to
send and quick to look one up in.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from typing import Final

SPANS: Final = 2_000
"""Spans that are kept: of more the lowest go, which are swept by then."""


class Spans:
    """Whole numbers, as half-open spans in order, none of which touches the next."""

    def __init__(self, numbers: Iterable[int] = (), most: int = SPANS) -> None:
        self._spans: list[tuple[int, int]] = []
        self._most = most
        for n in numbers:
            self.add(n)

    def __contains__(self, n: int) -> bool:
        at = bisect(self._spans, n, key=_low)
        return at > 0 and n < self._spans[at - 1][1]

    def add(self, n: int) -> None:
        """Add *n*; where that makes one span too many, the lowest is forgotten."""
        at = bisect(self._spans, n, key=_low)
        low, high = n, n + 1
        first = last = at
        if at and self._spans[at - 1][1] >= n:
            first, (low, high) = (
                at - 1,
                (self._spans[at - 1][0], max(high, self._spans[at - 1][1])),
            )
        if at < len(self._spans) and self._spans[at][0] == high:
            last, high = at + 1, self._spans[at][1]
        self._spans[first:last] = [(low, high)]
        if len(self._spans) > self._most:
            del self._spans[0]

    def as_pairs(self) -> list[tuple[int, int]]:
        """(first, behind the last) of each span, in order."""
        return list(self._spans)


def _low(span: tuple[int, int]) -> int:
    return span[0]
