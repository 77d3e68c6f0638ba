"""How soon after a kill -9 do a daemon's steps go again? Measured from outside, default limits.

Two daemons share the accounts, and a state directory unless they are `apart`, as on two
machines: then nobody sees that the process is gone, and its heartbeat must time out. The
provider of one stands still, so that it holds what it has leased; then the daemon is killed and
the provider answers again, for its breaker would keep what had not left. A step goes again once
its outcome is on record, whatever that is: `unknown` where it may have left.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from dripd.proof import scene
from dripd.proof.fleet import Database, Process, daemon, running_sink
from dripd.proof.proxy import Proxies

ACCOUNTS: Final = 8
RUNS: Final = 400

DEFAULT_LIMIT: Final = "10s"
"""Without a heartbeat for this long a daemon counts as dead: the default of `[engine]`."""

HALF_S: Final = 5.0
ALL_S: Final = 20.0

GIVE_UP_S: Final = 60.0

WAYS: Final = {
    "restarted": {"restart": True, "apart": False},
    "not_restarted": {"restart": False, "apart": False},
    "restarted_apart": {"restart": True, "apart": True},
    "not_restarted_apart": {"restart": False, "apart": True},
}

HELD_SQL: Final = """
SELECT d.enrollment_id FROM dripd.due_step AS d
JOIN dripd.claim AS c ON c.claim_id = d.claim_id
JOIN dripd.node AS n ON n.incarnation = c.incarnation
WHERE n.name = 'd0'
"""

SETTLED_SQL: Final = """
SELECT enrollment_id FROM dripd.delivery WHERE state <> 'leased' AND enrollment_id = ANY ($1::int8[])
"""

ALIVE_SQL: Final = "SELECT count(*) AS n FROM dripd.node WHERE NOT dead"


def run(say: Callable[[str], None]) -> dict[str, object]:
    """Every measurement, one after the other, each on a fleet of its own."""
    found: dict[str, dict[str, object]] = {}
    for name, how in WAYS.items():
        found[name] = measure(**how)
        say(f"{name}: half {found[name]['half_s']} s, all {found[name]['all_s']} s")
    return {**found, "limit": DEFAULT_LIMIT, "ok": all(one["ok"] for one in found.values())}


def measure(*, restart: bool, apart: bool) -> dict[str, object]:
    """Kill a daemon with its hands full; seconds until half and until all of it goes again."""
    with (
        tempfile.TemporaryDirectory(prefix="dripd-recovery-") as name,
        Database(folder := Path(name)) as database,
        running_sink(folder, faults=0, seed=1) as (_, url, _log),
        Proxies() as proxies,
        ExitStack() as daemons,
    ):
        proxy, port = proxies.lead(("127.0.0.1", int(url.rpartition(":")[2])))
        dsn, through = database.dsn, f"http://127.0.0.1:{port}"
        env = {"DRIPD_STATE": str(folder / "elsewhere")} if apart else {}
        other = daemons.enter_context(daemon(folder, 1, dsn, url, limit=DEFAULT_LIMIT, env=env))
        first = daemons.enter_context(daemon(folder, 0, dsn, through, limit=DEFAULT_LIMIT))
        scene.prepare(database, folder, first, accounts=ACCOUNTS, steps=1)
        other.start()
        _until(lambda: _count(database, ALIVE_SQL) == 2)
        proxy.poison("down", black_hole=True)
        database.fetch(scene.ENROLL_SQL, 1, RUNS, ACCOUNTS)
        held = _held(database)
        first.kill()
        proxy.heal()
        took = _watch(database, first, held, restart=restart)
    return _told(took, len(held), restart=restart)


def _held(database: Database) -> list[int]:
    """What the first daemon has leased, once that no longer grows."""
    before: list[int] = []
    while True:
        time.sleep(0.5)
        now = [row["enrollment_id"] for row in database.fetch(HELD_SQL)]
        if now and len(now) == len(before):
            return now
        before = now


def _watch(
    database: Database, first: Process, held: list[int], *, restart: bool
) -> list[float]:
    """Seconds until each of *held* is on record, in order; those that never were are missing."""
    began = time.monotonic()
    if restart:
        first.start()
    took: list[float] = []
    while len(took) < len(held) and time.monotonic() < began + GIVE_UP_S:
        n = len(database.fetch(SETTLED_SQL, held))
        took += [time.monotonic() - began] * (n - len(took))
        time.sleep(0.05)
    return took


def _told(took: list[float], n: int, *, restart: bool) -> dict[str, object]:
    if len(took) < n:
        return {"steps": n, "half_s": None, "all_s": None, "ok": False}
    half, last = statistics.median_low(took), took[-1]
    ok = last <= ALL_S and (not restart or half <= HALF_S)
    return {"steps": n, "half_s": round(half, 1), "all_s": round(last, 1), "ok": ok}


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + GIVE_UP_S
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError("the daemons did not start")
        time.sleep(0.1)


def _count(database: Database, statement: str) -> int:
    return int(database.fetch(statement)[0]["n"])
