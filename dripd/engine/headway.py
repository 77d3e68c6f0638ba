"""How much may wait for a provider? What it takes within a moment, and while the next lease is made.

What waits stands before whatever comes due next. A constant number of steps would be a tenth of a
second of a provider that takes ten thousand a second, and a minute of one that takes thirty. So it
is counted in time. What a provider can take is known only while something waits for it: when its
queue runs dry, it could have taken more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

WAIT_S: Final = 0.075
"""How long a step may stand before its provider, beside the time of the next two leases: one
that is under way, and one that is asked for when half of what may wait is left."""

LEAST: Final = 8
UNTRIED_PER_S: Final = 1_000
"""What a provider is taken to take until it shows."""

WINDOW_S: Final = 0.25
"""The time over which it is counted what a provider takes."""


class Headway:
    """What one provider takes. *pull*: how many messages a sender of it takes at once."""

    __slots__ = ("_is_dry", "_least", "_n", "_per_s", "_since")

    def __init__(self, pull: int) -> None:
        self._least = max(LEAST, pull)
        self._per_s = float(UNTRIED_PER_S)
        self._n = 0
        self._since = 0.0
        self._is_dry = True

    def took(self, n: int, now: float, *, is_dry: bool) -> None:
        """*n* messages left the queue at *now*, a real second, which *is_dry*: nothing is due."""
        passed = now - self._since
        if passed >= WINDOW_S:
            self._look_back(passed)
            self._n, self._since, self._is_dry = 0, now, False
        self._n += n
        self._is_dry |= is_dry

    def most(self, lease_s: float) -> int:
        """How many may wait where a lease takes *lease_s*."""
        return max(self._least, round(self._per_s * (WAIT_S + 2 * lease_s)))

    def _look_back(self, passed: float) -> None:
        per_s = self._n / passed
        if not self._is_dry:
            self._per_s = (self._per_s + per_s) / 2
        elif per_s > self._per_s:
            self._per_s = per_s


class Headways:
    """Those of all providers. A key under lease may come to any provider of its account."""

    def __init__(self) -> None:
        self.of: dict[str, Headway] = {}
        self._coming: Counter[str] = Counter()
        self._lease_s = 0.0

    @contextmanager
    def leasing(self, coming: Counter[str]) -> Iterator[None]:
        """While inside, so many keys are asked for that may come to each provider."""
        began = trio.current_time()
        self._coming += coming
        try:
            yield
        finally:
            self._coming -= coming
            self._lease_s = (self._lease_s + trio.current_time() - began) / 2

    def lack(self, provider: str, waiting: int) -> int:
        """How many more may be leased for *provider*; 0 while half of what may wait does."""
        most = self.of[provider].most(self._lease_s)
        waiting += self._coming[provider]
        return most - waiting if 2 * waiting <= most else 0
