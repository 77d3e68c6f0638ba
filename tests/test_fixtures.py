"""The databases that the fixtures promise."""

from __future__ import annotations

from tests.support.postgres import execute, fetch_value


def test_fresh_database_has_the_schema_and_no_accounts(pg_dsn: str) -> None:
    n_accounts = fetch_value(pg_dsn, "SELECT count(*) FROM dripd.account")

    assert 0 == n_accounts


def test_what_one_test_writes_no_other_sees(pg_dsn: str) -> None:
    execute(pg_dsn, "CREATE TABLE left_behind ()")


def test_what_one_test_wrote_is_gone(pg_dsn: str) -> None:
    there = fetch_value(pg_dsn, "SELECT to_regclass('left_behind') IS NOT NULL")

    assert there is False


def test_empty_database_has_no_schema(pg_empty_dsn: str) -> None:
    there = fetch_value(pg_empty_dsn, "SELECT to_regnamespace('dripd') IS NOT NULL")

    assert there is False
