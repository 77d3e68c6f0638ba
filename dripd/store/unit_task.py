"""Making tasks as part of a record: whose turn it is, what time is free, who is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from dripd.campaigns.action import MakeTask, Slot
from dripd.campaigns.enrollment import Change
from dripd.policy.tasks import fitted
from dripd.scheduler.diary import Span, first_free, next_in_turn
from dripd.store.connect import Conn
from dripd.store.statements import sql

TRIES = 20
"""Times that others may take before us, between our look at a diary and our entry in it."""

Pairs = Iterable[tuple[Change, Any]]


async def make_tasks(conn: Conn, pairs: Pairs) -> None:
    """Write tasks, each once for its step, with the notifications about them."""
    pairs = list(pairs)
    turns = await _take_turns(conn, pairs)
    for change, task in pairs:
        leased = change.leased
        assignee, span = turns.get((leased.enrollment_id, task.seq), task.assignee), None
        if task.slot is not None and assignee is not None:
            span = await _reserve(conn, leased.account_id, assignee, task.slot)
        made = fitted(task, assignee, span)
        payload = {key: value for key, value in made.payload.items() if key != "campaign"}
        if "no_free_time" in payload:
            detail = orjson.dumps({"seq": task.seq}).decode()
            told = (leased.account_id, leased.run_id, leased.contact_id)
            await conn.execute(
                sql("journal"), *([one] for one in (*told, "no_free_time", detail))
            )
        await conn.fetchrow(
            sql("make_task"),
            leased.account_id,
            leased.run_id,
            leased.contact_id,
            task.seq,
            str(task.payload.get("campaign", "")) or None,
            task.step_key,
            task.kind,
            task.title,
            made.assignee,
            made.due_at,
            made.reminder_at,
            orjson.dumps(payload).decode(),
            made.recipient,
            task.awaited,
            task.category,
        )


async def _take_turns(
    conn: Conn, pairs: list[tuple[Change, MakeTask]]
) -> dict[tuple[int, int], str]:
    """(enrollment, seq) to whose turn it is; categories are locked in one order."""
    wanted: dict[tuple[int, str, str], list[tuple[int, int, Mapping[str, int]]]] = {}
    for change, task in pairs:
        if task.rota is not None:
            leased, rota = change.leased, task.rota
            key = (leased.account_id, str(task.payload["campaign"]), rota.category)
            who = (leased.enrollment_id, task.seq, rota.members)
            wanted.setdefault(key, []).append(who)
    turns: dict[tuple[int, int], str] = {}
    for key, group in sorted(wanted.items(), key=lambda item: item[0]):
        members = {member for *_, weights in group for member in weights}
        rows = await conn.fetch(sql("lock_rota"), *key, sorted(members))
        given = Counter({row["member"]: row["given"] for row in rows})
        more: Counter[str] = Counter()
        for enrollment, seq, weights in group:  # those of its own version
            member = next_in_turn(given, weights)
            given[member] += 1
            more[member] += 1
            turns[enrollment, seq] = member
        await conn.execute(sql("give_turns"), *key, list(more), list(more.values()))
    return turns


async def _reserve(conn: Conn, account_id: int, person: str, slot: Slot) -> Span | None:
    """The first free time of the person, entered in the diary; None where there is none."""
    if not slot.openings:
        return None
    ahead = (slot.openings[0][0], slot.openings[-1][1])
    for _ in range(TRIES):
        rows = await conn.fetch(sql("read_diary"), account_id, person, *ahead)
        busy = [(row["begins"], row["ends"]) for row in rows]
        span = first_free(slot.openings, busy, slot.length_ms)
        if span is None:
            return None
        if await conn.fetchval(sql("reserve_time"), account_id, person, *span) is not None:
            return span
    return None
