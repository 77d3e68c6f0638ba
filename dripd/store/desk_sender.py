"""How does a sender stand? Its day, its gap, its share of a pool, and what came back."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from dripd.admin import params as p
from dripd.clock import Instant, format_instant
from dripd.ratelimit.reputation import Guard
from dripd.ratelimit.warmup import limit_on
from dripd.scheduler.calendar import day_bounds, local_date
from dripd.store.connect import Conn
from dripd.store.desk_deed import Result, Row, page, read_cursor, read_now, shown
from dripd.store.desk_find import find_account, find_sender
from dripd.store.statements import sql

FACTS = ("timezone", "starts_at", "used", "next_at", "all_weights")
"""Columns of `list_senders` from which `_today` follows."""


async def list_senders(conn: Conn, args: p.SenderList) -> Result:
    (after,) = read_cursor(args.after, 0)
    account = None if args.account is None else (await find_account(conn, args.account))["id"]
    rows = await conn.fetch(sql("list_senders"), account, args.channel, after, args.limit + 1)
    found = page(rows, args.limit, "id", without=FACTS)
    now = await read_now(conn)
    return {**found, "items": [_sender(row, now) for row in rows[: args.limit]]}


async def show_sender(conn: Conn, args: p.SenderShow) -> Result:
    """The sender, the campaigns that leave from it and its share of each, and, unless `quick`,
    with what left in the last days and what of it came back."""
    found = await find_sender(conn, args.address, args.account)
    (row,) = await conn.fetch(
        sql("list_senders"), found["account_id"], None, found["id"] - 1, 1
    )
    pools = await conn.fetch(sql("list_pools"), row["account_id"], row["address"])
    active = row["status"] == "active"
    return {
        **_sender(row, await read_now(conn)),
        "pools": [
            {
                "campaign_key": pool["campaign_key"],
                "share": _share(row["weight"], pool["weights"], active=active),
            }
            for pool in pools
        ],
        "reputation": await _reputation(conn, row, quick=args.quick),
    }


async def senders_of(conn: Conn, account_id: int, channel: str) -> list[Row]:
    """Every sender of an account and channel."""
    rows: list[Row] = await conn.fetch(sql("senders_of"), account_id, channel)
    return rows


def _sender(row: Row, now: Instant) -> Result:
    return {**shown(row, *FACTS), **_today(row, now)}


def _today(row: Row, now: Instant) -> Result:
    """What of the local day is spent (None: nobody has counted), the gap's end, the share."""
    zone = ZoneInfo(row["timezone"])
    today = local_date(zone, now)
    limit = limit_on(today, row["warmup"], row["daily_limit"])
    begins = day_bounds(zone, today)[0]
    counted = limit is not None and row["starts_at"] is not None and row["starts_at"] >= begins
    next_at = row["next_at"]
    return {
        "limit_today": limit,
        "used_today": row["used"] if counted else None,
        "next_at": format_instant(next_at) if next_at is not None and next_at > now else None,
        "share": _share(row["weight"], row["all_weights"], active=row["status"] == "active"),
    }


def _share(weight: int, weights: int, *, active: bool) -> float | None:
    """A sender's share of a pool; None for one that is paused."""
    return round(weight / weights, 4) if active and weights else None


async def _reputation(conn: Conn, row: Row, *, quick: bool) -> Result:
    place = (row["account_id"], row["id"])
    window_ms = Guard().window_ms
    found = await conn.fetchrow(sql("read_marks"), place[0], window_ms, place[1])
    told: Result = {
        "since": format_instant(found["since"]),
        "bounced": found["bounced"],
        "complained": found["complained"],
    }
    if quick:
        return told
    sent = await conn.fetch(sql("count_sent"), place[0], [place[1]], found["since"])
    n = sent[0]["n"] if sent else 0
    return {
        **told,
        "sent": n,
        "bounce_rate": round(found["bounced"] / n, 5) if n else None,
        "complaint_rate": round(found["complained"] / n, 5) if n else None,
    }
