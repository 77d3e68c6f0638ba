"""When is a person free? The first time of some length that nothing else takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta, tzinfo

from dripd.clock import MINUTE, Instant
from dripd.scheduler.calendar import local_date, wall

OPENS, CLOSES = 9 * 60, 17 * 60
"""Minutes of the local day between which somebody may be given something to do."""

WORKING_DAY = (CLOSES - OPENS) * MINUTE

DAYS_AHEAD = 60
"""How far ahead a free time is looked for."""

STEP_MS = 5 * MINUTE
"""Times begin at whole five minutes."""

SATURDAY = 5

Span = tuple[Instant, Instant]


def working_hours(zone: tzinfo, now: Instant) -> Iterator[Span]:
    """The hours of weekdays that are still ahead, as half-open spans."""
    today = local_date(zone, now)
    for ahead in range(DAYS_AHEAD):
        day = today + timedelta(days=ahead)
        opens, closes = wall(zone, day, OPENS), wall(zone, day, CLOSES)
        if day.weekday() < SATURDAY and closes > now:
            yield max(opens, Instant(-(-now // STEP_MS) * STEP_MS)), closes


def first_free(openings: Sequence[Span], busy: Sequence[Span], length_ms: int) -> Span | None:
    """The first span of *length_ms* within one of *openings* that overlaps none of *busy*."""
    taken = sorted(busy)
    for opens, closes in openings:
        at = opens
        for begins, ends in taken:
            if begins < at + length_ms and ends > at:
                at = Instant(-(-ends // STEP_MS) * STEP_MS)
        if at + length_ms <= closes:
            return at, Instant(at + length_ms)
    return None


def next_in_turn(given: Mapping[str, int], weights: Mapping[str, int]) -> str:
    """Whose turn it is where each has been *given* so many; ties go to whom is named first."""
    return min(weights, key=lambda member: (given.get(member, 0) + 1) / weights[member])
