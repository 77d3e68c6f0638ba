"""What has left through each sender lately, and how did it go? For those who look on.

Attempts are counted in slots of five minutes that all daemons share, so that what several of
them tell of a sender adds up to its hour. Instants are real time, also under a manual clock.
A call is noted at the cost of a list; what was noted is counted a few thousand messages at a
time, so that it costs by senders. One that has been quiet for an hour is forgotten.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from dripd.clock import HOUR, MINUTE, SECOND, Instant, format_instant
from dripd.metrics import quantile

PART_MS: Final = 10 * SECOND
"""What a rate is the mean of."""

SLOT_MS: Final = 5 * MINUTE
SLOTS: Final = HOUR // SLOT_MS
"""An hour, of which the slot that is running is one."""

FRESH_MS: Final = 15 * SECOND
"""What a daemon told longer ago says nothing of how fast a sender is now."""

NOTED_MOST: Final = 5_000
"""Messages that are noted before they are counted."""

TIMED: Final = 4
"""Messages of a call of which each stands for what its sender's calls take."""

TRIED_LEAST: Final = 20
FAILED_LEAST: Final = 0.05
"""Attempts within the hour, and the share of them that failed, below which nobody need look."""

BOUNDS_MS: Final = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000,
    3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 60_000,
)  # fmt: skip
"""How long a call took at most: about half as long again from one to the next."""

Place: TypeAlias = tuple[int, int]
"""An account's id and a sender's."""


class Refusal(NamedTuple):
    """Why one message was not accepted; `late`: it was told to come later, which is no failure."""

    place: Place
    reason: str
    late: bool


class Failing(NamedTuple):
    """A sender of which much fails: its attempts within the hour, and those that failed."""

    place: Place
    tried: int
    failed: int


class Told(NamedTuple):
    """What one daemon said of a sender, and how long ago."""

    figures: Mapping[str, Any]
    age_ms: int


class Sent:
    """What one sender has sent."""

    __slots__ = ("_before", "_n", "_part", "_took", "_took_before", "at", "error", "error_at", "hour")  # fmt: skip

    def __init__(self) -> None:
        self.at = Instant(0)
        """When it was last tried."""
        self.error = ""
        self.error_at = Instant(0)
        self.hour: deque[list[int]] = deque(maxlen=SLOTS)
        """The number of a slot, the attempts in it, those of them that failed."""
        self._part = self._n = self._before = 0
        self._took: list[int] = []
        self._took_before: list[int] = []

    def add(self, n_ok: int, refusals: Sequence[Refusal], now: Instant) -> None:
        """How many messages were accepted, and why others were not."""
        self._turn(now)
        slot = self.hour[-1]
        slot[1] += n_ok + len(refusals)
        self._n += n_ok
        self.at = now
        if refusals:
            slot[2] += sum(not one.late for one in refusals)
            self.error, self.error_at = refusals[-1].reason, now

    def took(self, ms: float, now: Instant) -> None:
        """So long took one call."""
        self._turn(now)
        self._took[bisect_left(BOUNDS_MS, ms)] += 1

    def _turn(self, now: Instant) -> None:
        """Begin the part and the slot of *now*, where they are new."""
        part, no = now // PART_MS, now // SLOT_MS
        if part != self._part:
            self._before = self._n if part == self._part + 1 else 0
            self._part, self._n = part, 0
        if not self.hour or self.hour[-1][0] != no:
            is_next = bool(self.hour) and self.hour[-1][0] == no - 1
            self._took_before = self._took if is_next else []
            self._took = [0] * (len(BOUNDS_MS) + 1)
            self.hour.append([no, 0, 0])

    def per_s(self, now: Instant) -> float:
        """Messages accepted a second, the mean of the last ten."""
        part, into = divmod(now, PART_MS)
        left = 1 - into / PART_MS
        n = 0.0
        if part == self._part:
            n = self._n + left * self._before
        elif part == self._part + 1:
            n = left * self._n
        return round(1000 * n / PART_MS, 3)

    def p95_ms(self, now: Instant) -> int | None:
        """What 95 of 100 calls took at most, of the last five to ten minutes."""
        quiet = now // SLOT_MS - self.hour[-1][0] if self.hour else SLOTS
        if quiet > 1:
            return None
        counts = self._took
        if not quiet and self._took_before:
            counts = [a + b for a, b in zip(counts, self._took_before, strict=True)]
        found = quantile(counts, BOUNDS_MS, 0.95)
        return None if found is None else round(found)

    def figures(self, now: Instant) -> dict[str, object]:
        """As it is told to the other daemons."""
        return {
            "per_s": self.per_s(now),
            "p95_ms": self.p95_ms(now),
            "hour": list(self.hour),
            "error": self.error or None,
            "error_at": format_instant(self.error_at) if self.error else None,
        }


class Traffic:
    """What every sender has sent that was tried lately."""

    def __init__(self) -> None:
        self._of: dict[Place, Sent] = {}
        self._refused: set[Place] = set()
        self._passed: list[Place] = []
        self._refusals: list[Refusal] = []
        self._calls: list[tuple[float, Place]] = []
        self._at = Instant(0)

    def note(
        self,
        passed: Sequence[Place],
        refusals: Sequence[Refusal],
        seconds: float,
        now: Instant,
    ) -> None:
        """One call of a provider: the sender of each message that was accepted, and the others.

        What is noted here is counted later, of many calls at once.
        """
        is_much = len(self._passed) + len(self._refusals) > NOTED_MOST
        if is_much or now // PART_MS != self._at // PART_MS:
            self._count()
        self._at = now
        self._passed += passed
        self._calls += [(seconds, place) for place in set(passed[:TIMED])]
        if refusals:
            self._refusals += refusals
            places = {one.place for one in refusals[:TIMED]}
            self._calls += [(seconds, place) for place in places]

    def _count(self) -> None:
        """Count what was noted, all of it in one part."""
        accepted, now = Counter(self._passed), self._at
        by_place: dict[Place, list[Refusal]] = {}
        for one in self._refusals:
            by_place.setdefault(one.place, []).append(one)
        self._refused |= by_place.keys()
        for place in accepted.keys() | by_place.keys():
            self._sent(place).add(accepted[place], by_place.get(place, ()), now)
        for seconds, place in self._calls:
            self._sent(place).took(1000 * seconds, now)
        self._passed, self._refusals, self._calls = [], [], []

    def _sent(self, place: Place) -> Sent:
        found = self._of.get(place)
        if found is None:
            found = self._of[place] = Sent()
        return found

    def lately(self, within_ms: int, now: Instant) -> list[tuple[Place, dict[str, object]]]:
        """The figures of senders that were tried within so long; those quiet for an hour go."""
        self._count()
        self._of = {place: one for place, one in self._of.items() if now - one.at < HOUR}
        self._refused &= self._of.keys()
        return [
            (place, one.figures(now))
            for place, one in self._of.items()
            if now - one.at < within_ms
        ]

    def failing(self, now: Instant) -> list[Failing]:
        """The senders of which much fails, the worst first."""
        self._count()
        found = []
        first = now // SLOT_MS - SLOTS
        for place in list(self._refused):
            slots = [slot for slot in self._of[place].hour if slot[0] > first]
            tried, failed = (sum(slot[n] for slot in slots) for n in (1, 2))
            if not failed:
                self._refused.discard(place)
            elif tried >= TRIED_LEAST and failed >= FAILED_LEAST * tried:
                found.append(Failing(place, tried, failed))
        return sorted(found, key=lambda one: one.failed / one.tried, reverse=True)


def total(told: Iterable[Told], now: Instant) -> dict[str, object]:
    """What daemons said of one sender, the latest last, as one: `sent_per_s tried_1h failed_1h
    p95_ms last_error`."""
    per_s, tried, failed = 0.0, 0, 0
    p95_ms, error = None, None
    first = now // SLOT_MS - SLOTS
    for figures, age_ms in told:
        if age_ms < FRESH_MS:
            per_s += figures["per_s"]
        if age_ms < 2 * SLOT_MS and figures["p95_ms"] is not None:
            p95_ms = figures["p95_ms"]
        for no, n, n_failed in figures["hour"]:
            if no > first:
                tried, failed = tried + n, failed + n_failed
        if figures["error"] and (error is None or error["at"] < figures["error_at"]):
            error = {"reason": figures["error"], "at": figures["error_at"]}
    return {
        "sent_per_s": round(per_s, 3),
        "tried_1h": tried,
        "failed_1h": failed,
        "p95_ms": p95_ms,
        "last_error": error,
    }
