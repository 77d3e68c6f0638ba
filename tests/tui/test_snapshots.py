"""Every screen as it stands, word for word: what a change does to it is seen in the diff.

`make snapshots` writes them anew; look at the diff before it is committed. They are text, of the
fake daemon, and so need neither a terminal nor packages of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dripd.tui.pages import PAGES, TABS
from tests.tui.fake import Rig

HERE = Path(__file__).parent / "snapshots"
SIZES = [(80, 24), (100, 30)]
NAMES = (*PAGES, *TABS)

STATES = {
    "timeline": ("4", "enter"),
    "help": ("?",),
    "palette": (":",),
    "pause-all": ("ctrl+w", "P"),
    "stop": ("4", "ctrl+w", "space", "space", "K"),
    "enroll": ("4", "ctrl+w", "a"),
    "retry-unsafe": ("7", "ctrl+w", "down", "R"),
    "filter": ("4", "/", "s", "t"),
    "frozen": ("6", "space"),
}
"""Dialogs and the like: the keys that lead there."""


def held(name: str, shown: str) -> None:
    """*shown* is what was kept as *name*; with DRIPD_RENEW it is kept from now on."""
    path = HERE / f"{name}.txt"
    text = "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"
    if os.environ.get("DRIPD_RENEW"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", NAMES)
def test_a_screen_looks_as_it_did(name: str, size: tuple[int, int]) -> None:
    rig = Rig(size=size)
    rig.console.go(name)

    held(f"{name}-{size[0]}x{size[1]}", rig.text())


@pytest.mark.parametrize("name", STATES)
def test_a_dialog_looks_as_it_did(name: str) -> None:
    held(f"{name}-80x24", Rig().press(*STATES[name]))


def test_no_snapshot_is_left_over() -> None:
    wanted = {f"{name}-{w}x{h}.txt" for name in NAMES for w, h in SIZES}
    wanted |= {f"{name}-80x24.txt" for name in STATES}

    assert wanted == {path.name for path in HERE.iterdir()}
