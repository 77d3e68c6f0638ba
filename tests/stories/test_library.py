"""Ready campaigns: looked at, copied, and each copy one's own."""

from __future__ import annotations

import pytest

from dripd.errors import Conflict
from tests.stories.world import World


@pytest.mark.feature("C5")
def test_an_item_that_is_imported_twice_makes_two_campaigns_of_their_own(world: World) -> None:
    items = world.call("campaign.library_list")["items"]
    trial = next(item for item in items if item["key"] == "new-lead")

    assert trial["steps"] == 6
    for key in ("spring", "autumn"):
        made = world.call(
            "campaign.library_import", item="new-lead", as_key=key, account="acme"
        )
        assert (made["campaign"], made["draft"]) == (key, True)
        assert "missing:sender" in {one["code"] for one in made["warnings"]}
    with pytest.raises(Conflict):
        world.call("campaign.library_import", item="new-lead", as_key="spring", account="acme")
    rows = world.sql(
        "SELECT key, status, draft -> 'steps' AS steps FROM dripd.campaign ORDER BY key"
    )
    assert [(row[0], row[1]) for row in rows] == [("autumn", "draft"), ("spring", "draft")]
    text = world.call("campaign.export", key="spring", account="acme")["text"]
    world.apply(text.replace("Thank you", "Many thanks") + "sender: hello@acme.test\n")

    assert "Many thanks" in world.call("campaign.export", key="spring", account="acme")["text"]
    other = world.call("campaign.export", key="autumn", account="acme")["text"]
    shown = world.call("campaign.library_show", item="new-lead")
    assert "Many thanks" not in other
    assert "Many thanks" not in shown["text"]
    assert len(shown["definition"]["steps"]) == 6
    assert world.one("SELECT status FROM dripd.campaign WHERE key = 'spring'") == "active"
