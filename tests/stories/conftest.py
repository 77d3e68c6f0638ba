"""A running dripd for each story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.world import World
from tests.support.postgres import Databases


@pytest.fixture
def world(pg_dsn: str) -> Iterator[World]:
    """A daemon on the manual clock, a fresh database, the account `acme` with two senders."""
    with TemporaryDirectory(prefix="dripd-") as state, World(pg_dsn, Path(state)) as world:
        yield world


@pytest.fixture(scope="module")
def house(pg_databases: Databases) -> Iterator[World]:
    """The same for all stories of a module, which keep out of each other's way."""
    with (
        pg_databases.fresh() as dsn,
        TemporaryDirectory(prefix="dripd-") as state,
        World(dsn, Path(state)) as world,
    ):
        yield world
