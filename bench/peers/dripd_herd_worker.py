"""dripd as two daemons: `dripd run --processes 2`, in the place of one in the worker's process.

They stand and have divided the accounts before these are resumed, so that no start is counted.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from bench.field import CHECK, COUNTING, ground, runs
from bench.herd import ask, herd, until, until_shared
from bench.http import settings_of
from bench.meter import execute
from bench.peers.dripd_worker import DUE, answer, orders
from bench.server import Server
from dripd.channels.base import ProviderSettings
from dripd.log import configure
from dripd.store import migrate

PROCESSES = 2

USED = "SELECT sum(used) FROM dripd.account_day"
"""A row an account: the daemons' own work hardly feels that it is looked at."""

SERVED = "UPDATE dripd.account SET status = '{}'"


def main() -> None:
    """Arguments: DSN SERVER_URL, "post" or "noop"."""
    dsn, url, kind = sys.argv[1:4]
    server = Server(0, url)
    settings = settings_of(url) if kind == "post" else COUNTING
    configure(level="error")
    migrate.migrate(dsn)
    asyncio.run(execute(dsn, ground(provider=settings.name)))
    answer({"ready": True})
    for order in orders():
        if order["do"] == "work":
            seen = server.accepted if kind == "post" else lambda: int(ask(dsn, USED) or 0)
            work(dsn, settings, seen, order["n"])
            return
        asyncio.run(execute(dsn, runs(1, order["n"], DUE), SERVED.format("paused")))
        answer({"filled": True})


def work(dsn: str, settings: ProviderSettings, seen: Callable[[], int], n: int) -> None:
    """*n* steps by two daemons; *seen* counts those that have left."""
    before = seen()
    with herd(dsn, settings, PROCESSES) as parent:
        until_shared(dsn, PROCESSES, parent)
        asyncio.run(execute(dsn, SERVED.format("active")))
        until(lambda: seen() > before, parent)
        answer({"first": seen() - before})
        until(lambda: seen() - before >= n, parent)
        until(lambda: ask(dsn, CHECK) == f"{n} {n} {n} 0", parent)
        answer({"done": n, "late_ms": []})
        sys.stdin.readline()
    answer({"stopped": True})


if __name__ == "__main__":
    main()
