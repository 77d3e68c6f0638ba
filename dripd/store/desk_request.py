"""Asking for runs at the desk: `enroll add`, `enroll import`, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from dripd.admin import params as p
from dripd.admin.messages import Call, decode
from dripd.clock import Instant
from dripd.errors import BadRequest, DripdError
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, Row, read_instant, refuse_unfit
from dripd.store.desk_find import contact_number, find_campaign, find_list
from dripd.store.desk_pick import confirm
from dripd.store.statements import sql

BACKFILL = 50_000
"""Members of a list that are asked for by one statement."""

SAMPLE = 5
"""Members of it that are named before anybody is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One contact that is to run."""

    contact: str
    start_at: Instant | None = None
    key: str | None = None
    vars: Mapping[str, object] = field(default_factory=dict)


class WishRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of `enroll import`."""

    contact: p.Key
    start_at: str | None = None
    key: str | None = None
    vars: dict[str, object] = {}


async def add_requests(conn: Conn, call: Call, args: p.EnrollAdd) -> Deed:
    """Insert a pending request for each contact, or for each member of `backfill`."""
    if bool(args.contacts) == (args.backfill is not None):
        raise BadRequest("name contacts, or --backfill LIST", path="contacts")
    if args.quote is not None and len(args.contacts) != 1:
        raise BadRequest("a quote is for one contact", path="quote")
    campaign = await find_campaign(conn, args.campaign, args.account)
    start = None if args.start_at is None else read_instant(args.start_at, "start_at")
    if args.backfill is not None:
        return await _backfill(conn, call, args, campaign, start)
    several = len(args.contacts) > 1
    wishes = [
        Wish(
            contact=contact,
            start_at=start,
            key=f"{args.key}:{contact}" if args.key is not None and several else args.key,
            vars=args.vars,
        )
        for contact in args.contacts
    ]
    items = await _insert(
        conn, call, campaign, wishes, args.source, args.quote, args.conversation_ref
    )
    return _deed(campaign, items)


async def import_requests(conn: Conn, call: Call, args: p.EnrollImport) -> Deed:
    """Insert a pending request for each row that can be read; the others are said."""
    campaign = await find_campaign(conn, args.campaign, args.account)
    items: list[Result] = [{} for _ in args.rows]
    wishes: dict[int, Wish] = {}
    for index, row in enumerate(args.rows):
        try:
            wishes[index] = _wish(row)
        except DripdError as error:
            items[index] = {
                "contact": str(row.get("contact", "")),
                "ok": False,
                "code": error.code,
                "path": error.path,
                "message": error.message,
                "hint": error.hint,
            }
    done = await _insert(conn, call, campaign, list(wishes.values()), "cli")
    for index, item in zip(wishes, done, strict=True):
        items[index] = item
    return _deed(campaign, items)


def _wish(row: Mapping[str, object]) -> Wish:
    refuse_unfit(row)
    read: WishRow = decode(WishRow, {k: v for k, v in row.items() if v is not None})
    contact_number(read.contact)
    start = None if read.start_at is None else read_instant(read.start_at, "start_at")
    return Wish(contact=read.contact, start_at=start, key=read.key, vars=read.vars)


async def _insert(
    conn: Conn,
    call: Call,
    campaign: Row,
    wishes: Sequence[Wish],
    source: str,
    quote: str | None = None,
    conversation_ref: str | None = None,
) -> list[Result]:
    if call.as_name is not None and source == "cli":
        source = "operator"  # somebody in an account: admission asks what he sees
    numbers = [contact_number(wish.contact) for wish in wishes]
    rows = await conn.fetch(
        sql("add_requests"), campaign["account_id"], campaign["key"], source, call.actor,
        numbers,
        [w.contact if n is None else None for w, n in zip(wishes, numbers, strict=True)],
        [w.start_at for w in wishes], [w.key for w in wishes],
        [dict(w.vars) or None for w in wishes], quote, conversation_ref,
    )  # fmt: skip
    return [
        {
            "contact": wish.contact,
            "request_id": row["id"],
            "status": "pending",
            "reject_reason": None,
            "enrollment_id": None,
            "ok": True,
        }
        for wish, row in zip(wishes, rows, strict=True)
    ]


def _deed(campaign: Row, items: list[Result]) -> Deed:
    return Deed(
        result={"changed": sum(item["ok"] is True for item in items), "items": items},
        accounts=(campaign["account_id"],),
        target=campaign["key"],
        detail={"n": len(items)},
    )


async def _backfill(
    conn: Conn, call: Call, args: p.EnrollAdd, campaign: Row, start: Instant | None
) -> Deed:
    """Ask for every member of a list. Raises `Conflict` `confirm:N` where nobody said yes."""
    members = await find_list(conn, str(args.backfill), campaign["account_key"])
    row = await conn.fetchrow(
        sql("preview_members"), campaign["account_id"], members["id"], SAMPLE
    )
    requested, sample = row["n"], row["sample"]
    named = f"members of {members['key']!r} would be enrolled: {', '.join(sample)}"
    confirm(call, requested, named + (" ..." if requested > len(sample) else ""))
    if not call.dry_run:
        requested = await _request_members(conn, call, args, campaign, members, start)
    return Deed(
        result={"changed": requested, "requested": requested, "sample": sample, "items": []},
        accounts=(campaign["account_id"],),
        target=campaign["key"],
        detail={"n": requested, "list": members["key"]},
    )


async def _request_members(
    conn: Conn,
    call: Call,
    args: p.EnrollAdd,
    campaign: Row,
    members: Row,
    start: Instant | None,
) -> int:
    requested, after = 0, 0
    while True:
        row = await conn.fetchrow(
            sql("request_members"), campaign["account_id"], campaign["key"],
            f"backfill:{members['key']}", call.actor, members["id"], after, BACKFILL, start,
            args.key, dict(args.vars) or None,
        )  # fmt: skip
        requested += int(row["n"])
        if row["n"] < BACKFILL:
            return requested
        after = row["last"]


async def read_decisions(conn: Conn, ids: Sequence[int]) -> dict[int, Row]:
    """What became of requests so far."""
    return {row["id"]: row for row in await conn.fetch(sql("read_decisions"), list(ids))}
