"""The words for what holds a step."""

from __future__ import annotations

import pytest

from dripd.admin.holds import HOLDS, find_hold

REASONS = {
    "cap", "window", "rate", "frequency", "quota", "balance", "breaker", "paused", "inactive",
    "account_paused", "no_subscription", "no_sender", "no_address", "approval", "task",
    "missing_tag", "bad_date", "too_long", "connector_missing", "step_failed", "quarantined",
    "unknown", "catching_up",
}  # fmt: skip
"""What `hold_reason` may be, and the two that only `park` and the overview know."""


def test_every_reason_has_its_words() -> None:
    assert set(HOLDS) == REASONS
    assert all(hold.waits and len(hold.todo) <= 50 for hold in HOLDS.values())


@pytest.mark.parametrize("reason", ["bad_date:birthday", "bad_date"])
def test_what_a_reason_names_does_not_matter(reason: str) -> None:
    assert find_hold(reason) is HOLDS["bad_date"]


def test_a_reason_that_nobody_knows_has_none() -> None:
    assert find_hold("moonphase") is None
