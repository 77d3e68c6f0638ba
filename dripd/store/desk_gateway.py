"""What the gateway keeps: events from outside, in the transaction that they are answered by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from dripd.store.connect import Conn
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
