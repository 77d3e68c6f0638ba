"""Senders at the desk: set, limit, pause, and how one stands: its day, its share, what came back."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.address import address_form
from dripd.clock import Instant, format_instant
from dripd.errors import BadRequest, Conflict
from dripd.ratelimit.gap import parse_gap
from dripd.ratelimit.reputation import Guard
from dripd.ratelimit.traffic import Place
from dripd.ratelimit.warmup import limit_on, parse_ramp
from dripd.scheduler.calendar import day_bounds, local_date
from dripd.store.connect import Conn
from dripd.store.desk_account import read_rate
from dripd.store.desk_deed import (
    Deed,
    Result,
    Row,
    made,
    page,
    read_cursor,
    read_now,
    shown,
)
from dripd.store.desk_find import account_id, find_sender, sole_account
from dripd.store.desk_traffic import read_traffic
from dripd.store.statements import sql

FACTS = ("timezone", "starts_at", "used", "next_at", "all_weights")
"""Columns of `list_senders` from which `_today` follows."""


async def set_sender(conn: Conn, call: Call, args: p.SenderSet) -> Deed:
    """Make or change a sender; the channel follows from the address where it is not said.

    One that is there is kept in its own writing: it is what campaigns name.
    """
    account = await sole_account(conn, args.account)
    form = address_form(args.address)
    await conn.execute(sql("lock_key"), f"sender {account['id']} {form}")
    channel = args.channel
    known = await conn.fetch(sql("find_senders"), args.address, account["id"], channel)
    if channel is None:
        channel = known[0]["channel"] if known else "email" if "@" in args.address else "sms"
    old = known[0] if known else None
    if old is None:
        _check_address(args.address, channel)
    warmup = await _read_warmup(conn, args.warmup, account)
    address = args.address if old is None else old["address"]
    values = [address, channel, *_sender_values(args, old, warmup)]
    row = await conn.fetchrow(sql("put_sender"), account["id"], *values)
    await conn.execute(sql("open_sender_lanes"), account["id"])
    changed = old is None or any(row[name] != old[name] for name in _SENDER)
    return made(account, row, old, address, changed=changed)


_SENDER = ("provider", "owner", "shared", "rate", "daily_limit", "warmup", "gap", "weight")


def _read_gap(text: str) -> str | None:
    """A gap as text, None for an empty one. Raises `BadRequest`."""
    if not text.strip() or text.strip() == "off":
        return None
    try:
        parse_gap(text)
    except ValueError as error:
        raise BadRequest(str(error), path="gap", hint="such as 60s-120s") from error
    return text.strip()


async def _read_warmup(conn: Conn, text: str | None, account: Row) -> str | None:
    """The ramp with the day it begins on: today's in the account, where none is given."""
    if not text:
        return text
    now = await read_now(conn)
    try:
        return str(parse_ramp(text, local_date(ZoneInfo(account["timezone"]), now)))
    except ValueError as error:
        raise BadRequest(str(error), path="warmup", hint="such as 20 +10/d") from error


def _check_address(address: str, channel: str) -> None:
    local, at, domain = address.partition("@")
    spaced = any(c.isspace() for c in address)
    if channel == "email" and (spaced or not (local and at and domain)):
        raise BadRequest(f"{address!r} is no address", path="address", hint="NAME@DOMAIN")


def _sender_values(args: p.SenderSet, old: Row | None, warmup: str | None) -> list[object]:
    base: dict[str, object] = (
        dict(old) if old is not None else {"provider": "sink", "weight": 1}
    )
    for name in ("provider", "owner", "shared"):
        if (value := getattr(args, name)) is not None:
            base[name] = value.strip() or None
    if args.rate is not None:
        base["rate"] = read_rate(args.rate)
    if args.daily_limit is not None:
        base["daily_limit"] = args.daily_limit or None
    if warmup is not None:
        base["warmup"] = warmup or None
    if args.weight is not None:
        base["weight"] = args.weight
    if args.gap is not None:
        base["gap"] = _read_gap(args.gap)
    return [base.get(name) for name in _SENDER]


async def limit_sender(conn: Conn, call: Call, args: p.SenderLimit) -> Deed:
    """Change the daily limit of a sender that is there. Raises `NotFound`."""
    row = await find_sender(conn, args.address, args.account)
    change = p.SenderSet(
        address=args.address,
        account=row["account_key"],
        channel=row["channel"],
        daily_limit=args.daily_limit,
    )
    return await set_sender(conn, call, change)


async def aim_test(conn: Conn, _call: Call, args: p.SenderTest) -> Deed:
    """The sender that is to be tried, in `sender`; the audit row, ahead of the message."""
    row = await find_sender(conn, args.address, args.account)
    return Deed(
        result={"sender": dict(row)}, accounts=(row["account_id"],), target=args.address
    )


async def pause_sender(conn: Conn, call: Call, args: p.SenderKey) -> Deed:
    return await _turn_sender(conn, args, "paused")


async def resume_sender(conn: Conn, call: Call, args: p.SenderKey) -> Deed:
    return await _turn_sender(conn, args, "active")


async def probe_sender(conn: Conn, call: Call, args: p.SenderKey) -> Deed:
    """Have it and its provider tried now, however long their breakers were to stay open."""
    row = await find_sender(conn, args.address, args.account)
    if row["status"] != "active":
        raise Conflict(f"{args.address} is {row['status']}", hint="dripd sender resume")
    await conn.execute(sql("probe_sender"), row["account_id"], row["id"])
    await conn.execute(sql("open_sender_lanes"), row["account_id"])
    return Deed(
        result={"changed": True, **shown(row)},
        accounts=(row["account_id"],),
        target=args.address,
        before={"status": row["status"]},
    )


async def _turn_sender(conn: Conn, args: p.SenderKey, status: str) -> Deed:
    row = await find_sender(conn, args.address, args.account)
    done = await conn.execute(sql("turn_sender"), row["account_id"], row["id"], status)
    await conn.execute(sql("open_sender_lanes"), row["account_id"])
    result = {
        "changed": not done.endswith(" 0"), **shown(row), "status": status, "pause_reason": None
    }  # fmt: skip
    return Deed(
        result=result,
        accounts=(row["account_id"],),
        target=args.address,
        before={"status": row["status"], "pause_reason": row["pause_reason"]},
    )


async def list_senders(conn: Conn, args: p.SenderList) -> Result:
    (after,) = read_cursor(args.after, 0)
    account = await account_id(conn, args.account)
    rows = await conn.fetch(sql("list_senders"), account, args.channel, after, args.limit + 1)
    found = page(rows, args.limit, "id", without=FACTS)
    shown_rows = rows[: args.limit]
    now = await read_now(conn)
    lately = await read_traffic(conn, [_place(row) for row in shown_rows])
    return {
        **found, "items": [{**_sender(row, now), **lately[_place(row)]} for row in shown_rows]
    }  # fmt: skip


async def show_sender(conn: Conn, args: p.SenderShow) -> Result:
    """The sender, the campaigns that leave from it and its share of each, and, unless `quick`,
    with what left in the last days and what of it came back."""
    found = await find_sender(conn, args.address, args.account)
    (row,) = await conn.fetch(
        sql("list_senders"), found["account_id"], None, found["id"] - 1, 1
    )
    pools = await conn.fetch(sql("list_pools"), row["account_id"], row["address"])
    active = row["status"] == "active"
    now = await read_now(conn)
    lately = await read_traffic(conn, [_place(row)])
    waiting = await conn.fetchrow(
        sql("count_waiting"), row["account_id"], row["address"], row["channel"]
    )
    return {
        **_sender(row, now),
        **lately[_place(row)],
        **_warming(row, now),
        "waiting": dict(waiting),
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


def _place(row: Row) -> Place:
    return row["account_id"], row["id"]


def _warming(row: Row, now: Instant) -> Result:
    """Which day of its ramp today is, the first is 1, and what may leave tomorrow; None where it
    has no ramp."""
    if row["warmup"] is None:
        return {"warmup_day": None, "limit_tomorrow": None}
    today = local_date(ZoneInfo(row["timezone"]), now)
    since = parse_ramp(row["warmup"], today).since
    tomorrow = limit_on(today + timedelta(days=1), row["warmup"], row["daily_limit"])
    return {"warmup_day": (today - since).days + 1, "limit_tomorrow": tomorrow}


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
