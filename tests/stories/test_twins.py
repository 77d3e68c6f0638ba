"""Two daemons of one name, as a cloned container has it; one is killed, one frozen and woken."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.world import World, until

CAMPAIGN = """
campaign: welcome
account: {account}
name: Welcome
sender: hello@{account}.test
steps:
  - {{key: one, do: email, subject: Hi, text: Hello}}
  - {{key: two, delay: 1h, do: email, subject: Hi, text: Again}}
  - {{key: three, delay: 1h, do: email, subject: Hi, text: And again}}
"""

ACCOUNTS = tuple(f"a{n}" for n in range(6))

BOTH = "SELECT count(*) FROM dripd.node WHERE name = 'twin' AND NOT dead AND accounts > 0"


def sends(world: World) -> Counter[str]:
    """How often each message of a run reached the sink, by step."""
    each = Counter((row["recipient"], row["step_key"]) for row in world.sent())
    assert {1} == set(each.values()), each
    return Counter(step for _, step in each)


@pytest.mark.slow
def test_two_daemons_of_one_name_are_both_right(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPD_ENGINE__NODE_TIMEOUT", "2s")
    monkeypatch.setenv("DRIPD_DAEMON__NODE", "twin")
    with (
        TemporaryDirectory(prefix="dripd-") as here,
        TemporaryDirectory(prefix="dripd-") as there,
        World(pg_dsn, Path(here)) as world,
    ):
        for key in ACCOUNTS:
            world.account(key)
            world.apply(CAMPAIGN.format(account=key), account=key)
            people = [f"{key}-{n}" for n in range(5)]
            for name in people:
                world.contact(name, account=key)
            world.enroll("welcome", *people, account=key)
        other = World(pg_dsn, Path(there))
        other.start()
        until(lambda: world.one(BOTH) == 2)
        world.tick()
        assert {"one": 30} == sends(world)

        other.kill9()
        world.advance("1h")
        assert {"one": 30, "two": 30} == sends(world)

        other.start()
        until(lambda: world.one(BOTH) == 2)
        assert other.process is not None
        os.kill(other.process.pid, signal.SIGSTOP)
        world.advance("2h")
        assert {"one": 30, "two": 30, "three": 30} == sends(world)
        before = world.sql("SELECT * FROM dripd.enrollment ORDER BY id")
        os.kill(other.process.pid, signal.SIGCONT)
        other.process.wait(60)
        world.tick()

        assert {"one": 30, "two": 30, "three": 30} == sends(world)
        assert before == world.sql("SELECT * FROM dripd.enrollment ORDER BY id")
        assert {"completed"} == {row["status"] for row in before}
