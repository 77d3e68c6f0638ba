"""What is kept of attempts that did not settle their message, as a unit of work.

Rows are written for steps that were tried in vain and read when they come up again; no other
step pays for them.
"""

from __future__ import annotations

from typing import Any

import orjson

from dripd.campaigns.enrollment import FLAG_AMBIGUOUS, Change, Kept, Leased
from dripd.clock import Instant
from dripd.store.connect import Conn, parse_object
from dripd.store.statements import sql


async def keep(conn: Conn, changes: list[Change], stopped: set[int]) -> None:
    """What later attempts at messages in doubt came to, and what the next ones need."""
    settled = [
        (*_place(change), int(row.state), row.attempt, row.provider_id, row.reason)
        for change in changes
        for row in change.log
        if change.leased.flags & FLAG_AMBIGUOUS and row.seq == change.leased.seq
    ]
    if settled:
        await conn.execute(sql("settle_steps"), *map(list, zip(*settled, strict=True)))
    kept = [
        _kept_row(change, change.keep, change.leased.enrollment_id in stopped)
        for change in changes
        if change.keep is not None
    ]
    if kept:
        await conn.execute(sql("keep_messages"), *map(list, zip(*kept, strict=True)))
    over = [_place(change) for change in changes if change.is_past]
    if over:
        await conn.execute(sql("drop_messages"), *map(list, zip(*over, strict=True)))


def _kept_row(change: Change, keep: Kept, stopped: bool) -> tuple[Any, ...]:
    """A run that was stopped sends nothing again: no words are kept."""
    has_words = keep.words is not None and not stopped
    return (
        *_place(change),
        change.leased.contact_id,
        keep.provider,
        keep.since,
        keep.until,
        orjson.dumps(keep.words).decode() if has_words else None,
    )


def _place(change: Change) -> tuple[int, int, int]:
    leased = change.leased
    return (leased.account_id, leased.enrollment_id, leased.seq)


async def add_kept(conn: Conn, tried: list[Leased]) -> None:
    """What is known of the attempts before; most batches have no such step."""
    if not tried:
        return
    rows = await conn.fetch(
        sql("read_kept"),
        [leased.account_id for leased in tried],
        [leased.enrollment_id for leased in tried],
        [leased.seq for leased in tried],
    )
    for row in rows:
        tried[row["o"] - 1].kept = Kept(
            provider=row["provider"],
            since=row["since"] or Instant(0),
            until=row["until"],
            words=None if row["message"] is None else parse_object(row["message"]),
            state=row["state"],
            reason=row["reason"],
        )
