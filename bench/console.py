"""What does a console cost, and how quick is it? The real program on a pty, over a real daemon.

A million runs wait, some 35 steps a second come due. Measured: from the start to the first
frame and to the first data, from a key to what it paints, CPU, memory and bytes of a console
that is looked at, what one and four of them cost the daemon, and every screen's query.
"""

from __future__ import annotations

import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping
from fcntl import ioctl
from pathlib import Path
from statistics import quantiles
from types import TracebackType
from typing import Any, Self

from bench.field import ground, lay, runs
from bench.meter import cpu_s, peak_mb
from bench.process import running
from dripd.admin.client import Client
from dripd.config import Config

RUNS = 1_000_000
HOURS = 8
LOOKED_S = 15.0
KEYS = 100
QUERIES: Mapping[str, Mapping[str, object]] = {
    "daemon.overview": {},
    "account.list": {},
    "sender.list": {},
    "campaign.list": {},
    "campaign.stats": {"key": "bench", "account": "a2"},
    "enroll.list": {},
    "enroll.list by campaign": {"campaign": "bench", "account": "a2"},
    "enroll.list by status": {"status": "waiting"},
    "enroll.explain": {"enrollment": 1},
    "contact.timeline": {"contact": "#1", "account": "a2"},
    "task.list": {"state": "open"},
    "notification.list": {},
    "dead.list": {},
    "node.list": {},
    "audit.list": {},
    "suppress.export": {},
}


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
        self.read(0.3)
        self.process.wait(10)
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
    due = f"dripd.now() + interval '1 minute' + random() * interval '{HOURS} hours'"
    lay(dsn, ground(), runs(1, wanted, due))
    with tempfile.TemporaryDirectory(prefix="dripd-bench-console-") as folder:
        socket = Path(folder) / "dripd.sock"
        with running(dsn, socket=socket) as pid:
            until_ready(socket)
            return {"n": wanted, **measure(socket, pid)}


def until_ready(socket: Path) -> None:
    for _ in range(600):
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
            "queries_ms": queries(socket),
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


def queries(socket: Path) -> dict[str, float]:
    """Each screen's question, the best of three: as the daemon answers it, over the socket."""
    found: dict[str, float] = {}
    with Client(socket, timeout=60) as client:
        for name, params in QUERIES.items():
            method = name.split(" ", maxsplit=1)[0]
            found[name] = round(min(timed(client, method, params) for _ in range(3)), 1)
    return found


def timed(client: Client, method: str, params: Mapping[str, object]) -> float:
    began = time.perf_counter()
    answer: Any = client.call(method, params)
    took = (time.perf_counter() - began) * 1000
    if not isinstance(answer, dict):
        raise TypeError(f"{method} answered {answer!r}")
    return took
