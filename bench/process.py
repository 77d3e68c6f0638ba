"""Real daemons in processes of their own: `dripd run`, as an operator starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.meter import stat

ROOT = Path(__file__).resolve().parents[1]

CONFIG = '[log]\nlevel = "warning"\n[provider.counting]\nkind = "sink"\nrecord = false\n'


def has_ended(pid: int) -> bool:
    """Is a process that was started here over, though nobody has waited for it yet?"""
    return stat(pid)[0] == "Z"


@contextmanager
def running(dsn: str, *flags: str, socket: Path | None = None, more: str = "") -> Iterator[int]:
    """A daemon on *dsn* while inside, on *socket* if it matters; its process id.

    It need not be ready yet. *more* is added to its configuration.
    """
    with tempfile.TemporaryDirectory(prefix="dripd-bench-run-") as folder:
        config = Path(folder) / "dripd.toml"
        config.write_text(CONFIG + more)
        start = "from dripd.cli.main import main; main()"
        words = [sys.executable, "-c", start, "run", "--config", str(config), *flags]
        env = {**os.environ, "DRIPD_STATE": folder, "DRIPD_DSN": dsn}
        env |= {} if socket is None else {"DRIPD_SOCKET": str(socket)}
        with subprocess.Popen(words, cwd=ROOT, env=env) as process:
            try:
                yield process.pid
                if process.poll() is not None:
                    raise AssertionError(f"the daemon ended with {process.returncode}")
            finally:
                process.send_signal(signal.SIGTERM)
