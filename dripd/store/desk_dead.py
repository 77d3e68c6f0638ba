"""What failed for good? Runs that are held until somebody puts something right, by what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.enrollment import RunStatus
from dripd.errors import BadRequest, Conflict, NotFound
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, Row, cursor_of, read_cursor, shown
from dripd.store.desk_find import account_id, find_campaign
from dripd.store.desk_pick import confirm
from dripd.store.desk_run import Judge, release, stop_rows
from dripd.store.statements import sql

LOOKED = 500
"""Held runs that a console's groups are made of, the latest ones: some 40 ms."""


async def list_dead(conn: Conn, args: p.DeadList) -> Result:
    """Groups of runs that are held by themselves and wait for somebody, the largest first."""
    (start,) = read_cursor(args.after, 0)
    account = await account_id(conn, args.account)
    campaign = None
    if args.campaign is not None:
        campaign = (await find_campaign(conn, args.campaign, args.account))["id"]
    looked = LOOKED if args.quick else 1_000_000
    rows = await conn.fetch(sql("list_dead"), account, campaign, start, args.limit + 1, looked)
    groups, more = rows[: args.limit], rows[args.limit :]
    following = cursor_of({"n": start + args.limit}, ("n",)) if more else None
    some = [(row["account_id"], one) for row in groups for one in row["sample"]]
    told = await conn.fetch(
        sql("sample_dead"), [account for account, _ in some], [one for _, one in some]
    )
    known = {row["enrollment_id"]: shown(row) for row in told}
    return {
        "items": [
            {**shown(row), "sample": [known[one] for one in row["sample"] if one in known]}
            for row in groups
        ],
        "next": following,
    }


async def dead_versions(conn: Conn, args: p.DeadPick) -> list[int]:
    """The versions of the runs that are meant: what a `Judge` must know."""
    return sorted({row["cv_id"] for row in await _dead(conn, args)})


async def retry_dead(conn: Conn, call: Call, args: p.DeadRetry, judge: Judge) -> Deed:
    """Let held steps come up again now, with a fresh count of attempts."""
    rows = await _dead(conn, args)
    if args.safe:
        rows = _safe(rows)
    confirm(call, len(rows), "steps would be tried again")
    answers = await release(conn, rows, judge, call.actor)
    items: list[Result] = [
        {"enrollment_id": row["id"], "retry": row["retry"], "ok": True, **answer}
        for row, answer in answers
    ]
    changed = sum(answer["changed"] for _, answer in answers)
    await conn.execute(sql("look_again"), _accounts(rows))
    return _dead_deed(args, rows, changed, items)


async def discard_dead(conn: Conn, call: Call, args: p.DeadPick) -> Deed:
    """End held runs as terminated, `stopped`."""
    rows = await _dead(conn, args)
    confirm(call, len(rows), "runs would be ended")
    ended = await stop_rows(conn, rows, RunStatus.TERMINATED, "stopped", call.actor)
    items: list[Result] = [
        {"enrollment_id": row["id"], "retry": row["retry"], "ok": row["id"] in ended}
        for row in rows
    ]
    return _dead_deed(args, rows, len(ended), items)


async def _dead(conn: Conn, args: p.DeadPick) -> list[Row]:
    groups = groups_of(args)
    if bool(groups) == bool(args.enrollment):
        raise BadRequest("name groups, or --enrollment ENR", path="group")
    account = await account_id(conn, args.account)
    rows: list[Row] = await conn.fetch(
        sql("pick_dead"), account, groups or None, list(args.enrollment) or None
    )
    absent = set(groups) - {row["group"] for row in rows}
    if absent or not rows:
        what = f"of {', '.join(sorted(absent))}" if absent else "of that"
        raise NotFound(f"nothing {what} is held", hint="dripd dead list")
    return rows


def groups_of(args: p.DeadPick) -> list[str]:
    """The groups that are meant, each once."""
    return sorted({*args.groups, *([] if args.group is None else [args.group])})


def _safe(rows: Sequence[Row]) -> list[Row]:
    """Those of *rows* that nobody can have received. Raises `Conflict` if there is none."""
    found = [row for row in rows if row["retry"] == "safe"]
    if found:
        return found
    if any(row["retry"] == "unsafe" for row in rows):
        raise Conflict(
            "it may have been delivered: a retry may reach them twice",
            hint="look at the deliveries first; without --safe it is tried all the same",
        )
    raise Conflict(
        "a retry will fail again until its cause is mended",
        hint="mend it; without --safe it is tried all the same",
    )


def _accounts(rows: Sequence[Row]) -> list[int]:
    return sorted({row["account_id"] for row in rows})


def _dead_deed(
    args: p.DeadPick, rows: Sequence[Row], changed: int, items: list[Result]
) -> Deed:
    absent = sorted(set(args.enrollment) - {row["id"] for row in rows})
    groups = groups_of(args)
    parts = Counter(row["retry"] for row in rows)
    items += [
        {"enrollment_id": one, "ok": False, "code": "not_found", "message": "it is not held"}
        for one in absent
    ]
    return Deed(
        result={"changed": changed, "parts": dict(parts), "items": items[:1000]},
        accounts=tuple(_accounts(rows)),
        target=groups[0] if len(groups) == 1 else "groups" if groups else "enrollments",
        detail={"n": changed, **parts, **({"groups": groups} if len(groups) > 1 else {})},
        ids=[row["id"] for row in rows],
    )
