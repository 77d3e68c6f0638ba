"""`dripd demo` shows the console in a terminal, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stories.world import until
from tests.support.processes import started_in
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


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hang_up", "kill"])
def test_a_demo_that_nobody_sees_any_more_leaves_nothing(tmp_path: Path, how: str) -> None:
    with Terminal(["demo"], environment={"TMPDIR": str(tmp_path)}) as terminal:
        terminal.until("WHAT IS HOLDING MAIL BACK", seconds=90)
        if how == "hang_up":
            terminal.hang_up()
            terminal.end()
        else:
            terminal.process.kill()

    until(lambda: not list(tmp_path.iterdir()), 60)
    until(lambda: not started_in(tmp_path), 60)
