"""The same drain by `dripd run --processes N`: real daemons that divide the accounts.

They stand, and have divided the accounts, before the first row is there: no start is counted.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.field import ACCOUNTS, CHECK, COUNTING, ground, lay, runs
from bench.meter import Meter, children_of, execute, peak_mb, postmaster_of, value
from bench.process import has_ended, running
from dripd.channels.base import ProviderSettings

NUDGE = "INSERT INTO dripd.nudge (account_id) SELECT id FROM dripd.account;"
SHARED = "SELECT count(*) || ' ' || coalesce(sum(accounts), 0) FROM dripd.node WHERE NOT dead"
KEY = "BENCH_KEY"
"""In the environment of the daemons: any key, which no server of ours looks at."""

PATIENCE_S = 300
LOOK_S = 0.1
"""Between two looks: a finer one would take from the daemons what it measures."""


def drain(
    dsn: str,
    n: int,
    processes: int,
    settings: ProviderSettings,
    helper: int,
    seen: Callable[[], int],
) -> dict[str, object]:
    """*n* steps due at once, through the provider of *settings*; *seen* counts what has come
    to its server, the process *helper*. Raises `AssertionError` unless each was sent once."""
    lay(dsn, ground(provider=settings.name))
    before = seen()
    with herd(dsn, settings, processes) as parent:
        until_shared(dsn, processes, parent)
        asyncio.run(execute(dsn, runs(1, n, "dripd.now() - interval '1 second'") + NUDGE))
        meter = Meter(postmaster_of(dsn), daemons=[parent], helpers=[helper])
        until(lambda: seen() - before >= n, parent)
        until(lambda: ask(dsn, CHECK) == f"{n} {n} {n} 0", parent)
        figures = meter.read(n)
        memory = sum(map(peak_mb, [parent, *children_of(parent)]))
    if seen() - before != n:
        raise AssertionError(f"the provider saw {seen() - before}, not {n}")
    return {"n": n, "processes": processes, **figures, "rss_mb": round(memory)}


@contextmanager
def herd(dsn: str, settings: ProviderSettings, processes: int) -> Iterator[int]:
    """*processes* daemons that share the connections of *settings*; the process that has
    started them."""
    os.environ[KEY] = "bench"
    is_known = settings == COUNTING  # every daemon of `running` has that one
    table = (
        "" if is_known else provider(settings, max(1, settings.max_connections // processes))
    )
    with running(dsn, "--processes", str(processes), more=table) as parent:
        yield parent


def provider(settings: ProviderSettings, connections: int) -> str:
    """*settings* as they stand in a configuration."""
    lines = [
        f"[provider.{settings.name}]",
        f'kind = "{settings.kind}"',
        f'base_url = "{settings.base_url}"',
        f"max_connections = {connections}",
        *([f"batch = {settings.batch}"] if settings.batch else []),
        *(f'{name} = "env:{KEY}"' for name in settings.secrets),
    ]
    return "\n".join(lines) + "\n"


def until(holds: Callable[[], bool], parent: int) -> None:
    """Wait for what the daemons of *parent* bring about. Raises `AssertionError` if that ends,
    as it does where one of them cannot start, or where it takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if has_ended(parent):
            raise AssertionError("the daemons have ended: what they said of it stands above")
        if time.monotonic() > end:
            raise AssertionError(f"it did not come to pass within {PATIENCE_S} s")
        time.sleep(LOOK_S)


def until_shared(dsn: str, processes: int, parent: int) -> None:
    """Wait until all daemons stand and have divided the accounts."""
    until(lambda: ask(dsn, SHARED) == f"{processes} {ACCOUNTS}", parent)


def ask(dsn: str, text: str) -> Any:
    return asyncio.run(value(dsn, text))
