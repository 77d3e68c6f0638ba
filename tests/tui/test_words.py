"""How figures, instants and states are written."""

from __future__ import annotations

import pytest

from dripd.tui.words import hint


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
