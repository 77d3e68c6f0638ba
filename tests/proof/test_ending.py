"""A proof that is told to end leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.world import STARTUP_S, until
from tests.support.processes import is_running, started_in


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.feature("D4")
@pytest.mark.parametrize(
    ("proof", "moment", "how"),
    [
        ("chaos", "d*.sock", signal.SIGTERM),
        ("crash", "postgres.json", signal.SIGTERM),
        ("recovery", "postgres.json", signal.SIGINT),
        ("foretell", "d*.sock", signal.SIGHUP),
        ("migrate", "postgres.json", signal.SIGTERM),
    ],
)
def test_a_proof_that_is_told_to_end_stops_what_it_has_started(
    proof: str, moment: str, how: signal.Signals
) -> None:
    """`foretell` and `migrate` left their Postgres running after a SIGTERM."""
    with TemporaryDirectory(prefix="dripd-", dir="/tmp") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "dripd.cli.main", "selftest", proof]
        process = subprocess.Popen(
            command, env={**os.environ, "TMPDIR": name}, stderr=subprocess.DEVNULL,
            preexec_fn=hear_all,  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        try:
            until(lambda: list(folder.glob(f"dripd-*/{moment}")), STARTUP_S)
            until(lambda: server_of(folder), STARTUP_S)
            server, others = server_of(folder), started_in(folder)
        finally:
            process.send_signal(how)

        assert 130 == process.wait(STARTUP_S)
        assert server > 0
        assert not is_running(server)
        assert moment == "postgres.json" or len(others) > 1
        assert {} == started_in(folder)
        assert [] == list(folder.glob("dripd-*"))


def hear_all() -> None:
    """Below nohup, or behind a shell's `&`, these are ignored."""
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_DFL)


def server_of(folder: Path) -> int:
    """The process id of the Postgres that was made in *folder*; 0 as long as there is none."""
    try:
        (place,) = folder.glob("dripd-*/postgres.json")
        home = Path(json.loads(place.read_text())["home"])
        return int((home / "data" / "postmaster.pid").read_text().split()[0])
    except (ValueError, IndexError, FileNotFoundError):
        return 0
