"""Which sender of a pool writes to a contact: read, and chosen where none stands."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.store.connect import Conn
from dripd.store.protocol import Wish
from dripd.store.statements import sql


async def choose_senders(conn: Conn, wishes: Sequence[Wish]) -> list[int]:
    """The sender that stands, where it is usable, else the proposed one from now on."""
    keys = [(w.account_id, w.contact_id, w.channel, w.pool) for w in wishes]
    found = await _read(conn, keys)
    open_ = [w for w, key in zip(wishes, keys, strict=True) if found.get(key) not in w.usable]
    if open_:
        rows = [(w.account_id, w.contact_id, w.channel, w.pool, w.proposed) for w in open_]
        stale = {found[row[:4]] for row in rows if row[:4] in found}
        await conn.execute(
            sql("put_choices"), *map(list, zip(*rows, strict=True)), sorted(stale)
        )
        found |= await _read(conn, [row[:4] for row in rows])
    return [found[key] for key in keys]


async def _read(
    conn: Conn, keys: Sequence[tuple[int, int, str, str]]
) -> dict[tuple[int, int, str, str], int]:
    rows = await conn.fetch(sql("read_choices"), *map(list, zip(*keys, strict=True)))
    return {
        (r["account_id"], r["contact_id"], r["channel"], r["pool"]): r["sender_id"]
        for r in rows
    }
