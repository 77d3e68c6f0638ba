"""Campaigns at the desk: life-cycle, triggers, list, show, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.definition import Match
from dripd.campaigns.enrollment import RunStatus
from dripd.errors import Conflict, NotFound
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, Row, page, read_cursor, shown
from dripd.store.desk_file import count_live, end_all
from dripd.store.desk_find import (
    account_id,
    find_campaign,
    find_list,
    find_lists,
    lock_campaign,
)
from dripd.store.desk_pick import confirm
from dripd.store.desk_role import refuse_board, refuse_stranger
from dripd.store.statements import sql

Verb = Literal["activate", "resume", "pause", "deactivate", "drain", "archive"]

FROM: Mapping[Verb, frozenset[str]] = {
    "activate": frozenset({"draft", "inactive", "paused", "draining"}),
    "resume": frozenset({"inactive", "paused", "draining"}),
    "pause": frozenset({"active", "draining"}),
    "deactivate": frozenset({"active", "paused", "draining"}),
    "drain": frozenset({"active", "paused", "inactive"}),
    "archive": frozenset({"draft", "active", "paused", "draining", "inactive"}),
}
"""From which status a verb leads on; from the one that it leads to it changes nothing."""

TO: Mapping[Verb, str] = {
    "activate": "active",
    "resume": "active",
    "pause": "paused",
    "deactivate": "inactive",
    "drain": "draining",
    "archive": "archived",
}

NOTED: Mapping[Verb, str] = {
    "activate": "activated",
    "resume": "resumed",
    "pause": "paused",
    "deactivate": "deactivated",
    "drain": "drained",
    "archive": "archived",
}
"""What the journal calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A change of a campaign's status. `mode`: what becomes of live runs.

    `shift`: on resuming, waiting steps keep what remained of their delay.
    """

    key: str
    account: str | None
    verb: Verb
    mode: str = "hold"
    shift: bool = False


async def turn_campaign(conn: Conn, call: Call, turn: Turn) -> Deed:
    """Lead a campaign to another status. Raises `Conflict` where that makes no sense."""
    row = await lock_campaign(conn, turn.key, turn.account)
    await refuse_stranger(conn, call, [row["id"]])
    live = await count_live(conn, row)
    status = _status(turn, row, live)
    changed, removed = status != row["status"], 0
    removes = turn.mode == "remove_all" and turn.verb in {"pause", "deactivate"}
    if removes:
        confirm(call, live, "live runs would be removed (mode remove_all)")
    if changed:
        mode = turn.mode if turn.verb in {"pause", "deactivate"} else None
        await conn.execute(sql("turn_campaign"), row["account_id"], row["id"], status, mode)
        if status == "active":
            await conn.execute(sql("forget_first_steps"), row["account_id"], row["id"])
        if turn.shift and status == "active":
            await _shift(conn, row)
        detail = {"campaign": row["key"], "status": status}
        await conn.execute(
            sql("note_campaign"), row["account_id"], call.actor, NOTED[turn.verb], detail
        )
    if removes:
        removed = await end_all(conn, row, RunStatus.REMOVED, "paused", call.actor)
    named = {"mode": turn.mode} if turn.verb in {"pause", "deactivate"} else {}
    return Deed(
        result={
            "changed": changed or removed > 0,
            "campaign": row["key"],
            "status": status,
            "version": row["live_version"],
            **named,
            "live": live - removed,
            "removed": removed,
        },
        accounts=(row["account_id"],),
        target=row["key"],
        detail={"verb": turn.verb, "mode": turn.mode, "removed": removed},
        scope=(live, (row["status"], row["live_version"], turn.verb, turn.mode)),
        before={"status": row["status"]},
    )


def _status(turn: Turn, row: Row, live: int) -> str:
    """The status that *turn* leads to. Raises `Conflict`."""
    here, goal = row["status"], TO[turn.verb]
    if turn.verb == "deactivate" and turn.mode == "drain":
        goal = "draining"
    if goal == "draining" and not live and here != "archived":
        goal = "inactive"
    if turn.verb == "archive" and live:
        raise Conflict(
            f"campaign {turn.key!r} has {live} live runs", code="active",
            hint=f"dripd campaign drain {turn.key}",
        )  # fmt: skip
    if row["live_version"] is None and turn.verb != "archive":
        raise Conflict(
            f"campaign {turn.key!r} has never been published", code="not_published",
            hint=f"dripd campaign activate {turn.key}",
        )  # fmt: skip
    if here == goal:
        return str(here)
    if here not in FROM[turn.verb]:
        verbs = ", ".join(verb for verb, states in FROM.items() if here in states)
        hint = f"it can be told to {verbs}" if verbs else "apply its file under another key"
        raise Conflict(f"campaign {turn.key!r} is {here}", hint=hint)
    return goal


async def _shift(conn: Conn, row: Row) -> None:
    """Waiting steps come up as much later as the campaign has stood still."""
    since = await conn.fetchval(sql("paused_since"), row["account_id"], row["key"])
    if since is not None:
        await conn.execute(sql("shift_dues"), row["account_id"], row["id"], since)
        await conn.execute(sql("look_again"), [row["account_id"]])


async def add_trigger(
    conn: Conn, call: Call, key: str, account: str | None, match: Match
) -> Deed:
    """Attach a trigger; it fires on what comes after it. A second one changes nothing."""
    row = await find_campaign(conn, key, account)
    if "list" in match.params:
        await find_list(conn, str(match.params["list"]), row["account_key"])
    made = await conn.fetchrow(
        sql("make_trigger"), row["account_id"], row["id"], row["key"], match.kind,
        dict(match.params), "command", call.actor,
    )  # fmt: skip
    there = made or await conn.fetchrow(
        sql("find_trigger"), row["account_id"], row["id"], match.kind, dict(match.params)
    )
    return _trigger_deed(row, there, changed=made is not None)


async def remove_trigger(
    conn: Conn, call: Call, key: str, account: str | None, match: Match
) -> Deed:
    row = await find_campaign(conn, key, account)
    gone = await conn.fetchrow(
        sql("drop_trigger"), row["account_id"], row["id"], match.kind, dict(match.params)
    )
    if gone is None:
        raise NotFound(
            f"campaign {key!r} has no such trigger", hint=f"dripd campaign trigger list {key}"
        )
    return _trigger_deed(row, gone, changed=True)


def _trigger_deed(row: Row, trigger: Row, *, changed: bool) -> Deed:
    return Deed(
        result={"changed": changed, **shown(trigger)},
        accounts=(row["account_id"],),
        target=row["key"],
        detail={"trigger": trigger["kind"]},
    )


async def list_triggers(conn: Conn, args: p.CampaignTriggerList) -> Result:
    row = await find_campaign(conn, args.campaign, args.account)
    return {"items": await _triggers(conn, row), "next": None}


async def _triggers(conn: Conn, row: Row) -> list[Result]:
    found = await conn.fetch(sql("list_triggers"), row["account_id"], row["id"])
    return [shown(one) for one in found]


async def list_campaigns(conn: Conn, call: Call, args: p.CampaignList) -> Result:
    """Campaigns; those of a board only for who has access to it. Raises `Forbidden`."""
    (after,) = read_cursor(args.after, 0)
    account = await account_id(conn, args.account)
    if args.board is not None:
        for row in await find_lists(conn, args.board, args.account):
            await refuse_board(conn, call, row["account_id"], args.board)
    rows = await conn.fetch(
        sql("list_campaigns"), account, args.board, args.status, after, args.limit + 1
    )
    return page(rows, args.limit, "id")


async def show_campaign(conn: Conn, args: p.CampaignShow | p.CampaignExport) -> Result:
    """The campaign with a definition: that of `version`, else the live one, else the draft."""
    row = await find_campaign(conn, args.key, args.account)
    version = args.version or row["live_version"]
    definition = row["draft"] if version is None else await read_version(conn, row, version)
    return {
        **shown(row, "draft", "live_cv_id", "pause_mode"),
        "failing": row["status"] == "paused" and row["pause_mode"] == "failing",
        "version": version,
        "definition": definition,
        "triggers": await _triggers(conn, row),
    }


async def read_version(conn: Conn, row: Row, version: int) -> Mapping[str, object]:
    """The definition of a version. Raises `NotFound`."""
    found: Mapping[str, object] | None = await conn.fetchval(
        sql("read_definition"), row["account_id"], row["id"], version
    )
    if found is None:
        raise NotFound(f"campaign {row['key']!r} has no version {version}")
    return found


async def read_pair(
    conn: Conn, args: p.CampaignDiff
) -> tuple[Mapping[str, object] | None, Mapping[str, object] | None]:
    """Two definitions to compare: `from` or the live one, `to` or the draft (else the live)."""
    row = await find_campaign(conn, args.key, args.account)
    first = args.from_ or row["live_version"]
    old = None if first is None else await read_version(conn, row, first)
    if args.to is not None:
        return old, await read_version(conn, row, args.to)
    if row["draft"] is None and row["live_version"] is not None:
        return old, await read_version(conn, row, row["live_version"])
    return old, row["draft"]
