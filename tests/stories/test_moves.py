"""A move is one transaction: killed at any point, a contact is in one campaign or the other."""

from __future__ import annotations

import random
import time

import pytest

from tests.stories.crowd import contacts, enroll_all
from tests.stories.world import World

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


@pytest.mark.slow
@pytest.mark.feature("C36")
def test_a_move_survives_kill_9_at_any_point(world: World) -> None:
    world.apply(FROM_A)
    world.apply(TO_B)
    contacts(world, N)
    dice = random.Random(36)
    world.kill9()
    enroll_all(world, "a")
    for _ in range(4):
        world.start()
        until = time.monotonic() + dice.uniform(0.0, 0.25)
        while time.monotonic() < until:
            assert 0 == world.one(ELSEWHERE)
        world.kill9()
        assert 0 == world.one(ELSEWHERE)

    world.start()
    world.tick()
    for group in world.call("dead.list")["items"]:  # a step over which three daemons died
        world.call("dead.retry", group=group["group"], yes=True)
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
