"""By which rules zones shift here, and the word for them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from dripd.clock import parse_instant
from dripd.daemon.zones import digest, shifts
from dripd.store.desk_deployment import differing

ASK = "from dripd.daemon import zones; zones.pin(); print(zones.digest())"


def asked(**environment: str) -> str:
    """The word of another process."""
    around = {k: v for k, v in os.environ.items() if k != "PYTHONTZPATH"} | environment
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=around, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_every_shift_is_found_to_the_second() -> None:
    found = list(shifts(ZoneInfo("Europe/Berlin")))

    assert (parse_instant("2026-03-29T01:00:00Z") // 1000, 7200) == found[1]
    assert (parse_instant("2026-10-25T01:00:00Z") // 1000, 3600) == found[2]
    assert 13 == len(found)


def test_the_rules_of_zones_are_not_the_hosts() -> None:
    """A host is played by where Python looks first unless it is told."""
    assert asked() == asked(PYTHONTZPATH="")


def test_one_shift_more_is_another_word(tmp_path: Path) -> None:
    rules = resources.files("tzdata.zoneinfo")
    (tmp_path / "Berlin").write_bytes((rules / "Asia" / "Tokyo").read_bytes())
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Berlin").rename(tmp_path / "Europe" / "Berlin")

    assert asked() != asked(PYTHONTZPATH=str(tmp_path))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a1", "a1"), []),
        (("a1", "b2"), ["one a1", "two b2"]),
        (("a1", None), []),
        (("a1", ""), []),
    ],
)
def test_daemons_of_other_rules_are_told_apart(
    words: tuple[str | None, str | None], told: list[str]
) -> None:
    """One that has just started has not said yet."""
    nodes = [(name, {"zones": word}) for name, word in zip(("one", "two"), words, strict=True)]

    assert told == differing(nodes)
    assert 12 == len(digest())
