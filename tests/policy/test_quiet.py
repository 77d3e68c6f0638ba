"""Texts in the United States: the hours that are allowed where the contact is."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.event import Deferred
from dripd.clock import DAY, Instant, format_instant, parse_instant
from dripd.engine.calendars import open_window
from dripd.policy.perform import Rendered, perform
from dripd.policy.quiet import STATES, quiet_until
from dripd.scheduler.calendar import Window
from tests.support.rooms import NOW, World, email, leased, make_version, sms


class Country(World):
    """With the holidays of its states."""

    def window(self, account_id: int, calendar: str) -> Window | None:
        return open_window(calendar)


ROOMS = Country(zones=available_timezones())


def free_at(text: str, **keys: Any) -> str | None:
    until = quiet_until(leased(**keys), parse_instant(text), ROOMS)
    return None if until is None else format_instant(until)


@pytest.mark.parametrize(
    ("at", "state", "until"),
    [
        ("2026-01-05T12:59:59Z", "", "2026-01-05T13:00:00Z"),
        ("2026-01-05T13:00:00Z", "", None),
        ("2026-01-06T01:59:59Z", "", None),
        ("2026-01-06T02:00:00Z", "", "2026-01-06T13:00:00Z"),
        ("2026-01-06T01:00:00Z", "fl", "2026-01-06T13:00:00Z"),
        ("2026-01-05T13:30:00Z", "CT", "2026-01-05T14:00:00Z"),
        ("2026-01-04T14:30:00Z", "TX", "2026-01-04T17:00:00Z"),
        ("2026-01-05T13:30:00Z", "KY", "2026-01-05T15:00:00Z"),
        ("2026-01-06T00:30:00Z", "MI", None),
        ("2026-01-05T13:30:00Z", "MI", "2026-01-05T14:00:00Z"),
        ("2026-01-06T01:00:00Z", "WA", "2026-01-06T13:00:00Z"),
        ("2026-01-06T01:00:00Z", "NV", "2026-01-06T14:00:00Z"),
        ("2026-01-04T16:00:00Z", "AL", "2026-01-05T13:00:00Z"),
        ("2026-01-04T16:00:00Z", "SD", "2026-01-05T14:00:00Z"),
        ("2026-01-03T22:30:00Z", "RI", "2026-01-05T14:00:00Z"),
        ("2026-01-03T14:30:00Z", "RI", "2026-01-03T15:00:00Z"),
        ("2026-01-01T16:00:00Z", "UT", "2026-01-02T13:00:00Z"),
        ("2026-01-01T16:00:00Z", "PA", "2026-01-02T13:00:00Z"),
        ("2026-01-04T16:00:00Z", "PA", None),
    ],
)
def test_the_hours_are_those_of_the_contacts_zone_and_state(
    at: str, state: str, until: str | None
) -> None:
    assert until == free_at(at, timezone="America/New_York", attrs={"state": state})


def test_a_zone_that_is_not_known_may_be_any() -> None:
    assert free_at("2026-01-05T14:00:00Z") == "2026-01-05T18:00:00Z"
    assert free_at("2026-01-05T18:00:00Z") is None
    assert free_at("2026-01-06T02:00:00Z") == "2026-01-06T18:00:00Z"


@given(st.integers(0, 400 * 24 * 60), st.sampled_from(["", *STATES]))
def test_what_is_free_is_free_and_not_far(minutes: int, state: str) -> None:
    now = Instant(NOW + minutes * 60_000)
    row = leased(attrs={"state": state})
    until = quiet_until(row, now, ROOMS)

    if until is not None:
        assert now < until <= now + 5 * DAY
        assert quiet_until(row, until, ROOMS) is None


def test_only_texts_of_campaigns_that_ask_for_it_wait() -> None:
    top = {"policy": {"quiet_hours": "us_tcpa"}}
    night = parse_instant("2026-01-05T04:00:00Z")
    row = leased(due_at=night)

    verdict = perform(row, make_version(sms(), **top), night, ROOMS)
    assert verdict == Deferred(
        reason="window", until=parse_instant("2026-01-05T18:00:00Z"), alone=True
    )
    assert isinstance(perform(row, make_version(sms()), night, ROOMS), Rendered)
    assert isinstance(perform(row, make_version(email(), **top), night, ROOMS), Rendered)
