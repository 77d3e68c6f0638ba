"""How is one change of a field written? As text (`city set Oslo`) or as a mapping."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime

from dripd.campaigns.definition import Op
from dripd.campaigns.reader import (
    BadValue,
    Section,
    as_fields,
    filled,
    flag,
    scalar,
    shown,
    suggest,
    word,
)

OPS_OF: Mapping[str, frozenset[str]] = {
    "text": frozenset({"set", "clear"}),
    "number": frozenset({"set", "clear", "increment"}),
    "date": frozenset({"set", "clear", "now"}),
    "datetime": frozenset({"set", "clear", "now"}),
    "bool": frozenset({"set", "clear"}),
    "person": frozenset({"set", "clear"}),
    "multi": frozenset({"set", "clear", "add", "remove"}),
}
"""Which changes a field of each type can take (behaviour F16)."""

OPS = ("set", "clear", "add", "remove", "increment", "now")


def parse_op(line: str) -> Op:
    """Read one change of a field as text: `city set Oslo`, `score increment 5`.

    Raises `ValueError` saying what to write.
    """
    name, _, rest = line.strip().partition(" ")
    verb, _, value = rest.strip().partition(" ")
    if not name or verb not in OPS:
        hint = suggest(verb, OPS) or "such as city set Oslo"
        raise BadValue(f"{shown(line)} is no change of a field", hint=hint, code="bad_op")
    return _op(name, verb, value.strip() or None, enabled=True)


def read_op(item: object, path: str, section: Section) -> Op:
    if isinstance(item, str):
        return parse_op(item)
    inner = Section(item, path, section.faults)
    verb = inner.take("op", _verb, "")
    name = inner.take("field", filled, "")
    value = inner.take("value", scalar, None)
    enabled = inner.take("enabled", flag, default=True)
    inner.finish()
    if not verb or not name:
        missing = [word for word in ("op", "field") if not inner.given(word)]
        if missing and inner.values:
            raise BadValue(f"`{missing[0]}` is missing", hint="op and field", code="bad_op")
        return Op(op="clear", field="", enabled=False)
    return _op(name, verb, value, enabled=enabled)


def _verb(value: object) -> str:
    try:
        return word(*OPS)(value)
    except BadValue as bad:
        raise BadValue(bad.message, hint=bad.hint, code="bad_op") from bad


def _op(name: str, verb: str, value: object, *, enabled: bool) -> Op:
    if verb in {"clear", "now"} and value is not None:
        raise BadValue(f"`{verb}` takes no value", hint=f"{name} {verb}", code="bad_op")
    if verb in {"set", "add", "remove"} and value is None:
        raise BadValue(f"`{verb}` needs a value", hint="`clear` empties", code="bad_op")
    if verb == "increment":
        value = _amount(value)
    return Op(field=name, value=value, enabled=enabled, **as_fields({"op": verb}))


def _amount(value: object) -> float:
    """What `increment` adds; 1 where nothing is said."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if value is None:
        return 1
    if not isinstance(number, int | float) or isinstance(value, bool):
        raise BadValue(f"{shown(value)} is no number", hint="such as 5", code="bad_op")
    if not math.isfinite(number):
        raise BadValue("endless numbers cannot be stored", hint="such as 5", code="bad_op")
    return int(number) if number == int(number) else number


def typed(op: Op, of_type: str) -> Op:
    """*op* with its value as a field of this type holds it; "" for a type that is not known.

    Raises `BadValue`, `bad_op`, where the type takes no such change or no such value.
    """
    if not of_type:
        return op
    if op.op not in OPS_OF[of_type]:
        hint = f"one of: {' '.join(sorted(OPS_OF[of_type]))}"
        raise BadValue(
            f"{op.field!r} is {of_type}, no {op.op!r} there", hint=hint, code="bad_op"
        )
    if op.op != "set" or of_type not in _VALUES:
        return op
    try:
        return replace(op, value=_VALUES[of_type](op.value))
    except (ValueError, TypeError) as error:
        message = f"{shown(op.value)} is no {of_type}, as {op.field!r} is"
        raise BadValue(message, hint=_SUCH_AS[of_type], code="bad_op") from error


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError("no number")
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("endless")
    return int(found) if found == int(found) else found


def _bool(value: object) -> bool:
    words = {"true": True, "false": False, True: True, False: False}
    if not isinstance(value, bool | str) or value not in words:
        raise ValueError("neither true nor false")
    return words[value]


def _date(value: object) -> str:
    return date.fromisoformat(str(value)).isoformat()


def _datetime(value: object) -> str:
    datetime.fromisoformat(str(value))
    return str(value)


_VALUES: Mapping[str, Callable[[object], object]] = {
    "number": _number,
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
}

_SUCH_AS = {
    "number": "such as 5",
    "bool": "true or false",
    "date": "such as 2026-03-01",
    "datetime": "such as 2026-03-01T10:00+01:00",
}
