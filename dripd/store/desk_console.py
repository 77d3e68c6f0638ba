"""What does a console show at a glance? Samples and bounded counts, never a count of everything.

How much comes up when is read from a few hundred pages of `due_step`, however large it is: the
figures are estimates as soon as it is larger than that, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.clock import Instant, format_instant
from dripd.errors import BadRequest
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    Deed,
    Result,
    read_duration,
    read_instant,
    read_now,
    shown,
)
from dripd.store.desk_deployment import differing, list_nodes, show_clock
from dripd.store.statements import sql

PAGES: Final = 300
"""Pages of `due_step` that are looked at: some 20,000 rows, about 5 ms."""

HELD, DUE, LATER = -2, -1, 9999


async def read_glance(conn: Conn) -> Result:
    """Everything on the overview that SQL knows."""
    inbox = await conn.fetchrow(sql("count_inbox"))
    nodes: Any = (await list_nodes(conn))["items"]
    holding = [shown(row) for row in await conn.fetch(sql("list_holding"))]
    return {
        **await show_clock(conn),
        "as_of_at": await read_now(conn),
        "nodes": nodes,
        "zones_differ": differing([(row["node"], row["figures"]) for row in nodes]),
        "queues": [shown(row) for row in await conn.fetch(sql("read_queues"))],
        "due": await read_due(conn),
        "holding": holding,
        "stopped": [dict(row) for row in await conn.fetch(sql("list_stopped"))],
        "inbox": shown(inbox),
        "unknown": dict(await conn.fetchrow(sql("count_unknown"))),
        "accounts": dict(await conn.fetchrow(sql("see_pause"))),
        "snoozes": [dict(row) for row in await conn.fetch(sql("list_snoozes"))],
    }


async def snooze_alert(conn: Conn, call: Call, args: p.AlertSnooze, level: str) -> Deed:
    """Let an alert rest until then, or for so long; it wakes before if it grows worse than
    *level*."""
    now = await read_now(conn)
    until = Instant(now + read_duration(args.lasts, "lasts"))
    if args.until is not None:
        until = read_instant(args.until, "until")
    if until <= now:
        raise BadRequest(f"it is {format_instant(now)} already", path="until")
    deed = await _woken(conn, args)
    await conn.execute(
        sql("put_snooze"), args.what, args.where, level, until, call.actor, call.reason or None
    )
    deed.result.update(changed=True, snoozed_until=format_instant(until))
    return deed


async def wake_alert(conn: Conn, _call: Call, args: p.AlertKey) -> Deed:
    """Let a snoozed alert be seen again."""
    return await _woken(conn, args)


async def _woken(conn: Conn, args: p.AlertKey) -> Deed:
    until = await conn.fetchval(sql("find_snooze"), args.what, args.where)
    await conn.execute(sql("drop_snoozes"), args.what, args.where)
    before = {"snoozed_until": None if until is None else format_instant(until)}
    return Deed(
        result={"changed": until is not None, "snoozed_until": None},
        target=f"{args.what} {args.where}".strip(),
        before=before,
    )


async def read_due(conn: Conn) -> Result:
    """What comes up when: by second, minute and hour; `percent` of the pages were looked at."""
    percent = await percent_of(conn, "dripd.due_step")
    rows = await conn.fetch(sql("sample_due"), percent)
    n_again = sum(row["n_again"] for row in rows)
    return spread({row["slot"]: row["n"] for row in rows}, percent, n_again)


async def percent_of(conn: Conn, table: str) -> float:
    """How much of *table* `PAGES` pages are."""
    pages: int = await conn.fetchval(sql("size_table"), table)
    return min(100.0, 100.0 * PAGES / max(1, pages))


def spread(slots: Mapping[int, int], percent: float, n_again: int = 0) -> Result:
    """The slots of `sample_due` as series, scaled up from the sample; *n_again* were tried."""

    def scaled(n: int) -> int:
        return round(n * 100 / percent)

    seconds = [slots.get(n, 0) for n in range(60)]
    minutes = [sum(seconds), *(slots.get(100 + n, 0) for n in range(1, 60))]
    hours = [sum(minutes), *(slots.get(1000 + n, 0) for n in range(1, 48))]
    return {
        "overdue": scaled(slots.get(DUE, 0)),
        "held": scaled(slots.get(HELD, 0)),
        "active": scaled(sum(slots.values())),
        "retrying": scaled(n_again),
        "later": scaled(slots.get(LATER, 0)),
        "seconds": [scaled(n) for n in seconds],
        "minutes": [scaled(n) for n in minutes],
        "hours": [scaled(n) for n in hours],
        "percent": round(percent, 2),
    }
