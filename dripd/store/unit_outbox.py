"""The outbox as units of work: take calls that are due, write how they came out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from dripd.store.connect import Conn, parse_object
from dripd.store.protocol import CallEnd, CallRow
from dripd.store.statements import sql

COLUMNS = ("external_id", "email", "phone", "timezone", "owner", "service_owner")


async def take_calls(
    conn: Conn, incarnation: int, n: int, of_a_target: int, patience_ms: int
) -> list[CallRow]:
    patience = timedelta(milliseconds=patience_ms)
    rows = await conn.fetch(sql("take_calls"), n, of_a_target, patience, incarnation)
    return [_call(row) for row in rows]


def _call(row: Any) -> CallRow:
    contact: dict[str, object] = {name: row[name] for name in COLUMNS}
    return CallRow(
        account_id=row["account_id"],
        id=row["id"],
        enrollment_id=row["enrollment_id"],
        contact_id=row["contact_id"],
        cv_id=row["cv_id"],
        step_no=row["step_no"],
        seq=row["seq"],
        step_key=row["step_key"],
        kind=row["kind"],
        target=row["target"],
        awaited=row["awaited"],
        attempt=row["attempt"],
        reason=row["reason"],
        account_key=row["account_key"],
        campaign_key=row["campaign_key"],
        run_no=row["run_no"],
        vars=parse_object(row["vars"]),
        url=row["url"],
        secret=row["secret"],
        contact={**contact, "attrs": parse_object(row["attrs"])},
    )


async def end_calls(conn: Conn, ends: Sequence[CallEnd]) -> None:
    await conn.execute(sql("end_calls"), *map(list, zip(*ends, strict=True)))
