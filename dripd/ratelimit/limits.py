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
from dripd.ratelimit.gap import Gap, parse_gap

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
    """A sender's local day: how many may leave in it, how many have, and had when it was read."""

    limit: int
    used: int
    base: int
    starts_at: Instant
    ends_at: Instant


class Line:
    """The limits of one provider or sender; what it has none of is None."""

    __slots__ = (
        "_slots_until",
        "_throttles",
        "breaker",
        "bucket",
        "day",
        "gap",
        "opens_at",
        "rate",
        "rests_until",
    )

    bucket: Bucket | None

    def __init__(self, rate: str = "", gap: str = "") -> None:
        self.set_rate(rate)
        self.set_gap(gap)
        self.breaker = Breaker()
        self.day: Day | None = None
        self.rests_until = Instant(0)
        self.opens_at = Instant(0)
        """When the gap behind the last message is over; 0: nothing has left, as far as is known."""
        self._slots_until = Instant(0)
        self._throttles = 0

    def set_rate(self, rate: str) -> None:
        """Another rate from now on; its bucket is full."""
        self.rate = rate
        self.bucket = Bucket(parse_rate(rate)) if rate else None

    def set_gap(self, gap: str) -> None:
        """Another gap, from the next message on."""
        self.gap: Gap | None = parse_gap(gap) if gap else None

    @property
    def takes_turns(self) -> bool:
        """Is what leaves from it counted for all daemons together?"""
        return self.day is not None or self.gap is not None

    def slot(self, key: str) -> Instant:
        """When the message *key*, which came within the gap, may try again: after those that
        came before it, so that a backlog is put off once, not at every gap."""
        found = max(self.opens_at, self._slots_until)
        rest = self.gap.after(key) if self.gap is not None else 0
        self._slots_until = Instant(found + rest)
        return found

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
        if line.gap is not None:
            rest = max(line.opens_at, Instant(now + line.gap.least_ms))
            found.append(
                (1, Closed("rate", rest)) if line.opens_at <= now
                else (0, Closed("rate", line.opens_at))
            )  # fmt: skip
        if line.day is not None:
            found.append(
                (max(line.day.limit - line.day.used, 0), Closed("cap", line.day.ends_at))
            )
    for bucket in buckets:
        rest = Instant(now + max(bucket.wait_ms(1, now), REST_MS))
        found.append((bucket.ready(now), Closed("rate", rest)))
    least = min(n for n, _ in found)
    return least, max((why for n, why in found if n == least), key=lambda why: why.until)


def take(
    lines: Sequence[Line], buckets: Sequence[Bucket], now: Instant, key: str = ""
) -> Closed | None:
    """Let the message *key* pass every line and bucket, or none of them and say why."""
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
        if line.gap is not None:
            line.opens_at = Instant(now + line.gap.after(key))
    return None


def give_back(lines: Sequence[Line], buckets: Sequence[Bucket], *, left: bool) -> bool:
    """One message that had passed was not accepted; *left*: it was tried all the same.

    Returns whether there is room again in a day, or no gap to keep.
    """
    gaps = [] if left else [line for line in lines if line.gap is not None]
    for bucket in () if left else buckets:
        bucket.refund(1)
    for line in gaps:
        line.opens_at = Instant(0)
    days = [line.day for line in lines if line.day is not None]
    for day in days:
        day.used = max(day.used - 1, 0)
    return bool(days or gaps)


class Slots:
    """When may messages that found no token try again? Each a token after the one before, so
    that a backlog is put off once, not at every token."""

    MOST: Final = 10_000

    def __init__(self) -> None:
        self._until: dict[Bucket, Instant] = {}

    def next(self, bucket: Bucket, now: Instant) -> Instant:
        """The next slot of *bucket*, in which there is no token at *now*."""
        if len(self._until) >= self.MOST:
            self._until.clear()
        first = now + bucket.wait_ms(1, now)
        after = self._until.get(bucket, now) + -(-bucket.rate.per_ms // bucket.rate.n)
        self._until[bucket] = slot = Instant(max(first, after))
        return slot


class Domains:
    """The token buckets of recipient domains at one provider; `*` is any other's, each its own."""

    MOST: Final = 10_000

    def __init__(self, rates: Mapping[str, str]) -> None:
        self._rates = {domain.lower(): rate for domain, rate in rates.items()}
        self._buckets: dict[str, Bucket] = {}

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
            found = self._buckets[domain] = Bucket(parse_rate(rate))
        return found
