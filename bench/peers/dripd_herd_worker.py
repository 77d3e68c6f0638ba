"""dripd as two daemons: `dripd run --processes 2`, in the place of one in the worker's process.

They stand and have divided the accounts before the rows are there, so that no start is counted.
"""

from __future__ import annotations

import asyncio
import sys

from bench.field import CHECK, ground, runs
from bench.herd import NUDGE, ask, herd, until, until_shared
from bench.http import settings_of
from bench.meter import execute
from bench.peers.dripd_worker import DUE, answer, orders
from bench.server import Server
from dripd.log import configure
from dripd.store import migrate

PROCESSES = 2


def main() -> None:
    """Arguments: DSN SERVER_URL, "post"."""
    dsn, url, _ = sys.argv[1:4]
    configure(level="error")
    migrate.migrate(dsn)
    asyncio.run(execute(dsn, ground(provider="post")))
    answer({"ready": True})
    for order in orders():
        if order["do"] == "work":
            work(dsn, Server(0, url), order["n"])
            return
        answer({"filled": True})


def work(dsn: str, server: Server, n: int) -> None:
    before = server.accepted()
    with herd(dsn, settings_of(server.url), PROCESSES) as parent:
        until_shared(dsn, PROCESSES, parent)
        asyncio.run(execute(dsn, runs(1, n, DUE) + NUDGE))
        until(lambda: server.accepted() > before, parent)
        answer({"first": server.accepted() - before})
        until(lambda: server.accepted() - before >= n, parent)
        until(lambda: ask(dsn, CHECK) == f"{n} {n} {n} 0", parent)
        answer({"done": n, "late_ms": []})
        sys.stdin.readline()
    answer({"stopped": True})


if __name__ == "__main__":
    main()
