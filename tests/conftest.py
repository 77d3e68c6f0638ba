"""What every test may ask for: a Postgres of its own, and the profiles of hypothesis."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from dripd.built import IS_COMPILED
from tests.support.postgres import Databases, Server, run_server

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Each daemon and command that a test starts would compile all of dripd anew."""

for name, n_examples in {"dev": 50, "ci": 300, "soak": 10_000}.items():
    settings.register_profile(
        name,
        max_examples=n_examples,
        deadline=None,  # the machines are shared; a slow example is not a wrong one
        derandomize=name == "ci",  # what lands is judged by what it changes; "dev" draws anew
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for the server bears the mark, so that `-m 'not postgres'` works; what puts
    something in the place of compiled code is for a dripd that is not compiled."""
    for item in items:
        if IS_COMPILED and item.get_closest_marker("interpreted"):
            item.add_marker(pytest.mark.skip(reason="dripd is compiled"))
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A running server: that of DRIPD_TEST_DSN, else one for this session alone."""
    with run_server() as server:
        yield server


@pytest.fixture(scope="session")
def pg_databases(postgres_server: Server) -> Iterator[Databases]:
    """Makes databases with dripd's schema: migrated once, then copied from a template."""
    with Databases(postgres_server).with_template() as databases:
        yield databases


@pytest.fixture
def pg_dsn(pg_databases: Databases) -> Iterator[str]:
    """The DSN of a fresh database with dripd's schema."""
    with pg_databases.fresh() as dsn:
        yield dsn


@pytest.fixture
def pg_empty_dsn(postgres_server: Server) -> Iterator[str]:
    """The DSN of a fresh database with nothing in it, for the tests of migrations."""
    with Databases(postgres_server).empty() as dsn:
        yield dsn
