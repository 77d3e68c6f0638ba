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
        if n in self:
            return
        at = bisect(self._spans, n, key=_low)
        below = [one for one in self._spans[max(at - 1, 0) : at] if one[1] == n]
        above = [one for one in self._spans[at : at + 1] if one[0] == n + 1]
        low, high = below[0][0] if below else n, above[0][1] if above else n + 1
        self._spans[at - len(below) : at + len(above)] = [(low, high)]
        if len(self._spans) > self._most:
            del self._spans[0]

    def as_pairs(self) -> list[tuple[int, int]]:
        """(first, behind the last) of each span, in order."""
        return list(self._spans)


def _low(span: tuple[int, int]) -> int:
    return span[0]
