"""May what failed be tried again yet? Retries are a share of first tries, so that they stay few.

Wanted: a provider that fails must not be met by all that it refused, again and again; and a
quiet one must not wait for traffic that does not come.
Guarantee: in any interval the retries are at most the share of the first tries since the
balance was last full, a floor for every second, and one full balance.
Method: one balance in thousandths of a retry. Every try adds the share, of which a retry gives
its own back beforehand; each second adds the floor. It holds at most `FULL_S` seconds of the
floor. O(1); integers, no drift.
"""

from __future__ import annotations

from typing import Final

from dripd.clock import SECOND, Instant, Millis

SHARE_PERCENT: Final = 10
FLOOR_PER_S: Final = 5
FULL_S: Final = 10

_ONE: Final = 1_000
"""A retry, in the unit of the balance; a percent is ten of it."""


class RetryBudget:
    """The retries of one provider; its balance is full when made."""

    __slots__ = ("_balance", "_full", "_seen", "_share", "_slots_until", "floor_per_s")

    def __init__(
        self, share_percent: int = SHARE_PERCENT, floor_per_s: int = FLOOR_PER_S
    ) -> None:
        if not (0 <= share_percent <= 100 and floor_per_s >= 1):
            raise ValueError("a share of 0 to 100 percent, and at least one retry a second")
        self.floor_per_s = floor_per_s
        self._share = share_percent * 10
        self._full = FULL_S * floor_per_s * _ONE
        self._balance = self._full
        self._seen = Instant(0)
        self._slots_until = Instant(0)

    def earn(self, n: int) -> None:
        """*n* messages were tried, retries among them."""
        self._balance = min(self._balance + n * self._share, self._full)

    def take(self, now: Instant) -> Instant | None:
        """None: one retry may go now. Else when it may ask again: each after the one before.

        Time may stand still but not run backwards; an earlier *now* is read as the last.
        """
        self._fill(now)
        if self._balance >= _ONE:
            self._balance -= _ONE + self._share
            return None
        lacks = _ONE - self._balance
        ready = now + -(-lacks // self.floor_per_s)
        spacing = Millis(-(-SECOND // self.floor_per_s))
        slot = max(ready, self._slots_until + spacing)
        self._slots_until = Instant(slot)
        return Instant(slot)

    def refund(self) -> None:
        """A retry that was granted did not leave."""
        self._balance = min(self._balance + _ONE + self._share, self._full)

    def _fill(self, now: Instant) -> None:
        """A floor of n a second is n thousandths of a retry each millisecond."""
        if now > self._seen:
            passed = min(now - self._seen, FULL_S * SECOND)
            self._balance = min(self._balance + passed * self.floor_per_s, self._full)
            self._seen = now
