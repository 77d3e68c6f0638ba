"""How long a unit of work at the desk may take."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.errors import StoreError
from dripd.store.bridge import Bridge
from dripd.store.desk import Desk


async def linger(conn: Any, seconds: float) -> str:
    await conn.execute("SELECT pg_sleep($1)", seconds)
    return "done"


@pytest.mark.trio
async def test_a_wide_unit_has_its_time_and_leaves_the_next_its_own(pg_dsn: str) -> None:
    async with Bridge() as bridge:
        desk = Desk(bridge, pg_dsn, size=1, patience_s=0.3)
        await desk.open()
        for _ in range(2):
            with pytest.raises(StoreError, match="timeout"):
                await desk.run(linger, 5.0)
            assert await desk.run_wide(linger, 0.8) == "done"
        await desk.close()
