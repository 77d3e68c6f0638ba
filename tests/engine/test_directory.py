"""What is opened at the rim for the pure core."""

from __future__ import annotations

from datetime import date

import pytest

from dripd.campaigns.window import WindowSpec
from dripd.engine.calendars import known_calendars, open_holidays, open_window
from dripd.engine.compiler import Compiler
from dripd.errors import DefinitionError
from dripd.store.protocol import VersionRow


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


def test_accounts_with_the_same_campaign_share_what_is_compiled() -> None:
    def row(number: int, **changes: object) -> VersionRow:
        said = {
            "campaign": "c",
            "account": f"a{number}",
            "name": "C",
            "sender": f"s@a{number}.test",
            "steps": [{"key": "one", "do": "email", "subject": "Hi", "text": "Hello"}],
            **changes,
        }
        return VersionRow(
            cv_id=number,
            account_id=number,
            campaign_id=number,
            campaign_key="c",
            campaign_owner=None,
            version=1,
            definition=said,
        )

    compiler = Compiler()
    one, two, three = map(compiler.compile, (row(1), row(2), row(3, name="D")))

    assert two.contents is one.contents
    assert three.contents is not one.contents
    assert (two.account_id, two.cv_id) == (2, 2)
    assert [found.steps[0].sender for found in (one, two)] == ["s@a1.test", "s@a2.test"]
    with pytest.raises(DefinitionError):
        compiler.compile(row(4, account="No Key"))
