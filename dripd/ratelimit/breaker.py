"""Is it any use trying? A circuit breaker that is counters and one instant.

Wanted: stop asking a provider that fails, and find out cheaply that it is well again.
Method: closed, it counts answers in spans of 30 s and opens when half of at least 20 failed,
or at once where it is told to. Open, it lets nobody pass until an instant; then one probe,
whose answer closes it or opens it for twice as long. O(1); late answers of what was sent
before it opened change nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dripd.clock import MINUTE, SECOND, Instant, Millis

SPAN_MS: Final = Millis(30 * SECOND)
LEAST: Final = 20
"""Answers in a span below which nothing is concluded."""

FIRST_MS: Final = Millis(30 * SECOND)
MOST_MS: Final = Millis(15 * MINUTE)
"""How long it stays open at first, and at most: it doubles with every probe that fails."""

PROBE_MS: Final = Millis(2 * MINUTE)
"""A probe without an answer by then is taken as lost, and another may go."""


TRIPS_MOST: Final = 100
"""Openings that are remembered, for those who look on."""


class Breaker:
    """One provider's, or one sender's; closed when made."""

    __slots__ = (
        "_failed", "_ok", "_open_ms", "_probe_until", "_since", "_until", "opened_at", "trips"
    )  # fmt: skip

    def __init__(self) -> None:
        self._since = Instant(0)
        self._ok = 0
        self._failed = 0
        self._open_ms = FIRST_MS
        self._until: Instant | None = None
        self._probe_until: Instant | None = None
        self.opened_at = Instant(0)
        """When it opened last; probes in vain change nothing of that."""
        self.trips: deque[Instant] = deque(maxlen=TRIPS_MOST)
        """When it has opened, the last time last."""

    @property
    def is_open(self) -> bool:
        """Whether it is open, or waits for the answer to a probe."""
        return self._until is not None

    def is_sound(self, now: Instant) -> bool:
        """Is it closed, and has nothing failed lately?"""
        return not self.is_open and (self._failed == 0 or now - self._since >= SPAN_MS)

    def wait_until(self, now: Instant) -> Instant | None:
        """None: one message may go now. Else the instant, later than *now*, to ask again.

        Where it is open and its time has come, the asking itself takes the probe.
        """
        if self._until is None:
            return None
        if now < self._until:
            return self._until
        if self._probe_until is not None and now < self._probe_until:
            return self._probe_until
        self._probe_until = Instant(now + PROBE_MS)
        return None

    def next_at(self, now: Instant) -> Instant | None:
        """As `wait_until`, but nothing is taken: None means that a message might go."""
        if self._until is None or now >= max(self._until, self._probe_until or self._until):
            return None
        return max(self._until, self._probe_until or self._until)

    def record(self, n_ok: int, n_failed: int, now: Instant, in_hand: int = 0) -> None:
        """Count answers; *in_hand* messages of calls that are under way, those already counted
        among them, may yet turn out well: half of all must have failed whatever they bring."""
        if self._until is not None:
            self._on_probe(n_ok, n_failed, now)
            return
        if now - self._since >= SPAN_MS:
            self._since, self._ok, self._failed = now, 0, 0
        self._ok += n_ok
        self._failed += n_failed
        n = self._ok + max(self._failed, in_hand)
        if self._failed and n >= LEAST and 2 * self._failed >= n:
            self.trip(now)

    def trip(self, now: Instant) -> None:
        """Open it, whatever was counted: the provider has said that nothing will pass."""
        if self._until is None:
            self._until = Instant(now + self._open_ms)
            self._probe_until = None
            self.opened_at = now
            self.trips.append(now)

    def hasten(self) -> None:
        """Let the next message be the probe, however long it was to stay open, and wait no longer
        for one that is on its way. Nothing where it is closed."""
        if self._until is not None:
            self._until, self._probe_until = Instant(0), None

    def _on_probe(self, n_ok: int, n_failed: int, now: Instant) -> None:
        if self._probe_until is None:
            return
        if n_ok:
            self._until = self._probe_until = None
            self._open_ms = FIRST_MS
            self._since, self._ok, self._failed = now, 0, 0
        elif n_failed:
            self._open_ms = Millis(min(2 * self._open_ms, MOST_MS))
            self._until, self._probe_until = Instant(now + self._open_ms), None
