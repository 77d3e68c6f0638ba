"""The lease as a unit of work: one statement, then what only some steps need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import orjson

from dripd.campaigns.enrollment import (
    FLAG_ASKED,
    FLAG_PUT_OFF,
    FLAG_TRIED,
    FLAG_VARS,
    Asked,
    Leased,
    Needs,
    Recent,
)
from dripd.store.connect import Conn, read_object
from dripd.store.protocol import READS, LeaseGroup, LeaseKey, LeaseResult, Refusal
from dripd.store.statements import sql
from dripd.store.unit_kept import add_kept


async def lease(
    conn: Conn,
    claim_id: int,
    incarnation: int,
    groups: Sequence[LeaseGroup],
    ahead_ms: int,
    number: int = 0,
    note: Callable[[int], None] = lambda _: None,
) -> LeaseResult:
    """Take what *groups* name under *claim_id*. One transaction; facts follow its commit.

    *note* is called with its *number* as soon as it is known to be committed.
    """
    keys = [(group, key) for group in groups for key in group.keys]
    lows, highs, at = [], [], 0
    for group in groups:
        lows.append(at + 1)
        at += len(group.keys)
        highs.append(at)
    rows = await conn.fetch(
        sql("lease"),
        [group.account_id for group in groups],
        [group.local_date for group in groups],
        lows,
        highs,
        [key.lane for _, key in keys],
        [key.due_at for _, key in keys],
        [key.enrollment_id for _, key in keys],
        [key.mask for _, key in keys],
        claim_id,
        incarnation,
        timedelta(milliseconds=ahead_ms),
        number,
    )
    if rows:
        note(number)
    result = LeaseResult(claim_id=claim_id, granted=[], refused=[])
    taken: list[Leased] = []
    wanting: list[tuple[Leased, int]] = []
    spoilt: dict[int, str] = {}
    for row in rows:
        group, key = keys[row[0] - 1]
        leased = _leased(claim_id, group, key, row, spoilt)
        taken.append(leased)
        needs = _needs(leased, key.mask)
        if needs or leased.flags & FLAG_VARS:
            wanting.append((leased, needs))
    if wanting:
        await _add_facts(conn, incarnation, wanting, spoilt)
    if spoilt:
        result.unreadable = [
            (x, spoilt[x.enrollment_id]) for x in taken if x.enrollment_id in spoilt
        ]
        taken = [leased for leased in taken if leased.enrollment_id not in spoilt]
    result.granted = taken
    await add_kept(conn, [leased for leased in taken if leased.flags & FLAG_TRIED])
    if len(rows) < len(keys):
        granted = {row["o"] for row in rows}
        missing = [pair for o, pair in enumerate(keys, 1) if o not in granted]
        result.refused = await _refusals(conn, missing)
    return result


def _leased(
    claim_id: int, group: LeaseGroup, key: LeaseKey, row: Any, spoilt: dict[int, str]
) -> Leased:
    """The step of *row*; where its contact's attrs cannot be read, *spoilt* says why."""
    (
        _,
        contact_id,
        cv_id,
        seq,
        step_no,
        run_no,
        attempt,
        flags,
        email,
        phone,
        timezone,
        text,
        owner,
        service_owner,
        external_id,
        suppressed,
        counted,
        leased_at,
    ) = row  # by place: by name it costs as much again
    try:
        attrs = read_object(text)
    except ValueError as error:
        attrs = {}
        spoilt[key.enrollment_id] = f"the contact's attrs cannot be read: {error}"
    return Leased(
        group.account_id,
        key.lane,
        key.due_at,
        key.enrollment_id,
        contact_id,
        cv_id,
        seq,
        step_no,
        run_no,
        attempt,
        flags,
        claim_id,
        leased_at,
        counted,
        group.local_date,
        email,
        phone,
        timezone,
        attrs,
        suppressed,
        owner,
        service_owner,
        external_id,
    )


def _needs(leased: Leased, mask: int) -> int:
    """What the version of a step looks at beside the contact."""
    return mask & READS | (Needs.ASKED if leased.flags & FLAG_ASKED else 0)


async def add_facts(conn: Conn, steps: Sequence[Leased]) -> None:
    """Whatever a lease may bring of *steps* beside the contact; what cannot be read is left out."""
    wanting = [(leased, _needs(leased, READS & ~Needs.SENT)) for leased in steps]
    await _add_facts(conn, 0, wanting, {})
    await add_kept(conn, [leased for leased in steps if leased.flags & FLAG_TRIED])


async def _add_facts(
    conn: Conn, incarnation: int, wanting: list[tuple[Leased, int]], spoilt: dict[int, str]
) -> None:
    rows = await conn.fetch(
        sql("more_facts"),
        [leased.account_id for leased, _ in wanting],
        [leased.enrollment_id for leased, _ in wanting],
        [leased.contact_id for leased, _ in wanting],
        [needs for _, needs in wanting],
        [leased.seq for leased, _ in wanting],
        incarnation,
    )
    for row in rows:
        leased = wanting[row["o"] - 1][0]
        try:
            _read_facts(leased, row)
        except (ValueError, TypeError) as error:
            spoilt[leased.enrollment_id] = f"the facts of the run cannot be read: {error}"


def _read_facts(leased: Leased, row: Any) -> None:
    """Raises `ValueError` for what cannot be read."""
    leased.started_at = row["started_at"]
    leased.vars = read_object(row["vars"])
    leased.company = read_object(row["company"])
    leased.tags = frozenset(row["tags"] or ())
    leased.lists = frozenset(row["lists"] or ())
    leased.events = frozenset(row["events"] or ())
    leased.paid = read_object(row["paid"])
    leased.frozen = read_object(row["frozen"])
    leased.run_owner = row["run_owner"]
    leased.due_was = row["due_was"] if leased.flags & FLAG_PUT_OFF else None
    leased.recent = tuple(
        Recent(kind, payload if isinstance(payload, dict) else {}, step)
        for kind, payload, step in orjson.loads(row["recent"] or "[]")
    )
    leased.sent = tuple(map(tuple, orjson.loads(row["sent"] or "[]")))
    leased.in_hand = row["in_hand"] or 0
    if row["asked_state"] is not None:
        payload = read_object(row["asked_payload"])
        leased.asked = Asked(row["asked_state"], payload, row["asked_at"])


async def _refusals(
    conn: Conn, missing: list[tuple[LeaseGroup, LeaseKey]]
) -> list[tuple[int, LeaseKey, Refusal]]:
    rows = await conn.fetch(
        sql("refusals"),
        [group.account_id for group, _ in missing],
        [group.local_date for group, _ in missing],
        [key.lane for _, key in missing],
        [key.due_at for _, key in missing],
        [key.enrollment_id for _, key in missing],
        [key.mask for _, key in missing],
    )
    refused = []
    for row in rows:
        group, key = missing[row["o"] - 1]
        refused.append((group.account_id, key, Refusal(row["why"])))
    return refused
