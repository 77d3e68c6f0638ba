"""What the console without a screen says."""

from __future__ import annotations

import pytest

from dripd.tui.options import Options
from dripd.tui.pages import PAGES, TABS
from dripd.tui.plain import Plain, words_of
from tests.tui.fake import OVERVIEW, FakeDaemon, Rig


def test_alerts_are_told_as_they_come_and_go_on_every_screen() -> None:
    daemon = FakeDaemon()
    said: list[str] = []
    plain = Plain(lambda _changed: daemon, Options(screen="nodes"), said.append)
    plain._console.start()
    plain._look()
    plain._look()
    rests = {**OVERVIEW["alerts"][0], "snoozed_until": "2026-03-02T16:00:00Z"}
    plain._console.overview.opened({"result": {**OVERVIEW, "alerts": [rests]}})
    plain._look()

    assert [one for one in said if "alert" in one] == [
        "12:00:00Z alert ! step_failed acme/welcome: 12 held",
        "12:00:00Z alert over: step_failed acme/welcome",
    ]


@pytest.mark.parametrize("name", [*PAGES, *TABS])
def test_nothing_is_told_anew_because_time_passes(name: str) -> None:
    rig = Rig()
    rig.console.go(name)
    rig.text()
    table = rig.console.page.table
    assert table is not None

    def told() -> list[str]:
        return [words_of(row, table.columns) for row in table.rows.values()]

    before = told()
    later = {**OVERVIEW, "now": "2026-03-02T12:31:00Z"}
    rig.console.overview.opened({"result": later})

    assert before
    assert told() == before
