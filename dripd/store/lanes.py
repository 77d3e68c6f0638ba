"""Which number has a lane? A cache over `dripd.lane`: numbers are never changed or reused."""

from __future__ import annotations

from collections.abc import Iterable

from dripd.campaigns.enrollment import LaneKey
from dripd.store.connect import Conn
from dripd.store.protocol import LaneRow
from dripd.store.statements import sql

Wanted = tuple[int, LaneKey]


class LaneBook:
    """(account, lane key) to number. Filled after the commit that made a lane, never before."""

    def __init__(self) -> None:
        self._numbers: dict[Wanted, int] = {}

    def keep(self, lanes: dict[Wanted, int]) -> None:
        self._numbers.update(lanes)

    async def resolve(self, conn: Conn, wanted: Iterable[Wanted]) -> dict[Wanted, int]:
        """The number of each of *wanted*; missing lanes are made in the transaction of *conn*.

        locks: one maker of lanes an account, until that transaction ends
        """
        found: dict[Wanted, int] = {}
        missing: list[Wanted] = []
        for one in set(wanted):
            number = self._numbers.get(one)
            if number is None:
                missing.append(one)
            else:
                found[one] = number
        for account in sorted({account for account, _ in missing}):
            await conn.execute(sql("lock_lanes"), account)
        for account, key in sorted(missing):
            found[account, key] = await conn.fetchval(sql("make_lane"), account, *key)
        return found


def lane_row(row: dict[str, object]) -> LaneRow:
    """A row of `read_lanes` as a value."""
    account, lane, *key = row.values()
    return LaneRow(account_id=account, lane=lane, key=LaneKey(*key))  # type: ignore[arg-type]  # columns in the statement's order
