"""What becomes of a contact's fields under `city set Oslo`? All changes of a call, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from types import MappingProxyType

from dripd.campaigns.definition import Op
from dripd.campaigns.ops import parse_op, typed
from dripd.campaigns.reader import BadValue
from dripd.campaigns.template import is_mere_date
from dripd.campaigns.wording import TEXTS
from dripd.clock import Instant
from dripd.errors import BadRequest
from dripd.policy.fields import operate, written

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


def read_attrs(attrs: Mapping[str, object], types: Mapping[str, str]) -> dict[str, object]:
    """*attrs* as the declared fields hold them. Raises `BadRequest` `bad_value` where one cannot."""
    found = dict(attrs)
    for name, value in attrs.items():
        if value is None or value == "":
            continue
        try:
            found[name] = typed(
                Op(op="set", field=name, value=value), types.get(name, "")
            ).value
        except BadValue as bad:
            raise BadRequest(
                bad.message, code="bad_value", path=f"attrs.{name}", hint=bad.hint
            ) from bad
    return found


def doubts(attrs: Mapping[str, object], types: Mapping[str, str]) -> list[dict[str, object]]:
    """Warnings `date_only`: of each day in a declared field that wants its time too."""
    return [
        {
            "code": "date_only",
            "path": f"attrs.{name}",
            "message": f"{value} has no time of day: midnight where the contact is",
            "hint": f"{value}T09:00",
        }
        for name, value in attrs.items()
        if types.get(name) == "datetime" and is_mere_date(value)
    ]


def apply_ops(
    attrs: Mapping[str, object],
    columns: Mapping[str, str | None],
    ops: Sequence[Op],
    now: Instant,
    types: Mapping[str, str] = MappingProxyType({}),
    zone: tzinfo = UTC,
) -> tuple[dict[str, object], dict[str, str | None]]:
    """*attrs* and *columns* after *ops*, in their order, as an `update` step would do it.

    *types*: the declared fields; *zone*: the contact's. Raises `BadRequest` `bad_op` where a change does not fit.
    """
    fields, own = dict(attrs), dict(columns)
    for index, op in enumerate(ops):
        name = op.field.removeprefix("attrs.").removeprefix("contact.")
        is_column = name in WRITABLE and not op.field.startswith("attrs.")
        before = own.get(name) if is_column else fields.get(name)
        try:
            of_type = "text" if is_column else types.get(name, TEXTS.get(name, ""))
            after = operate(typed(op, of_type), before, written(now, of_type, zone))
        except ValueError as error:
            hint = error.hint if isinstance(error, BadValue) else "set it"
            raise BadRequest(
                f"{op.field}: {error}", code="bad_op", path=f"ops[{index}]", hint=hint
            ) from error
        if is_column:
            own[name] = None if after is None else str(after)
        elif after is None:
            fields.pop(name, None)
        else:
            fields[name] = after
    return fields, own
