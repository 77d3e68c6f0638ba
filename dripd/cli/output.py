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
    """One thing, a line for each of its values; what is many things as tables beneath."""
    tables = {key: rows for key, value in record.items() if (rows := table_of(value))}
    width = max((len(key) for key in record if key not in tables), default=0)
    for key, value in record.items():
        if key not in tables:
            click.echo(f"{key.ljust(width)}  {cell(value)}".rstrip())
    for key, rows in tables.items():
        click.echo(f"\n{key}:")
        print_items(rows)


def table_of(value: object) -> list[Row]:
    """The rows of a list of things, or of things by their names; none of anything else."""
    if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
        return [{"name": name, **one} for name, one in value.items()]
    return rows_of(value) if is_rows(value) else []


def print_waits(runs: Sequence[Row], queued: Sequence[Row] = ()) -> None:
    """What each run waits for: its step, the gates before it, and when it goes on; then what
    waits until the contact is free."""
    if not (runs or queued):
        click.echo("no run is live; dripd contact timeline CONTACT has those before", err=True)
    for run in runs:
        head = (
            f"{cell(run['campaign_key'])} (enrollment {run['enrollment_id']}): {run['status']}"
        )
        step = run.get("step")
        if not isinstance(step, dict):
            click.echo(f"{head}, {cell(run['end_reason'])}" if run["end_reason"] else head)
            continue
        click.echo(
            f"{head} at {cell(step['key'])}, step {step['index']} of {step['of']}, due {run['due_at']}"
        )
        for gate in rows_of(run["chain"]):
            until = gate["until"] or "somebody acts"
            click.echo(f"  {cell(gate['gate'])} until {until}: {cell(gate['detail'])}")
        goes = f"at {run['ready_at']}" if run["ready_at"] else "once somebody has acted"
        click.echo(f"  goes on {goes}")
    for one in queued:
        ends = " and ".join(f"enrollment {run}" for run in _listed(one["behind"]))
        click.echo(
            f"{cell(one['campaign_key'])} (request {one['request_id']}): queued since {one['asked_at']}"
        )
        click.echo(f"  begins once {ends or 'the run that keeps its contact busy'} ends")


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(r, dict) for r in value)


def rows_of(value: object) -> list[Row]:
    """The objects in a list that came over the wire."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def cell(value: object) -> str:
    """One value on one line; what is in it as `name=value`, what is empty left out."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        said = [
            f"{safe(str(name))}={_inner(one)}" for name, one in value.items() if one is not None
        ]
        return ", ".join(said) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_inner, value))
    return safe(str(value))


def _inner(value: object) -> str:
    return (
        f"({cell(value)})" if isinstance(value, dict | list | tuple) and value else cell(value)
    )


def clip(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def print_faults(faults: Iterable[Row], word: str = "", *, err: bool = False) -> None:
    """A line for each fault, its code first."""
    for fault in faults:
        where = f"{fault['path']}: " if fault.get("path") else ""
        hint = f" ({fault['hint']})" if fault.get("hint") else ""
        click.echo(safe(f"[{fault['code']}] {word}{where}{fault['message']}{hint}"), err=err)


def print_error(error: DripdError, *, as_json: bool) -> None:
    """What went wrong, on stderr: what, where, what to do."""
    faults = error.faults if isinstance(error, ConfigError | DefinitionError) else ()
    if as_json:
        body = {
            "code": error.code,
            "message": error.message,
            "path": error.path,
            "hint": error.hint,
            "faults": list(map(fault_row, faults)),
        }
        click.echo(json.dumps({"schema": SCHEMA, "error": body}), err=True)
        return
    where = f"{error.path}: " if error.path and not faults else ""
    if not (faults and isinstance(error, ConfigError)):  # its message is the first of them
        click.echo(safe(f"[{error.code}] {where}{error.message}"), err=True)
    print_faults(map(fault_row, faults), err=True)
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
