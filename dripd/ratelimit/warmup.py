"""How many may a new sender send today? A daily limit that grows, day by local day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

_RAMP: Final = re.compile(
    r"([1-9][0-9]{0,6})\s*\+\s*([1-9][0-9]{0,6})/d(?:\s+from\s+([0-9]{4}-[0-9]{2}-[0-9]{2}))?"
)
_HINT: Final = "write 20 +10/d, or 20 +10/d from 2026-01-05"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """*first* messages on the day *since*, *step* more on each day after it."""

    first: int
    step: int
    since: date

    def limit(self, day: date, most: int | None) -> int:
        """How many may leave on *day*: never more than *most*, before *since* as on it."""
        grown = self.first + self.step * max((day - self.since).days, 0)
        return grown if most is None else min(grown, most)

    def __str__(self) -> str:
        return f"{self.first} +{self.step}/d from {self.since.isoformat()}"


def limit_on(day: date, warmup: str | None, most: int | None) -> int | None:
    """How many may leave on *day*: the ramp, the daily limit, whichever is less; None: no limit.

    A ramp that nobody can read is none: the desk stores no such.
    """
    if warmup is None:
        return most
    try:
        return parse_ramp(warmup, day).limit(day, most)
    except ValueError:
        return most


def parse_ramp(text: str, today: date) -> Ramp:
    """Read `20 +10/d`, from *today* on where no day is given.

    Raises `ValueError`, saying what to write, if *text* is none.
    """
    found = _RAMP.fullmatch(text.strip())
    try:
        since = date.fromisoformat(found[3]) if found and found[3] else today
    except ValueError as error:
        raise ValueError(f"{text!r} names no day; {_HINT}") from error
    if found is None:
        raise ValueError(f"{text!r} is no ramp; {_HINT}")
    return Ramp(first=int(found[1]), step=int(found[2]), since=since)
