"""How does a campaign go? Counted as asked while that is quick, else as it was counted last.

An account of few runs is counted at once. Anything larger is counted beside (`count_campaign`),
kept in `campaign_tally`, and told with the instant as of which it holds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dripd.admin import params as p
from dripd.clock import format_instant
from dripd.errors import NotFound
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

SUMS: Final = ("at", "done", "skipped", "failed", "sent")

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
        return Statistics(result={**told, **_of(found, args.version), "as_of": as_of})
    tally = await conn.fetchrow(sql("read_tally"), account, campaign)
    if tally is None:
        uncounted: Result = {
            **dict.fromkeys(COUNTS),
            "steps": [],
            "versions": [],
            "as_of": None,
        }
        return Statistics(result={**told, **uncounted}, place=(account, campaign))
    stale = tally["age_ms"] > max(FRESH_MS, SHARE * tally["took_ms"]) or not args.quick
    return Statistics(
        result={
            **told,
            **_of(tally["figures"], args.version),
            "as_of": format_instant(tally["at"]),
        },
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
    place = (row["account_id"], row["id"])
    steps = [dict(step) for step in await conn.fetch(sql("read_step_stats"), *place)]
    _leave(steps, await conn.fetch(sql("count_left"), *place))
    entered = {one["cv_id"]: one["n"] for one in await conn.fetch(sql("count_entered"), *place)}
    return {
        **{name: shown(stats)[name] for name in COUNTS},
        "steps": _live(steps, row["live_cv_id"]),
        "versions": {
            str(version): {
                "entered": entered.get(cv_id, 0),
                "steps": [_step(step) for step in steps if step["cv_id"] == cv_id],
            }
            for cv_id, version in {step["cv_id"]: step["version"] for step in steps}.items()
        },
    }


def _leave(steps: Sequence[dict[str, Any]], rows: Sequence[Row]) -> None:
    """Give each step in `left` who ended at it, by reason: one after the last counts there."""
    versions: dict[int, list[dict[str, Any]]] = {}
    for step in steps:
        step["left"] = {}
        versions.setdefault(step["cv_id"], []).append(step)
    for row in rows:
        if own := versions.get(row["cv_id"]):
            left = own[min(row["step_no"], len(own) - 1)]["left"]
            left[row["reason"]] = left.get(row["reason"], 0) + row["n"]


def _step(step: Row) -> Result:
    return {name: value for name, value in step.items() if name not in {"cv_id", "version"}}


def _live(steps: Sequence[Row], cv_id: int | None) -> list[Result]:
    """The steps of the live version, each with what happened at it in every version."""
    alike: dict[str, list[Row]] = {}
    for step in steps:
        alike.setdefault(step["step_key"], []).append(step)
    return [
        {
            **_step(step),
            **{name: sum(one[name] for one in alike[step["step_key"]]) for name in SUMS},
            "left": dict(
                sum((Counter(one["left"]) for one in alike[step["step_key"]]), Counter())
            ),
        }
        for step in steps
        if step["cv_id"] == cv_id
    ]


def _of(figures: Mapping[str, Any], version: int | None) -> Result:
    """*figures* as they are answered: of all versions, or the steps of one."""
    found = dict(figures)
    versions = found.pop("versions", {})
    if version is None:
        return {**found, "versions": [int(one) for one in versions]}
    one = versions.get(str(version))
    if one is None:
        raise NotFound(
            f"there is no version {version}", hint=f"there are {', '.join(versions) or 'none'}"
        )
    return {**found, "versions": [int(each) for each in versions], "version": version, **one}
