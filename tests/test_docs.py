"""The documentation says what is so: its reference is made of the code, the rest is held to it."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

from dripd.campaigns.lifecycle import diagram
from dripd.cli.main import COMMANDS
from dripd.log import EVENTS
from dripd.metrics import METRICS
from dripd.options import SECTIONS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

SECTION = re.compile(r"^(dripd\.\w+)\n~+\n(.*?)(?=^\S+\n[~-]+$|\Z)", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_generated_page_is_included_and_holds_what_it_is_about(
    generate: ModuleType, tmp_path: Path
) -> None:
    generate.write(tmp_path)
    included = {
        name
        for page in DOCS.rglob("*.rst")
        for name in re.findall(r"include:: /generated/(\S+)", page.read_text())
    }

    assert included == {path.name for path in tmp_path.iterdir()}
    commands = (tmp_path / "commands.rst").read_text()
    assert all(f"dripd {name}\n" in commands for name in COMMANDS)
    assert "dripd campaign publish\n" in commands
    metrics = (tmp_path / "metrics.rst").read_text()
    assert all(f"``{name}``" in metrics for name in METRICS)
    events = (tmp_path / "events.rst").read_text()
    assert all(f"``{name}``" in events for name in EVENTS)
    options = (tmp_path / "configuration.rst").read_text()
    assert all(f"``{key}``" in options for keys in SECTIONS.values() for key in keys)


def columns(kind: str) -> dict[str, set[str]]:
    """The columns after `Write:` or `Read:` of each relation."""
    found = {}
    for name, body in SECTION.findall((DOCS / "reference" / "sql.rst").read_text()):
        told = re.search(rf"^{kind}: (.*?)(?:\n\n|\Z)", body, re.MULTILINE | re.DOTALL)
        if told is not None:
            found[name] = set(re.findall(r"``(\w+)``", told[1]))
    return found


def ask(dsn: str, query: str) -> dict[str, set[str]]:
    async def run() -> dict[str, set[str]]:
        conn = await asyncpg.connect(dsn)
        try:
            rows = await conn.fetch(query)
        finally:
            await conn.close()
        return {f"dripd.{row['relation']}": set(row["columns"]) for row in rows}

    return asyncio.run(run())


def test_the_doors_are_those_that_writers_may_write(pg_dsn: str) -> None:
    granted = ask(
        pg_dsn,
        "SELECT table_name AS relation, array_agg(column_name::text) AS columns "
        "FROM information_schema.column_privileges "
        "WHERE grantee = 'dripd_writer' AND privilege_type = 'INSERT' AND table_schema = 'dripd' "
        "GROUP BY table_name",
    )

    told = columns("Write")
    assert told
    for relation, names in told.items():
        assert names <= granted[relation], relation


def test_the_views_have_the_columns_that_are_told(pg_dsn: str) -> None:
    there = ask(
        pg_dsn,
        "SELECT table_name AS relation, array_agg(column_name::text) AS columns "
        "FROM information_schema.columns WHERE table_schema = 'dripd' GROUP BY table_name",
    )

    told = columns("Read")
    assert len(told) > 10
    for relation, names in told.items():
        assert names <= there[relation], relation


def test_the_readme_shows_the_life_cycle_as_it_is() -> None:
    (shown,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)

    assert shown == diagram()


def test_the_readme_names_only_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    blocks = "\n".join(text.split("```")[1::2])
    named = {*re.findall(r"`dripd (\w+)", text), *re.findall(r"\bdripd (\w+)", blocks)}

    assert named
    assert named <= set(COMMANDS)
