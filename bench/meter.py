"""What did it cost? CPU of dripd, of Postgres and of everybody else, and wall time."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from bench import profile

TICKS = os.sysconf("SC_CLK_TCK")


async def execute(dsn: str, *texts: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        for text in texts:
            await conn.execute(text, timeout=3600)
    finally:
        await conn.close()


async def value(dsn: str, text: str) -> Any:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(text, timeout=3600)
    finally:
        await conn.close()


def stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` from the state on; raises `OSError` if it is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def cpu_s(pid: int) -> float:
    """CPU seconds of one process."""
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of one process and of all that descend from it and live."""
    return cpu_s(pid) + sum(map(tree_cpu_s, children_of(pid)))


def children_of(parent: int) -> list[int]:
    """The processes that *parent* has started and that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = stat(int(entry.name))
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def peak_mb(pid: int) -> float:
    """The most memory that a process ever had, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"the kernel does not tell the peak of process {pid}")


def own_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def postmaster_of(dsn: str) -> int:
    """The process id of the postmaster: the parent of our backend."""
    backend: int = asyncio.run(_backend(dsn))
    return backend


async def _backend(dsn: str) -> int:
    conn = await asyncpg.connect(dsn)
    try:
        return int(stat(await conn.fetchval("SELECT pg_backend_pid()"))[1])
    finally:
        await conn.close()


def postgres_cpu_s(postmaster: int) -> float:
    """CPU seconds of the postmaster and of every process it ever had."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = stat(int(entry.name))
        except OSError:
            continue
        if int(entry.name) == postmaster:
            total += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def busy_cpu_s() -> float:
    """CPU seconds that anybody used since boot, of all cores."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, soft, steal = map(int, words)
    return (user + nice + system + irq + soft + steal) / TICKS


def yardstick_ms() -> float:
    """CPU milliseconds of the same work at any time - rows made, encoded and read again, more of
    them than a cache holds -, the quickest of three: how fast the machine is just now."""
    return min(_yardstick_ms() for _ in range(3))


def _yardstick_ms() -> float:
    began = time.thread_time()
    rows = [{"key": str(n), "due": n * 7919 % 100_003, "of": (n, n + 1)} for n in range(30_000)]
    for row in orjson.loads(orjson.dumps(sorted(rows, key=itemgetter("due")))):
        row["late"] = row["due"] - row["of"][0]
    return (time.thread_time() - began) * 1000


class Meter:
    """Counts from when it is made until `read`. *daemons*: processes of dripd, with what they
    have started; none = this one.
    *helpers*: servers and clients of the benchmark, which count for neither."""

    def __init__(
        self, postmaster: int, daemons: Sequence[int] = (), helpers: Sequence[int] = ()
    ) -> None:
        self._postmaster = postmaster
        self._daemons = daemons
        self._helpers = helpers
        others = self._others()
        if not daemons:
            profile.begin()
        self._before = (*self._own(), *others)

    def _own(self) -> tuple[float, float]:
        own = sum(map(tree_cpu_s, self._daemons)) if self._daemons else time.process_time()
        return time.perf_counter(), own

    def _others(self) -> tuple[float, float, float]:
        """It costs as much as some hundred steps: first when counting begins, last when it ends."""
        helping = sum(map(cpu_s, self._helpers)) + (
            time.process_time() if self._daemons else 0.0
        )
        return postgres_cpu_s(self._postmaster), helping, busy_cpu_s()

    def read(self, n: int) -> dict[str, float]:
        """The figures for *n* steps since."""
        counted, by_stage = self._own(), profile.end(n)
        pairs = zip((*counted, *self._others()), self._before, strict=True)
        seconds, own, pg, helping, busy = (now - before for now, before in pairs)
        return {
            "seconds": round(seconds, 3),
            "per_s": round(n / seconds, 1),
            "cpu_us_daemon": round(own / n * 1e6, 1),
            "cpu_us_postgres": round(pg / n * 1e6, 1),
            "cpu_us_helpers": round(helping / n * 1e6, 1),
            "other_cpu": round(max(0.0, busy - own - pg - helping) / seconds, 2),
            **by_stage,
        }


def lateness(late_ms: Sequence[float]) -> dict[str, float]:
    """The median, the 99th percentile and the worst."""
    ordered = sorted(late_ms)
    n = len(ordered)
    return {
        "p50_ms": round(ordered[n // 2], 2),
        "p99_ms": round(ordered[n * 99 // 100], 2),
        "max_ms": round(ordered[-1], 2),
    }
