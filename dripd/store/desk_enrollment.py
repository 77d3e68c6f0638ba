"""Which enrollments are there? One, or lists by whatever narrows them, without reading everything.

A contact, a hold and a lease are found by indexes of their own. Anything else is looked for in
the order of ids, so many runs at a time: a console takes what one look finds, a command looks on
until its page is full. A page may be short of its limit and have a `next` all the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dripd.admin import params as p
from dripd.admin.holds import HOLDS, find_hold
from dripd.campaigns.enrollment import (
    RunStatus,
)
from dripd.clock import Instant
from dripd.errors import BadRequest, near
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    Result,
    Row,
    cursor_of,
    page,
    read_cursor,
    shown,
)
from dripd.store.desk_find import account_id, find_campaign, find_contact, find_list, find_run
from dripd.store.statements import sql

LOOKED: Final = 5_000
"""Runs that are looked at in one statement: at most some 50 ms."""

LONGEST_S: Final = 20.0
"""How long a command looks on for a full page."""

LANES: Final = 100
"""Held lanes that are looked into at a time."""

ENDED: Final = {
    "completed": RunStatus.COMPLETED,
    "removed": RunStatus.REMOVED,
    "terminated": RunStatus.TERMINATED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What narrows the list; None = any."""

    account: int | None
    campaign: int | None
    members: int | None
    contact: int | None
    status: str | None
    hold: str | None
    tag: str | None
    step: str | None
    limit: int
    quick: bool

    async def picked(
        self, conn: Conn, ids: Sequence[int], *, together: bool = False
    ) -> list[Row]:
        """The runs of *ids*, in their order, that are wanted; *together*: held with their lane."""
        rows: list[Row] = await conn.fetch(
            sql("list_picked"), list(ids), self.account, self.campaign, self.status, self.hold,
            self.members, self.tag, together, self.step,
        )  # fmt: skip
        return rows


async def show_run(conn: Conn, args: p.EnrollKey) -> Result:
    """The enrollment and every step that it has performed."""
    row = await find_run(conn, args.enrollment)
    steps = await conn.fetch(sql("read_step_runs"), row["account_id"], row["id"])
    return {**shown(row), "steps": [shown(step) for step in steps]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """The incarnation of the daemon that has a run's step in hand, by run; the daemons' names."""

    of: Mapping[int, int]
    names: Mapping[int, str]


async def list_held(conn: Conn, args: p.EnrollList) -> tuple[Result, Holders]:
    """As `list_runs`, with who has their steps in hand."""
    found = await list_runs(conn, args)
    items: Any = found["items"]
    taken = [row for row in items if row["status"] == "executing"]
    ids = [row["account_id"] for row in taken], [row["id"] for row in taken]
    held = await conn.fetch(sql("read_holders"), *ids) if taken else []
    nodes = await conn.fetch(sql("name_nodes"))
    return found, Holders(
        of={row["enrollment_id"]: row["incarnation"] for row in held},
        names={row["incarnation"]: row["name"] for row in nodes},
    )


async def list_runs(conn: Conn, args: p.EnrollList) -> Result:
    """Enrollments; by id, those that are held together by account, lane and due instant."""
    wanted = await _wanted(conn, args)
    if wanted.contact is not None:
        return await _by_ids(
            conn, args, wanted, "pick_of_contact", wanted.account, wanted.contact
        )
    if wanted.status == "executing":
        return await _by_ids(conn, args, wanted, "pick_executing", wanted.account)
    if wanted.hold is not None or wanted.status == "held":
        return await _held(conn, args, wanted)
    return await _looked(conn, args, wanted)


async def _wanted(conn: Conn, args: p.EnrollList) -> Wanted:
    account = await account_id(conn, args.account)
    campaign = members = contact = None
    if args.hold is not None and find_hold(args.hold) is None:
        raise BadRequest(
            f"{args.hold!r} is no hold", path="hold", hint=near(args.hold, HOLDS, "")
        )
    if args.campaign is not None:
        meant = await find_campaign(conn, args.campaign, args.account)
        account, campaign = meant["account_id"], meant["id"]
    if args.list_key is not None:
        members = (await find_list(conn, args.list_key, args.account))["id"]
    if args.contact is not None:
        found = await find_contact(conn, args.contact, args.account)
        account, contact = found["account_id"], found["id"]
    return Wanted(
        account=account,
        campaign=campaign,
        members=members,
        contact=contact,
        status=args.status,
        hold=args.hold,
        tag=args.tag,
        step=args.step,
        limit=args.limit,
        quick=args.quick,
    )


async def _by_ids(
    conn: Conn, args: p.EnrollList, wanted: Wanted, name: str, *given: object
) -> Result:
    """Runs that a statement knows; those that are not wanted leave the page short."""
    (after,) = read_cursor(args.after, 0)
    ids = [row["id"] for row in await conn.fetch(sql(name), *given, after, wanted.limit + 1)]
    rows = await wanted.picked(conn, ids[: wanted.limit])
    more = cursor_of({"id": ids[wanted.limit - 1]}, ("id",)) if ids[wanted.limit :] else None
    return {"items": [shown(row) for row in rows], "next": more}


async def _looked(conn: Conn, args: p.EnrollList, wanted: Wanted) -> Result:
    """Runs in the order of their ids, looked at until the page is full or time is up."""
    (after,) = read_cursor(args.after, 0)
    until = time.monotonic() + (0 if wanted.quick else LONGEST_S)
    stored = None
    if wanted.status is not None:
        stored = ENDED.get(wanted.status, RunStatus.LIVE)
    elif wanted.step is not None:
        stored = RunStatus.LIVE
    found: list[Row] = []
    while True:
        found += await conn.fetch(
            sql("list_enrollments"), wanted.account, wanted.campaign, stored, wanted.status,
            wanted.hold, wanted.members, wanted.tag, after, wanted.limit + 1 - len(found), LOOKED,
            wanted.step,
        )  # fmt: skip
        if len(found) > wanted.limit:
            return page(found, wanted.limit, "id")
        ahead = await conn.fetchrow(sql("look_ahead"), wanted.account, after, LOOKED)
        if ahead["n"] < LOOKED:
            return page(found, wanted.limit, "id")
        after = ahead["last"]
        if time.monotonic() >= until:
            return {
                "items": [shown(row) for row in found],
                "next": cursor_of({"id": after}, ("id",)),
            }


HELD_CURSOR: Final = ("own", "account_id", "lane", "due_at", "id")


async def _held(conn: Conn, args: p.EnrollList, wanted: Wanted) -> Result:
    """First the runs that are held by themselves, then lane by lane those held together."""
    own, *place = read_cursor(args.after, 1, 0, 0, 0, 0)
    found: list[Row] = []
    if own:
        ids = await conn.fetch(
            sql("pick_held"), wanted.account, wanted.campaign, wanted.hold, place[3],
            wanted.limit + 1,
        )  # fmt: skip
        some = [row["id"] for row in ids[: wanted.limit]]
        found += await wanted.picked(conn, some)
        if ids[wanted.limit :]:
            return _held_page(found, (1, 0, 0, 0, some[-1]))
        place = [0, 0, 0, 0]
    return await _held_together(conn, wanted, found, place)


async def _held_together(
    conn: Conn, wanted: Wanted, found: list[Row], place: Sequence[Any]
) -> Result:
    until = time.monotonic() + (0 if wanted.quick else LONGEST_S)
    while True:
        room = wanted.limit - len(found)
        lanes = await conn.fetch(
            sql("pick_held_lanes"), wanted.account, wanted.campaign, wanted.hold, place[0],
            place[1], LANES + 1,
        )  # fmt: skip
        steps = await conn.fetch(
            sql("pick_in_lanes"),
            [lane["account_id"] for lane in lanes[:LANES]],
            [lane["lane"] for lane in lanes[:LANES]],
            [lane["whole"] for lane in lanes[:LANES]],
            *_within(lanes, place),
            room + 1,
        )
        found += await wanted.picked(conn, [one["id"] for one in steps[:room]], together=True)
        if steps[room:]:
            if room == 0:
                return _held_page(found, (0, *place))
            place = [steps[room - 1][name] for name in HELD_CURSOR[1:]]
        elif lanes[LANES:]:
            place = [lanes[LANES]["account_id"], lanes[LANES]["lane"], 0, 0]
        else:
            return _held_page(found, None)
        if len(found) >= wanted.limit or time.monotonic() >= until:
            return _held_page(found, (0, *place))


def _within(lanes: Sequence[Row], place: Sequence[Any]) -> tuple[Instant, int]:
    """Where to go on in the first lane: behind *place* if it is the lane of *place*."""
    same = lanes and (lanes[0]["account_id"], lanes[0]["lane"]) == (place[0], place[1])
    return (Instant(place[2]), place[3]) if same else (Instant(0), 0)


def _held_page(rows: Sequence[Row], place: Sequence[Any] | None) -> Result:
    following = None
    if place is not None:
        following = cursor_of(dict(zip(HELD_CURSOR, place, strict=True)), HELD_CURSOR)
    return {"items": [shown(row) for row in rows], "next": following}
