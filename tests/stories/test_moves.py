"""A move is one transaction: killed at any point, a contact is in one campaign or the other."""

from __future__ import annotations

import signal

import pytest

from tests.stories.crowd import contacts
from tests.stories.world import World, until

N = 200

FROM_A = """
campaign: a
account: acme
name: A
steps:
  - {key: over, do: move, campaign: b}
"""

TO_B = """
campaign: b
account: acme
name: B
steps:
  - {key: stay, do: delay, delay: 30d}
"""

ELSEWHERE = """
SELECT count(*) FROM (
    SELECT contact_id FROM dripd.enrollment
    GROUP BY contact_id
    HAVING count(*) FILTER (WHERE status IN ('waiting', 'held', 'executing')) <> 1
) AS lost
"""
"""Contacts that were let into A and are not in exactly one campaign."""

ENROLL = """
INSERT INTO dripd.enroll_request (account_key, campaign_key, contact_id)
SELECT 'acme', 'a', id FROM dripd.contact WHERE id % $2::int = $1::int
"""

POINTS = ("K1", "K2", "K9")
"""Behind the commit of the lease, before the record, behind its commit."""


@pytest.mark.slow
@pytest.mark.feature("C36")
def test_a_move_survives_kill_9_at_any_point(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.state / "failpoint"
    monkeypatch.setenv("DRIPD_FAILPOINT", f"file:{order}")
    world.apply(FROM_A)
    world.apply(TO_B)
    contacts(world, N)
    for group, point in enumerate(POINTS):
        world.restart()
        assert world.process is not None
        order.write_text(f"{point}:1:kill")
        world.sql(ENROLL, group, len(POINTS))
        until(lambda: world.one(ELSEWHERE) or world.process.poll() is not None)
        assert 0 == world.one(ELSEWHERE)
        assert -signal.SIGKILL == world.process.returncode

    world.start()
    world.tick()

    assert [(N, 1, 1)] == [
        tuple(row)
        for row in world.sql(
            "SELECT count(*), min(run_no), max(run_no) FROM dripd.enrollment "
            "WHERE campaign_key = 'b' AND status = 'waiting'"
        )
    ]
    assert [("removed", "moved:b", N)] == [
        tuple(row)
        for row in world.sql(
            "SELECT status, end_reason, count(*) FROM dripd.enrollment "
            "WHERE campaign_key = 'a' GROUP BY 1, 2"
        )
    ]
