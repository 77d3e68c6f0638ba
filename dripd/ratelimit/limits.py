"""What does a message pass on its way out? The limits of a provider and of a sender, as state.

A `Line` is one provider's or one sender's: its token bucket, its breaker, how many it may
carry in a local day. Whether something may leave is asked of all its lines at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dripd.clock import Instant, Millis
from dripd.ratelimit.breaker import Breaker
from dripd.ratelimit.bucket import Bucket, Wait, parse_rate
from dripd.ratelimit.buckets import take_all

THROTTLES: Final = 5
"""Answers `too fast` in a row after which the whole provider is left alone for a while."""

REST_MS: Final = Millis(250)
"""The least that a lane rests for a rate: each rest is a row written and one deleted."""

MUCH: Final = 1_000_000_000


class Closed(NamedTuple):
    """Nothing passes: the hold's reason, and the instant (later than now) it may be over."""

    reason: str
    until: Instant


@dataclass(slots=True)
class Day:
    """A sender's local day: how many may leave in it, and how many have."""

    limit: int
    used: int
    ends_at: Instant


class Line:
    """The limits of one provider or sender; what it has none of is None."""

    __slots__ = ("_throttles", "breaker", "bucket", "day", "rate", "rests_until")

    bucket: Bucket | None

    def __init__(self, rate: str = "") -> None:
        self.set_rate(rate)
        self.breaker = Breaker()
        self.day: Day | None = None
        self.rests_until = Instant(0)
        self._throttles = 0

    def set_rate(self, rate: str) -> None:
        """Another rate from now on; its bucket is full."""
        self.rate = rate
        self.bucket = Bucket(parse_rate(rate)) if rate else None

    def is_dayless(self, now: Instant) -> bool:
        """Is it unknown how many have left in the local day of *now*?"""
        return self.day is None or self.day.ends_at <= now

    def throttled(self, after_ms: Millis, now: Instant) -> None:
        """The provider says that we are too fast, and for how long."""
        self._throttles += 1
        if self._throttles >= THROTTLES:
            self.rests_until = max(self.rests_until, Instant(now + after_ms))

    def passed(self) -> None:
        """Something was taken: it is not too fast for it now."""
        self._throttles = 0

    @property
    def is_alert(self) -> bool:
        """Has it a rate of its own, or anything that may shut it soon?"""
        return self.bucket is not None or self.breaker.is_open or self._throttles > 0


def room(lines: Sequence[Line], buckets: Sequence[Bucket], now: Instant) -> tuple[int, Closed]:
    """How many may leave at *now*, and why no more. Takes nothing.

    The lowest of all limits decides; where several are spent, the one that lasts longest.
    """
    found = [(MUCH, Closed("rate", now))]
    for line in lines:
        until = line.breaker.next_at(now)
        if until is not None:
            found.append((0, Closed("breaker", until)))
        elif line.breaker.is_open:
            found.append((1, Closed("breaker", Instant(now + REST_MS))))
        if now < line.rests_until:
            found.append((0, Closed("rate", line.rests_until)))
        if line.day is not None:
            found.append(
                (max(line.day.limit - line.day.used, 0), Closed("cap", line.day.ends_at))
            )
    for bucket in buckets:
        rest = Instant(now + max(bucket.wait_ms(1, now), REST_MS))
        found.append((bucket.ready(now), Closed("rate", rest)))
    least = min(n for n, _ in found)
    return least, max((why for n, why in found if n == least), key=lambda why: why.until)


def take(lines: Sequence[Line], buckets: Sequence[Bucket], now: Instant) -> Closed | None:
    """Let one message pass every line and bucket, or none of them and say why."""
    left, why = room(lines, (), now)
    if left == 0:
        return why
    answer = take_all(buckets, 1, now)
    if isinstance(answer, Wait):
        return Closed("rate", Instant(now + max(answer.ms, REST_MS)))
    for line in lines:
        line.breaker.wait_until(now)
        if line.day is not None:
            line.day.used += 1
    return None


def give_back(lines: Sequence[Line], buckets: Sequence[Bucket], *, left: bool) -> bool:
    """One message that had passed was not accepted; *left*: it was tried all the same.

    Returns whether a day has room again.
    """
    for bucket in () if left else buckets:
        bucket.refund(1)
    days = [line.day for line in lines if line.day is not None]
    for day in days:
        day.used = max(day.used - 1, 0)
    return bool(days)


class Domains:
    """The token buckets of recipient domains at one provider; `*` is any other's, each its own."""

    MOST: Final = 10_000

    def __init__(self, rates: Mapping[str, str]) -> None:
        self._rates = {domain.lower(): rate for domain, rate in rates.items()}
        self._buckets: dict[str, Bucket] = {}
        self._slots: dict[Bucket, Instant] = {}

    def __bool__(self) -> bool:
        return bool(self._rates)

    def bucket(self, address: str) -> Bucket | None:
        """The bucket of the domain of *address*; None where it has no rate."""
        domain = address.rpartition("@")[2].lower()
        found = self._buckets.get(domain)
        if found is None:
            rate = self._rates.get(domain) or self._rates.get("*")
            if rate is None:
                return None
            if len(self._buckets) >= self.MOST:
                self._buckets.clear()
                self._slots.clear()
            found = self._buckets[domain] = Bucket(parse_rate(rate))
        return found

    def slot(self, bucket: Bucket, now: Instant) -> Instant:
        """When a message that found no token may try again: each a token after the one before,
        so that a backlog is put off once, not at every token."""
        first = now + bucket.wait_ms(1, now)
        after = self._slots.get(bucket, now) + -(-bucket.rate.per_ms // bucket.rate.n)
        self._slots[bucket] = slot = Instant(max(first, after))
        return slot
