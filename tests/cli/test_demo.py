"""`dripd demo` shows the console in a terminal, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.terminal import Terminal


@pytest.mark.slow
def test_in_a_terminal_the_demo_is_seen_through_the_console(tmp_path: Path) -> None:
    with Terminal(["demo"], environment={"TMPDIR": str(tmp_path)}) as terminal:
        terminal.until("WHAT IS HOLDING MAIL BACK", seconds=90)
        terminal.key("2")
        terminal.until("TODAY/CAP")
        terminal.key("\x11")

        assert terminal.end() == 0
        assert terminal.is_whole
    assert list(tmp_path.iterdir()) == []
