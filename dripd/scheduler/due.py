"""When is a step due? Delays, day numbers, wall times and the anchors they count from.

Windows do not move a due instant (a closed window parks its lane); a window is asked only
where a step says `day_at: window_open`, and for its holidays where business days are counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from typing import Final, Literal, TypeAlias

from dripd.clock import DAY, HOUR, MINUTE, SECOND, Instant
from dripd.scheduler.calendar import (
    Window,
    add_business_days,
    add_days,
    local_date,
    next_open,
    wall,
)

Unit: TypeAlias = Literal["elapsed", "calendar", "business"]
Anchor: TypeAlias = Literal["after_previous", "after_start"]

MOST_DAYS: Final = 3660
"""No delay is longer than ten years."""

_HINT = "write 90s, 15m, 2h, 3d, 1w, 3bd or a sum such as 1d12h"
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:bd|[smhdw]))+")
_TERM = re.compile(r"([0-9]+)(bd|[smhdw])")
_MS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """A duration as it is written: days stay days until it is known how they count.

    `ms` holds hours, minutes and seconds. All three have the same sign, and are negative
    only in an offset.
    """

    days: int = 0
    business_days: int = 0
    ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a step comes up, as its definition says.

    Either `delay` or `day` counts: `day` is a day number from the start's local date, which
    is day number `day_base`. `day_at` and `send_at` are minutes of the local day, 0..1439.
    """

    delay: Delay = Delay()
    day: int | None = None
    day_at: int | Literal["window_open"] | None = None
    send_at: int | None = None
    unit: Unit = "elapsed"
    anchor: Anchor = "after_previous"
    day_base: int = 0

    @property
    def restarts(self) -> bool:
        """Is there a delay that an interaction can begin anew?"""
        return self.day is None and self.delay != Delay()


def parse_delay(value: str | int) -> Delay:
    """Read a duration: `90s`, `15m`, `2h`, `3d`, `1w`, `3bd`, a sum such as `1d12h`, or 0.

    Raises `ValueError`, saying what to write, if it is none, negative, or over ten years.
    """
    if value in (0, "0") and not isinstance(value, bool):
        return Delay()
    text = value.strip() if isinstance(value, str) else ""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{value!r} is no duration; {_HINT}")
    delay = _sum(text)
    if delay.days + delay.business_days + delay.ms // DAY > MOST_DAYS:
        raise ValueError(f"{value!r} is over ten years; {_HINT}")
    return delay


def parse_offset(value: str | int) -> Delay:
    """Read a duration with or without a sign, such as `-1h`; see `parse_delay`."""
    text = value.strip() if isinstance(value, str) else value
    if not isinstance(text, str) or text[:1] not in ("-", "+"):
        return parse_delay(text)
    delay = parse_delay(text[1:])
    if text[0] == "+":
        return delay
    return Delay(days=-delay.days, business_days=-delay.business_days, ms=-delay.ms)


def due_at(
    timing: Timing, *, previous: Instant, start: Instant, zone: tzinfo, window: Window | None
) -> Instant:
    """The instant at which the step comes up; never before *previous*.

    *previous* is the end of the step before it (the start, for the first), *start* that of
    the run. A day is 24 hours, unless `unit` or a wall time makes it a calendar or business
    day of *zone*. With `send_at` it is the first such wall time on or after the day reached
    that is not past: not before *previous*, nor before the hours of the delay are over.

    Raises `ValueError` where business days are counted and the holidays leave none.
    """
    base = previous if timing.anchor == "after_previous" else start
    if timing.day is not None:
        reached = _day_instant(timing, timing.day, start, zone, window)
        floor = previous
    else:
        reached = _after(timing, base, zone, window)
        floor = Instant(max(previous, base + timing.delay.ms))
    if timing.send_at is not None:
        return _at_wall_time(timing.send_at, reached, floor, zone)
    return max(previous, reached)


def _after(timing: Timing, base: Instant, zone: tzinfo, window: Window | None) -> Instant:
    """*base* plus the delay, in calendar days where a wall time is asked for."""
    by_wall = timing.unit == "elapsed" and timing.send_at is not None
    unit: Unit = "calendar" if by_wall else timing.unit
    return add_delay(timing.delay, base, unit=unit, zone=zone, window=window)


def add_delay(
    delay: Delay, at: Instant, *, unit: Unit, zone: tzinfo, window: Window | None
) -> Instant:
    """*at* plus the delay: first its days, as *unit* counts them, then its hours.

    Raises `ValueError` where business days are counted and the holidays leave none, and
    `OverflowError` beyond what a calendar can name.
    """
    business = delay.business_days
    match unit:
        case "business":
            business += delay.days
        case "calendar":
            at = add_days(zone, at, delay.days)
        case "elapsed":
            at = Instant(at + delay.days * DAY)
    holidays = frozenset() if window is None else window.holidays
    return Instant(add_business_days(zone, at, business, holidays) + delay.ms)


def _day_instant(
    timing: Timing, day: int, start: Instant, zone: tzinfo, window: Window | None
) -> Instant:
    """The instant of a day number: at the start's wall time, or at `day_at`."""
    ahead = day - timing.day_base
    if timing.day_at is None:
        return add_days(zone, start, ahead)
    on = local_date(zone, start) + timedelta(days=ahead)
    if timing.day_at == "window_open":
        return _window_opens(window, on, zone)
    return wall(zone, on, timing.day_at)


def _window_opens(window: Window | None, on: date, zone: tzinfo) -> Instant:
    """Where *window* opens on that day, or first after it; midnight where it never closes."""
    if window is None:
        return wall(zone, on, 0)
    edge = wall(zone, on, window.opens)
    return next_open(window, zone, edge) or edge


def _at_wall_time(minute: int, reached: Instant, floor: Instant, zone: tzinfo) -> Instant:
    """The first *minute* of a local day that is on or after the day *reached*, and *floor*."""
    on = local_date(zone, max(reached, floor))
    at = wall(zone, on, minute)
    while at < floor:
        on += timedelta(days=1)
        at = wall(zone, on, minute)
    return at


def _sum(text: str) -> Delay:
    days = business_days = ms = 0
    for count, unit in _TERM.findall(text):
        match unit:
            case "w":
                days += 7 * int(count)
            case "d":
                days += int(count)
            case "bd":
                business_days += int(count)
            case _:
                ms += int(count) * _MS[unit]
    return Delay(days=days, business_days=business_days, ms=ms)
