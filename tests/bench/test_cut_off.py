"""A benchmark that is cut off ends what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.world import until
from tests.support.processes import started_in

PATIENCE_S = 150.0


@pytest.mark.timeout(300)
def test_its_daemon_consoles_and_postgres_end_with_it() -> None:
    words = [sys.executable, "-m", "dripd.cli.main", "bench", "run", "console", "--n", "2000"]
    with TemporaryDirectory(prefix="d-") as short:  # sockets have short names
        folder = Path(short)
        with subprocess.Popen(words, env={**os.environ, "TMPDIR": short}) as process:
            until(lambda: process.poll() is not None or has_console(folder), PATIENCE_S)
            process.send_signal(signal.SIGTERM)

            assert process.wait(PATIENCE_S) == 130

        until(lambda: not started_in(folder), PATIENCE_S)
        assert not list(folder.glob("dripd-bench-*"))


def has_console(folder: Path) -> bool:
    return any(" --screen " in words for words in started_in(folder).values())
