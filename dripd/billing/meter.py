"""How many automation actions has a run used? Each step that was performed, and the end.

A step that waits (a delay) counts when it is over, one that was passed over does not. What is
sent without a known outcome counts as sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from dripd.campaigns.enrollment import End, LogRow, LogState, RunStatus

ACTION = "automation_action"

PERFORMED = frozenset({LogState.ACCEPTED, LogState.UNKNOWN, LogState.DONE})


def actions(log: Iterable[LogRow], end: End | None) -> int:
    """The actions that these steps, and a completion, come to."""
    n = sum(row.state in PERFORMED for row in log)
    return n + (end is not None and end.status is RunStatus.COMPLETED)


def period(day: date) -> str:
    """The month in which a local day is counted."""
    return f"{day:%Y-%m}"


def next_period(day: date) -> date:
    """The first local day that is counted anew."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
