"""Messages of which nobody knows whether they left: counted as sent until somebody finds out."""

from __future__ import annotations

import pytest

from dripd.errors import Conflict, NotFound
from tests.stories.world import World

CAMPAIGN = """
campaign: hello
name: Hello
sender: hello@acme.test
steps:
  - {key: hi, do: email, subject: Hi, text: Hello}
"""


def used(world: World) -> int:
    return int(world.one("SELECT sum(n) FROM dripd.cap_usage WHERE source = 'program'"))


def test_an_unknown_delivery_counts_as_sent_until_it_is_resolved(world: World) -> None:
    world.apply(CAMPAIGN)
    world.sql("INSERT INTO dripd.sink_rule (recipient_like, answer) VALUES ('%', 'ambiguous')")
    for name in ("a", "b"):
        world.contact(name)
    world.enroll("hello", "a", "b")
    world.tick()
    rows = world.sql("SELECT id, state FROM dripd.delivery ORDER BY id")
    one, two = (row["id"] for row in rows)
    assert ["unknown", "unknown"] == [row["state"] for row in rows]
    assert 2 == used(world)

    assert world.call("delivery.resolve", id=one, state="failed")["changed"]
    assert 1 == used(world)
    assert world.call("delivery.resolve", id=two, state="accepted")["changed"]
    assert not world.call("delivery.resolve", id=two, state="accepted")["changed"]
    assert 1 == used(world)
    told = world.sql("SELECT state, reason FROM dripd.delivery ORDER BY id")
    assert [("failed", "resolved"), ("accepted", None)] == [(*row,) for row in told]
    with pytest.raises(Conflict):
        world.call("delivery.resolve", id=two, state="failed")
    with pytest.raises(NotFound):
        world.call("delivery.resolve", id="99-1", state="failed")
    assert 2 == world.one("SELECT count(*) FROM dripd.sink_message")
