"""What becomes of a field under a typed change? `update` steps: all their changes, or none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import tzinfo

from dripd.campaigns.action import UpdateCompany, UpdateContact
from dripd.campaigns.definition import Op, Step
from dripd.campaigns.event import Held
from dripd.campaigns.ops import typed
from dripd.campaigns.reader import shown
from dripd.campaigns.version import CHANGED
from dripd.clock import Instant, format_instant
from dripd.policy.facts import COLUMNS
from dripd.policy.performance import NOOP, NOTHING, Pass, Performed
from dripd.policy.rooms import home_zone
from dripd.scheduler.calendar import local_date

SETTABLE = frozenset(COLUMNS) - {"external_id"}
"""The columns of `contact` that a step may write."""


def update(here: Pass, step: Step, step_no: int) -> Performed | Held:
    """Typed operations, all or nothing; what changes nothing is no effect."""
    target = here.leased.attrs if step.target == "contact" else here.leased.company
    attrs: dict[str, object] = {}
    columns: dict[str, str | None] = {}
    scope = "" if step.target == "contact" else "company."
    for op in step.ops:
        if not op.enabled:
            continue
        name = field_name(op, step.target)
        try:
            of_type = here.version.types.get(scope + name, "")
            op = typed(op, of_type)  # noqa: PLW2901 - the same change, its value read
            if step.target == "contact" and name in COLUMNS:
                columns[name] = _operate_column(op, name, columns, here)
            else:
                at = written(here.now, of_type, _home(here))
                attrs[name] = operate(op, attrs.get(name, target.get(name)), at)
        except ValueError:  # the value there takes no such change: nothing is changed at all
            return Held(reason="step_failed", failed=f"unable:{name}")
    changed = {key: value for key, value in attrs.items() if target.get(key) != value}
    moved = {key: value for key, value in columns.items() if getattr(here.leased, key) != value}
    if not changed and not moved:
        return NOOP
    target.update(changed)
    for key, value in moved.items():
        setattr(here.leased, key, value)
    if step.target == "contact":
        here.effects.append(UpdateContact(attrs=changed, columns=moved))
        here.told |= CHANGED if changed else 0
    else:
        here.effects.append(UpdateCompany(attrs=changed))
    return NOTHING


def field_name(op: Op, target: str) -> str:
    """The field without the scope that it may be written with."""
    scope, dot, name = op.field.partition(".")
    scopes = {"attrs", "contact"} if target == "contact" else {"attrs", "company"}
    return name if dot and name and scope in scopes else op.field


def _operate_column(
    op: Op, name: str, columns: Mapping[str, str | None], here: Pass
) -> str | None:
    if name not in SETTABLE:
        raise ValueError(f"{name} names the contact and is not changed")
    before = columns[name] if name in columns else getattr(here.leased, name)
    value = operate(op, before, written(here.now, "", _home(here)))
    return None if value is None else str(value)


def _home(here: Pass) -> tzinfo:
    leased = here.leased
    return home_zone(here.rooms, here.version, leased.account_id, leased.timezone)


def written(now: Instant, of_type: str, zone: tzinfo) -> str:
    """What `now` writes into a field of this type: an instant, into a `date` its day in *zone*."""
    return local_date(zone, now).isoformat() if of_type == "date" else format_instant(now)


def operate(op: Op, value: object, now: str) -> object:
    """The value that *op* makes of *value*; None where it is cleared. *now*: as it is `written`.

    Raises `ValueError` where *value* is no number and is to be incremented.
    """
    match op.op:
        case "set":
            return op.value
        case "clear":
            return None
        case "now":
            return now
        case "increment":
            by = op.value if isinstance(op.value, int | float) else 1
            return _finite(_number(value) + by)
        case "add":
            held = _many(value)
            return held if op.value in held else [*held, op.value]
        case "remove":
            return [one for one in _many(value) if one != op.value]


def _number(value: object) -> int | float:
    """*value* as a number, 0 where there is none yet. Raises `ValueError`."""
    match value:
        case None | "":
            return 0
        case bool():
            raise ValueError(f"{value} is no number")
        case int() | float():
            return value
        case str():
            try:
                return int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
            except ValueError:
                raise ValueError(f"{shown(value)} is no number") from None
    raise ValueError(f"{type(value).__name__} is no number")


def _finite(number: int | float) -> int | float:
    if not math.isfinite(number):
        raise ValueError("endless numbers cannot be stored")
    return number


def _many(value: object) -> list[object]:
    if isinstance(value, list):
        return list(value)
    return [] if value is None else [value]
