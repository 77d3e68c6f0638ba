"""What becomes of a contact's fields under `city set Oslo`? All changes of a call, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dripd.campaigns.definition import Op
from dripd.campaigns.ops import parse_op
from dripd.campaigns.reader import BadValue
from dripd.errors import BadRequest

WRITABLE = ("email", "phone", "timezone", "owner", "service_owner")
"""Columns of `contact` that an operator may change; every other field is an attrs key."""


def read_ops(lines: Sequence[str]) -> list[Op]:
    """Each of *lines* as a change. Raises `BadRequest` that says which is none."""
    found = []
    for index, line in enumerate(lines):
        try:
            found.append(parse_op(line))
        except BadValue as bad:
            raise BadRequest(
                bad.message, code="bad_op", path=f"ops[{index}]", hint=bad.hint
            ) from bad
    return found


def apply_ops(
    attrs: Mapping[str, object], columns: Mapping[str, str | None], ops: Sequence[Op], now: str
) -> tuple[dict[str, object], dict[str, str | None]]:
    """*attrs* and *columns* after *ops*, in their order; *now* is an instant as text.

    Raises `BadRequest` `bad_op` where a change does not fit the value that stands there.
    """
    fields, own = dict(attrs), dict(columns)
    for index, op in enumerate(ops):
        name = op.field.removeprefix("attrs.").removeprefix("contact.")
        path = f"ops[{index}]"
        if name in WRITABLE and not op.field.startswith("attrs."):
            own[name] = _column(op, path, now)
        elif op.op == "clear":
            fields.pop(name, None)
        else:
            fields[name] = _changed(op, fields.get(name), path, now)
    return fields, own


def _column(op: Op, path: str, now: str) -> str | None:
    match op.op:
        case "set":
            return str(op.value)
        case "clear":
            return None
        case "now":
            return now
    raise BadRequest(f"`{op.op}` does not fit {op.field}", code="bad_op", path=path, hint="set")


def _changed(op: Op, old: object, path: str, now: str) -> object:
    match op.op:
        case "now":
            return now
        case "increment":
            return _sum(op, old, path)
        case "add" | "remove":
            return _multi(op, old)
    return op.value


def _sum(op: Op, old: object, path: str) -> object:
    if old is None:
        return op.value
    if isinstance(old, bool) or not isinstance(old, int | float):
        raise BadRequest(
            f"{op.field} holds no number to increment", code="bad_op", path=path, hint="set it"
        )
    return old + op.value  # type: ignore[operator]  # parse_op made it a number


def _multi(op: Op, old: object) -> list[object]:
    values = list(old) if isinstance(old, list) else [] if old is None else [old]
    rest = [value for value in values if value != op.value]
    if op.op == "remove":
        return rest
    return values if op.value in values else [*values, op.value]
