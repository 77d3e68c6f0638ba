"""dripd beside the queues that somebody could take instead: same Postgres, server and body.

Turn by turn every peer gets a fresh database and a worker process, is filled through its own
bulk call, and is measured from outside while it works: wall time, CPU of the worker and of
Postgres. The clock runs from the first job that is handled to the last that is done in its
tables, so nobody's start counts; where jobs have an instant, from the order to work.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.backlog import beside
from bench.meter import Meter, execute, lateness, postmaster_of
from bench.peers.kit import PEERS, Peer, command, install
from bench.server import ROOT, Server, serving
from dripd.errors import NotFound

PER_S = 200
LEAD_S = 15
LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is done. `n` jobs are made, `until` of them are waited for."""

    name: str
    question: str
    n: int
    until: int | None = None
    post: bool = False
    timed: bool = False


SCENARIOS = (
    Scenario("noop", "drain, nothing to do", 50_000),
    Scenario("post", "drain, one POST of 1 KB each", 50_000, post=True),
    Scenario("lateness", f"{PER_S} a second at their instants", 3_000, timed=True),
    Scenario("backlog", "the first of a million, nothing to do", 1_000_000, until=50_000),
)


def chosen(names: Sequence[str], n: int | None) -> list[Scenario]:
    """The scenarios of *names* (none = all), *n* jobs instead of their own number.

    Raises `NotFound` for a name that is none.
    """
    known = {one.name: one for one in SCENARIOS}
    for name in names:
        if name not in known:
            raise NotFound(f"there is no scenario {name!r}", hint=f"one of {', '.join(known)}")
    found = [known[name] for name in names or known]
    return [
        replace(one, n=n, until=one.until and min(one.until, n)) if n else one for one in found
    ]


def run(
    dsn: str,
    folder: Path,
    scenarios: Sequence[Scenario],
    names: Sequence[str],
    rounds: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Every figure of every turn."""
    missing = install(folder)
    peers = [
        one for one in PEERS if (not names or one.name in names) and one.name not in missing
    ]
    for name, why in missing.items():
        tell(f"without {name}: {why}")
    turns: list[dict[str, Any]] = []
    with serving() as server:
        for _ in range(rounds):
            for scenario in scenarios:
                for peer in peers:
                    if peer.only and scenario.name not in peer.only:
                        continue
                    found = turn(dsn, folder, scenario, peer, server)
                    tell(
                        f"{scenario.name} {peer.name}: {found.get('per_s') or found['failed']}"
                    )
                    turns.append(found)
    return {"turns": turns, "left_out": missing, "table": table(turns)}


def turn(
    dsn: str, folder: Path, scenario: Scenario, peer: Peer, server: Server
) -> dict[str, Any]:
    """One peer does one scenario once."""
    name = "bench_" + re.sub("[^a-z]+", "_", peer.name)
    own = beside(dsn, name)
    fresh = (f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
    asyncio.run(execute(dsn, *fresh))
    what = {"scenario": scenario.name, "peer": peer.name, "version": peer.version}
    words = [*command(folder, peer), own, server.url, "post" if scenario.post else "noop"]
    env = {**os.environ, "DRIPD_STATE": str(folder / "state")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=ROOT / peer.folder, env=env, **pipes) as process:  # type: ignore[call-overload]
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        try:
            found = measure(process, own, scenario, peer, server)
        except (ValueError, KeyError, OSError) as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
        finally:
            watchdog.cancel()
            process.kill()
    asyncio.run(execute(dsn, fresh[0]))
    return {**what, **found}


def measure(
    process: subprocess.Popen[str], dsn: str, scenario: Scenario, peer: Peer, server: Server
) -> dict[str, Any]:
    """Fill, let Postgres settle, work."""
    asked(process)
    share = 1.0 if scenario.timed or scenario.until else peer.share
    n = int(scenario.n * share)
    until = int((scenario.until or n) * (peer.share if scenario.until else 1.0))
    base = time.time() + LEAD_S
    if scenario.timed:
        asked(process, do="fill_at", at=[base + i / PER_S for i in range(n)])
    else:
        asked(process, do="fill", n=n)
    asyncio.run(execute(dsn, "VACUUM ANALYZE", "CHECKPOINT"))
    before = server.accepted()
    postmaster = postmaster_of(dsn)
    meter = Meter(postmaster, daemons=[process.pid], helpers=[server.pid])
    first = asked(process, do="work", n=until, drain=scenario.until is None)["first"]
    if not scenario.timed:
        meter = Meter(postmaster, daemons=[process.pid], helpers=[server.pid])
    done = asked(process)
    figures = meter.read(done["done"] if scenario.timed else max(1, done["done"] - first))
    asked(process, do="stop")
    posted = server.accepted() - before
    if scenario.post and posted != n:
        raise ValueError(f"the server accepted {posted}, not {n}")
    late = lateness(done["late_ms"]) if scenario.timed else {}
    return {"n": done["done"], **figures, **late}


def asked(process: subprocess.Popen[str], **order: Any) -> dict[str, Any]:
    """The worker's answer to an order. Raises `ValueError` if it has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    if order:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise ValueError("the worker ended")
    found: dict[str, Any] = json.loads(line)
    return found


def table(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median of each peer in each scenario, and how dripd stands to it."""
    rows = []
    for scenario in SCENARIOS:
        medians = {}
        for peer in PEERS:
            mine = [
                one
                for one in turns
                if (one["scenario"], one["peer"]) == (scenario.name, peer.name)
            ]
            good = [one for one in mine if "failed" not in one]
            if mine:
                medians[peer.name] = middle(good) if good else {"failed": mine[-1]["failed"]}
        own = medians.get("dripd", {})
        for name, figures in medians.items():
            rows.append(
                {"scenario": scenario.name, "peer": name, **figures, **ratio(own, figures)}
            )
    return rows


def middle(turns: Sequence[dict[str, Any]]) -> dict[str, float]:
    names = ("per_s", "cpu_us_daemon", "cpu_us_postgres", "p50_ms", "p99_ms", "other_cpu")
    return {
        name: round(float(median(one[name] for one in turns)), 2)
        for name in names
        if name in turns[0]
    }


def ratio(own: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    """How many times dripd is ahead: in rate, in CPU for a job, and, where timed, in lateness."""
    if "per_s" not in own or "per_s" not in peer:
        return {}

    def cpu(one: dict[str, Any]) -> float:
        return float(one["cpu_us_daemon"] + one["cpu_us_postgres"])

    found = {"ahead_cpu": round(cpu(peer) / max(cpu(own), 1e-9), 2)}
    if "p99_ms" in own:
        return {**found, "ahead_p99": round(peer["p99_ms"] / max(own["p99_ms"], 1e-9), 2)}
    return {**found, "ahead_rate": round(own["per_s"] / max(peer["per_s"], 1e-9), 2)}
