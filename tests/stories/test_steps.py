"""Stories of steps: mixed kinds, delays, chains, messages."""

from __future__ import annotations

import pytest

from tests.stories.world import World


@pytest.mark.feature("C1")
def test_a_campaign_mixes_automatic_and_manual_steps(world: World) -> None:
    world.contact("c1")
    world.apply("""
campaign: mix
account: acme
name: Mix
sender: hello@acme.test
steps:
  - {key: one, do: email, subject: One, text: One}
  - {key: call, do: custom_task, delay: 1d, title: Call}
  - {key: two, do: email, delay: 1d, subject: Two, text: Two}
""")
    world.enroll("mix", "c1")
    world.tick()
    world.advance("1d")
    world.advance("1d")
    assert len(world.sent()) == 2
    assert world.one("SELECT count(*) FROM dripd.task WHERE kind = 'custom'") == 1
    assert [(s["step_key"], s["outcome"]) for s in world.steps("c1")] == [
        ("one", "done"),
        ("call", "done"),
        ("two", "done"),
    ]
    assert world.run("c1", "mix")["status"] == "completed"
