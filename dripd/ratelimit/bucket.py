"""How fast: a token bucket that is one integer, the instant at which it would be full again.

Wanted: take n tokens or hear how long until they are there; give tokens back.
Guarantee: in any interval no more are granted than burst + rate * elapsed, to the token.
Method: the generic cell rate algorithm. A token costs `per_ms / n` milliseconds of the
future; the bucket keeps the instant up to which the future is spent and grants while that is
no further ahead than a full burst. Everything is counted in n-ths of a millisecond, in which
a token costs exactly `per_ms`: integers, no drift. O(1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from dripd.clock import DAY, HOUR, MINUTE, SECOND, Instant, Millis

_HINT = "write 20/s, 100/min burst 10, 5/h or 1000/d"
_RATE = re.compile(r"([0-9]{1,9})\s*/\s*(s|min|h|d)(?:\s+burst\s+([0-9]{1,9}))?")
_PER: Final = {"s": SECOND, "min": MINUTE, "h": HOUR, "d": DAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """*n* tokens every *per_ms*, of which at most *burst* may stand ready. All are positive."""

    n: int
    per_ms: Millis
    burst: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The tokens are taken."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing was taken; after *ms* (at least 1) the tokens are there."""

    ms: Millis


Answer: TypeAlias = Granted | Wait

GRANTED: Final = Granted()


def parse_rate(text: str) -> Rate:
    """Read `20/s`, `100/min burst 10`, `5/h` or `1000/d`.

    Without a burst it is one second's tokens, at least one: a daily rate is spread over its
    day. Raises `ValueError`, saying what to write, if *text* is none of it or holds a zero.
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no rate; {_HINT}")
    n, per_ms = int(found[1]), _PER[found[2]]
    burst = max(1, n * SECOND // per_ms) if found[3] is None else int(found[3])
    if n == 0 or burst == 0:
        raise ValueError(f"{text!r} would let nothing pass; {_HINT}")
    return Rate(n=n, per_ms=per_ms, burst=burst)


class Bucket:
    """The tokens of one rate; full when made."""

    __slots__ = ("_seen", "_spent", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._spent = 0
        self._seen = 0

    def take(self, n: int, now: Instant) -> Answer:
        """Take *n* tokens at *now*, or say how long until they are there.

        All or nothing: a refusal leaves the bucket untouched. Time may stand still but not
        run backwards; an earlier *now* is read as the last one at which tokens were taken.

        Returns `Wait(ms)` rounded up, so trying again after exactly that long succeeds if
        nobody else took in between, and a millisecond earlier does not.

        Raises `ValueError` if *n* is negative or exceeds the burst: no wait would ever help.
        """
        wait = self.wait_ms(n, now)
        if wait:
            return Wait(wait)
        if n:
            self._seen = max(now, self._seen)
            self._spent = max(self._spent, self._seen * self.rate.n) + n * self.rate.per_ms
        return GRANTED

    def refund(self, n: int) -> None:
        """Give back *n* tokens that were taken and not used; the burst is never exceeded.

        Raises `ValueError` if *n* is negative.
        """
        if n < 0:
            raise ValueError(f"{n} tokens cannot be given back")
        self._spent -= n * self.rate.per_ms

    def ready(self, now: Instant) -> int:
        """How many tokens there are at *now*. Takes nothing."""
        spent = max(self._spent - max(now, self._seen) * self.rate.n, 0)
        return self.rate.burst + -spent // self.rate.per_ms

    def wait_ms(self, n: int, now: Instant) -> Millis:
        """How long after *now* *n* tokens are there; 0 if they are. Takes nothing.

        Raises `ValueError` as `take` does.
        """
        rate = self.rate
        if not 0 <= n <= rate.burst:
            raise ValueError(f"{n} tokens of a bucket that holds {rate.burst}")
        ahead = self._spent + (n - rate.burst) * rate.per_ms
        if n == 0 or ahead <= max(now, self._seen) * rate.n:
            return Millis(0)
        return Millis(-(-ahead // rate.n) - now)
