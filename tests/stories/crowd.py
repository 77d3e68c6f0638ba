"""Many at once: contacts by the hundred, connections side by side, further daemons."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg

from tests.stories.world import STARTUP_S, World


def contacts(world: World, n: int, account: str = "acme") -> None:
    """Contacts c1 to cN with the addresses cN@ACCOUNT.x.test."""
    world.sql(
        """INSERT INTO dripd.contact (account_id, external_id, email)
           SELECT a.id, 'c' || i, 'c' || i || '@' || a.key || '.x.test'
           FROM dripd.account AS a, generate_series(1, $2::int) AS i WHERE a.key = $1""",
        account, n,
    )  # fmt: skip


def enroll_all(world: World, campaign: str, account: str = "acme") -> None:
    """Ask for every contact of *account*, in one statement."""
    world.sql(
        """INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id)
           SELECT a.key, $2, k.external_id FROM dripd.account AS a
           JOIN dripd.contact AS k ON k.account_id = a.id WHERE a.key = $1 ORDER BY k.id""",
        account, campaign,
    )  # fmt: skip


def together(world: World, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
    """Every statement at once, each on a connection of its own."""

    async def one(text: str, args: Sequence[Any]) -> None:
        conn = await asyncpg.connect(world.dsn)
        try:
            await conn.execute(text, *args)
        finally:
            await conn.close()

    async def every() -> None:
        await asyncio.gather(*(one(text, args) for text, args in statements))

    asyncio.run(every())


def live_daemons(world: World) -> int:
    return int(world.one("SELECT count(*) FROM dripd.node WHERE NOT dead"))


@contextmanager
def more_daemons(world: World, n: int) -> Iterator[None]:
    """*n* daemons beside the world's own, on the same database; each must end with exit 0."""
    command = [sys.executable, "-m", "dripd.cli.main", "run", "--clock", "manual"]
    processes = []
    with (world.state / "log").open("ab") as log:
        for i in range(n):
            own = {"DRIPD_DSN": world.dsn, "DRIPD_STATE": str(world.state)}
            own |= {"DRIPD_SOCKET": str(world.state / f"{i}.sock")}
            processes.append(
                subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
            )
    try:
        until = time.monotonic() + STARTUP_S
        while live_daemons(world) < n + 1:
            assert time.monotonic() < until, world.log()
            time.sleep(0.02)
        yield
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(STARTUP_S) for process in processes]
    assert codes == [0] * n, world.log()
