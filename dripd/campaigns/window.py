"""How is a send window written? Its value, its canonical text, and the calendar made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import date

from dripd.scheduler.calendar import Window

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MINUTES_OF_DAY = 1440


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """A window as written: minutes of the local day, half-open; `closes` may be 1440.

    `opens` later than `closes` spans midnight and belongs to the day it opens.
    `holidays` holds names of calendars (`DE-BE`) and ISO dates, in the order written.
    """

    days: frozenset[int] = frozenset(range(7))
    opens: int = 0
    closes: int = MINUTES_OF_DAY
    holidays: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The canonical JSON text: equal windows have equal texts (a lane's calendar)."""
        shape = {
            "days": [WEEKDAYS[day] for day in sorted(self.days)],
            "from": format_minute(self.opens),
            "holidays": list(self.holidays),
            "to": format_minute(self.closes),
        }
        return json.dumps(shape, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> WindowSpec:
        """Read what `to_text` wrote.

        Raises `ValueError` or `KeyError` if the text is of another make.
        """
        shape = json.loads(text)
        return cls(
            days=frozenset(WEEKDAYS.index(day) for day in shape["days"]),
            opens=parse_minute(shape["from"]),
            closes=parse_minute(shape["to"]),
            holidays=tuple(shape["holidays"]),
        )


def format_minute(minute: int) -> str:
    """`540` is `09:00`, `1440` is `24:00`."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def parse_minute(text: str) -> int:
    """`09:00` is minute 540 of the day; `24:00`, its end, is 1440. Raises `ValueError`."""
    hours, colon, minutes = text.partition(":")
    plain = hours.isascii() and hours.isdigit() and minutes.isascii() and minutes.isdigit()
    if not colon or not plain or len(hours) > 2 or len(minutes) != 2 or int(minutes) > 59:
        raise ValueError(f"{text!r} is no time of day; write 09:00")
    minute = int(hours) * 60 + int(minutes)
    if minute > MINUTES_OF_DAY:
        raise ValueError(f"{text!r} is no time of day; write 00:00 to 24:00")
    return minute


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """The days on which a window stays shut: dates of its own and those of calendars."""

    days: frozenset[date]
    calendars: tuple[Container[date], ...] = ()

    def __contains__(self, day: object) -> bool:
        return day in self.days or any(day in calendar for calendar in self.calendars)


def build_window(spec: WindowSpec, holidays: Callable[[str], Container[date]]) -> Window:
    """Make the calendar that the scheduler asks; *holidays* opens a calendar by its name.

    Whatever *holidays* raises for an unknown name passes through.
    """
    own, calendars = set[date](), list[Container[date]]()
    for name in spec.holidays:
        if name[:1].isdigit():
            own.add(date.fromisoformat(name))
        else:
            calendars.append(holidays(name))
    closed = ClosedDays(frozenset(own), tuple(calendars))
    return Window(days=spec.days, opens=spec.opens, closes=spec.closes, holidays=closed)
