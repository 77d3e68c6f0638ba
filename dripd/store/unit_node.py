"""Who is alive, and what the dead left: nodes, claims, sweeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from dripd.campaigns.enrollment import FLAG_COUNTED, Leased
from dripd.clock import Instant
from dripd.store.connect import Conn, parse_object
from dripd.store.protocol import NO_DAY
from dripd.store.statements import sql


async def reap(
    conn: Conn,
    incarnation: int,
    timeout_ms: int,
    gone: Sequence[int],
    new_claim: Callable[[], int],
) -> list[int]:
    """Bury daemons whose heartbeat stopped, or that are *gone*, and take one page of the claims
    of the dead over: the new ids.

    The node rows are locked first: that waits for their leases in flight, and later ones
    find the row dead and grant nothing.
    """
    dead = [
        row["incarnation"]
        for row in await conn.fetch(sql("lock_dead"), incarnation, timeout_ms, list(gone))
    ]
    if dead:
        await conn.execute(sql("bury"), dead)
    claims = await conn.fetch(sql("dead_claims"), incarnation)
    return [await _adopt(conn, incarnation, claim, new_claim()) for claim in claims]


async def _adopt(conn: Conn, incarnation: int, claim: Any, new_id: int) -> int:
    if claim["n"]:
        span = (claim["account_ids"], claim["due_lo"], claim["due_hi"])
        await conn.fetch(sql("adopt_steps"), claim["claim_id"], new_id, *span)
        held_by = [*(claim["adopted_from"] or ()), claim["incarnation"]]
        await conn.execute(
            sql("adopt_claim"),
            new_id,
            incarnation,
            claim["leased_at"],
            claim["n"],
            *span,
            held_by,
        )
    await conn.execute(sql("drop_claims"), [claim["claim_id"]])
    return new_id


async def orphans(
    conn: Conn, incarnation: int, known: set[int], adopted: set[int]
) -> tuple[list[Leased], list[int]]:
    """Steps under claims of *incarnation* that nobody works on, and empty such claims.

    That is what of it is not *known* although it was *adopted* or leased long ago: an
    acknowledgement was lost. Only the sweep adopts, so that needs no age.
    """
    found: list[Leased] = []
    empty: list[int] = []
    for claim in await conn.fetch(sql("own_claims"), incarnation):
        is_nobodys = claim["old"] or claim["adopted_from"] or claim["claim_id"] in adopted
        if claim["claim_id"] in known or not is_nobodys:
            continue
        rows = await conn.fetch(
            sql("claimed_steps"),
            claim["claim_id"],
            claim["account_ids"] or [],
            claim["due_lo"],
            claim["due_hi"],
        )
        if not rows:
            empty.append(claim["claim_id"])
            continue
        days = await _days(conn, claim)
        holders = (*(claim["adopted_from"] or ()), incarnation)
        found += [_orphan(row, claim, days, holders) for row in rows]
    return found, empty


async def _days(conn: Conn, claim: Any) -> dict[int, date]:
    rows = await conn.fetch(sql("claimed_days"), claim["account_ids"], claim["leased_at"])
    return {row["account_id"]: row["local_date"] for row in rows}


def _orphan(row: Any, claim: Any, days: dict[int, date], holders: tuple[int, ...]) -> Leased:
    leased_at: Instant = claim["leased_at"]
    return Leased(
        account_id=row["account_id"],
        lane=row["lane"],
        due_at=row["due_at"],
        enrollment_id=row["enrollment_id"],
        contact_id=row["contact_id"],
        cv_id=row["cv_id"],
        seq=row["seq"],
        step_no=row["step_no"],
        run_no=row["run_no"],
        attempt=max(row["attempt"], 0),
        flags=row["flags"] & ~FLAG_COUNTED,
        claim_id=claim["claim_id"],
        leased_at=leased_at,
        counted=bool(row["flags"] & FLAG_COUNTED),
        local_date=days.get(row["account_id"], NO_DAY),
        email=row["email"],
        phone=row["phone"],
        timezone=row["timezone"],
        attrs=parse_object(row["attrs"]),
        owner=row["owner"],
        service_owner=row["service_owner"],
        external_id=row["external_id"],
        holders=holders,
    )
