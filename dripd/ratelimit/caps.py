"""How many may still leave in an account's local day?"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Final, TypeAlias

from dripd.clock import Instant

Day: TypeAlias = tuple[date, Instant, Instant]
"""A local date, and the instants at which it starts and ends."""

NO_CAP: Final = 2_147_483_647
"""What remains where there is no cap: the largest `integer` of the database."""


def carried(old_used: int, existing: int, cap: int | None) -> int:
    """What counts as used on the new local day when an account changes its zone mid-day.

    What the day that ends now has used, and of what the day that begins already had as much as
    *cap* has room for: the change alone never costs more than the rest of that day. What was
    used over *cap*, by a plan of before, stays used: a better plan gives none of it again.
    """
    return max(old_used, min(old_used + existing, NO_CAP if cap is None else cap))


def is_rezoned(standing: Collection[Day], wanted: Collection[Day]) -> bool:
    """Are days *standing* of another zone than those *wanted* now?

    Then one of them overlaps a wanted day without being it, whatever their dates.
    """
    return any(
        day not in wanted
        and any(day[1] < ends and starts < day[2] for _, starts, ends in wanted)
        for day in standing
    )
