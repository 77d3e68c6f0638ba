"""A benchmark that is cut off ends what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

PATIENCE_S = 150.0


def theirs(folder: Path) -> list[str]:
    """The processes that have *folder* among their words or in their environment."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            told = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if os.fsencode(folder) in told:
            found.append(told.replace(b"\0", b" ").decode(errors="replace"))
    return found


def until(what: str, so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not so():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
def test_its_daemon_consoles_and_postgres_end_with_it() -> None:
    words = [sys.executable, "-m", "dripd.cli.main", "bench", "run", "console", "--n", "2000"]
    with TemporaryDirectory(prefix="d-") as short:  # sockets have short names
        folder = Path(short)
        with subprocess.Popen(words, env={**os.environ, "TMPDIR": short}) as process:
            until(
                "no console",
                lambda: (
                    process.poll() is not None
                    or any(" --screen " in one for one in theirs(folder))
                ),
            )
            process.send_signal(signal.SIGTERM)

            assert process.wait(PATIENCE_S) == 130

        until("something is left", lambda: not theirs(folder))
        assert not list(folder.glob("dripd-bench-*"))
