"""How does an answer look? One JSON object for programs, aligned text for people.

Text from outside is shown with its control characters as visible pictures, so that no contact
can write to an operator's terminal. JSON escapes them by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import click

from dripd.admin.safe import safe
from dripd.errors import ConfigError, DefinitionError, DripdError, Fault

Row: TypeAlias = Mapping[str, object]

SCHEMA: Final = 1
WIDEST: Final = 60
"""Most characters of a cell in a table; `--json` has them all."""


def print_json(result: Row) -> None:
    """The one object of an answer; additive, hence with its schema number."""
    click.echo(json.dumps({"schema": SCHEMA, **result}, ensure_ascii=True))


def print_items(items: Sequence[Row], columns: Sequence[str] = ()) -> None:
    """A table with *columns*, by default those of the items themselves."""
    if not items:
        click.echo("nothing found", err=True)
        return
    chosen = columns or tuple(dict.fromkeys(key for item in items for key in item))
    rows = [[clip(cell(item.get(name))) for name in chosen] for item in items]
    heads = [name.upper() for name in chosen]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def print_record(record: Row) -> None:
    """One thing, a line for each of its values; lists of things as tables beneath."""
    plain = {key: value for key, value in record.items() if not is_rows(value)}
    width = max(map(len, plain), default=0)
    for key, value in plain.items():
        click.echo(f"{key.ljust(width)}  {cell(value)}".rstrip())
    for key, value in record.items():
        if is_rows(value):
            click.echo(f"\n{key}:")
            print_items(rows_of(value))


def is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(r, dict) for r in value)


def rows_of(value: object) -> list[Row]:
    """The objects in a list that came over the wire."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def cell(value: object) -> str:
    """One value on one line."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list | tuple):
        return safe(json.dumps(value, ensure_ascii=False))
    return safe(str(value))


def clip(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def print_faults(faults: Iterable[Row], word: str) -> None:
    """A line for each fault, its code first."""
    for fault in faults:
        where = f"{fault['path']}: " if fault.get("path") else ""
        hint = f" ({fault['hint']})" if fault.get("hint") else ""
        click.echo(safe(f"[{fault['code']}] {word}{where}{fault['message']}{hint}"))


def print_error(error: DripdError, *, as_json: bool) -> None:
    """What went wrong, on stderr: what, where, what to do."""
    faults = error.faults if isinstance(error, ConfigError | DefinitionError) else ()
    if as_json:
        body = {
            "code": error.code,
            "message": error.message,
            "path": error.path,
            "hint": error.hint,
            "faults": [fault_row(fault) for fault in faults],
        }
        click.echo(json.dumps({"schema": SCHEMA, "error": body}), err=True)
        return
    where = f"{error.path}: " if error.path else ""
    click.echo(safe(f"[{error.code}] {where}{error.message}"), err=True)
    for fault in faults:
        place = f"{fault.path}: " if fault.path else ""
        hint = f" ({fault.hint})" if fault.hint else ""
        click.echo(safe(f"[{fault.code}] {place}{fault.message}{hint}"), err=True)
    if error.hint and not faults:
        click.echo(safe(f"  {error.hint}"), err=True)


def fault_row(fault: Fault) -> dict[str, str]:
    """A fault as it stands in every JSON answer."""
    return {
        "code": fault.code,
        "path": fault.path,
        "message": fault.message,
        "hint": fault.hint,
    }
