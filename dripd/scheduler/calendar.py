"""When is it open, and what instant is that wall time? Windows, local days, business days.

Wanted: for any zone, the first open instant, the end of an opening, the bounds of a local day.

An instant has exactly one local time, a local time none, one or two instants. So windows are
judged on instants mapped to local time, and only `wall` goes the other way: a wall time that
does not exist is the first instant after the gap, one that occurs twice means the first.

Method: between two changes of a zone's offset local time runs as evenly as the instant, so the
next edge is found by plain arithmetic; if the offset changes on the way, the change itself is
looked at and the search goes on behind it. A change is seen by probing the offset every
`PROBE_MS` and halving: a zone that moved and moved back in between would be misread; the two
closest changes in tzdata since 1970 lie 166 hours apart.

Zones arrive as `tzinfo`; this file opens none, and never asks what time it is.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from dripd.clock import DAY, Instant, from_datetime, to_datetime

DAY_MINUTES = 1440
DAYS_OF_WEEK = 7
HORIZON_DAYS = 2 * 366
"""How far ahead an opening is looked for, before a window is said never to open."""

PROBE_MS = 2 * DAY
"""No zone changes its offset twice within this."""

_ONE_MS = timedelta(milliseconds=1)
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When somebody may be reached: the same half-open minutes of every chosen local day.

    `days` counts from Monday = 0. `opens` and `closes` are minutes of the local day, `opens`
    in 0..1439, `closes` in 0..1440. Where `opens` is later than `closes` the opening spans
    midnight and belongs to the day it opens; where they are equal it is empty. `holidays`
    are dates on which nothing opens.
    """

    days: frozenset[int]
    opens: int
    closes: int
    holidays: Container[date] = frozenset()


def is_open(window: Window | None, zone: tzinfo, now: Instant) -> bool:
    """Whether *now* lies in an opening. No window is always open."""
    return window is None or _holds(window, _local(zone, now))


def next_open(window: Window | None, zone: tzinfo, now: Instant) -> Instant | None:
    """The first open instant at or after *now*; *now* itself where it is open.

    `None` where nothing opens within `HORIZON_DAYS`. A day whose whole opening is swallowed
    by a gap has none; an opening that a clock set back repeats opens twice.
    """
    if window is None:
        return now
    limit = now + HORIZON_DAYS * DAY
    at = now
    while at <= limit:
        local = _local(zone, at)
        if _holds(window, local):
            return at
        edge = _next_edge(window, local)
        until = limit + 1 if edge is None else at + (edge - local) // _ONE_MS
        at = _first_change(zone, at, until) or Instant(until)
    return None


def shut_since(window: Window, zone: tzinfo, now: Instant) -> Instant | None:
    """When the window closed that is shut at *now*; None: it is open, or was not within a week."""
    local = _local(zone, now)
    if _holds(window, local):
        return None
    over = _ONE_DAY if window.opens > window.closes else timedelta()
    for back in range(DAYS_OF_WEEK + 1):
        day = local.date() - back * _ONE_DAY
        closed = wall(zone, day + over, window.closes)
        if _opens_on(window, day) and closed <= now:
            return closed
    return None


def wall(zone: tzinfo, day: date, minute: int) -> Instant:
    """The instant at which the clock of *zone* shows *minute* of *day* (1440 = next midnight).

    In a gap: the first instant after it. Shown twice: the first time.
    """
    return _instant(zone, datetime(day.year, day.month, day.day) + timedelta(minutes=minute))  # noqa: DTZ001 - a wall time


def local_date(zone: tzinfo, now: Instant) -> date:
    """The local day that holds *now*, the one whose `day_bounds` do.

    Never falls as *now* rises: where a clock is set back over midnight, the day goes on.
    """
    day = _local(zone, now).date()
    following = day + _ONE_DAY
    return following if wall(zone, following, 0) <= now else day


class Today:
    """The local date of every zone at one instant: thousands of accounts live in a few."""

    def __init__(self, now: Instant) -> None:
        self._now = now
        self._dates: dict[tzinfo, date] = {}

    def of(self, zone: tzinfo) -> date:
        found = self._dates.get(zone)
        if found is None:
            found = self._dates[zone] = local_date(zone, self._now)
        return found


def day_bounds(zone: tzinfo, day: date) -> tuple[Instant, Instant]:
    """The half-open instants of the local *day*; 23 or 25 hours where a clock is set.

    Days meet without a gap. A day that a zone left out is empty: both bounds are equal.
    """
    return wall(zone, day, 0), wall(zone, day, DAY_MINUTES)


def add_days(zone: tzinfo, now: Instant, n: int) -> Instant:
    """*n* calendar days after *now* (before, if negative), at the same wall time."""
    if n == 0:
        return now
    return _instant(zone, _local(zone, now) + timedelta(days=n))


def add_business_days(zone: tzinfo, now: Instant, n: int, holidays: Container[date]) -> Instant:
    """The same wall time *n* business days on or back: Monday to Friday, no holiday.

    Saturday plus one is Monday; zero is *now* itself. Raises `ValueError` if two years run
    without a business day.
    """
    if n == 0:
        return now
    local = _local(zone, now)
    for _ in range(abs(n)):
        local = _next_business_day(local, _ONE_DAY if n > 0 else -_ONE_DAY, holidays)
    return _instant(zone, local)


def _next_business_day(
    local: datetime, stride: timedelta, holidays: Container[date]
) -> datetime:
    for _ in range(HORIZON_DAYS):
        local += stride
        if local.weekday() < 5 and local.date() not in holidays:
            return local
    raise ValueError(f"no business day within two years of {local.date()}; check the holidays")


def _holds(window: Window, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    if window.opens <= window.closes:
        return window.opens <= minute < window.closes and _opens_on(window, local.date())
    if minute >= window.opens:
        return _opens_on(window, local.date())
    return minute < window.closes and _opens_on(window, local.date() - _ONE_DAY)


def _opens_on(window: Window, day: date) -> bool:
    return day.weekday() in window.days and day not in window.holidays


def _next_edge(window: Window, local: datetime) -> datetime | None:
    """The next wall time at which *window* opens, after a *local* at which it is not open."""
    if window.opens == window.closes:
        return None
    edge = _midnight(local) + timedelta(minutes=window.opens)
    for ahead in range(HORIZON_DAYS + 2):
        opening = edge + timedelta(days=ahead)
        if opening > local and _opens_on(window, opening.date()):
            return opening
    return None


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _local(zone: tzinfo, at: Instant) -> datetime:
    """The wall time that *zone* shows at *at*, naive so that arithmetic stays wall time."""
    return to_datetime(at).astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(zone: tzinfo, at: int) -> timedelta | None:
    return to_datetime(Instant(at)).astimezone(zone).utcoffset()


def _first_change(zone: tzinfo, after: int, until: int) -> Instant | None:
    """The first instant in (*after*, *until*] at which the offset of *zone* is another."""
    offset = _offset(zone, after)
    low = after
    while low < until:
        high = min(low + PROBE_MS, until)
        if _offset(zone, high) != offset:
            return _halve(zone, low, high)
        low = high
    return None


def _halve(zone: tzinfo, low: int, high: int) -> Instant:
    """The first instant in (*low*, *high*] whose offset is not that of *low*."""
    offset = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return Instant(high)


def _instant(zone: tzinfo, local: datetime) -> Instant:
    """The instant of a naive wall time: `wall` to the millisecond."""
    first = from_datetime(local.replace(tzinfo=zone, fold=0))
    if _local(zone, first) == local:
        return first
    before = from_datetime(local.replace(tzinfo=zone, fold=1))
    return _halve(zone, before, first)
