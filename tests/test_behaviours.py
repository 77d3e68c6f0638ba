"""`docs/behaviours.md` names, for each behaviour, a test that carries its id."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
LINES = (TESTS.parent / "docs" / "behaviours.md").read_text(encoding="utf-8").splitlines()
LINE = re.compile(r"\| ([CSMQF]\d+) \| .+ \| `([\w/]+\.py)::(\w+)` \|")


def marks_of(source: str, test: str) -> set[str]:
    """The ids on the decorators that stand above *test*."""
    above = source.split(f"def {test}(", 1)[0].rsplit("\n\n\n", 1)[-1]
    return set(re.findall(r'"([CSMQF]\d+)"', above))


def test_every_behaviour_is_proven_by_a_test_that_carries_its_id() -> None:
    rows = [LINE.fullmatch(line) for line in LINES if re.match(r"\| [CSMQF]\d", line)]
    assert all(rows)

    found = [row.groups() for row in rows if row is not None]
    assert len({name for name, _, _ in found}) == len(found) > 200
    for name, path, test in found:
        assert name in marks_of((TESTS / path).read_text(encoding="utf-8"), test), name
