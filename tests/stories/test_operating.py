"""What operators do to a running daemon."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.stories.world import World

WELCOME = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
"""


def until(true: Callable[[], object], most_s: float = 5.0) -> None:
    """Wait for what happens in real time."""
    end = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def state(world: World) -> str:
    found: str = world.call("daemon.status")["state"]
    return found


def test_a_drained_daemon_leases_nothing_until_it_is_undrained(world: World) -> None:
    world.apply(WELCOME)
    world.contact("c1")
    (node,) = world.call("node.list")["items"]

    assert world.call("node.drain", node=node["node"])["changed"]
    until(lambda: state(world) == "draining")
    assert not world.call("daemon.ready")["ready"]
    world.call("enroll.add", campaign="welcome", contacts=["c1"])
    time.sleep(0.3)
    assert [] == world.sent()

    assert world.call("node.undrain", node=node["incarnation"])["changed"]
    until(lambda: state(world) == "running")
    world.tick()
    assert ["c1@x.test"] == [row["recipient"] for row in world.sent()]
