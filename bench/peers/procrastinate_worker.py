"""procrastinate: it fetches one job a query, so that concurrency is the only lever; jobs that are
scheduled are polled for, by default every 5 s, here every 0.1 s."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import procrastinate
import psycopg
from worker import Handle, Worker, main

CHUNK = 1_000

CONCURRENCY = 20

LEFT = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"


class Procrastinate(Worker):
    async def prepare(self) -> None:
        logging.disable(logging.INFO)
        connector = procrastinate.PsycopgConnector(
            conninfo=self.dsn, min_size=2, max_size=CONCURRENCY + 2
        )
        self._app = procrastinate.App(connector=connector)
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()
        self._handle: Handle | None = None

        @self._app.task(name="job")
        async def job(at: float | None = None) -> None:
            assert self._handle is not None
            await self._handle(at)

        self._job = job

    async def fill(self, n: int, at: list[float] | None) -> None:
        for low in range(0, n, CHUNK):
            if at is None:
                await self._job.batch_defer_async(*[{} for _ in range(min(CHUNK, n - low))])
                continue
            jobs = [self._at(one) for one in at[low : low + CHUNK]]
            await self._app.job_manager.batch_defer_jobs_async(jobs=jobs)

    def _at(self, at: float) -> object:
        when = datetime.fromtimestamp(at, UTC)
        return self._job.configure(schedule_at=when).job.evolve(task_kwargs={"at": at})

    async def start(self, handle: Handle) -> None:
        self._handle = handle
        working = self._app.run_worker_async(
            install_signal_handlers=False,
            concurrency=CONCURRENCY,
            fetch_job_polling_interval=0.1,
        )
        self._task = asyncio.create_task(working)

    async def left(self) -> int:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            row = await (await conn.execute(LEFT)).fetchone()
            return int(row[0]) if row else 0

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._app.close_async()


if __name__ == "__main__":
    main(Procrastinate)
