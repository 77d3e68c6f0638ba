"""How does a campaign go? Counted as asked while that is quick, else as it was counted last.

An account of few runs is counted at once. Anything larger is counted beside (`count_campaign`),
kept in `campaign_tally`, and told with the instant as of which it holds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dripd.admin import params as p
from dripd.clock import format_instant
from dripd.store.connect import Conn
from dripd.store.desk_deed import Result, Row, read_now, shown
from dripd.store.desk_find import find_campaign
from dripd.store.statements import sql

AT_ONCE: Final = 2_000
"""Runs of an account up to which its campaigns are counted as asked: some 20 ms."""

FRESH_MS: Final = 10_000
"""A count of a large campaign is good for so long,"""

SHARE: Final = 20
"""and for so many times as long as it took: a twentieth of one backend at most."""

COUNTS: Final = ("enrolled", "active", "completed", "removed", "terminated", "goal", "sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """`result` as it is answered; `place` if it should be counted anew: account and campaign.

    `took_ms`: how long the last count took, None if there is none.
    """

    result: Result
    place: tuple[int, int] | None = None
    took_ms: int | None = None


async def read_statistics(conn: Conn, args: p.CampaignStats) -> Statistics:
    """The counts of a campaign and of each step of its live version, with their `as_of`."""
    row = await find_campaign(conn, args.key, args.account)
    account, campaign = row["account_id"], row["id"]
    columns = ("account_id", "account_key", "name", "goal_text", "status")
    told = {name: row[name] for name in columns}
    told["campaign_key"] = row["key"]
    if await conn.fetchval(sql("count_some_runs"), account, AT_ONCE + 1) <= AT_ONCE:
        found = await _count(conn, row)
        as_of = format_instant(await read_now(conn))
        return Statistics(result={**told, **found, "as_of": as_of})
    tally = await conn.fetchrow(sql("read_tally"), account, campaign)
    if tally is None:
        uncounted: Result = {**dict.fromkeys(COUNTS), "steps": [], "as_of": None}
        return Statistics(result={**told, **uncounted}, place=(account, campaign))
    stale = tally["age_ms"] > max(FRESH_MS, SHARE * tally["took_ms"]) or not args.quick
    return Statistics(
        result={**told, **tally["figures"], "as_of": format_instant(tally["at"])},
        place=(account, campaign) if stale else None,
        took_ms=tally["took_ms"],
    )


async def count_campaign(conn: Conn, account_id: int, campaign_id: int) -> None:
    """Count a campaign, however long it takes, and keep what it came to."""
    row = await conn.fetchrow(sql("find_counted"), account_id, campaign_id)
    if row is None:
        return
    at, began = await read_now(conn), time.perf_counter()
    found = await _count(conn, row)
    took_ms = round((time.perf_counter() - began) * 1000)
    await conn.execute(sql("keep_tally"), account_id, campaign_id, at, took_ms, dict(found))


async def _count(conn: Conn, row: Row) -> Mapping[str, object]:
    stats = await conn.fetchrow(sql("read_stats"), row["account_id"], row["key"])
    steps = await conn.fetch(
        sql("read_step_stats"), row["account_id"], row["id"], row["live_cv_id"]
    )
    return {
        **{name: shown(stats)[name] for name in COUNTS},
        "steps": [{**step} for step in steps],
    }
