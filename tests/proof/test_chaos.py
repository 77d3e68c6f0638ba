"""A few seconds of chaos: the programme itself works, from the command to the verdict."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dripd.proof.found import PROMISES


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.feature("D4")
def test_chaos_keeps_every_promise() -> None:
    command = [sys.executable, "-m", "dripd.cli.main", "selftest", "chaos"]
    command += ["--minutes", "0.2", "--steps", "150", "--faults", "0", "--seed", "7", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        told, _ = process.communicate()
    finally:
        process.terminate()  # cut short here, it ends what it has started
    assert process.returncode in {0, 1}
    answer = json.loads(told)

    assert dict.fromkeys(PROMISES, 0) == {p: answer[p] for p in PROMISES}
    assert answer["ok"], answer
    assert answer["steps"] > 50
    kinds = {"kill9", "sigstop", "terminated", "restarts", "clock_steps"}
    assert kinds <= answer["faults"].keys()
    assert answer["faults"]["kill9"] > 0
