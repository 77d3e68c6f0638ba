"""Live runs pass to the version that is being published, in the transaction that switches.

Runs that wait at one step of one version in one lane are moved by one statement. A step that
is in flight, or whose outcome is in doubt, ends in the version that it was leased in; its run
is moved when it is asked again.
"""

from __future__ import annotations

from collections import Counter

from dripd.campaigns.definition import Definition
from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    FLAG_VARS,
    FLAG_WAITING,
    HELD_LANE,
    RunStatus,
)
from dripd.campaigns.migration import Migration, Place, ahead, place_of, read_map
from dripd.errors import Conflict
from dripd.store.connect import Conn
from dripd.store.desk_deed import Result, Row
from dripd.store.lanes import LaneBook
from dripd.store.statements import sql


async def migrate_runs(conn: Conn, row: Row, cv_id: int, plan: Migration) -> int:
    """Move the live runs of a campaign, whose row is locked, to the version *cv_id*.

    Returns how many stay until they are asked again. Raises `Conflict` `would_resend:KEY`.
    """
    which = (row["account_id"], row["id"], cv_id)
    for group in await conn.fetch(sql("group_live_runs"), *which):
        if group["flags"] & FLAG_AMBIGUOUS:  # the version that sent it settles it
            continue
        place = place_of(group["keys"], group["step_no"], plan.definition, plan.map)
        again = await _sent_again(conn, group, place, plan.definition)
        if again is not None:
            raise again
        await _move(conn, group, place, cv_id, plan)
    scope = plan.definition.policy.exclusivity.scope
    await conn.execute(sql("free_migrated"), row["account_id"], cv_id, scope)
    await conn.execute(sql("look_again"), [row["account_id"]])
    left: int = await conn.fetchval(
        sql("count_left_behind"), *which
    )  # some were leased meanwhile
    return left


async def foresee_runs(
    conn: Conn, row: Row, plan: Migration
) -> tuple[list[Result], list[Conflict]]:
    """Where the live runs of a campaign would pass to, and what would refuse that.

    Raises `BadRequest` for a map of keys that are not there.
    """
    keys = await conn.fetchval(sql("live_step_keys"), row["account_id"], row["id"])
    read_map(plan.map, keys, plan.definition)
    moves: Counter[tuple[str, str | None]] = Counter()
    refused: dict[str, Conflict] = {}
    for group in await conn.fetch(sql("group_live_runs"), row["account_id"], row["id"], 0):
        place = place_of(group["keys"], group["step_no"], plan.definition, plan.map)
        to = None if place.step_no is None else plan.definition.steps[place.step_no].key
        if group["flags"] & FLAG_AMBIGUOUS:
            continue
        moves[group["keys"][group["step_no"]], to] += group["n"] + group["leased"]
        again = await _sent_again(conn, group, place, plan.definition)
        if again is not None:
            refused.setdefault(str(again), again)
    shown: list[Result] = [{"step": old, "to": to, "n": n} for (old, to), n in moves.items()]
    return shown, list(refused.values())


async def _sent_again(
    conn: Conn, group: Row, place: Place, definition: Definition
) -> Conflict | None:
    """What a run of *group* was sent must not lie ahead of it."""
    if place.step_no is None:
        return None
    sent = await conn.fetchval(
        sql("find_sent_ahead"), group["account_id"], group["cv_id"], group["step_no"],
        group["lane"], sorted(ahead(definition, place.step_no)),
    )  # fmt: skip
    if sent is None:
        return None
    at = group["keys"][group["step_no"]]
    return Conflict(
        f"runs that wait at {at!r} were sent {sent!r} already, and would be again",
        code=f"would_resend:{sent}", path="map",
        hint=f"--map {at}=KEY with a step behind {sent!r}, or --inflight pin",
    )  # fmt: skip


async def _move(conn: Conn, group: Row, place: Place, cv_id: int, plan: Migration) -> None:
    which = (
        group["account_id"], group["cv_id"], group["step_no"], group["lane"], group["timezone"],
        group["flags"],
    )  # fmt: skip
    if place.step_no is None:
        await conn.execute(sql("complete_migrated"), *which, RunStatus.COMPLETED)
        return
    held = group["lane"] == HELD_LANE
    if held and place.same and group["flags"] & FLAG_WAITING:
        await conn.execute(sql("migrate_held"), *which, cv_id, place.step_no)
        return
    flags = group["flags"] if place.same else group["flags"] & FLAG_VARS
    wanted = (group["account_id"], plan.lane(place.step_no, group["timezone"], flags))
    lane = (await LaneBook().resolve(conn, [wanted]))[wanted]
    how = "migrate_onward"
    if place.same:
        how = "migrate_lacking" if held else "migrate_waiting"
    await conn.execute(sql(how), *which, cv_id, place.step_no, lane)
