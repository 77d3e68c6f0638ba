"""What is played over a snapshot goes the way of the engine, outside servers included."""

from __future__ import annotations

import pytest

from dripd.clock import Millis, format_instant
from dripd.forecast.play import play
from dripd.store.desk_snapshot import read_snapshot
from tests.support.control import open_control

CAMPAIGN = """
campaign: ad
account: acme
name: Ad
class: marketing
sender: sales@acme.test
window: {from: "09:00", to: "17:00"}
steps:
  - {key: told, do: sync, connector: ml}
  - {key: mail, do: email, subject: S, text: T, track: {click: true}}
"""


@pytest.mark.trio
async def test_connectors_take_and_marketing_leaves(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.rows("INSERT INTO dripd.clock (at) VALUES ('2026-01-05T16:59:59Z')")
        await control.do("account.set", key="acme", postal_address="Main St 1")
        await control.do("sender.set", address="sales@acme.test")
        await control.do("connector.set", name="ml", url="https://ml.example/")
        await control.do("contact.add", external_id="ann", email="ann@x.test")
        await control.apply(CAMPAIGN)
        await control.do("campaign.activate", key="ad")
        account, cv = (await control.rows("SELECT account_id, live_cv_id FROM dripd.campaign"))[
            0
        ].values()
        contact = await control.one("SELECT id FROM dripd.contact")
        snapshot = await control.desk.run(read_snapshot, account, contact, None, [cv])
    steps = (await play(snapshot, None, "ad")).steps

    assert [(step.key, step.sent) for step in steps] == [("told", False), ("mail", True)]
    assert format_instant(steps[1].at) == "2026-01-05T16:59:59Z"
    later = (await play(snapshot, None, "ad", margin=Millis(2_000))).steps
    assert format_instant(later[1].at) == "2026-01-06T09:00:00Z"
    assert [(None, None), (None, 0)] == [
        (step.missed_ms, after.missed_ms) for step, after in zip(steps, later, strict=True)
    ]
