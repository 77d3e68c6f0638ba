"""How figures, instants and states are written."""

from __future__ import annotations

import pytest

from dripd.tui.words import about, hint, pace, since


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("bad_date:birthday", "mend the contact's date"),
        ("missing_tag:first_name", "fill what the text names"),
        ("unknown", "settle it: 7 Fail, unknown"),
        ("something_else", "-"),
    ],
)
def test_a_hint_goes_by_the_reason_without_what_it_names(reason: str, expected: str) -> None:
    assert expected == hint(reason)


@pytest.mark.parametrize(
    ("n", "least", "expected"),
    [
        (812_004, 1, "812 004"),
        (812_004, 433, "~812 004"),
        (0, 433, "<433"),
        (0, 1, "0"),
        (None, None, "-"),
    ],
)
def test_an_estimate_is_said_as_one(n: object, least: object, expected: str) -> None:
    assert expected == about(n, least)


def test_no_age_is_told_before_the_time_is_known() -> None:
    assert since("2026-03-02T12:00:00Z", 0) == "-"
    assert since("1970-01-01T00:00:00Z", 1000) == "1s"


@pytest.mark.parametrize(
    ("per_s", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (812.4, "812"),
        (9.84, "9.8"),
        (1.0, "1"),
        (0.5, "30/min"),
        (1 / 90, "40/h"),
        (1 / 7_200, "12/d"),
        (1 / 86_400, "1/d"),
        (1 / 90_000, "<1/d"),
    ],
)
def test_what_is_slower_than_one_a_second_is_told_by_the_minute_or_the_hour(
    per_s: float | None, shown: str
) -> None:
    assert pace(per_s) == shown
