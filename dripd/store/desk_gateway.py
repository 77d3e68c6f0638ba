"""What the gateway keeps: events from outside, in the transaction that they are answered by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta

import orjson

from dripd.channels.happening import Happened, read_key
from dripd.policy.suppression import MAY_FORBID
from dripd.store.connect import Conn
from dripd.store.desk_resolve import is_tried_again, settle_unknown
from dripd.store.statements import sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One event for `event_in`; what it concerns is its delivery."""

    account_id: int
    kind: str
    delivery_id: str
    payload: Mapping[str, object] = field(default_factory=dict)


async def keep_signals(conn: Conn, signals: Sequence[Signal]) -> None:
    """Write *signals* into the inbox, in their order."""
    rows = [
        (one.account_id, one.kind, one.delivery_id, orjson.dumps(dict(one.payload)).decode())
        for one in signals
    ]
    await conn.execute(sql("keep_signals"), *map(list, zip(*rows, strict=True)))


PARKED_MOST = 10_000
"""Events that wait for their delivery: whoever forges more pushes out forged ones."""

YOUNG, OLD = timedelta(hours=1), timedelta(days=3)
"""How long a parked event may still be matched, and is kept to be looked at."""

AGAIN_MOST = 500

PROVES = {"delivered": "accepted", "failed": "failed"}
"""Kinds that say what became of a message, and the state of its delivery that this is."""


async def keep_happenings(
    conn: Conn, provider: str, deployment: str, told: Sequence[Happened]
) -> int:
    """Keep what *provider* told: as events, as proof, or parked. Returns how many were parked."""
    lost = await _match(conn, provider, deployment, told)
    if lost:
        rows = [(one.id, orjson.dumps(asdict(one)).decode()) for one in lost]
        keys, bodies = map(list, zip(*rows, strict=True))
        await conn.execute(sql("park_happenings"), provider, keys, bodies, PARKED_MOST)
    return len(lost)


async def match_parked(conn: Conn, deployment: str) -> int:
    """Try young parked events again: one may have come before our own record of its message."""
    rows = await conn.fetch(sql("take_parked"), YOUNG, OLD, AGAIN_MOST)
    found: list[tuple[str, str]] = []
    for provider in dict.fromkeys(row["provider"] for row in rows):
        told = [Happened(**orjson.loads(r["told"])) for r in rows if r["provider"] == provider]
        lost = {one.id for one in await _match(conn, provider, deployment, told)}
        found += [(provider, one.id) for one in told if one.id not in lost]
    if found:
        await conn.execute(sql("drop_parked"), *map(list, zip(*found, strict=True)))
    return len(found)


async def _match(
    conn: Conn, provider: str, deployment: str, told: Sequence[Happened]
) -> list[Happened]:
    """Write those of *told* whose delivery or account is found; returns the others."""
    if not told:
        return []
    asked = [_asked(n, one, deployment) for n, one in enumerate(told)]
    rows = await conn.fetch(
        sql("match_happenings"), provider, *map(list, zip(*asked, strict=True))
    )
    found: dict[int, list[tuple[int, str | None]]] = {}
    for row in rows:
        found.setdefault(row["n"], []).append((row["account_id"], row["delivery_id"]))
    proofs: list[tuple[int, int, str]] = []
    events: list[tuple[object, ...]] = []
    lost: list[Happened] = []
    for n, one in enumerate(told):
        places = found.get(n, [])
        if one.kind in PROVES:
            places = [place for place in places if place[1]]
            proofs += [(n, account, str(delivery)) for account, delivery in places]
        else:
            events += [_event(provider, one, account, delivery) for account, delivery in places]
        if not places:
            lost.append(one)
    if events:
        await conn.execute(sql("keep_happenings"), *map(list, zip(*events, strict=True)))
    early = await _prove(conn, told, proofs)
    return lost + [one for n, one in enumerate(told) if n in early]


async def _prove(
    conn: Conn, told: Sequence[Happened], proofs: Sequence[tuple[int, int, str]]
) -> set[int]:
    """Settle those deliveries of (event, account, delivery) that are unknown, as a person would.

    One that is being sent again at this moment is left until its answer is here: of it the cap,
    the charge and the run would tell two things. Returns the events that came so early.
    """
    if not proofs:
        return set()
    _, accounts, deliveries = map(list, zip(*proofs, strict=True))
    unknown = {
        row["delivery"] for row in await conn.fetch(sql("find_unknown"), accounts, deliveries)
    }
    early: set[int] = set()
    for n, _, delivery in proofs:
        state = PROVES[told[n].kind]
        if delivery not in unknown:
            continue
        if state == "failed" and await is_tried_again(conn, delivery):
            early.add(n)
        else:
            await settle_unknown(conn, delivery, state, reason="undelivered")
    return early


def _asked(n: int, one: Happened, deployment: str) -> tuple[object, ...]:
    key = read_key(one.key, deployment)
    enrollment, run_no, step, individual = key or (None, None, None, None)
    alone = one.kind in MAY_FORBID and key is None  # counts by the address alone
    named = (one.provider_id, one.address, one.sender, one.account, one.delivery_id)
    return (n, enrollment, run_no, step, individual, *named, alone)


def _event(
    provider: str, one: Happened, account: int, delivery: str | None
) -> tuple[object, ...]:
    payload = orjson.dumps(dict(one.payload)).decode()
    conversation = one.conversation_ref or None
    address = None if delivery else one.address or None
    dedup = f"{provider}:{one.id}"
    return (account, one.kind, delivery, conversation, address, dedup, one.at, payload)
