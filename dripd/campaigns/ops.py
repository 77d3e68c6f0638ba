"""How is one change of a field written? As text (`city set Oslo`) or as a mapping."""

from __future__ import annotations

import math

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
        raise BadValue("endless numbers cannot be stored", code="bad_op")
    return int(number) if number == int(number) else number
