"""The tables that say which test holds which promise name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

DOCS = TESTS.parent / "docs"

CONTROLS = DOCS / "controls.md"

PAGES = [TESTS / "store" / "README.md", DOCS / "guarantees.md", CONTROLS]

DEFINED = re.compile(r"^\s*(?:async )?def (test_[a-z0-9_]+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_names_tests_that_exist(page: Path) -> None:
    defined = {
        name
        for path in TESTS.rglob("*.py")
        for name in DEFINED.findall(path.read_text(encoding="utf-8"))
    }
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page.read_text(encoding="utf-8")))

    assert len(named) > 10
    assert set() == named - defined


def test_every_row_names_a_test_that_exists() -> None:
    """That they exist the test above has seen."""
    rows = [
        line for line in CONTROLS.read_text(encoding="utf-8").splitlines() if line[:2] == "| "
    ]
    told = [row for row in rows if not row.endswith("| tests |")]

    assert len(told) > 80
    assert [] == [row for row in told if not re.search(r"`test_[a-z0-9_]+`", row)]


def test_every_problem_has_its_line() -> None:
    text = PAGES[0].read_text(encoding="utf-8")

    assert list(range(1, 29)) == [
        int(n) for n in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    ]
