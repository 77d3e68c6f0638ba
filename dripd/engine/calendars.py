"""Which zones, holidays and windows are there? Opened once, at the rim of the pure core."""

from __future__ import annotations

import zoneinfo
from collections.abc import Container
from datetime import date, tzinfo
from functools import cache, lru_cache

import holidays

from dripd.campaigns.window import WindowSpec, build_window
from dripd.clock import Instant
from dripd.scheduler.calendar import Window, day_bounds


@cache
def known_zones() -> frozenset[str]:
    """Every IANA name; opening the list costs a walk over the tzdata package."""
    return frozenset(zoneinfo.available_timezones())


@cache
def open_zone(name: str) -> tzinfo:
    """The zone *name*; one that does not exist reads as UTC (a contact may hold anything)."""
    return zoneinfo.ZoneInfo(name if name in known_zones() else "UTC")


@cache
def known_calendars() -> frozenset[str]:
    """The holiday calendars that may be named: `DE`, and by subdivision `DE-BE`."""
    listed = holidays.list_supported_countries()
    parts = {f"{country}-{part}" for country, inside in listed.items() for part in inside}
    return frozenset(listed) | parts


@cache
def open_holidays(name: str) -> Container[date]:
    """A holiday calendar. Raises `KeyError` for one that is not there."""
    if name not in known_calendars():
        raise KeyError(name)
    country, _, part = name.partition("-")
    calendar: Container[date] = holidays.country_holidays(country, subdiv=part or None)
    return calendar


def holidays_or_none(name: str) -> Container[date]:
    """As `open_holidays`; one that this machine lacks closes no day and stops no daemon."""
    return open_holidays(name) if name in known_calendars() else frozenset()


@cache
def open_window(text: str) -> Window | None:
    """The window of a calendar text; "" is always open."""
    return build_window(WindowSpec.from_text(text), holidays_or_none) if text else None


NEVER = Window(days=frozenset(), opens=0, closes=0)
"""Shut for good: the window of messages where nobody can say when they may leave."""


@lru_cache(maxsize=4_096)
def bounds(zone: tzinfo, day: date) -> tuple[Instant, Instant]:
    """`day_bounds`, kept: thousands of accounts live in a few zones."""
    return day_bounds(zone, day)
