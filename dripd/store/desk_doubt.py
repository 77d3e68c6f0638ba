"""It may have left: since when, until when, and what will happen? In words, for whoever asks."""

from __future__ import annotations

from collections.abc import Collection

from dripd.campaigns.enrollment import PRESUMED
from dripd.clock import format_instant
from dripd.store.connect import Conn
from dripd.store.desk_deed import Row
from dripd.store.statements import sql

Place = tuple[int, int]
"""(enrollment, seq)."""

ALONE = "it may have left and is not sent again; dripd delivery resolve settles it"
"""Of a message beside every campaign: nobody waits for it."""


async def read_doubts(conn: Conn, account_id: int, runs: Collection[int]) -> dict[Place, str]:
    """What is to be said of each unknown message of *runs*."""
    if not runs:
        return {}
    rows = await conn.fetch(sql("read_doubts"), account_id, list(runs))
    return {(row["enrollment_id"], row["seq"]): words(row) for row in rows}


def words(row: Row) -> str:
    """A row of `read_doubts`, told to somebody who has to understand it at night."""
    why = f" ({row['reason']})" if row["reason"] not in {None, PRESUMED} else ""
    told = f"at {format_instant(row['since'])} it may have left through {row['provider']}{why}"
    resolve = f"dripd delivery resolve {row['enrollment_id']}-{row['seq']} accepted|failed"
    if row["reason"] == PRESUMED:
        return f"{told}; no evidence came, it is presumed sent; {resolve}, if you know better"
    until = None if row["until"] is None else format_instant(row["until"])
    if until is None:
        return f"{told}; it is not sent again, the run waits for: {resolve}"
    if not row["waits"]:
        return f"{told}; the run has ended, it is not sent again and presumed sent at {until}"
    if not row["repeats"]:
        return f"{told}; it is not sent again: at {until} it is presumed sent, the run goes on"
    due = format_instant(row["due"])
    again = f"it is sent again under its key, the same to the byte, next at {due}"
    return f"{told}; {again}; at {until} it is presumed sent, the run goes on"
