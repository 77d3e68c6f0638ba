"""The console on Textual itself, by its Pilot: every screen, every key, at four sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dripd.admin.catalogue import SPECS
from dripd.admin.roles import Role
from dripd.tui.app import ConsoleApp
from dripd.tui.dialog import Confirm
from dripd.tui.draw import plain
from dripd.tui.options import Options
from dripd.tui.page import ListPage
from dripd.tui.pages import PAGES, TABS
from tests.tui.fake import FakeDaemon

SIZES = [(80, 24), (100, 30), (60, 15), (40, 10)]

by_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
by_screen = pytest.mark.parametrize("name", [*PAGES, *TABS])


class Seat:
    """Somebody at a console: presses keys, reads what is painted."""

    def __init__(self, daemon: FakeDaemon, name: str) -> None:
        self.daemon = daemon
        self.app = ConsoleApp(lambda _changed: daemon, Options(screen=name))

    def run(self, size: tuple[int, int], scenario: Callable[[Seat], Awaitable[None]]) -> None:
        async def sit() -> None:
            async with self.app.run_test(size=size) as self.pilot:
                await scenario(self)

        asyncio.run(sit())

    async def press(self, *keys: str) -> str:
        self.app.console_._burst.clear()  # the Pilot types faster than any person
        await self.pilot.press(*keys)
        self.app.paint()
        return self.text

    @property
    def text(self) -> str:
        return "\n".join(plain(one) for one in self.app.canvas.lines)

    @property
    def changes(self) -> list[str]:
        return [name for name, _ in self.daemon.calls if name in SPECS and SPECS[name].mutating]

    async def back_to(self, name: str) -> None:
        while self.app.console_.dialogs:
            await self.press("escape")
        self.app.console_.go(name)
        if isinstance(self.app.console_.page, ListPage):
            self.app.console_.page.turn(second=name in TABS)


@by_size
@by_screen
def test_every_key_of_the_footer_does_something_or_says_why_not(
    name: str, size: tuple[int, int]
) -> None:
    async def scenario(seat: Seat) -> None:
        console = seat.app.console_
        for key in [action.key for action in console.page.actions()]:
            before, calls = seat.text, len(seat.daemon.calls)
            console.toast = None
            after = await seat.press(key)
            told = console.toast is not None or bool(console.dialogs)
            acted = (
                len(seat.daemon.calls) > calls
                or console.page.name != PAGES[TABS.get(name, name)].name
            )
            assert told or acted or before != after, (name, key)
            await seat.back_to(name)
        assert {len(line) for line in seat.text.splitlines()} <= {size[0]}
        assert seat.changes == []

    Seat(FakeDaemon(), name).run(size, scenario)


@by_size
@by_screen
def test_a_viewer_changes_nothing_by_any_key(name: str, size: tuple[int, int]) -> None:
    async def scenario(seat: Seat) -> None:
        console = seat.app.console_
        await seat.press("ctrl+w")
        assert not console.is_writing
        console.toast = None
        for action in [one for one in console.page.actions() if one.changes]:
            await seat.press(action.key)
            assert console.toast is not None, action.key
            assert not any(isinstance(one, Confirm) for one in console.dialogs)
        assert seat.changes == []

    Seat(FakeDaemon(Role.VIEWER), name).run(size, scenario)


@by_size
@by_screen
def test_what_asks_before_it_acts_stands_on_cancel(name: str, size: tuple[int, int]) -> None:
    async def scenario(seat: Seat) -> None:
        console = seat.app.console_
        await seat.press("ctrl+w")
        for action in [one for one in console.page.actions() if one.changes]:
            before = len(seat.changes)
            await seat.press(action.key)
            for dialog in console.dialogs:
                if isinstance(dialog, Confirm):
                    assert dialog.focus == 0, action.key
                    await seat.press("enter")
                    assert len(seat.changes) == before, action.key
            await seat.back_to(name)

    Seat(FakeDaemon(), name).run(size, scenario)


def test_a_resize_draws_everything_anew() -> None:
    async def scenario(seat: Seat) -> None:
        await seat.pilot.resize_terminal(40, 10)
        await seat.pilot.pause()
        seat.app.paint()
        assert "terminal too small" in seat.text
        await seat.pilot.resize_terminal(120, 40)
        await seat.pilot.pause()
        seat.app.paint()
        assert "WHAT TO DO" in seat.text

    Seat(FakeDaemon(), "overview").run((80, 24), scenario)
