"""The deployment at the desk: its instant, its daemons, what is due and held, its audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dripd.admin import params as p
from dripd.admin.catalogue import SPECS
from dripd.admin.messages import Call
from dripd.clock import Instant, format_instant
from dripd.errors import BadRequest, Conflict, NotFound, near
from dripd.store.connect import Conn
from dripd.store.desk_deed import (
    Deed,
    Result,
    page,
    read_cursor,
    read_duration,
    read_instant,
    read_now,
    shown,
)
from dripd.store.statements import sql

AUDITED: Final = frozenset(spec.name for spec in SPECS.values() if spec.mutating)


async def show_clock(conn: Conn) -> Result:
    """The mode of the clock, `manual` or `system`, and the deployment's instant."""
    manual = await conn.fetchval(sql("clock_is_manual"))
    now = await read_now(conn)
    return {"mode": "manual" if manual else "system", "now": format_instant(now)}


async def aim_clock(conn: Conn, call: Call, args: p.ClockSet | p.ClockAdvance) -> Deed:
    """Where the manual clock is to go, in `to`; the daemon takes it there afterwards.

    Raises `Conflict` for a clock that is not manual, and for an instant that has passed.
    """
    if not await conn.fetchval(sql("clock_is_manual")):
        raise Conflict(
            "the clock is the machine's own", code="not_manual", hint="dripd run --clock manual"
        )
    now = await read_now(conn)
    if isinstance(args, p.ClockAdvance):
        to = Instant(now + read_duration(args.by, "by"))
    else:
        to = read_instant(args.to, "to")
    if to < now:
        raise Conflict(
            f"it is {format_instant(now)} already", code="earlier", hint="time moves forward"
        )
    if to >= 4_733_510_400_000:
        raise BadRequest("nothing is due after 2120", path="to")
    return Deed(result={"changed": to > now, "to": to}, target=format_instant(to))


async def drain_node(conn: Conn, _call: Call, args: p.NodeKey) -> Deed:
    """Let a daemon lease nothing more, until it is undrained or restarted."""
    return await _turn_node(conn, args.node, drain=True)


async def undrain_node(conn: Conn, _call: Call, args: p.NodeKey) -> Deed:
    """Put a daemon back to work."""
    return await _turn_node(conn, args.node, drain=False)


async def _turn_node(conn: Conn, node: str, *, drain: bool) -> Deed:
    rows = await conn.fetch(sql("drain_nodes"), node, drain)
    if not rows:
        raise NotFound(f"there is no daemon {node!r}", path="node", hint="dripd node list")
    changed = any(row["was"] != drain for row in rows)
    names = [{"node": row["node"], "incarnation": row["incarnation"]} for row in rows]
    return Deed(result={"changed": changed, "nodes": names}, target=f"node {node}")


async def adopt(conn: Conn, _call: Call, _args: p.Params) -> Deed:
    """This copy of a database is the deployment from now on: its daemons may send."""
    deployment = await conn.fetchval(sql("adopt"))
    return Deed(result={"changed": deployment is not None}, target="deployment")


async def list_nodes(conn: Conn) -> Result:
    """The daemons, and in `leases` what befell their heartbeats, accounts and claims lately."""
    rows = await conn.fetch(sql("list_nodes"))
    return {"items": [shown(row) for row in rows], "next": None, "leases": _leases(rows)}


def _leases(nodes: Sequence[Mapping[str, Any]]) -> list[Result]:
    """What each of them tells, the latest first."""
    told = [
        {"node": row["node"], **one}
        for row in nodes
        for one in (row["figures"] or {}).get("leases", [])
    ]
    return sorted(told, key=lambda one: str(one["at"]), reverse=True)


async def read_status(conn: Conn) -> Result:
    """What SQL knows of `status`: daemons, what is due, what is held, what is unknown.

    Counts stop at 1,000 for each lane, so that a backlog of millions costs nothing.
    """
    facts = await conn.fetchrow(sql("read_status"))
    held: dict[str, int] = {}
    for row in await conn.fetch(sql("count_held")):
        held[row["reason"]] = held.get(row["reason"], 0) + row["n"]
    rows = await conn.fetch(sql("list_nodes"))
    nodes = [
        shown(row, "version", "claims", "figures", "silent_s", "up_s", "skew_ms")
        for row in rows
    ]
    return {
        **await show_clock(conn),
        "deployment": facts["id"],
        "daemons": nodes,
        "zones_differ": differing([(row["node"], row["figures"]) for row in rows]),
        "due_now": facts["due_now"],
        "unknown": facts["unknown"],
        "queues": [shown(row) for row in await conn.fetch(sql("read_queues"))],
        "held": held,
    }


def differing(nodes: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[str]:
    """Daemons with the word for the rules of zones that each goes by; [] where it is one."""
    told = [(node, (figures or {}).get("zones")) for node, figures in nodes]
    words = [f"{node} {word}" for node, word in told if word]
    return words if len({word for _, word in told if word}) > 1 else []


async def list_audit(conn: Conn, args: p.AuditList) -> Result:
    """The audit, the latest first. Raises `BadRequest` for a method that changes nothing."""
    if args.method is not None and args.method not in AUDITED:
        raise BadRequest(
            f"{args.method!r} is no method that changes something",
            path="method",
            hint=near(args.method, AUDITED, "as audit list shows them, such as enroll.stop"),
        )
    (before,) = read_cursor(args.after, 2**63 - 1)
    since = None if args.since is None else await _since(conn, args.since)
    rows = await conn.fetch(
        sql("list_audit"), args.who, args.method, args.target, since, before, args.limit + 1
    )
    return page(rows, args.limit, "id")


async def _since(conn: Conn, text: str) -> Instant:
    if text[:1].isdigit() and "-" not in text:
        back = read_duration(text, "since")
        return Instant(max(0, await read_now(conn) - back))
    return read_instant(text, "since")
