"""Why does this run wait, and what has happened to this contact?

The facts of `explain` are read here and judged by `dripd.daemon.control_explain`, which may
open zones and holiday calendars.
"""

from __future__ import annotations

from collections.abc import Mapping

from dripd.admin import params as p
from dripd.campaigns.parse import read
from dripd.errors import NotFound
from dripd.store.connect import Conn
from dripd.store.desk_deed import Result, Row, cursor_of, read_cursor, shown
from dripd.store.desk_doubt import read_doubts
from dripd.store.desk_find import find_contact, find_run
from dripd.store.statements import sql


async def read_waits(conn: Conn, args: p.EnrollKey | p.ContactKey) -> list[Row]:
    """The facts on which the waiting of a run (of every live run of a contact) is judged."""
    if isinstance(args, p.EnrollKey):
        rows = await conn.fetch(sql("read_waits"), None, None, args.enrollment)
        if not rows:
            raise NotFound(
                f"there is no enrollment {args.enrollment}", hint="dripd enroll list"
            )
    else:
        found = await find_contact(conn, args.contact, args.account)
        rows = await conn.fetch(sql("read_waits"), found["account_id"], found["id"], None)
    return [dict(row) | {"doubt": await _doubt(conn, row)} for row in rows]


async def read_queued(conn: Conn, args: p.EnrollKey | p.ContactKey) -> list[Result]:
    """The requests that wait until a contact is free, oldest first; of a run those that wait for
    it."""
    if isinstance(args, p.EnrollKey):
        run = await find_run(conn, args.enrollment)
        who = (run["account_id"], run["contact_id"])
    else:
        found = await find_contact(conn, args.contact, args.account)
        who = (found["account_id"], found["id"])
    rows = [dict(row) for row in await conn.fetch(sql("read_queued"), *who)]
    busy = await conn.fetch(sql("read_exclusive"), *who) if rows else []
    for row in rows:
        scope = _scope(row.pop("definition"))
        row["behind"] = [one["enrollment_id"] for one in busy if one["exclusive"] == scope]
    if isinstance(args, p.EnrollKey):
        rows = [row for row in rows if args.enrollment in row["behind"]]
    return [shown(row) for row in reversed(rows)]


def _scope(definition: Mapping[str, object] | None) -> str | None:
    """With which runs those of the campaign exclude each other; None: it cannot be read."""
    found, _ = read(definition or {})
    return found.policy.exclusivity.scope if found.campaign else None


async def _doubt(conn: Conn, row: Row) -> str | None:
    """What is to be said of the message that the run waits to know of; None: it waits for else."""
    if row["own_hold"] != "unknown":
        return None
    run = row["enrollment_id"]
    told = await read_doubts(conn, row["account_id"], [run])
    return told.get((run, row["seq"]))


async def read_timeline(conn: Conn, args: p.ContactTimeline) -> Result:
    """What happened to the contact, oldest first."""
    found = await find_contact(conn, args.contact, args.account)
    if args.enrollment is not None:
        run = await find_run(conn, args.enrollment)
        if run["contact_id"] != found["id"]:
            raise NotFound(
                f"enrollment {args.enrollment} is none of {args.contact!r}",
                hint="dripd enroll list --contact C",
            )
    (start,) = read_cursor(args.after, 0)
    rows = await conn.fetch(
        sql("read_timeline"), found["account_id"], found["id"], args.enrollment, start,
        args.limit + 1,
    )  # fmt: skip
    following = cursor_of({"n": start + args.limit}, ("n",)) if rows[args.limit :] else None
    items = [shown(row) for row in rows[: args.limit]]
    told = await read_doubts(
        conn, found["account_id"], {run for run, _ in map(_open, items)} - {0}
    )
    for item in items:
        says, detail = told.get(_open(item)), item["detail"]
        if says is not None and isinstance(detail, dict):
            item["detail"] = detail | {"doubt": says}
    return {"items": items, "next": following}


def _open(item: Result) -> tuple[int, int]:
    """(enrollment, seq) of a line about a message that may have left; (0, 0) of any other."""
    detail = item["detail"]
    if not isinstance(detail, dict) or not detail.get("unknown"):
        return 0, 0
    return int(str(item["enrollment_id"])), int(str(detail["seq"]))


async def read_busy(conn: Conn, contact: Row, channel: str) -> Row | None:
    """The campaign that writes to the contact on *channel*, one that forbids others first."""
    found: Row | None = await conn.fetchrow(
        sql("read_busy"), contact["account_id"], contact["id"], channel
    )
    return found
