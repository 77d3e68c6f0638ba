"""The databases that the fixtures promise."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.postgres import Databases, execute, fetch_value


def test_fresh_database_has_the_schema_and_no_accounts(pg_dsn: str) -> None:
    n_accounts = fetch_value(pg_dsn, "SELECT count(*) FROM dripd.account")

    assert 0 == n_accounts


def test_what_one_test_writes_no_other_sees(pg_databases: Databases) -> None:
    found = "SELECT to_regclass('left_behind') IS NOT NULL"
    with pg_databases.fresh() as one, pg_databases.fresh() as beside:
        execute(one, "CREATE TABLE left_behind ()")

        assert [True, False] == [fetch_value(dsn, found) for dsn in (one, beside)]
    with pg_databases.fresh() as later:
        assert fetch_value(later, found) is False


def test_empty_database_has_no_schema(pg_empty_dsn: str) -> None:
    there = fetch_value(pg_empty_dsn, "SELECT to_regnamespace('dripd') IS NOT NULL")

    assert there is False


def test_what_killed_sessions_left_is_removed_once_though_many_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that found another removing it could not begin, and all its tests failed."""
    monkeypatch.setattr(postgres, "place", lambda: tmp_path)
    monkeypatch.setattr(postgres, "temporary", lambda: tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours = tmp_path / f"{postgres.PREFIX}{os.getpid()}-own"
    for state in (*(tmp_path / f"{postgres.PREFIX}{dead.pid}-{n}" for n in range(200)), ours):
        state.mkdir()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(postgres.remove_orphans) for _ in range(8)]:
            done.result()

    assert [ours] == [one for one in tmp_path.iterdir() if one.is_dir()]
