"""A few seconds of chaos: the programme itself works, from the command to the verdict."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dripd.proof.found import PROMISES


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.feature("D4")
def test_chaos_keeps_every_promise() -> None:
    command = [sys.executable, "-m", "dripd.cli.main", "selftest", "chaos"]
    command += ["--minutes", "0.2", "--steps", "150", "--faults", "0", "--seed", "7", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode in {0, 1}, done.stderr
    answer = json.loads(done.stdout)

    assert dict.fromkeys(PROMISES, 0) == {p: answer[p] for p in PROMISES}
    assert answer["ok"], answer
    assert answer["steps"] > 50
    kinds = {"kill9", "sigstop", "terminated", "restarts", "clock_steps"}
    assert kinds <= answer["faults"].keys()
    assert answer["faults"]["kill9"] > 0
