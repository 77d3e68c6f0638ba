"""pgqueuer, as its performance guide has it: batches of 100 (50 where each job makes a request),
one asyncpg connection, `autovac` applied, durable."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from worker import Handle, Worker, main

CHUNK = 1_000


class Pgqueuer(Worker):
    async def prepare(self) -> None:
        self._conn = await asyncpg.connect(self.dsn)
        self._queries = Queries(AsyncpgDriver(self._conn))
        await self._queries.install()
        await self._queries.optimize_autovacuum()

    async def fill(self, n: int, at: list[float] | None) -> None:
        for low in range(0, n, CHUNK):
            m = min(CHUNK, n - low)
            words, zeros = ["job"] * m, [0] * m
            if at is None:
                await self._queries.enqueue(words, [None] * m, zeros)
                continue
            now, some = time.time(), at[low : low + m]
            after = [timedelta(seconds=one - now) for one in some]
            await self._queries.enqueue(
                words, [str(one).encode() for one in some], zeros, after
            )

    async def start(self, handle: Handle) -> None:
        self._own = await asyncpg.connect(self.dsn)
        self._queuer = PgQueuer(AsyncpgDriver(self._own))

        @self._queuer.entrypoint("job")
        async def job(job: object) -> None:
            payload = getattr(job, "payload", None)
            await handle(float(payload) if payload else None)

        most = {"batch_size": 50, "max_concurrent_tasks": 100}
        if not self.post:
            most = {"batch_size": 100, "max_concurrent_tasks": 1_000}
        self._task = asyncio.create_task(self._queuer.run(**most))

    async def left(self) -> int:
        found: int = await self._conn.fetchval("SELECT count(*) FROM pgqueuer")
        return found

    async def stop(self) -> None:
        self._queuer.shutdown.set()
        await asyncio.wait([self._task], timeout=20)
        await self._conn.close()


if __name__ == "__main__":
    main(Pgqueuer)
