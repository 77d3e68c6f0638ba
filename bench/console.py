"""What does a console cost, and how quick is it? The real program on a pty, over a real daemon.

A deployment with a past (`bench/estate.py`), of a million runs or of as many as are asked for.
Measured: from the start to the first frame and to the first data, from a key to what it paints,
CPU, memory and bytes of a console that is looked at, what four of them cost an idle daemon and
one at full speed, how long admin work keeps the loop, and every screen's query.
"""

from __future__ import annotations

import asyncio
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from fcntl import ioctl
from pathlib import Path
from statistics import quantiles
from types import TracebackType
from typing import Any, Self

import trio

from bench.estate import burst, estate
from bench.field import lay
from bench.meter import cpu_s, execute, peak_mb, postgres_cpu_s, postmaster_of
from bench.process import running
from dripd.admin.client import Client
from dripd.admin.session import CALLS_A_SECOND
from dripd.config import Config
from dripd.store.bridge import Bridge
from dripd.store.desk import Desk
from dripd.store.desk_console import read_glance
from dripd.store.desk_estimate import read_campaigns

RUNS = 1_000_000
BURST = 240_000
LOOKED_S = 15.0
ASKED = 10
KEYS = 100
QUICK: Mapping[str, object] = {"quick": True}
LARGE: Mapping[str, object] = {"campaign": "bench", "account": "a1"}
SMALL: Mapping[str, object] = {"campaign": "bench", "account": "a2"}
QUERIES: Sequence[tuple[str, Mapping[str, object]]] = (
    ("daemon.overview", {}),
    ("account.list", {}),
    ("account.list", {"figures": True}),
    ("account.show", {"key": "a1"}),
    ("sender.list", {}),
    ("sender.show", {"address": "s@a1.test", **QUICK}),
    ("campaign.list", {}),
    ("campaign.list", {"figures": True}),
    ("campaign.stats", {"key": "bench", "account": "a1", **QUICK}),
    ("campaign.stats", {"key": "bench", "account": "a2", **QUICK}),
    ("enroll.list", QUICK),
    ("enroll.list", {**LARGE, **QUICK}),
    ("enroll.list", {**SMALL, **QUICK}),
    ("enroll.list", {"status": "held", **QUICK}),
    ("enroll.list", {"status": "executing", **QUICK}),
    ("enroll.list", {"status": "terminated", **QUICK}),
    ("enroll.list", {"hold": "step_failed", **QUICK}),
    ("enroll.list", {"hold": "paused", **QUICK}),
    ("enroll.list", {**LARGE, "hold": "step_failed", **QUICK}),
    ("enroll.list", {"tag": "vip", "account": "a1", **QUICK}),
    ("enroll.explain", {"enrollment": 1}),
    ("contact.timeline", {"contact": "#1", "account": "a2"}),
    ("task.list", {"state": "open"}),
    ("task.list", {"state": "open", "kind": "approval"}),
    ("task.list", {"state": "open", "snoozed": True}),
    ("notification.list", {}),
    ("notification.list", {"unread": True}),
    ("notification.list", {"recipient": "zed"}),
    ("dead.list", QUICK),
    ("delivery.list", {}),
    ("delivery.list", {"state": "unknown"}),
    ("node.list", {}),
    ("audit.list", {}),
    ("suppress.export", {}),
    ("suppress.check", {"address": "gone5@x.test"}),
)
"""What the screens ask, with the filters that reach them."""


class Seen:
    """A console on a pty of 80x24, whose bytes are counted."""

    def __init__(self, socket: Path, screen: str = "overview") -> None:
        self.n_bytes = 0
        self.text = b""
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        start = "import sys; from dripd.cli.main import main; sys.exit(main())"
        words = [
            sys.executable,
            "-c",
            start,
            "console",
            "--socket",
            str(socket),
            "--screen",
            screen,
        ]
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        until = time.perf_counter() + 10
        while self.process.poll() is None and time.perf_counter() < until:
            self.read(0.1)  # else it waits for room to write
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def read(self, seconds: float) -> bool:
        """Take in what comes within *seconds*; whether anything did."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.n_bytes += len(data)
        self.text = (self.text + data)[-200_000:]
        return True

    def until(self, wanted: bytes) -> tuple[float, float]:
        """Wall and CPU seconds since the start, when *wanted* was written."""
        while wanted not in self.text:
            if not self.read(30):
                raise AssertionError(f"the console never wrote {wanted!r}")
        return time.perf_counter() - self.began, cpu_s(self.process.pid)

    def drain(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            self.read(left)

    def key(self, key: bytes) -> float:
        """Milliseconds from a key to the first byte that it paints."""
        while self.read(0.0):
            pass
        began = time.perf_counter()
        os.write(self._master, key)
        if not self.read(5):
            raise AssertionError(f"{key!r} painted nothing")
        return (time.perf_counter() - began) * 1000


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """Over *n* runs (default 1,000,000) on the fresh database of *dsn*."""
    wanted = n or RUNS
    began = time.perf_counter()
    lay(dsn, *estate(wanted))
    print(f"{wanted:,} runs laid in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return over(dsn, wanted)


def over(dsn: str, n: int) -> dict[str, object]:
    """Over the *n* runs that stand there."""
    with tempfile.TemporaryDirectory(prefix="dripd-bench-console-") as folder:
        socket = Path(folder) / "dripd.sock"
        with running(dsn, socket=socket) as pid:
            until_ready(socket)
            spent = Spent(pid, dsn)
            asked = {**trio.run(beside, dsn, spent.postmaster), **queries(socket, spent)}
            found = measure(socket, pid)
            return {"n": n, **found, **watched(socket, dsn, n), "queries_ms_and_cpu_ms": asked}


def watched(socket: Path, dsn: str, n: int) -> dict[str, object]:
    """A daemon at full speed with four consoles open: what admin work takes of it."""
    screens = ("overview", "enrollments", "campaigns", "deliveries")
    with ExitStack() as stack:
        open_ones = [stack.enter_context(Seen(socket, name)) for name in screens]
        for one in open_ones:
            one.until(b"LIVE")
        with Client(socket, timeout=60) as client:
            status: Any = client.call("daemon.status", {})
            due = (
                BURST * 6 // 10
            )  # of seven tenths: one account is paused, the last ones straggle
            wanted = status["counters"]["recorded"] + due
            asyncio.run(execute(dsn, *burst(n + 1, n + BURST)))
            before, began = page(status["metrics"]["url"]), time.perf_counter()
            while (passed := time.perf_counter() - began) < 120:
                for one in open_ones:
                    one.drain(0.25)
                now: Any = client.call("daemon.status", {})
                if now["counters"]["recorded"] >= wanted:
                    break
            after = page(status["metrics"]["url"])
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    n_slices = spent["dripd_admin_slice_seconds_count"]
    return {
        "watched_per_s": round(due / passed),
        "admin_percent": round(100 * spent["dripd_admin_seconds_total"] / passed, 2),
        "admin_slices": int(n_slices),
        "admin_slices_over_1_ms": int(n_slices - spent[SLICES.format("0.001")]),
        "admin_slices_over_2_5_ms": int(n_slices - spent[SLICES.format("0.0025")]),
    }


SLICES = 'dripd_admin_slice_seconds_bucket{{le="{}"}}'


def page(url: str) -> dict[str, float]:
    """The metrics that have a value now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def until_ready(socket: Path) -> None:
    for _ in range(1800):
        if socket.exists():
            time.sleep(2)
            return
        time.sleep(0.1)
    raise AssertionError("the daemon does not listen")


def measure(socket: Path, daemon: int) -> dict[str, object]:
    alone = share(daemon, LOOKED_S)
    with Seen(socket) as console:
        frame_s, frame_cpu_s = console.until(b"Overview")
        data_s, data_cpu_s = console.until(b"ACTIVE")
        console.drain(2)
        looked = look(console, daemon)
        with (
            Seen(socket) as second,
            Seen(socket, "nodes") as third,
            Seen(socket, "enrollments") as fourth,
        ):
            for other in (second, third, fourth):
                other.until(b"LIVE")
            began, spent = time.perf_counter(), cpu_s(daemon)
            while time.perf_counter() - began < LOOKED_S:
                for one in (console, second, third, fourth):
                    one.read(0.01)
            four = 100 * (cpu_s(daemon) - spent) / (time.perf_counter() - began)
        keys = press(console)
        return {
            "first_frame_ms": round(frame_s * 1000),
            "first_frame_cpu_ms": round(frame_cpu_s * 1000),
            "first_data_after_ms": round((data_s - frame_s) * 1000),
            "first_data_cpu_ms": round(data_cpu_s * 1000),
            "key_p50_ms": keys[0],
            "key_p95_ms": keys[1],
            **looked,
            "rss_mb": round(peak_mb(console.process.pid)),
            "daemon_alone_percent": round(alone, 2),
            "daemon_with_four_percent": round(four, 2),
            "daemon_per_console_percent": round((four - alone) / 4, 2),
        }


def share(pid: int, seconds: float) -> float:
    """Percent of a core that *pid* takes."""
    before = cpu_s(pid)
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - before) / seconds


def look(console: Seen, daemon: int) -> dict[str, object]:
    """What it costs to be looked at, on the overview."""
    before, n_bytes = cpu_s(console.process.pid), console.n_bytes
    console.drain(LOOKED_S)
    spent = cpu_s(console.process.pid) - before
    return {
        "console_percent": round(100 * spent / LOOKED_S, 2),
        "tty_kb_per_s": round((console.n_bytes - n_bytes) / LOOKED_S / 1000, 2),
    }


def press(console: Seen) -> tuple[float, float]:
    """p50 and p95 of key to paint, on the list of a million."""
    console.key(b"4")
    console.drain(3)
    found = []
    for n in range(KEYS):
        found.append(console.key(b"j" if n % 20 < 10 else b"k"))
        console.drain(0.05)
    cuts = quantiles(found, n=20)
    return round(cuts[9], 1), round(cuts[18], 1)


class Spent:
    """CPU of the daemon and of Postgres, in ms: what a busy machine does not make slower."""

    def __init__(self, daemon: int, dsn: str) -> None:
        self._daemon = daemon
        self.postmaster = postmaster_of(dsn)

    def ms(self) -> float:
        return 1000 * (cpu_s(self._daemon) + postgres_cpu_s(self.postmaster))


async def beside(dsn: str, postmaster: int) -> dict[str, tuple[float, float]]:
    """What the daemon reads beside those who look, as `queries` tells it; the CPU is Postgres'."""
    units = {
        "the glance behind daemon.overview": read_glance,
        "the estimate behind campaign.list": read_campaigns,
    }
    found = {}
    async with Bridge() as bridge:
        desk = Desk(bridge, dsn, size=1)
        await desk.open()
        for name, unit in units.items():
            took, before = [], postgres_cpu_s(postmaster)
            for _ in range(ASKED):
                began = time.perf_counter()
                await desk.run(unit)
                took.append((time.perf_counter() - began) * 1000)
            spent = 1000 * (postgres_cpu_s(postmaster) - before) / ASKED
            found[name] = (round(min(took), 1), round(spent, 1))
        await desk.close()
    return found


def queries(socket: Path, spent: Spent) -> dict[str, tuple[float, float]]:
    """Each screen's question over the socket: the quickest answer of ten, and the CPU of one."""
    found = {}
    with Client(socket, timeout=60) as client:
        for method, params in QUERIES:
            shown = " ".join(
                f"{name}={value}" for name, value in params.items() if name != "quick"
            )
            before, began = spent.ms(), time.perf_counter()
            took = []
            for _ in range(ASKED):
                took.append(timed(client, method, params))
                time.sleep(1 / CALLS_A_SECOND)  # who asks faster is refused
            asked = spent.ms()
            time.sleep(time.perf_counter() - began)
            own = spent.ms() - asked  # what goes on while nobody asks
            cpu = max(0.0, asked - before - own) / ASKED
            found[f"{method} {shown}".rstrip()] = (round(min(took), 1), round(cpu, 1))
    return found


def timed(client: Client, method: str, params: Mapping[str, object]) -> float:
    began = time.perf_counter()
    answer: Any = client.call(method, params)
    took = (time.perf_counter() - began) * 1000
    if not isinstance(answer, dict):
        raise TypeError(f"{method} answered {answer!r}")
    return took
