"""A restored copy of a database sends nothing until somebody says that it may."""

from __future__ import annotations

import pytest

from dripd.errors import Conflict
from tests.stories.test_kill import CAMPAIGN, until
from tests.stories.world import World
from tests.stories.world import until as happens


@pytest.mark.feature("D11")
def test_a_copy_sends_nothing_until_it_is_adopted(world: World) -> None:
    """What a dump of another server says of its place is played by an UPDATE."""
    world.apply(CAMPAIGN)
    world.contact("a")
    world.stop()
    world.sql("UPDATE dripd.deployment SET place = '1/1'")
    world.start()
    world.enroll("hello", "a")
    until(world, 1, "SELECT count(*) FROM dripd.due_step")
    happens(lambda: world.call("daemon.status")["due_now"] == 1)

    assert [] == world.sent()
    ready = world.call("daemon.ready")
    check = next(one for one in ready["checks"] if one["name"] == "original")
    assert (False, False) == (ready["ready"], check["ok"])
    assert "dripd adopt" in check["hint"]
    with pytest.raises(Conflict, match="copy"):
        world.call("contact.send", contact="a", channel="email", subject="Hi", text="Ho")

    assert world.call("daemon.adopt")["changed"]
    assert not world.call("daemon.adopt")["changed"]
    until(world, 1, "SELECT count(*) FROM dripd.sink_message")
