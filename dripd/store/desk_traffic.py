"""What daemons tell of senders: what has left lately, how it went, what keeps them back.

Each daemon has a row for each sender that it tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from dripd.ratelimit.traffic import FRESH_MS, Place, Told, total
from dripd.store.connect import Conn
from dripd.store.desk_deed import Result
from dripd.store.statements import sql


async def put_traffic(
    conn: Conn, incarnation: int, rows: Mapping[Place, Mapping[str, object]]
) -> None:
    """What this daemon knows of these senders."""
    await conn.execute(
        sql("put_traffic"), incarnation, [account for account, _ in rows],
        [sender for _, sender in rows], [orjson.dumps(one).decode() for one in rows.values()],
    )  # fmt: skip


async def sweep_traffic(conn: Conn) -> None:
    """Forget what was told a day ago."""
    await conn.execute(sql("sweep_traffic"))


async def read_traffic(conn: Conn, places: Sequence[Place]) -> dict[Place, Result]:
    """What all daemons tell of these senders as one, with the `standing` that the daemon tells
    which serves the account, None where none does."""
    accounts, senders = [place[0] for place in places], [place[1] for place in places]
    told: dict[Place, list[Told]] = {place: [] for place in places}
    now = await conn.fetchval(sql("real_now"))
    for row in await conn.fetch(sql("read_traffic"), accounts, senders):
        told[row["account_id"], row["sender_id"]].append(Told(row["figures"], row["age_ms"]))
    return {
        place: {**total(rows, now), "standing": _standing(rows)} for place, rows in told.items()
    }


def _standing(told: Sequence[Told]) -> Any:
    fresh = [one.figures["standing"] for one in told if one.age_ms < FRESH_MS]
    return next((one for one in reversed(fresh) if one is not None), None)
