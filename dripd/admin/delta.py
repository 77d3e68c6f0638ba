"""What has changed between two answers, and how does a client catch up?

A view is an answer kept up to date: the daemon sends what `diff` finds, the console does
`apply`. An answer is an object; its `items`, where it has them, are rows known by the columns
of `key`. Both sides share this file, so that `apply(old, diff(old, new)) == new` can be proven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

Answer: TypeAlias = Mapping[str, object]
Row: TypeAlias = Mapping[str, object]
Delta: TypeAlias = dict[str, object]

ITEMS: Final = "items"
BETWEEN: Final = "/"
"""Stands between the columns of a row's key."""


def key_of(row: Row, key: Sequence[str]) -> str:
    """What *row* is known by."""
    return BETWEEN.join(str(row.get(column)) for column in key)


def rows_of(answer: Answer) -> list[Row]:
    """The rows of *answer*, none where it is a record."""
    found = answer.get(ITEMS)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def diff(old: Answer, new: Answer, key: Sequence[str]) -> Delta:
    """What leads from *old* to *new*; empty if nothing does.

    `set`: changed values beside the rows. `unset`: names that are gone. `rows`: `[key, changed
    columns, whole?]`. `order`: the keys as they stand now, if that is not as before.
    """
    found: Delta = {}
    before, after = _keyed(old, key), _keyed(new, key)
    if changed := _changed(_beside(old, key), _beside(new, key)):
        found["set"] = changed
    if gone := sorted(_beside(old, key).keys() - _beside(new, key).keys()):
        found["unset"] = gone
    rows = [one for name, row in after.items() if (one := _row(name, before.get(name), row))]
    if rows:
        found["rows"] = rows
    if list(before) != list(after):
        found["order"] = list(after)
    return found


def apply(old: Answer, delta: Mapping[str, object], key: Sequence[str]) -> dict[str, object]:
    """*old* after *delta*; what a stranger's delta says of rows nobody has is left out."""
    changed, gone = delta.get("set"), delta.get("unset")
    answer = dict(old) | (changed if isinstance(changed, dict) else {})
    for name in gone if isinstance(gone, list) else []:
        answer.pop(name, None)
    if not key or not isinstance(old.get(ITEMS), list):
        return answer
    rows: dict[str, Row] = dict(_keyed(old, key))
    for one in _parts(delta.get("rows")):
        name, columns, whole = one
        rows[name] = columns if whole else {**rows.get(name, {}), **columns}
    order = delta.get("order")
    names = order if isinstance(order, list) else list(rows)
    return {**answer, ITEMS: [rows[name] for name in names if name in rows]}


def _parts(rows: object) -> list[tuple[str, dict[str, object], bool]]:
    found = []
    for one in rows if isinstance(rows, list) else []:
        match one:
            case [str() as name, dict() as columns, bool() as whole]:
                found.append((name, columns, whole))
    return found


def _keyed(answer: Answer, key: Sequence[str]) -> dict[str, Row]:
    return {key_of(row, key): row for row in rows_of(answer)} if key else {}


def _beside(answer: Answer, key: Sequence[str]) -> dict[str, object]:
    keyed = bool(key) and isinstance(answer.get(ITEMS), list)
    return {name: value for name, value in answer.items() if not (keyed and name == ITEMS)}


def _changed(old: Row, new: Row) -> dict[str, object]:
    return {name: value for name, value in new.items() if name not in old or old[name] != value}


def _row(name: str, old: Row | None, new: Row) -> list[object] | None:
    if old is None or old.keys() - new.keys():
        return [name, dict(new), True]
    changed = _changed(old, new)
    return [name, changed, False] if changed else None
