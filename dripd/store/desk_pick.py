"""Which runs are meant? The selection of `enroll stop|reset|move|skip|due-now`, in chunks.

The kinds of condition are and-ed, the values of one kind or-ed. Runs come in the order of
their ids, so that a selection of millions is never held in memory at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.condition import Condition
from dripd.errors import BadRequest, Conflict
from dripd.store.connect import Conn
from dripd.store.desk_contact import facts_of, read_where
from dripd.store.desk_deed import Row
from dripd.store.desk_find import (
    account_id,
    find_campaign,
    find_contact,
    find_list,
)
from dripd.store.statements import sql

CHUNK = 2_000
"""Runs that are changed by one set of statements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """A selection with its keys resolved; None = no such condition."""

    account: int | None
    enrollments: list[int] | None
    contacts: list[int] | None
    campaigns: list[int] | None
    lists: list[int] | None
    tags: list[str] | None
    where: Condition | None
    not_started: bool
    ended: bool
    """Runs too that are over and were not reset."""

    counted: bool = False
    """Runs too that are over and stand in the statistics."""

    async def chunks(self, conn: Conn) -> AsyncIterator[list[Row]]:
        """The runs, at most `CHUNK` at a time, in the order of their ids, as they stood when the
        first was read. One statement reads them all: each begins with the members of a list."""
        cursor = await conn.cursor(
            sql("pick_runs"), self.account, self.enrollments, self.contacts, self.campaigns,
            self.lists, self.tags, self.ended, self.counted,
        )  # fmt: skip
        while rows := await cursor.fetch(CHUNK):
            wanted = await _unstarted(conn, rows) if self.not_started else rows
            if self.where is not None:
                wanted = await _filter(conn, wanted, self.where)
            if wanted:
                yield wanted

    async def queued(self, conn: Conn) -> list[Row]:
        """The requests whose contact is busy elsewhere, locked; none where runs are named."""
        if self.enrollments is not None:
            return []
        rows = await conn.fetch(
            sql("lock_queued"), self.account, self.contacts, self.campaigns, self.lists,
            self.tags,
        )  # fmt: skip
        return rows if self.where is None else await _filter(conn, rows, self.where)

    async def count(self, conn: Conn) -> int:
        return sum([len(rows) async for rows in self.chunks(conn)])


async def _unstarted(conn: Conn, rows: Sequence[Row]) -> list[Row]:
    """Those that have sent nothing by now: the cursor's rows are as old as it is."""
    accounts, ids = [row["account_id"] for row in rows], [row["id"] for row in rows]
    found = await conn.fetch(sql("unstarted_runs"), accounts, ids)
    still = {row["id"] for row in found}
    return [row for row in rows if row["id"] in still]


async def _filter(conn: Conn, rows: Sequence[Row], where: Condition) -> list[Row]:
    ids = sorted({row["contact_id"] for row in rows})
    facts = {row["id"]: row for row in await conn.fetch(sql("read_contact_facts"), ids)}
    return [row for row in rows if where(facts_of(facts[row["contact_id"]]))]


async def pick(
    conn: Conn, args: p.Selection, *, ended: bool = False, counted: bool = False
) -> Picked:
    """Resolve the keys of a selection; *ended* and *counted* as `Picked` has them.

    Raises `BadRequest` where nothing is selected, `NotFound`, `Conflict` `ambiguous`.
    """
    kinds = (args.enrollment, args.contact, args.campaign, args.lists, args.tag, args.where)
    if not any(kinds):
        raise BadRequest(
            "nothing is selected",
            hint="--enrollment, --contact, --campaign, --list, --tag or --where",
        )
    account = await account_id(conn, args.account)
    contacts = [await find_contact(conn, text, args.account) for text in args.contact]
    campaigns = [await find_campaign(conn, key, args.account) for key in args.campaign]
    lists = [await find_list(conn, key, args.account) for key in args.lists]
    found = {row["account_id"] for row in (*contacts, *campaigns, *lists)}
    if account is None and len(found) == 1:
        (account,) = found
    return Picked(
        account=account,
        enrollments=list(args.enrollment) or None,
        contacts=[row["id"] for row in contacts] or None,
        campaigns=[row["id"] for row in campaigns] or None,
        lists=[row["id"] for row in lists] or None,
        tags=list(args.tag) or None,
        where=read_where(args.where),
        not_started=args.not_started,
        ended=ended,
        counted=counted,
    )


async def missing(conn: Conn, ids: Sequence[int], seen: set[int]) -> list[dict[str, object]]:
    """Items for those of *ids* (asked for by number) that were not *seen* in the selection."""
    absent = [one for one in ids if one not in seen]
    if not absent:
        return []
    known = {row["id"] for row in await conn.fetch(sql("known_runs"), absent)}
    return [
        {
            "enrollment_id": one,
            "ok": False,
            "code": "conflict" if one in known else "not_found",
            "message": "it is not live, or another condition leaves it out"
            if one in known
            else "there is no such enrollment",
        }
        for one in absent
    ]


def confirm(call: Call, count: int, what: str) -> None:
    """Raise `Conflict` `confirm:N` where more than one is touched and nobody said yes."""
    if count > 1 and not call.yes and not call.dry_run:
        raise Conflict(f"{count} {what}", code=f"confirm:{count}", hint="repeat with --yes")
