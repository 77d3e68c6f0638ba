"""What counts as an automation action, and in which month."""

from __future__ import annotations

from datetime import date

import pytest

from dripd.billing.meter import actions, next_period, period
from dripd.campaigns.enrollment import End, LogRow, LogState, RunStatus
from dripd.clock import Instant


def row(state: LogState) -> LogRow:
    return LogRow(seq=1, step_no=0, state=state, at=Instant(0))


def test_performed_steps_count_and_passed_over_ones_do_not() -> None:
    assert actions([row(state) for state in LogState], None) == 3


@pytest.mark.parametrize(
    ("status", "n"),
    [(RunStatus.COMPLETED, 2), (RunStatus.REMOVED, 1), (RunStatus.TERMINATED, 1)],
)
def test_only_a_completion_is_one_more(status: RunStatus, n: int) -> None:
    assert actions([row(LogState.DONE)], End(status, "x")) == n


def test_a_period_is_a_month_and_december_leads_to_january() -> None:
    assert period(date(2026, 3, 31)) == "2026-03"
    assert next_period(date(2026, 3, 31)) == date(2026, 4, 1)
    assert next_period(date(2026, 12, 1)) == date(2027, 1, 1)
