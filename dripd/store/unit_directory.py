"""What daemons keep in memory about accounts, read whole or in part."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from dripd.campaigns.enrollment import DueKey, LaneKey
from dripd.channels.base import SinkRow
from dripd.clock import Instant
from dripd.ratelimit.caps import carried
from dripd.spans import Spans
from dripd.store.connect import Conn, parse_object
from dripd.store.lanes import LaneBook, Wanted
from dripd.store.protocol import (
    AccountRow,
    CampaignRow,
    DayRow,
    Look,
    SenderRow,
    Standstill,
    TriggerRow,
    Turn,
    TurnBack,
    VersionRow,
)
from dripd.store.statements import sql

NODE_TIMEOUT_MS = 10_000
"""Real time without a heartbeat after which a daemon counts as dead."""


async def look(conn: Conn, seen: Spans) -> Look:
    known = [asyncpg.Range(low, high) for low, high in seen.as_pairs()]
    row = await conn.fetchrow(sql("look"), known)
    nodes = await conn.fetch(sql("read_nodes"), NODE_TIMEOUT_MS)
    return Look(
        now=row["now"],
        manual=row["manual"],
        requests=row["requests"],
        events=[account for account in row["events"] if account]
        + ([0] if row["stray"] else []),
        usage=row["usage"],
        nudges=list(zip(row["nudges"], row["nudged"], strict=True)),
        nodes=[(node["incarnation"], node["alive"]) for node in nodes],
        drained={node["incarnation"] for node in nodes if node["drain"]},
    )


async def read_accounts(conn: Conn, wanted: Sequence[int] | None) -> list[AccountRow]:
    """Accounts with their senders, campaigns and triggers; None = all."""
    ids = None if wanted is None else list(wanted)
    found = {row["id"]: _account(row) for row in await conn.fetch(sql("read_accounts"), ids)}
    for row in await conn.fetch(sql("read_senders"), ids):
        if row["account_id"] in found:
            found[row["account_id"]].senders.append(SenderRow(**dict(row)))
    for row in await conn.fetch(sql("read_campaigns"), ids):
        if row["account_id"] in found:
            found[row["account_id"]].campaigns.append(CampaignRow(**dict(row)))
    for row in await conn.fetch(sql("read_own_standstills"), ids):
        if row["account_id"] in found:
            found[row["account_id"]].standstills.append(_standstill(row))
    for row in await conn.fetch(sql("read_triggers"), ids):
        if row["account_id"] in found:
            found[row["account_id"]].triggers.append(_trigger(row))
    return list(found.values())


def _account(row: Any) -> AccountRow:
    window = row["send_window"]
    return AccountRow(
        id=row["id"],
        key=row["key"],
        timezone=row["timezone"],
        cap=row["cap"],
        send_window=None if window is None else orjson.loads(window),
        rate=row["rate"],
        status=row["status"],
        subscription_active=row["subscription_active"],
        postal_address=row["postal_address"],
        prices=parse_object(row["prices"]),
        action_quota=row["action_quota"],
        connectors=frozenset(row["connectors"]),
        templates=row["templates"],
    )


def _standstill(row: Any) -> Standstill:
    return Standstill(
        row["from_at"],
        row["until_at"],
        campaign_id=row["campaign_id"],
        sender_id=row["sender_id"],
    )


def _trigger(row: Any) -> TriggerRow:
    return TriggerRow(
        id=row["id"],
        campaign_id=row["campaign_id"],
        campaign_key=row["campaign_key"],
        kind=row["kind"],
        match=parse_object(row["match"]),
        after_event_id=row["after_event_id"],
        after_contact_id=row["after_contact_id"],
    )


async def read_versions(conn: Conn, cv_ids: Sequence[int]) -> list[VersionRow]:
    rows = await conn.fetch(sql("read_versions"), list(cv_ids))
    return [
        VersionRow(
            cv_id=row["cv_id"],
            account_id=row["account_id"],
            campaign_id=row["campaign_id"],
            campaign_key=row["campaign_key"],
            campaign_owner=row["owner"],
            version=row["version"],
            definition=parse_object(row["definition"]),
            shared=parse_object(row["shared"]),
            current=parse_object(row["current"]),
            types=parse_object(row["types"]),
        )
        for row in rows
    ]


async def read_attachment(conn: Conn, account_id: int, sha256: str) -> bytes | None:
    found: bytes | None = await conn.fetchval(sql("read_attachment"), account_id, sha256)
    return found


async def make_days(conn: Conn, days: Sequence[DayRow]) -> None:
    """Day rows that are missing; a new cap, and a new zone, of rows that are there."""
    ordered = sorted(days, key=lambda day: (day.account_id, day.local_date))
    odd = await conn.fetch(
        sql("odd_days"),
        [day.account_id for day in ordered],
        [day.local_date for day in ordered],
        [day.starts_at for day in ordered],
        [day.ends_at for day in ordered],
    )
    for row in odd:
        wanted = [day for day in ordered if day.account_id == row["account_id"]]
        await _rezone(conn, row["account_id"], wanted)
    made = await conn.fetch(
        sql("make_days"),
        [day.account_id for day in ordered],
        [day.local_date for day in ordered],
        [day.cap for day in ordered],
        [day.starts_at for day in ordered],
        [day.ends_at for day in ordered],
    )
    capped = await conn.fetch(
        sql("recap_days"),
        [day.account_id for day in ordered],
        [day.local_date for day in ordered],
        [day.cap for day in ordered],
    )
    if made:
        await conn.execute(sql("refresh_gates"), sorted({row["account_id"] for row in made}))
    if capped:
        accounts = sorted({row["account_id"] for row in capped})
        await conn.fetch(sql("unpark_reason"), accounts, "cap")


async def take_turns(conn: Conn, turns: Sequence[Turn]) -> list[tuple[int, Instant | None]]:
    """Of each turn how many may leave, and when its gap is over."""
    columns = [
        [turn.account_id for turn in turns],
        [turn.sender_id for turn in turns],
        [turn.n for turn in turns],
        [turn.starts_at for turn in turns],
        [turn.base for turn in turns],
        [turn.most for turn in turns],
        [turn.gap_ms for turn in turns],
    ]
    rows = await conn.fetch(sql("take_turns"), *columns)
    given = {(row["account_id"], row["sender_id"]): row for row in rows}
    places = [(turn.account_id, turn.sender_id) for turn in turns]
    fresh = [turn for turn, place in zip(turns, places, strict=True) if place not in given]
    first: dict[tuple[int, int], tuple[int, Instant | None]] = {}
    if fresh:
        keys = [(turn.account_id, turn.sender_id) for turn in fresh]
        await conn.execute(sql("make_turns"), *map(list, zip(*keys, strict=True)))
        first = dict(zip(keys, await take_turns(conn, fresh), strict=True))
    return [
        first[place] if place in first else (given[place]["granted"], given[place]["next_at"])
        for place in places
    ]


async def return_turns(conn: Conn, backs: Sequence[TurnBack]) -> None:
    await conn.execute(
        sql("return_turns"),
        [back.account_id for back in backs],
        [back.sender_id for back in backs],
        [back.starts_at for back in backs],
        [back.n for back in backs],
        [back.reopens for back in backs],
    )


async def _rezone(conn: Conn, account: int, wanted: list[DayRow]) -> None:
    """A zone that changed in mid-day: the old row ends now, what it had used goes along.

    There is no second quota. Rows of later days are simply laid anew.
    """
    standing = await conn.fetch(sql("lock_days"), account)
    now = await conn.fetchval("SELECT dripd.now()")
    current = next((row for row in standing if row["starts_at"] <= now), None)
    today = next((day for day in wanted if day.starts_at <= now < day.ends_at), None)
    if current is None or today is None:
        return
    there = next((row for row in standing if row["local_date"] == today.local_date), None)
    same = there is not None and there["local_date"] == current["local_date"]
    existing = 0 if there is None or same else there["used"]
    used = current["used"] if same else carried(current["used"], existing, today.cap)
    if not same:
        await conn.execute(sql("end_day"), account, current["local_date"], now)
    await conn.execute(
        sql("rezone_day"),
        account,
        today.local_date,
        today.cap,
        today.starts_at if same else now,
        today.ends_at,
        used,
        current["bulk"],
    )
    for day in wanted:
        if day.local_date != today.local_date:
            await conn.execute(
                sql("rezone_day"),
                account,
                day.local_date,
                day.cap,
                day.starts_at,
                day.ends_at,
                0,
                0,
            )


async def sink(conn: Conn, rows: Sequence[SinkRow]) -> list[str]:
    """Record what reached the built-in sink, and answer as `sink_rule` says.

    An ambiguous message did arrive: it is recorded, only the answer is lost.
    """
    rules = await conn.fetch(sql("sink_rules"))
    spent: Counter[int] = Counter()
    answers = [_answer(row, rules, spent) for row in rows]
    if spent:
        await conn.execute(sql("spend_rules"), list(spent), list(spent.values()))
    kept = [
        (
            row.account_id,
            row.channel,
            _clean(row.sender),
            _clean(row.recipient),
            _clean(row.subject),
            _clean(row.body),
            orjson.dumps(row.headers).decode(),
            row.idempotency_key,
            row.enrollment_id,
            row.step_key,
        )
        for row, answer in zip(rows, answers, strict=True)
        if answer in {"accepted", "ambiguous"}
    ]
    if kept:
        await conn.execute(sql("sink_messages"), *map(list, zip(*kept, strict=True)))
    return answers


def _clean(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _answer(row: SinkRow, rules: Sequence[Any], spent: Counter[int]) -> str:
    for rule in rules:
        concerns = rule["account_id"] in (0, row.account_id)
        exhausted = rule["times"] is not None and spent[rule["id"]] >= rule["times"]
        if concerns and not exhausted and like(rule["recipient_like"], row.recipient):
            if rule["times"] is not None:
                spent[rule["id"]] += 1
            return str(rule["answer"])
    return "accepted"


def like(pattern: str, text: str) -> bool:
    """SQL's LIKE: `%` any run, `_` any one character, a backslash escapes."""
    parts = re.split(r"(\\.|%|_)", pattern, flags=re.DOTALL)
    words = {"%": ".*", "_": "."}
    regex = "".join(
        words.get(
            part, re.escape(part[1:] if part.startswith("\\") and len(part) > 1 else part)
        )
        for part in parts
    )
    return re.fullmatch(regex, text, re.DOTALL) is not None


async def fold_usage(conn: Conn) -> list[int]:
    """Fold what others reported into the day rows; over the cap is journaled, never refused."""
    rows = await conn.fetch(sql("fold_usage"), 1000)
    over = [
        (
            row["account_id"],
            None,
            None,
            "over_cap",
            orjson.dumps(
                {"used": row["used"], "bulk": row["bulk"], "cap": row["cap"]}
            ).decode(),
        )
        for row in rows
        if row["reported"] and row["used"] + row["bulk"] > row["cap"]
    ]
    if over:
        await conn.execute(sql("journal"), *map(list, zip(*over, strict=True)))
    return [row["account_id"] for row in rows]


async def move_lanes(
    conn: Conn, book: LaneBook, keys: Sequence[DueKey], lanes: Sequence[LaneKey]
) -> tuple[list[DueKey], dict[Wanted, int]]:
    """Let steps stand in other lanes: where they stand now, and the lanes' numbers."""
    wanted = [(key.account_id, lane) for key, lane in zip(keys, lanes, strict=True)]
    numbers = await book.resolve(conn, wanted)
    moves = sorted((*key[:4], numbers[one]) for key, one in zip(keys, wanted, strict=True))
    columns = [list(column) for column in zip(*moves, strict=True)]
    return [DueKey(*row) for row in await conn.fetch(sql("move_lanes"), *columns)], numbers
