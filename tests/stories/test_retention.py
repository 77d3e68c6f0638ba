"""Months of what happened: made before the clock gets there, dropped when they are old."""

from __future__ import annotations

import pytest

from tests.stories.world import World, until

MONTHLY = """
campaign: monthly
account: acme
name: Monthly
sender: hello@acme.test
steps:
  - {key: one, do: email, subject: One, text: One}
  - {key: two, do: email, delay: 40d, subject: Two, text: Two}
  - {key: three, do: email, delay: 40d, subject: Three, text: Three}
"""


def test_old_months_go_and_nothing_falls_outside_a_month(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.apply(MONTHLY)
    world.contact("ann")
    world.enroll("monthly", "ann")
    world.at("2026-05-01T00:00:00Z")

    assert 3 == len(world.sent())
    for table in ("step_log", "event_log", "journal_log", "enroll_request"):
        assert 0 == world.one(f"SELECT count(*) FROM dripd.{table}_default")
    assert 3 == world.one("SELECT count(*) FROM dripd.delivery")

    world.stop()
    monkeypatch.setenv("DRIPD_ENGINE__RETENTION_DAYS", "45")
    world.start()
    until(lambda: world.one("SELECT count(*) FROM dripd.delivery") == 1)

    kept = world.column("SELECT step_key FROM dripd.delivery ORDER BY sent_at")
    assert ["three"] == kept  # sent on 26 March: its month ended less than 45 days ago
    assert "completed" == world.run("ann", "monthly")["status"]
