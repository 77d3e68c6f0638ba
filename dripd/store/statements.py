"""Where is the SQL? Named statements, read from `sql/queries/*.sql` once at start.

A missing or doubled name fails at import of the catalogue, not at three in the morning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HEADER = re.compile(r"^-- name: (\w+) :(many|one|exec)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`kind`: `many` rows, `one` row or none, `exec` nothing but the count."""

    name: str
    kind: str
    text: str


def sql_root() -> Path:
    """The folder `sql/`: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "sql"
    return inside if inside.is_dir() else package.parent / "sql"


@cache
def load() -> Mapping[str, Statement]:
    """Every named statement. Raises `ValueError` if two bear one name or a file has none."""
    found: dict[str, Statement] = {}
    for path in sorted((sql_root() / "queries").glob("*.sql")):
        for statement in parse(path.read_text(encoding="utf-8")):
            if statement.name in found:
                raise ValueError(f"{path.name}: statement {statement.name} exists already")
            found[statement.name] = statement
    return found


def parse(text: str) -> list[Statement]:
    """The statements of one file, in its order."""
    heads = list(HEADER.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [
        Statement(name=head[1], kind=head[2], text=text[head.end() : end].strip().rstrip(";"))
        for head, end in zip(heads, ends, strict=True)
    ]


def sql(name: str) -> str:
    """The text of the statement *name*. Raises `KeyError`."""
    return load()[name].text
