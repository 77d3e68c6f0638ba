"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dripd.daemon.daemon import VERSION
from dripd.log import EVENTS
from dripd.store.statements import load, parse

ROOT = Path(__file__).resolve().parents[1]

MODULES = sorted((ROOT / "dripd").rglob("*.py"))

QUERIES = sorted((ROOT / "sql" / "queries").glob("*.sql"))

LEVELS = {"debug", "info", "warning", "error", "exception"}

CLOCKS = re.compile(
    r"(?<!dripd\.)\b(?:(?:now|statement_timestamp|transaction_timestamp)\s*\("
    r"|current_timestamp|current_date|localtimestamp)",
    re.IGNORECASE,
)
"""`clock_timestamp()` is not among them: it is real time, by which liveness is judged."""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", sql, flags=re.DOTALL)


def literals(paths: list[Path]) -> set[str]:
    """Every string that stands whole in the code of *paths*."""
    return {
        node.value
        for path in paths
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The called name (the last part of a dotted one), and the call."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr, node
            elif isinstance(node.func, ast.Name):
                yield node.func.id, node


def first_literal(call: ast.Call) -> str | None:
    if call.args and isinstance(call.args[0], ast.Constant):
        value = call.args[0].value
        return value if isinstance(value, str) else None
    return None


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py"], ids=named
)
def test_init_holds_a_docstring_and_nothing_else(path: Path) -> None:
    tree = tree_of(path)

    assert ast.get_docstring(tree)
    assert 1 == len(tree.body)


def test_every_module_says_what_it_answers() -> None:
    silent = [named(path) for path in MODULES if not ast.get_docstring(tree_of(path))]

    assert [] == silent


@pytest.mark.parametrize("path", QUERIES, ids=named)
def test_queries_read_the_deployments_clock_only(path: Path) -> None:
    """`dripd.now()` is every stored instant's clock; liveness alone is real time."""
    assert [] == CLOCKS.findall(without_comments(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("sql", "n_found"),
    [
        ("-- now() in a comment\nSELECT now()", 1),
        ("SELECT (select dripd.now()), clock_timestamp() /* now() */", 0),
        ("SELECT 1; -- why\nSELECT pg_catalog.now ( ), CURRENT_TIMESTAMP", 2),
    ],
)
def test_what_counts_as_another_clock(sql: str, n_found: int) -> None:
    assert n_found == len(CLOCKS.findall(without_comments(sql)))


def test_the_daemon_says_the_version_of_its_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert package["project"]["version"] == VERSION


def test_migrations_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (ROOT / "sql" / "migrations").glob("*.sql"))
    numbers = [int(re.fullmatch(r"(\d{4})_[a-z0-9_]+\.sql", name)[1]) for name in names]  # type: ignore[index]  # a wrong name fails here

    assert list(range(1, len(names) + 1)) == numbers


def test_the_changelog_names_every_migration_once() -> None:
    names = sorted(path.stem for path in (ROOT / "sql" / "migrations").glob("*.sql"))
    told = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert names == sorted(re.findall(r"`([0-9]{4}_[a-z0-9_]+)`", told))


def test_every_statement_is_used_by_the_store() -> None:
    used = literals([path for path in MODULES if path.parent.name == "store"])

    assert set() == set(load()) - used


def test_every_statement_that_the_store_asks_for_exists() -> None:
    asked = {
        name
        for path in MODULES
        for called, call in calls(path)
        if called == "sql" and (name := first_literal(call))
    }

    assert asked
    assert set() == asked - set(load())


def test_what_one_room_of_the_desk_asks_stands_in_the_file_of_its_name() -> None:
    homes = {one.name: path.stem for path in QUERIES for one in parse(path.read_text())}
    askers: dict[str, set[str]] = {}
    for path in MODULES:
        for name in literals([path]) & homes.keys():
            askers.setdefault(name, set()).add(path.stem)
    astray = {
        name: asked
        for name, (asked, *others) in askers.items()
        if not others and asked.startswith("desk_") and homes[name] != asked
    }

    assert {} == astray


def test_statements_are_asked_for_by_the_store_alone() -> None:
    askers = {
        path.parent.name
        for path in MODULES
        for called, call in calls(path)
        if called == "sql" and first_literal(call)
    }

    assert {"store"} == askers


def logged() -> set[str]:
    """First arguments of what looks like a log call: `log.info("noun.participle", ...)`."""
    return {
        event
        for path in MODULES
        for called, call in calls(path)
        if called in LEVELS
        and isinstance(call.func, ast.Attribute)
        and (event := first_literal(call)) is not None
    }


def test_every_logged_event_is_in_the_catalogue() -> None:
    assert set() == logged() - set(EVENTS)


def test_every_event_of_the_catalogue_is_logged() -> None:
    everywhere = literals([path for path in MODULES if path.name != "log.py"])

    assert set() == set(EVENTS) - everywhere - logged()


def test_no_certificate_goes_unchecked() -> None:
    lax = {"CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context"}
    found = [
        named(path)
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Attribute | ast.Name) and _name(node) in lax)
        or (isinstance(node, ast.keyword) and node.arg in {"verify", "check_hostname"} and _is_false(node.value))
        or (isinstance(node, ast.Assign) and _is_false(node.value)
            and any(_name(one) == "check_hostname" for one in node.targets))
    ]  # fmt: skip

    assert [] == found


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("lock", ["requirements.lock", "docs/requirements.lock"])
def test_every_locked_requirement_has_its_hash(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    wanted = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]

    assert len(wanted) > 10
    assert [] == [line for line in wanted if "==" not in line or "--hash=sha256:" not in line]
