"""What do options hold? JSON values and pairs that the user gives."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from dripd.admin.rows import read_json
from dripd.errors import BadRequest


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
            raise BadRequest(f"{text!r} is not KEY=VALUE", path=path, hint=f"{path} KEY=VALUE")
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
