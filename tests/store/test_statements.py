"""Every named statement fits the schema: a missing column fails here, not at three in the morning."""

from __future__ import annotations

import asyncio

import asyncpg

from dripd.store.statements import load


def test_every_statement_prepares(pg_dsn: str) -> None:
    async def prepare_all() -> int:
        conn = await asyncpg.connect(pg_dsn)
        try:
            for statement in load().values():
                await conn.prepare(statement.text)
        finally:
            await conn.close()
        return len(load())

    assert asyncio.run(prepare_all()) > 100
