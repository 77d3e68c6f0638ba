"""Which messages were there? The latest first, read from the end of the log and never by sorting it.

`step_log` is written in the order of time and has no index by it. So many pages are looked at in
one statement, beginning with the last; a page of the answer may be short of its limit and have a
`next` all the same.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from dripd.admin import params as p
from dripd.campaigns.enrollment import CHANNEL_NO, DELIVERY_STATES
from dripd.clock import Instant
from dripd.errors import BadRequest, NotFound
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    MOST_INTEGER,
    Result,
    Row,
    cursor_of,
    page,
    read_cursor,
    shown,
)
from dripd.store.desk_doubt import ALONE, read_doubts
from dripd.store.desk_find import account_id, find_campaign, find_contact, find_run
from dripd.store.statements import sql

PAGES: Final = 32
"""Pages of the log that are looked at in one statement: some 2,000 rows."""

LONGEST_S: Final = 10.0
"""How long it is looked on for a full page."""


CURSOR: Final = ("part", "block", "offset", "number", "leased")
"""Where to go on: before a place in a part of the log (-1: its end), before a message sent by
hand, and behind so many that are under way (-1: all told)."""

OVER: Final = (0, 0, 0)
"""The place behind the oldest row of the log."""

Place = tuple[int, int, int]


async def list_deliveries(conn: Conn, args: p.DeliveryList) -> Result:
    """Deliveries, the latest first: under way, then as they were written."""
    account = await account_id(conn, args.account)
    campaign = None
    if args.campaign is not None:
        meant = await find_campaign(conn, args.campaign, args.account)
        account, campaign = meant["account_id"], meant["id"]
    if args.state == "unknown" or args.contact is not None or args.enrollment is not None:
        return await _indexed(conn, args, account, campaign)
    *came, number, n_leased = read_cursor(args.after, -1, 0, 0, MOST_INTEGER, 0)
    place: Place = (came[0], came[1], came[2])
    leased: Sequence[Row] = []
    if n_leased >= 0 and args.state in {None, "leased"}:
        leased = await conn.fetch(
            sql("list_leased"), account, args.channel, campaign, n_leased, args.limit + 1
        )
        if leased[args.limit :]:
            following = (*place, number, n_leased + args.limit)
            return _page(leased[: args.limit], following)
    log, looked = await _written(conn, args, account, campaign, place)
    by_hand: Sequence[Row] = []
    if campaign is None:
        by_hand = await conn.fetch(
            sql("list_individual"), account, args.state, args.channel, number, args.limit + 1
        )
    rows, n_log, n_hand = _merged(args.limit - len(leased), log, by_hand, looked)
    if n_log == len(log):
        place = looked
    elif n_log:
        place = log[n_log - 1][0]
    if n_hand:
        number = by_hand[n_hand - 1]["number"]
    more = place != OVER or n_hand < len(by_hand)
    return _page([*leased, *rows], (*place, number, -1) if more else None)


def _page(rows: Sequence[Row], place: Sequence[int] | None) -> Result:
    following = (
        None if place is None else cursor_of(dict(zip(CURSOR, place, strict=True)), CURSOR)
    )
    return {"items": [shown(row, "place", "number") for row in rows], "next": following}


async def _indexed(
    conn: Conn, args: p.DeliveryList, account: int | None, campaign: int | None
) -> Result:
    """What an index knows: of a contact, of a run, of unknown outcome."""
    at, after = read_cursor(args.after, 253_402_300_799_000, "~")
    contact = None
    if args.contact is not None:
        found = await find_contact(conn, args.contact, args.account)
        account, contact = found["account_id"], found["id"]
    if args.enrollment is not None:
        await find_run(conn, args.enrollment)
    if args.state == "unknown":
        rows = await conn.fetch(
            sql("list_unknown"), account, args.channel, campaign, contact, args.enrollment,
            Instant(at), after, args.limit + 1,
        )  # fmt: skip
    else:
        rows = await conn.fetch(
            sql("list_deliveries"), account, args.state, args.channel, campaign, contact,
            args.enrollment, at, after, args.limit + 1,
        )  # fmt: skip
    return page(rows, args.limit, "cursor_ms", "id", without=("cursor_ms",))


async def _written(
    conn: Conn, args: p.DeliveryList, account: int | None, campaign: int | None, place: Place
) -> tuple[list[tuple[Place, Row]], Place]:
    """Rows of the log before *place*, each with its own, and how far was looked; one more than
    the limit where there are more."""
    if args.state == "leased" or place == OVER:
        return [], OVER
    wanted = (
        account,
        DELIVERY_STATES.get(args.state or ""),
        args.channel and CHANNEL_NO[args.channel],
        campaign,
    )
    until, found = time.monotonic() + LONGEST_S, list[tuple[Place, Row]]()
    async for part, low, before in _chunks(conn, place):
        rows = await conn.fetch(
            sql("list_log"), part, low, before, *wanted, args.limit + 1 - len(found)
        )
        found += [((part, *row["place"]), row) for row in rows]
        if len(found) > args.limit or time.monotonic() >= until:
            return found, (part, low, 0)
    return found, OVER


async def _chunks(conn: Conn, place: Place) -> AsyncIterator[tuple[int, int, tuple[int, int]]]:
    """Parts of the log before *place*: which, its first page, and before which place of it."""
    parts = [(row["part"], row["pages"]) for row in await conn.fetch(sql("list_log_parts"))]
    if place[0] >= 0:
        known = [n for n, (part, _) in enumerate(parts) if part == place[0]]
        parts = parts[known[0] :] if known else []  # else it was dropped, as all before it
    for part, pages in parts:
        block, offset = place[1:] if part == place[0] else (pages, 0)
        while (block, offset) > (0, 0):
            low = max(0, block - PAGES)
            yield part, low, (block, offset)
            block, offset = low, 0


def _merged(
    room: int, log: Sequence[tuple[Place, Row]], by_hand: Sequence[Row], looked: Place
) -> tuple[list[Row], int, int]:
    """At most *room* rows in the order of their instants, and how many of them are of each.

    What was sent by hand waits while older rows of the log may be newer than it.
    """
    items: list[Row] = []
    n_log = n_hand = 0
    while len(items) < room:
        one = log[n_log][1] if n_log < len(log) else None
        other = by_hand[n_hand] if n_hand < len(by_hand) else None
        if one is not None and (other is None or one["leased_at"] > other["leased_at"]):
            items.append(one)
            n_log += 1
        elif other is not None and (one is not None or looked == OVER):
            items.append(other)
            n_hand += 1
        else:
            break
    return items, n_log, n_hand


async def show_delivery(conn: Conn, args: p.DeliveryKey) -> Result:
    number = args.id.removeprefix("i-").partition("-")[0]
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise BadRequest(f"{args.id!r} is no delivery", path="id", hint="ENROLLMENT-SEQ or i-N")
    individual = args.id.startswith("i-")
    row = await conn.fetchrow(
        sql("read_delivery"), args.id, None if individual else int(number)
    )
    if row is None:
        raise NotFound(f"there is no delivery {args.id!r}", hint="dripd delivery list")
    if row["state"] != "unknown":
        return shown(row)
    if individual:
        return shown(row) | {"doubt": ALONE}
    told = await read_doubts(conn, row["account_id"], [row["enrollment_id"]])
    return shown(row) | {
        "doubt": told.get((row["enrollment_id"], int(args.id.partition("-")[2])))
    }
