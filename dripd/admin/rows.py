"""What does a file of rows hold, and how does it fit into calls? For commands and the console."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
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


def cut(values: Sequence[object]) -> Iterator[list[object]]:
    """*values* in pieces of at most 500 whose JSON stays well below the wire's limit."""
    piece: list[object] = []
    size = 0
    for value in values:
        weight = len(str(value)) * 2
        if piece and (len(piece) >= 500 or size + weight > 500_000):
            yield piece
            piece, size = [], 0
        piece.append(value)
        size += weight
    if piece:
        yield piece
