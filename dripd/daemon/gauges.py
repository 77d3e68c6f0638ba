"""What stands still to be looked at? Stamps and gauges, renewed beside the work.

Once a second from what is in memory, every fifteen seconds from the database, and what
belongs to the process itself when the page is asked for.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import trio

from dripd.built import IS_COMPILED
from dripd.clock import SystemClock
from dripd.daemon.vitals import Vitals
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.metrics import Registry
from dripd.ratelimit.bucket import parse_rate
from dripd.store.desk import Desk
from dripd.store.desk_metrics import Gauges, read_gauges
from dripd.store.postgres import PostgresStore

SECOND: Final = 1.0
SAMPLE_S: Final = 15.0
STATES: Final = ("starting", "running", "paused", "draining")

log = get("gauges")


def describe(metrics: Registry, own_version: str, rates: dict[str, str]) -> None:
    """What does not change while the daemon runs."""
    compiled = "yes" if IS_COMPILED else "no"
    metrics["dripd_build_info"].set(1, own_version, platform.python_version(), compiled)
    metrics["dripd_tzdata_info"].set(1, installed("tzdata"))
    metrics["dripd_config_generation"].set(1)
    metrics["dripd_config_reload_success"].set(1)
    metrics["dripd_config_last_reload_timestamp_seconds"].set(SystemClock().now() / 1000)
    for provider, rate in rates.items():
        if rate:
            found = parse_rate(rate)
            metrics["dripd_provider_rate_limit"].set(1000 * found.n / found.per_ms, provider)


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


async def watch(
    vitals: Vitals, pipe: Pipeline, store: PostgresStore, state: Callable[[], str]
) -> None:
    """Once a second, for ever: the stamp of the loop, how late it is, and what is in memory."""
    lag = pipe.metrics.timing("dripd_loop_lag_seconds")
    while True:
        stamp(vitals, pipe, state())
        vitals.db_error = store.condition.words()
        look_inside(pipe, store, vitals.state)
        began = trio.current_time()
        await trio.sleep(SECOND)  # noqa: TID251 - how late it wakes is what is measured
        lag.observe(max(0.0, trio.current_time() - began - SECOND))


def stamp(vitals: Vitals, pipe: Pipeline, state: str) -> None:
    """The loop runs: say so, and what it knows."""
    vitals.looped_at = time.monotonic()
    if pipe.counters.turned_at:
        since = trio.current_time() - pipe.counters.turned_at
        vitals.turned_at = vitals.looped_at - since
    vitals.state, vitals.drained = state, pipe.drained
    vitals.journal_error = pipe.barred.get("journal", "")
    vitals.copy_error = pipe.barred.get("adopt", "")


def look_inside(pipe: Pipeline, store: PostgresStore, state: str) -> None:
    metrics = pipe.metrics
    metrics["dripd_up_state"].replace({(one,): float(one == state) for one in STATES})
    metrics["dripd_send_in_flight"].replace(
        {(name,): len(queue) for name, queue in pipe.leased.items()}
    )
    metrics["dripd_provider_breaker_state"].replace(
        {(name,): float(line.breaker.is_open) for name, line in pipe.flow.providers.items()}
    )
    metrics["dripd_db_pool_connections"].replace(
        {(pool, use): float(n) for (pool, use), n in store.connections().items()}
    )
    metrics["dripd_db_away_seconds"].set(store.condition.away_ms / 1000)
    metrics["dripd_wheel_items"].set(len(pipe.wheel))
    metrics["dripd_ready_items"].set(len(pipe.ready))
    metrics["dripd_unsent_items"].set(pipe.unsent)
    metrics["dripd_claims_open"].set(len(pipe.claims))
    metrics["dripd_accounts_owned"].set(len(pipe.owned))
    metrics["dripd_late_results_total"].set(pipe.counters.late)
    metrics["dripd_regret_total"].set(pipe.counters.regret)
    metrics["dripd_due_oldest_seconds"].set(oldest(pipe))
    metrics["dripd_tasks"].set(trio.lowlevel.current_statistics().tasks_living)


def oldest(pipe: Pipeline) -> float:
    """How long, in seconds, the oldest leased message has been due."""
    dues = [queue[0].due_at for queue in pipe.leased.values() if queue]
    return max(0.0, (pipe.clock.now() - min(dues)) / 1000) if dues else 0.0


async def sample(pipe: Pipeline, desk: Desk) -> None:
    """Every fifteen seconds, for ever: what the database holds."""
    parked = pipe.metrics["dripd_accounts_parked"]
    while True:
        parked.replace({(why,): n for why, n in pipe.lanes.parked_by_reason().items()})
        try:
            keep(pipe.metrics, await desk.run(read_gauges))
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
        await trio.sleep(SAMPLE_S)  # noqa: TID251 - a sample in real time


def keep(metrics: Registry, found: Gauges) -> None:
    metrics["dripd_due_items"].set(found.due)
    metrics["dripd_held_items"].replace({(reason,): n for reason, n in found.held.items()})
    metrics["dripd_enrollments"].replace(
        {("live",): float(found.live), ("ended",): float(found.ended)}
    )
    metrics["dripd_unknown_deliveries"].set(found.unknown)
    metrics["dripd_deliveries_in_doubt"].replace(
        {(provider,): n for provider, n in found.in_doubt.items()}
    )
    metrics["dripd_dead_letters"].set(found.dead)
    metrics["dripd_claim_oldest_seconds"].set(found.claim_s)
    metrics["dripd_tasks_waiting"].replace({(kind,): n for kind, n in found.tasks.items()})
    metrics["dripd_approvals_waiting"].set(found.tasks.get("approval", 0))
    metrics["dripd_approval_oldest_seconds"].set(found.approval_s)
    metrics["dripd_daemons"].replace({(state,): n for state, n in found.daemons.items()})


def page(metrics: Registry) -> str:
    """The whole page, with what belongs to the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    metrics["process_cpu_seconds_total"].set(used.ru_utime + used.ru_stime)
    metrics["process_max_fds"].set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    read_proc(metrics)
    for generation, counts in enumerate(gc.get_stats()):
        metrics["python_gc_collections_total"].set(counts["collections"], str(generation))
        metrics["python_gc_objects_collected_total"].set(counts["collected"], str(generation))
    return metrics.render()


def read_proc(metrics: Registry) -> None:
    """Memory, descriptors and the start, where the system has `/proc`."""
    proc = Path("/proc/self")
    if not (proc / "stat").exists():
        return
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    metrics["process_virtual_memory_bytes"].set(int(fields[20]))
    metrics["process_resident_memory_bytes"].set(int(fields[21]) * resource.getpagesize())
    metrics["process_open_fds"].set(len(os.listdir(proc / "fd")))
    booted = next(
        int(line.split()[1])
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith("btime ")
    )
    metrics["process_start_time_seconds"].set(
        booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    )
