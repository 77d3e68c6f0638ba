"""Faults drawn from seeds, on several daemons in virtual time; it plays again the same way."""

from __future__ import annotations

import os
import subprocess
import sys

import orjson
import pytest

from dripd.proof import simulate
from dripd.proof.simulate import run

pytestmark = pytest.mark.interpreted

SEEDS = range(1, 501)

FAULTS = {
    "answer_lost", "cut_off", "clock_step", "database_away", "disk_full", "disk_lost", "kill9",
    "locked", "provider", "sigstop", "stops",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_promises_hold_on_every_seed() -> None:
    told: list[str] = []
    found = run(SEEDS, told.append, jobs=2)

    assert [] == told
    assert found["ok"]
    faults = found["faults"]
    assert isinstance(faults, dict)
    assert FAULTS <= faults.keys()
    assert all(faults[name] > 50 for name in FAULTS), faults


def played(hash_seed: str) -> list[object]:
    """Seeds 5 to 8 in a process of its own, whose sets of words have another order."""
    command = [sys.executable, "-m", "dripd.proof.simulate", "5", "9", "1"]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, check=True, capture_output=True, env=env)
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def test_a_seed_plays_again_the_same_way_in_another_process() -> None:
    first, again = played("1"), played("2")

    assert 4 == len(first)
    assert first == again


def test_it_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "TELL_EVERY", 2)
    told: list[str] = []

    simulate.run(range(1, 6), told.append)

    assert told == [f"{n} of 5 seeds, 0 broke a promise" for n in (2, 4)]


def test_a_seed_that_stands_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "STILL_S", 0.001)
    told: list[str] = []

    result = simulate.run(range(1, 3), told.append, jobs=2)

    assert result["ok"]
    assert told[0] == "for 0.001 s no seed has ended: [1, 2] stand still"
