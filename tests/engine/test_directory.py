"""What is opened at the rim for the pure core."""

from __future__ import annotations

from datetime import date

import pytest

from dripd.campaigns.definition import WindowSpec
from dripd.engine.directory import known_calendars, open_holidays, open_window


def test_a_calendar_may_be_a_country_or_a_part_of_it() -> None:
    assert {"DE", "DE-BE"} <= known_calendars()
    assert date(2026, 12, 25) in open_holidays("DE-BE")


def test_an_unknown_calendar_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        open_holidays("XX-NOPE")


def test_a_stored_window_with_a_calendar_that_is_gone_stops_no_daemon() -> None:
    window = open_window(WindowSpec(opens=540, closes=1020, holidays=("XX",)).to_text())

    assert window is not None
    assert date(2026, 12, 25) not in window.holidays
