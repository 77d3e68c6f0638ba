"""What is one admin unit of work? Its result, its audit row, and the dry run that undoes it.

A changing unit `await unit(conn, call, ...)` returns a `Deed`; `perform` runs it, asks whether
the operator may do that, writes the audit row into the same transaction, and lets a dry run
end in an exception, so that nothing of it remains.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from dripd.admin.catalogue import EVERYWHERE, SPECS
from dripd.admin.messages import Call, digest
from dripd.admin.roles import Role
from dripd.campaigns.document import UNFIT
from dripd.clock import Instant, Millis, format_instant, parse_instant
from dripd.errors import BadRequest, Conflict, DripdError
from dripd.scheduler.due import parse_delay
from dripd.store.connect import Conn
from dripd.store.desk_role import refuse_non_admin, refuse_viewer
from dripd.store.statements import sql

MOST_INTEGER = 2**53 - 1
"""Beyond it readers of JSON disagree; the wire refuses it."""

MOST_BIGINT = 2**63 - 1

Row: TypeAlias = Mapping[str, Any]
Result: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What a changing unit did: its reply, in which accounts, to what.

    `detail` holds ids, words and numbers only: it stays when a contact is erased. `ids` are
    the things it touched, where they are many: what a plan is held to. Where these are not
    counted one by one, `scope` is: how many it is told of, and what must still stand when the
    plan is carried out. `before` is how what it changed stood until then: what `expect` is held
    to. Only a deed that is `noted` has a row of the audit: of one made in parts, the last.
    """

    result: Result
    accounts: tuple[int, ...] = ()
    target: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    ids: Collection[int | str] | None = None
    scope: tuple[int, Sequence[object]] | None = None
    before: Mapping[str, object] = field(default_factory=dict)
    noted: bool = True


class DryRun(DripdError):
    """The end of a dry run: rolls everything back, and carries what would have been said."""

    code = "dry_run"

    def __init__(self, result: Result) -> None:
        super().__init__("a dry run changes nothing")
        self.result = result


Unit: TypeAlias = Callable[..., Awaitable[Deed]]


async def perform(conn: Conn, node: str, unit: Unit, call: Call, *args: object) -> Result:
    """Run *unit*, audited, for *call* on the daemon *node*.

    Raises `NotPermitted` if the actor is a viewer of an account that was changed, `Conflict`
    if something else stood there than was expected or planned, `DryRun` at the end of a dry
    run; all roll back.
    """
    deed = await unit(conn, call, *args)
    refuse_surprise(call, deed)
    await refuse_viewer(conn, call, deed.accounts)
    if call.method in SPECS and SPECS[call.method].role is Role.ADMIN:
        concerned = None if call.method in EVERYWHERE else deed.accounts
        await refuse_non_admin(conn, call, concerned)
    if deed.noted:
        await audit(
            conn,
            call,
            node=node,
            account_id=deed.accounts[0] if len(deed.accounts) == 1 else None,
            target=deed.target,
            detail=deed.detail,
            result="changed" if deed.result.get("changed", True) else "unchanged",
        )
    if call.dry_run:
        n, found = touched(deed)
        raise DryRun({**deed.result, "set": {"n": n, "digest": found}})
    return deed.result


def touched(deed: Deed) -> tuple[int, str]:
    """How many things a deed touched, and the digest of which."""
    if deed.ids is not None:
        return len(deed.ids), digest(deed.ids)
    if deed.scope is not None:
        n, standing = deed.scope
        return n, digest([deed.target, *(repr(one) for one in standing)])
    changed = deed.result.get("changed", True)
    n = int(changed) if isinstance(changed, int) else 1
    return n, digest([deed.target, n])


def refuse_surprise(call: Call, deed: Deed) -> None:
    """Raise `Conflict` unless *deed* is what the caller had seen before."""
    for name, wanted in (call.expect or {}).items():
        if name not in deed.before:
            known = ", ".join(deed.before) or "nothing"
            raise BadRequest(f"{call.method} cannot expect {name!r}", path=f"expect.{name}",
                hint=f"it can expect: {known}")  # fmt: skip
        if (found := _plain(deed.before[name])) != wanted:
            raise Conflict(
                f"{name} is {found!r} by now, not {wanted!r}; nothing was changed",
                code="expect", path=f"expect.{name}", hint="look again, then decide",
            )  # fmt: skip
    if call.promise is None:
        return
    n, found_digest = touched(deed)
    if found_digest != call.promise.digest:
        found = f"was {call.promise.n}, now {n}"
        if n == call.promise.n:
            found = "not what the plan was made for"
        raise Conflict(
            f"changed: {found}; nothing was done",
            code="plan_changed",
            hint="make a new plan and look at it",
        )


async def audit(
    conn: Conn,
    call: Call,
    *,
    node: str,
    account_id: int | None = None,
    target: str = "",
    detail: Mapping[str, object] | None = None,
    result: str = "changed",
) -> None:
    """Write the row of `admin_audit` for *call*: no row, no effect.

    Raises `Conflict` if this user's `request_id` has had its effect already, on whatever daemon.
    """
    found = await conn.fetchval(
        sql("write_audit"), node, call.uid, call.user, str(call.role), call.method, account_id,
        target or None, call.as_name, call.request_id, call.reason or None, dict(detail or {}),
        result,
    )  # fmt: skip
    if found is None:
        raise Conflict(
            f"request {call.request_id} was carried out before; nothing is done twice",
            code="done_before",
            hint="dripd audit list shows when",
        )


async def read_now(conn: Conn) -> Instant:
    """The deployment's instant."""
    return Instant(await conn.fetchval(sql("read_now")))


def made(account: Row, row: Row, old: Row | None, target: str, *, changed: bool) -> Deed:
    """What a unit did that makes or changes one thing of an account; *old*: as it stood."""
    result = {
        "changed": changed,
        "created": old is None,
        **shown(row),
        "account_key": account["key"],
    }
    return Deed(result=result, accounts=(account["id"],), target=target)


def shown(row: Row, *without: str) -> Result:
    """A row as JSON values: instants (columns `at`, `*_at` and `*_until`) as RFC 3339 text."""
    return {name: _shown(name, value) for name, value in row.items() if name not in without}


def _shown(name: str, value: object) -> object:
    if isinstance(value, int) and (name == "at" or name.endswith(("_at", "_until"))):
        return format_instant(Instant(value))
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else _plain(value)


def _plain(value: object) -> object:
    """JSON that every reader reads alike: numbers beyond 2**53, and endless ones, as text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    large = isinstance(value, int) and abs(value) > MOST_INTEGER
    return str(value) if large else value


def page(rows: Sequence[Row], limit: int, *keys: str, without: Sequence[str] = ()) -> Result:
    """*rows* (one more than *limit* where there are more) as a page; *keys* are its cursor."""
    items = [shown(row, *without) for row in rows[:limit]]
    return {"items": items, "next": cursor_of(rows[limit - 1], keys) if rows[limit:] else None}


def cursor_of(row: Row, keys: Iterable[str]) -> str:
    """An opaque cursor behind *row*."""
    text = json.dumps([row[key] for key in keys], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(after: str | None, *first: int | str) -> list[Any]:
    """What `cursor_of` wrote; *first* is where a listing begins, and gives the types.

    Raises `BadRequest` if it is no cursor.
    """
    if after is None:
        return list(first)
    try:
        raw = base64.urlsafe_b64decode(after + "=" * (-len(after) % 4))
        values = json.loads(raw)
    except (binascii.Error, ValueError) as error:
        raise _no_cursor() from error
    if not isinstance(values, list) or [type(v) for v in values] != [type(f) for f in first]:
        raise _no_cursor()
    return values


def _no_cursor() -> BadRequest:
    return BadRequest("this is no cursor", path="after", hint="take `next` of the page before")


def read_instant(text: str, path: str) -> Instant:
    """An RFC 3339 instant. Raises `BadRequest` at *path* if it is none, or absurd."""
    try:
        at = parse_instant(text)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise BadRequest(message, path=path, hint=hint) from error
    if not 0 <= at < 253_402_300_800_000:
        raise BadRequest(f"{text!r} is out of bounds", path=path, hint="1970 to 9999")
    return at


def read_duration(text: str, path: str) -> Millis:
    """A duration such as `3d` in elapsed time. Raises `BadRequest` at *path*."""
    try:
        delay = parse_delay(text)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise BadRequest(message, path=path, hint=hint) from error
    if delay.business_days:
        raise BadRequest("business days have no length of their own", path=path, hint="as 3d")
    return Millis(delay.days * 86_400_000 + delay.ms)


def refuse_unfit(value: object) -> None:
    """Raise `BadRequest` for what Postgres cannot hold: NUL, half a surrogate pair, 2**63."""
    for path, item in _leaves("", value):
        if isinstance(item, str) and UNFIT.search(item):
            raise BadRequest("a character that cannot be stored", code="bad_value", path=path)
        if isinstance(item, int) and abs(item) > MOST_BIGINT:
            raise BadRequest("the number is too large", code="bad_value", path=path)


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield path, key
            yield from _leaves(f"{path}.{key}".lstrip("."), inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}[{index}]", inner)
    elif isinstance(value, msgspec.Struct):
        yield from _leaves(path, msgspec.to_builtins(value))
    else:
        yield path, value
