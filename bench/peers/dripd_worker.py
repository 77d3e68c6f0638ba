"""dripd itself as a worker of the kit: the same orders, the same measurement from outside.

1,000 accounts with caps on, a delivery row each; `noop` is the sink that only counts, `post` a
provider of kind `sendgrid` at the kit's server, one message a request.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import trio

from bench.field import COUNTING, Stopwatch, daemon, ground, runs, until_sent
from bench.http import settings_of
from bench.meter import execute
from dripd.config import load
from dripd.log import configure
from dripd.store import migrate

DUE = "dripd.now() - interval '1 second'"

PATIENCE_S = 3_600


def main() -> None:
    """Arguments: DSN SERVER_URL, "post" or "noop"."""
    dsn, url, kind = sys.argv[1:4]
    configure(level="error")
    migrate.migrate(dsn)
    provider = "post" if kind == "post" else COUNTING.name
    asyncio.run(execute(dsn, ground(provider=provider)))
    answer({"ready": True})
    for order in orders():
        if order["do"] == "work":
            trio.run(work, dsn, url if kind == "post" else None, order)
            return
        fill(dsn, order)
        answer({"filled": True})


def orders() -> Iterator[dict[str, Any]]:
    """What the kit wants, one after the other."""
    for line in sys.stdin:
        yield json.loads(line)


def fill(dsn: str, order: dict[str, Any]) -> None:
    at = order.get("at")
    if at is None:
        asyncio.run(execute(dsn, runs(1, order["n"], DUE)))
        return
    asyncio.run(note(dsn, at))
    due = "(SELECT to_timestamp(b.at) FROM bench_at AS b WHERE b.n = n.n)"
    asyncio.run(execute(dsn, runs(1, len(at), due)))


async def note(dsn: str, at: list[float]) -> None:
    """The instants, where the rows can look them up."""
    conn = await asyncpg.connect(dsn)
    await conn.execute("CREATE TABLE public.bench_at (n int PRIMARY KEY, at float8)")
    await conn.copy_records_to_table("bench_at", records=list(enumerate(at, 1)))
    await conn.close()


async def work(dsn: str, url: str | None, order: dict[str, Any]) -> None:
    """Run a daemon until enough is done."""
    watch = Stopwatch()
    served = daemon(
        load(None), dsn, settings_of(url) if url else COUNTING, *([] if url else [watch])
    )
    async with served as running:
        await until_sent(running, 1, PATIENCE_S, drained=False)
        answer({"first": running.pipe.counters.accepted})
        await until_sent(running, order["n"], PATIENCE_S, drained=order["drain"])
        answer({"done": running.pipe.counters.accepted, "late_ms": watch.late_ms})
        await trio.to_thread.run_sync(sys.stdin.readline)
    answer({"stopped": True})


def answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
