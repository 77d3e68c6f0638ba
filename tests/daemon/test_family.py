"""Who asks one daemon of `--processes` is told what has become of the others."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dripd.daemon import family
from dripd.daemon.control_console import alerts
from dripd.daemon.parent import Child, Family

READY = """
import os, signal, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.pause()
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """Two that say that they are ready and then only wait."""
    made = Family([sys.executable, "-c", READY], [], tmp_path / "family")
    monkeypatch.setenv(family.FILE, str(made.place))
    for name in ("n1", "n1-2"):
        hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        hears.bind(str(tmp_path / name))
        around = {"NOTIFY_SOCKET": str(tmp_path / name)}
        made.children.append(Child(family.Member(name), around, hears))
    yield made
    for child in made.children:
        child.hears.close()
        if child.process is not None:
            child.process.kill()
            child.process.wait()


def told(house: Family) -> list[Mapping[str, Any]]:
    house.tend()
    return family.read()


def test_the_others_hear_of_a_death_and_of_the_new_start(house: Family) -> None:
    assert ["starting", "starting"] == [one["state"] for one in told(house)]
    for child in house.children:
        child.listen()
    assert ["running", "running"] == [one["state"] for one in told(house)]

    second = house.children[1]
    assert second.process is not None
    second.process.kill()
    second.process.wait()
    first, dead = told(house)
    assert ("running", 0, None) == (first["state"], first["deaths"], first["died_at"])
    assert ("dead", None, 1, -9) == (dead["state"], dead["pid"], dead["deaths"], dead["code"])
    assert dead["died_at"] < dead["again_at"]
    assert [("!!", "process died", "n1-2", "code -9, once")] == [
        (one["level"], one["what"], one["where"], one["detail"])
        for one in alerts({"processes": [first, dead]}, {}, None)
    ]

    second.start_at = 0
    assert ("starting", None, 1) == tuple(
        told(house)[1][k] for k in ("state", "again_at", "deaths")
    )
    second.listen()
    assert ("running", 1) == tuple(told(house)[1][k] for k in ("state", "deaths"))
    assert [] == alerts({"processes": told(house)}, {}, None)


def test_a_daemon_without_a_parent_has_no_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(family.FILE, raising=False)

    assert [] == family.read()


def test_a_parent_that_is_gone_has_left_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(family.FILE, str(tmp_path / "family"))

    assert [] == family.read()
