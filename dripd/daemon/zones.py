"""By which rules do zones shift here? Those that come with dripd, and a word for what they say.

Daemons of one deployment must agree on them: who takes an account over would else open its windows
an hour apart. A host has rules of its own, of whatever age, which Python would take first.
"""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from hashlib import blake2b
from typing import Final
from zoneinfo import ZoneInfo

from dripd.clock import DAY, parse_instant
from dripd.daemon.gauges import installed

FIRST: Final = parse_instant("2026-01-01T00:00:00Z") // 1000
LAST: Final = parse_instant("2032-01-01T00:00:00Z") // 1000
"""Between these two all shifts are looked at: the same on every host, whatever its clock says."""

STEP: Final = 14 * DAY // 1000
"""Seconds between two looks: no zone shifts and back in so little."""

OWN_PLACE: Final = "PYTHONTZPATH"


def pin() -> None:
    """Take the rules that dripd was installed with, unless the environment names a place."""
    if OWN_PLACE not in os.environ and installed("tzdata"):
        zoneinfo.reset_tzpath(to=())
        ZoneInfo.clear_cache()


@cache
def digest() -> str:
    """A word for every shift of every zone; two hosts have the same where the rules are."""
    found = blake2b(digest_size=6)
    for name in sorted(zoneinfo.available_timezones() - {"localtime"}):
        found.update(f"{name} {list(shifts(ZoneInfo(name)))}\n".encode())
    return found.hexdigest()


def shifts(zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """From which second on the zone is how many seconds ahead of UTC."""
    before, ahead = FIRST, offset(zone, FIRST)
    yield before, ahead
    for after in range(FIRST + STEP, LAST, STEP):
        then = offset(zone, after)
        if then != ahead:
            yield _when(zone, before, after, ahead), then
        before, ahead = after, then


def _when(zone: ZoneInfo, before: int, after: int, ahead: int) -> int:
    """The first second between the two at which it is no longer *ahead*."""
    while after - before > 1:
        middle = (before + after) // 2
        if offset(zone, middle) == ahead:
            before = middle
        else:
            after = middle
    return after


def offset(zone: ZoneInfo, at_s: int) -> int:
    """Seconds that *zone* is ahead of UTC at that second."""
    ahead = datetime.fromtimestamp(at_s, zone).utcoffset()
    return int(ahead.total_seconds()) if ahead is not None else 0
