"""What do files and options hold? Reading rows and JSON values that the user gives."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from dripd.errors import BadRequest


def read_text(file: str) -> str:
    """The text of *file*, `-` for standard input; raises `BadRequest` if it has none."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise BadRequest(f"cannot be read: {error.strerror}", path=file) from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"is no UTF-8: {error}", path=file) from error


def read_rows(file: str) -> list[dict[str, object]]:
    """The rows of a CSV file with a header, a JSON array, or JSON objects one a line.

    Cells of CSV are text; empty ones are left out. Raises `BadRequest` with the line.
    """
    text = read_text(file)
    start = text.lstrip()[:1]
    if start == "[":
        rows = read_json(text, path=file)
        found = rows if isinstance(rows, list) else []
    elif start == "{":
        lines = enumerate(text.splitlines(), 1)
        found = [read_json(line, path=f"{file}:{n}") for n, line in lines if line.strip()]
    else:
        found = list(read_csv(text, file))
    for n, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise BadRequest("the row is no object", path=f"{file}:{n}")
    return found


def read_csv(text: str, file: str) -> Iterable[dict[str, object]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            if None in row:
                raise BadRequest("more cells than the header", path=f"{file}:{reader.line_num}")
            yield {key: value for key, value in row.items() if value}
    except csv.Error as error:
        raise BadRequest(f"no CSV: {error}", path=f"{file}:{reader.line_num}") from error


def read_json(text: str, *, path: str) -> object:
    """The JSON value *text*; raises `BadRequest` with *path*."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"no JSON: {error}", path=path) from error


def read_object(text: str | None, *, path: str) -> dict[str, object]:
    """The JSON object *text*, empty where there is none; raises `BadRequest`."""
    found = read_json(text, path=path) if text else {}
    if not isinstance(found, dict):
        raise BadRequest("must be a JSON object", path=path)
    return found


def pairs(given: Iterable[str], *, path: str) -> dict[str, str]:
    """`KEY=VALUE` texts as a mapping; raises `BadRequest` for one without an equals sign."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadRequest(f"{text!r} is not KEY=VALUE", path=path)
        found[key] = value
    return found


def typed(given: dict[str, str]) -> dict[str, object]:
    """Values as JSON where they are any (`3`, `true`, `["a"]`), else as text."""
    found: dict[str, object] = {}
    for key, value in given.items():
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def fold(row: dict[str, object], columns: Collection[str], into: str) -> dict[str, object]:
    """*row* with every key that is none of *columns* moved beneath *into*."""
    rest = {key: value for key, value in row.items() if key not in columns and key != into}
    beneath = row.get(into)
    merged = {**(beneath if isinstance(beneath, dict) else {}), **rest}
    kept = {key: value for key, value in row.items() if key in columns}
    return {**kept, into: merged} if merged else kept
