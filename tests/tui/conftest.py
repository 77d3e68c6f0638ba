"""One real daemon for all tests that look at it through a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.world import World
from tests.support.postgres import Databases

CAMPAIGN = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
notify: {field: rep, opened: true}
steps:
  - {key: hello, do: email, subject: "Hi {First Name}", text: Hello}
  - {key: call, do: custom_task, title: "Call {First Name}", assignee: ann}
  - {key: nudge, do: email, delay: 3d, subject: Still there, text: Well}
"""


@pytest.fixture(scope="module")
def world(pg_databases: Databases) -> Iterator[World]:
    """A daemon with ten runs of campaign welcome that wait for their second mail."""
    with (
        TemporaryDirectory(prefix="dripd-") as state,
        pg_databases.fresh() as dsn,
        World(dsn, Path(state)) as world,
    ):
        for n in range(10):
            world.contact(f"c{n}")
        world.apply(CAMPAIGN)
        world.enroll("welcome", *(f"c{n}" for n in range(10)))
        world.tick()
        yield world
