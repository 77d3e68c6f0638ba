"""`sql/schema.sql` is what the migrations make."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from dripd.errors import SchemaMismatch
from dripd.store.embedded_binaries import candidates, major_of
from dripd.store.migrate import Migration, migrate, migrations, status
from dripd.store.statements import sql_root
from tests.support.postgres import execute, fetch_value

ONE_DUMP = re.compile(r"^(\\(un)?restrict .*|--.*|)\n", re.MULTILINE)
"""What differs between two dumps of equal schemas: a key, and comments with object numbers."""


def newest_dumper() -> Path:
    """`pg_dump` reads servers of its own version and older ones."""
    found = [folder / "pg_dump" for folder in candidates() if (folder / "pg_dump").is_file()]

    def version(program: Path) -> int:
        answer = subprocess.run(
            [program, "--version"], check=False, capture_output=True, text=True
        )
        return major_of(answer.stdout.split()[2]) if answer.returncode == 0 else 0

    return max(found, key=version)


def dumped(dsn: str) -> str:
    command = [newest_dumper(), "--schema-only", "--schema=dripd", dsn]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)

    assert 0 == answer.returncode, answer.stderr
    return ONE_DUMP.sub("", answer.stdout)


def test_schema_is_what_the_migrations_make(pg_dsn: str, pg_empty_dsn: str) -> None:
    execute(pg_empty_dsn, (sql_root() / "schema.sql").read_text(encoding="utf-8"))

    migrated, written = dumped(pg_dsn), dumped(pg_empty_dsn)

    assert len(migrated) > 50_000
    assert migrated.splitlines() == written.splitlines()


INSTALLER = "dripd_installer_test"

AS_THE_MAKER_OF_ROLES = """
DO $$
DECLARE
    named text;
    weak text := CASE WHEN current_setting('server_version_num')::int4 >= 160000 THEN ', SET FALSE, INHERIT FALSE' ELSE '' END;
BEGIN
    IF to_regrole('{installer}') IS NULL THEN
        CREATE ROLE {installer} LOGIN CREATEROLE;
    END IF;
    FOREACH named IN ARRAY ARRAY['dripd_owner', 'dripd_daemon', 'dripd_writer', 'dripd_reader'] LOOP
        IF to_regrole(named) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', named);
        END IF;
        EXECUTE format('GRANT %I TO {installer} WITH ADMIN OPTION%s', named, weak);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I OWNER TO {installer}', current_database());
END
$$
"""
"""An owner with CREATEROLE is what Postgres makes the maker of roles: it may grant them, from 16 on
not become them."""


def test_an_owner_that_may_make_roles_can_install(pg_empty_dsn: str) -> None:
    execute(pg_empty_dsn, AS_THE_MAKER_OF_ROLES.format(installer=INSTALLER))
    user = pg_empty_dsn.split("://")[1].split("@", maxsplit=1)[0]

    made = migrate(pg_empty_dsn.replace(f"{user}@", f"{INSTALLER}@", 1))

    assert [one.name for one in migrations()] == made


HOT = (
    "account_day",
    "claim",
    "due_step",
    "lane",
    "node",
    "park",
    "run",
    "step_log",
)


def test_hot_tables_have_no_row_level_security(pg_dsn: str) -> None:
    """A policy's expression costs 5 to 8 us a row in the lease; it guards what writers write or read."""
    in_schema = (
        "SELECT array_agg(c.relname::text) FROM pg_class AS c"
        " WHERE c.relnamespace = 'dripd'::regnamespace"
    )
    there = fetch_value(pg_dsn, in_schema)
    secured = fetch_value(pg_dsn, f"{in_schema} AND c.relrowsecurity")
    assert isinstance(there, list)
    assert isinstance(secured, list)

    assert set(HOT) <= set(there)
    assert {"contact", "enroll_request"} <= set(secured)
    assert set() == set(secured) & set(HOT)


@pytest.mark.parametrize(
    "theirs",
    ["CREATE TABLE dripd.orders (id int4)", "CREATE TABLE dripd.migration (version int4)"],
)
def test_a_schema_of_somebody_else_is_left_alone(pg_empty_dsn: str, theirs: str) -> None:
    execute(pg_empty_dsn, "CREATE SCHEMA dripd")
    assert status(pg_empty_dsn).applied == 0, "an empty one is ours to fill"
    execute(pg_empty_dsn, theirs)
    for look in (migrate, status):
        with pytest.raises(SchemaMismatch, match="holds something else"):
            look(pg_empty_dsn)


MEETS_SOMEBODY_TWICE = """
CREATE TABLE dripd.made_in_between (id int4);
DO $$
BEGIN
    IF nextval('public.tries') < 3 THEN
        RAISE SQLSTATE '40P01';
    END IF;
END
$$
"""


def test_a_migration_that_met_somebody_half_way_is_done_again(
    pg_empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes many tables one after the other, and so do the daemons that work meanwhile."""
    execute(pg_empty_dsn, "CREATE SEQUENCE public.tries")
    unlucky = Migration(number=1, name="0001_meet", text=MEETS_SOMEBODY_TWICE)
    monkeypatch.setattr("dripd.store.migrate.migrations", lambda: [unlucky])

    assert ["0001_meet"] == migrate(pg_empty_dsn)
    assert 3 == fetch_value(pg_empty_dsn, "SELECT last_value FROM public.tries")
