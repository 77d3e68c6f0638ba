"""What was recorded is found again, also by a console that asks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from dripd.tui.tape import load, name_of
from dripd.tui.watch import Watch

TOUR = Path(__file__).parents[2] / "docs" / "tour.drec"


def test_how_much_is_told_does_not_matter() -> None:
    bare, more = (
        Watch("campaign.list", params, hz=1.0, changed=lambda: None)
        for params in ({"account": "a"}, {"account": "a", "figures": True, "limit": 60})
    )

    assert name_of(bare) == name_of(more)


@pytest.mark.parametrize("method", ["account.list", "campaign.list"])
def test_the_recording_of_the_docs_has_the_lists_of_today(method: str) -> None:
    wanted = Watch(method, {"figures": True, "limit": 60}, hz=1.0, changed=lambda: None)

    assert name_of(wanted) in {one.get("of") for one in load(TOUR)}
