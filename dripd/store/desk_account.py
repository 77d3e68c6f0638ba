"""Accounts at the desk: set, list, show, deposit, pause, resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.billing.price import read_price
from dripd.campaigns.document import load_documents
from dripd.campaigns.settings import parse_window
from dripd.errors import BadRequest, NotFound, near
from dripd.ratelimit.bucket import parse_rate
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    Deed,
    Result,
    Row,
    page,
    read_cursor,
    shown,
)
from dripd.store.desk_find import check_key, find_account
from dripd.store.statements import sql

Calendars: TypeAlias = Callable[[], Collection[str] | None]


async def set_account(
    conn: Conn, call: Call, args: p.AccountSet, *, calendars: Calendars = lambda: None
) -> Deed:
    """Make or change an account; what is None stays as it is. *calendars* are the holidays that
    a window may name."""
    await conn.execute(sql("lock_key"), f"account {args.key}")
    old = await conn.fetchrow(sql("find_account"), args.key)
    if old is None:
        check_key(args.key)
    given = await _account_values(conn, args, old["prices"] if old is not None else {})
    if args.window is not None:
        given["send_window"] = read_window(args.window, calendars())
    wanted = {**_account_defaults(args.key), **dict(old or {}), **given}
    changed = old is None or any(wanted[name] != old[name] for name in wanted)
    row = old
    if changed:
        row = await conn.fetchrow(
            sql("put_account"), wanted["key"], wanted["name"], wanted["plan"],
            wanted["timezone"], wanted["send_window"], wanted["rate"],
            wanted["subscription_active"], wanted["postal_address"], wanted["writer"],
            wanted["prices"],
        )  # fmt: skip
    result = {"changed": changed, "created": old is None, **shown(row)}
    return Deed(result=result, accounts=(row["id"],), target=args.key)


def _account_defaults(key: str) -> dict[str, object]:
    return {
        "key": key,
        "name": None,
        "plan": "unlimited",
        "timezone": "UTC",
        "send_window": None,
        "rate": None,
        "subscription_active": True,
        "postal_address": None,
        "writer": None,
        "prices": {},
    }


async def _account_values(
    conn: Conn, args: p.AccountSet, prices: Mapping[str, object]
) -> dict[str, object]:
    found: dict[str, object] = {}
    if args.prices:
        given = {str(channel): _price(text) for channel, text in args.prices.items()}
        found["prices"] = {**prices, **given}
    if args.plan is not None:
        found["plan"] = await _plan(conn, args.plan)
    if args.timezone is not None:
        found["timezone"] = read_zone(args.timezone)
    if args.rate is not None:
        found["rate"] = read_rate(args.rate)
    if args.subscription is not None:
        found["subscription_active"] = args.subscription
    for name in ("name", "postal_address", "writer"):
        if (value := getattr(args, name)) is not None:
            found[name] = value.strip() or None
    if found.get("writer"):
        await _see_role(conn, str(found["writer"]))
    return found


def _price(text: str) -> str:
    """A price as it is stored. Raises `BadRequest`."""
    try:
        return str(read_price(text))
    except ValueError as error:
        raise BadRequest(str(error), path="prices", hint="--price sms=0.01") from error


async def _plan(conn: Conn, key: str) -> str:
    plans = [row["key"] for row in await conn.fetch(sql("list_plans"))]
    if key not in plans:
        hint = near(key, plans, f"one of: {' '.join(plans)}")
        raise NotFound(f"there is no plan {key!r}", hint=hint)
    return key


async def _see_role(conn: Conn, name: str) -> None:
    """Raises `NotFound`: with a role that is none nobody could write the account's rows."""
    if not await conn.fetchval(sql("has_role"), name):
        hint = "CREATE ROLE it as a member of dripd_writer; the name is that of pg_roles"
        raise NotFound(f"there is no role {name!r}", path="writer", hint=hint)


def read_zone(name: str) -> str:
    """An IANA zone that this machine knows. Raises `BadRequest`."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        hint = near(name, available_timezones(), "such as Europe/Berlin")
        raise BadRequest(f"unknown zone {name!r}", path="timezone", hint=hint) from error
    return name


def read_rate(text: str) -> str | None:
    """A token bucket as text, None for an empty one. Raises `BadRequest`."""
    if not text.strip() or text.strip() == "off":
        return None
    try:
        parse_rate(text)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise BadRequest(message, path="rate", hint=hint) from error
    return text.strip()


def read_window(text: str, calendars: Collection[str] | None) -> Mapping[str, object] | None:
    """A window from YAML or JSON in its canonical form, None for `off`.

    *calendars* are the holidays that it may name, None: any. Raises `DefinitionError` with
    every fault of its shape, `BadRequest` for a calendar that is not there.
    """
    if text.strip() in {"off", '"off"', ""}:
        return None
    wanted = 'such as {days: [mon, fri], from: "09:00", to: "17:00"}, or off'
    (document, *_) = load_documents(text, filename="--window", what="window", wanted=wanted)
    spec = parse_window(document)
    if spec == "off":
        return None
    for name in spec.holidays:
        if calendars is not None and not name[:1].isdigit() and name not in calendars:
            hint = near(name, calendars, "such as DE-BE, or a date")
            raise BadRequest(f"unknown calendar {name!r}", path="window.holidays", hint=hint)
    shape: Mapping[str, object] = json.loads(spec.to_text())
    return shape


async def list_accounts(conn: Conn, args: p.AccountList) -> Result:
    (after,) = read_cursor(args.after, 0)
    rows = await conn.fetch(sql("list_accounts"), args.status, after, args.limit + 1)
    return page(rows, args.limit, "id")


async def read_backlogs(conn: Conn, accounts: Sequence[int]) -> Mapping[int, int]:
    """How many steps of each account are due and not leased; 1,001 = more than a thousand."""
    rows = await conn.fetch(sql("list_backlogs"), list(accounts))
    return {row["account_id"]: row["n"] for row in rows}


EXACT = 2_000
"""Runs of an account up to which every one is looked at for what holds it."""


async def show_account(conn: Conn, args: p.AccountKey) -> Result:
    """The account with what remains of its cap today and what is held, and why."""
    row = await find_account(conn, args.key)
    day = await conn.fetchrow(sql("read_cap"), row["id"])
    many = await conn.fetchval(sql("count_some_runs"), row["id"], EXACT + 1) > EXACT
    counted = sql("count_many_holds" if many else "count_holds")
    holds = [shown(hold) for hold in await conn.fetch(counted, row["id"])]
    balance = await conn.fetchval(sql("read_balance"), row["id"])
    return {**shown(row), "balance": str(balance), "cap": _cap(day), "holds": holds}


async def deposit(conn: Conn, call: Call, args: p.AccountDeposit) -> Deed:
    """Money comes in; charges draw on it."""
    row = await find_account(conn, args.key)
    try:
        amount = read_price(args.amount)
    except ValueError as error:
        raise BadRequest(str(error), path="amount", hint="such as 25.00") from error
    if not amount:
        raise BadRequest("nothing is no deposit", path="amount", hint="such as 25.00")
    balance = await conn.fetchval(sql("deposit"), row["id"], amount)
    result: Result = {
        "changed": True, "key": args.key, "amount": str(amount), "balance": str(balance)
    }  # fmt: skip
    detail = {"amount": str(amount)}
    return Deed(result=result, accounts=(row["id"],), target=args.key, detail=detail)


def _cap(day: Row) -> Result:
    limit, used = day["cap"], day["used"]
    left = None if limit is None else max(0, limit - used)
    return {
        "limit": limit,
        "used": used,
        "left": left,
        "local_date": day["local_date"].isoformat(),
    }


async def pause_account(conn: Conn, call: Call, args: p.AccountKey) -> Deed:
    return await _turn_account(conn, call, args, "paused")


async def resume_account(conn: Conn, call: Call, args: p.AccountKey) -> Deed:
    return await _turn_account(conn, call, args, "active")


async def _turn_account(conn: Conn, call: Call, args: p.AccountKey, status: str) -> Deed:
    row = await find_account(conn, args.key)
    turned = await conn.fetch(sql("turn_accounts"), [row["id"]], status, call.actor)
    if turned and status == "active":
        await conn.execute(sql("forgive_senders"), [row["id"]])
    result: Result = {"changed": bool(turned), "key": args.key, "status": status}
    before = {"status": row["status"]}
    return Deed(result=result, accounts=(row["id"],), target=args.key, before=before)


async def turn_all(conn: Conn, call: Call, status: str) -> Deed:
    """Pause or resume every account that is not closed."""
    rows = await conn.fetch(sql("list_account_ids"))
    ids = [row["id"] for row in rows]
    turned = await conn.fetch(sql("turn_accounts"), ids, status, call.actor)
    changed = tuple(row["id"] for row in turned)
    if status == "active":
        await conn.execute(sql("forgive_senders"), list(changed))
    return Deed(
        result={"changed": len(changed)}, accounts=changed, target="every account", ids=changed
    )
