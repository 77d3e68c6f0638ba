"""`sql/schema.sql` is what the migrations make."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from dripd.store.embedded_binaries import candidates, major_of
from dripd.store.statements import sql_root
from tests.support.postgres import execute

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
