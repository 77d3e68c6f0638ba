"""What time is it? The only reader of wall time in dripd.

Everything below the rim takes `now` as a parameter. An `Instant` counts milliseconds,
as does the `due_at` column, so that an instant survives the way to the database and back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NewType, Protocol

Instant = NewType("Instant", int)
"""Milliseconds since the Unix epoch, UTC."""

Millis = NewType("Millis", int)
"""A duration in milliseconds."""

SECOND = Millis(1_000)
MINUTE = Millis(60_000)
HOUR = Millis(3_600_000)
DAY = Millis(86_400_000)

FAR_FUTURE = Instant(4_733_510_400_000)
"""2120-01-01: no due instant lies beyond it."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """The deployment's instant: the wall clock, or the manual clock's last known instant."""

    def now(self) -> Instant: ...


class SystemClock:
    """The machine's wall clock: for what others than the database say of time."""

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1_000_000)  # noqa: TID251 - the one reader of wall time


BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_ns() -> int:
    """The monotonic clock that also runs while the machine is suspended, where there is one."""
    return time.clock_gettime_ns(BOOT)


def asleep_s() -> float:
    """How long this machine has been suspended since its start, in seconds."""
    return (boot_ns() - time.monotonic_ns()) / 1e9


class DatabaseClock:
    """The database's wall clock, carried on by the machine's since its start, also suspended.

    Leases are granted at the database's instant; a machine whose own wall clock is wrong, or
    steps, must not send outside a window for that. `hear` bounds the difference between the
    two clocks by each answer of the database: it was read after the question left and before
    the answer was here. What lies within the bounds is kept, so that `now` does not jitter.
    """

    def __init__(self, tick: Callable[[], int] = boot_ns) -> None:
        self._tick = tick
        self._ahead_ms = time.time_ns() // 1_000_000 - tick() // 1_000_000  # noqa: TID251 - until the database is heard

    def now(self) -> Instant:
        return Instant(self._tick() // 1_000_000 + self._ahead_ms)

    def ticked(self) -> Millis:
        """The machine's clock, for `hear`."""
        return Millis(self._tick() // 1_000_000)

    def hear(self, at: Instant, asked: Millis) -> None:
        """The database said *at* to a question that left when `ticked` said *asked*."""
        least, most = at - self.ticked(), at - asked
        self._ahead_ms = min(max(self._ahead_ms, least), most)


class ManualClock:
    """An instant that moves only when told (`dripd run --clock manual`)."""

    def __init__(self, at: Instant) -> None:
        self._at = at

    def now(self) -> Instant:
        return self._at

    def set(self, at: Instant) -> None:
        """Move to *at*; an earlier instant is ignored, since time never runs backwards."""
        self._at = max(self._at, at)


def to_datetime(at: Instant) -> datetime:
    """The aware UTC datetime of *at*."""
    return EPOCH + timedelta(milliseconds=at)


def from_datetime(moment: datetime) -> Instant:
    """The instant of an aware *moment*, rounded down to the millisecond."""
    return Instant((moment - EPOCH) // timedelta(milliseconds=1))


def parse_instant(text: str) -> Instant:
    """Read an RFC 3339 instant such as `2026-01-01T09:00:00Z`.

    Raises `ValueError` if it is none, or names no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no instant; write 2026-01-01T09:00:00Z") from error
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no zone; write 2026-01-01T09:00:00Z")
    return from_datetime(moment)


def format_instant(at: Instant) -> str:
    """RFC 3339 in UTC, with milliseconds only where there are any."""
    moment = to_datetime(at)
    spec = "milliseconds" if at % 1000 else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")
