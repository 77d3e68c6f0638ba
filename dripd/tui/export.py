"""How is a table written to a file? As CSV for spreadsheets, or one JSON object a line for programs.

What is loaded is written, masked as it came: never more than is seen here.
"""

from __future__ import annotations

import csv
import io
import json

from dripd.tui.table import Row, Table
from dripd.tui.words import text


def loaded(table: Table) -> list[Row]:
    """The rows of *table* in its order, without what the console added."""
    rows = [table.rows[name] for name in table.order]
    return [{name: value for name, value in row.items() if name != "_n"} for row in rows]


def as_csv(table: Table) -> str:
    rows = loaded(table)
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([harmless(text(row.get(name))) for name in names] for row in rows)
    return out.getvalue()


def as_ndjson(table: Table) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=True)}\n" for row in loaded(table))


def harmless(value: str) -> str:
    """*value* so that no spreadsheet takes it for a formula."""
    return f"'{value}" if value[:1] in {"=", "+", "-", "@"} and len(value) > 1 else value
