"""Suppressions and events at the desk: standing orders, and what somebody else saw."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from dripd.admin import params as p
from dripd.admin.messages import Call, decode
from dripd.campaigns.settings import MATCH_KEYS
from dripd.clock import Instant
from dripd.errors import BadRequest, Conflict, DripdError, NotFound, near
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    Deed,
    Result,
    Row,
    page,
    read_cursor,
    read_instant,
    refuse_unfit,
    shown,
)
from dripd.store.desk_find import account_id, find_account, find_contact
from dripd.store.statements import sql

EVERYWHERE = 0
"""`suppression.account_id` of an entry that holds in every account."""

OF_EXPORT = frozenset({"id", "account_id", "created_at", "created_by"})
"""What an export tells of an entry beside what an import takes."""


class SuppressRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of `suppress import`; *scope*: the key of an account, or `everywhere`."""

    address: p.Key
    scope: str | None = None
    channel: Literal["email", "sms"] | None = None
    reason: str | None = None
    expires_at: str | None = None


def _channel(address: str, channel: str | None) -> str:
    return channel or ("email" if "@" in address else "sms")


def _is_address(address: str, channel: str) -> bool:
    return "@" in address if channel == "email" else any(sign.isdigit() for sign in address)


async def _scope(conn: Conn, account: str | None) -> int:
    return EVERYWHERE if account is None else int((await find_account(conn, account))["id"])


def _accounts(scope: int) -> tuple[int, ...]:
    return (scope,) if scope else ()


async def add_suppressions(conn: Conn, call: Call, args: p.SuppressAdd) -> Deed:
    """Never reach these addresses; an entry that would run out earlier is prolonged."""
    scope = await _scope(conn, args.account)
    until = None if args.expires_at is None else read_instant(args.expires_at, "expires_at")
    items = [
        await _suppress(
            conn, scope, address, args.channel, (call.reason or None, until, call.actor)
        )
        for address in args.addresses
    ]
    return _deed(scope, items)


async def import_suppressions(conn: Conn, call: Call, args: p.Import) -> Deed:
    """Each row on its own: a bad one is refused by itself."""
    scope = await _scope(conn, args.account)
    items = [await _import(conn, call, args.account, row) for row in args.rows]
    return _deed(scope, items)


async def _import(
    conn: Conn, call: Call, account: str | None, row: Mapping[str, object]
) -> Result:
    given = {k: v for k, v in row.items() if v is not None and k not in OF_EXPORT}
    try:
        refuse_unfit(row)
        read: SuppressRow = decode(SuppressRow, given)
        scope = await _scope(conn, _account_of(read, account))
        until = None if read.expires_at is None else read_instant(read.expires_at, "expires_at")
        reason = read.reason or call.reason or None
        return await _suppress(
            conn, scope, read.address, read.channel, (reason, until, call.actor)
        )
    except DripdError as error:
        return {
            "address": str(row.get("address", "")),
            "ok": False,
            "changed": False,
            "code": error.code,
            "path": error.path,
            "message": error.message,
            "hint": error.hint,
        }


def _account_of(row: SuppressRow, account: str | None) -> str | None:
    """Where *row* is to hold, of which *account* was asked for. None: everywhere."""
    if account is not None and row.scope not in (None, account):
        raise BadRequest(
            f"the entry holds in {row.scope}, not in {account}", code="bad_value",
            path="scope", hint="leave --account out",
        )  # fmt: skip
    return account if row.scope in (None, "everywhere") else row.scope


async def _suppress(
    conn: Conn,
    scope: int,
    address: str,
    channel: str | None,
    why: tuple[str | None, Instant | None, str],
) -> Result:
    if not address.strip():
        return {
            "address": address, "ok": False, "changed": False, "code": "bad_value",
            "message": "an address is missing",
        }  # fmt: skip
    wanted = _channel(address, channel)
    if not _is_address(address, wanted):
        return {
            "address": address, "ok": False, "changed": False, "code": "bad_value",
            "message": "an address has an @, a number has digits",
        }  # fmt: skip
    row = await conn.fetchrow(sql("add_suppression"), scope, wanted, address, *why)
    return {"address": address, "channel": wanted, "ok": True, "changed": row is not None}


def _deed(scope: int, items: list[Result]) -> Deed:
    changed = sum(bool(item["changed"]) for item in items)
    return Deed(
        result={"changed": changed, "items": items},
        accounts=_accounts(scope),
        target="everywhere" if scope == EVERYWHERE else f"account {scope}",
        detail={"n": changed},
    )


async def remove_suppressions(conn: Conn, call: Call, args: p.Suppress) -> Deed:
    """Take entries away again; needs `yes`."""
    if not call.yes and not call.dry_run:
        n = len(args.addresses)
        raise Conflict(
            f"{n} addresses could be reached again", code=f"confirm:{n}",
            hint="repeat with --yes",
        )  # fmt: skip
    scope = await _scope(conn, args.account)
    items: list[Result] = []
    for address in args.addresses:
        channel = _channel(address, args.channel)
        gone = await conn.fetch(sql("remove_suppression"), scope, channel, address)
        item: Result = {"address": address, "channel": channel, "ok": bool(gone)}
        if not gone:
            item |= {"code": "not_found", "message": "it is not suppressed there"}
        items.append({**item, "changed": bool(gone)})
    return _deed(scope, items)


async def check_suppression(conn: Conn, args: p.SuppressCheck) -> Result:
    """Every entry of an address; an account sees its own and those that hold everywhere."""
    account = await account_id(conn, args.account)
    rows = await conn.fetch(sql("check_suppression"), args.address, account)
    entries = [shown(row, "over") for row in rows]
    return {"suppressed": any(not row["over"] for row in rows), "entries": entries}


async def export_suppressions(conn: Conn, args: p.Listing) -> Result:
    """Entries in the order of their key; the first page of all of them estimates how many."""
    after = read_cursor(args.after, -(2**63), -1, "")
    account = await account_id(conn, args.account)
    rows = await conn.fetch(sql("export_suppressions"), account, *after, args.limit + 1)
    found = page(rows, args.limit, "address_h", "account_id", "channel", without=("address_h",))
    if args.after is None and account is None and found["next"] is not None:
        about: int = await conn.fetchval(sql("estimate_suppressions"))
        found["about"] = about if about > args.limit else None
    return found


def check_kind(kind: str, others: Collection[str] = ()) -> None:
    """Raise `BadRequest` for a word that is no kind of event, nor one of *others*."""
    known = [*MATCH_KEYS, *sorted(others)]
    if kind not in known:
        hint = near(kind, known, f"one of: {' '.join(known)}")
        raise BadRequest(f"unknown event {kind!r}", path="kind", hint=hint)


async def add_event(conn: Conn, call: Call, args: p.EventAdd) -> Deed:
    """Put an event into the inbox, as if it had come through SQL."""
    check_kind(args.kind)
    if not (args.contact or args.delivery or args.conversation_ref or args.address):
        raise BadRequest(
            "whom does it concern?",
            hint="--contact, --delivery, --conversation-ref or --address",
        )
    account, contact = await _concerned(conn, args)
    at = None if args.at is None else read_instant(args.at, "at")
    row = await conn.fetchrow(
        sql("add_event"), account, contact, args.kind, args.delivery, args.conversation_ref,
        args.address, args.dedup_key, at, args.payload,
    )  # fmt: skip
    return Deed(
        result={"changed": True, "id": row["id"]},
        accounts=(account,),
        target=f"event {row['id']}",
        detail={"kind": args.kind},
    )


async def _concerned(conn: Conn, args: p.EventAdd) -> tuple[int, int | None]:
    """The account of an event, and the contact where one was named."""
    if args.contact is not None:
        row = await find_contact(conn, args.contact, args.account)
        return row["account_id"], row["id"]
    if args.account is not None:
        return (await find_account(conn, args.account))["id"], None
    rows = await conn.fetch(
        sql("find_concerned"), _enrollment(args.delivery), _individual(args.delivery),
        args.conversation_ref, args.address,
    )  # fmt: skip
    return _only(rows, args), None


def _only(rows: list[Row], args: p.EventAdd) -> int:
    if len(rows) == 1:
        return int(rows[0]["account_id"])
    named = args.delivery or args.conversation_ref or args.address
    if rows:
        raise Conflict(
            f"{named!r} is known in several accounts", code="ambiguous", hint="--account A"
        )
    raise NotFound(f"nothing is known of {named!r}", hint="--account A takes it all the same")


def _enrollment(delivery: str | None) -> int | None:
    number = (delivery or "").partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else None


def _individual(delivery: str | None) -> int | None:
    if delivery is None or not delivery.startswith("i-"):
        return None
    return _enrollment(delivery.removeprefix("i-"))
