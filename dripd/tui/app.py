"""The console on a terminal: Textual reads keys and resizes, one widget draws all lines.

Nothing is handed to Textual but segments of text and style, so nothing in the data can be
taken for markup. Only lines that have changed are drawn again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final

from rich.segment import Segment
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from dripd.errors import DripdError
from dripd.tui.console import Console, said
from dripd.tui.draw import Line
from dripd.tui.ending import TERMINAL, modes, obey, restore
from dripd.tui.options import Options
from dripd.tui.source import Daemon
from dripd.tui.theme import style

TICK_S: Final = 1.0
"""Ages and clocks move on so often even when nothing comes in."""

SETTLE_S: Final = 0.02
"""Changes within this time are drawn as one; a key is drawn at once."""


class Canvas(Widget, can_focus=True):
    """All that is seen: lines of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self._strips: list[Strip] = []
        self._theme = ""

    def show(self, lines: list[Line], theme: str) -> None:
        """Draw *lines*: those that differ from what stands there."""
        before = self.lines if theme == self._theme else []
        fresh = [n for n, one in enumerate(lines) if n >= len(before) or before[n] != one]
        if len(lines) != len(self._strips):
            self._strips = [Strip.blank(self.size.width)] * len(lines)
        self.lines, self._theme = lines, theme
        for n in fresh:
            segments = [Segment(cell.text, style(theme, cell.style)) for cell in lines[n]]
            self._strips[n] = Strip(segments, self.size.width)
        if fresh:
            self.refresh(*[Region(0, n, self.size.width, 1) for n in fresh])

    def render_line(self, y: int) -> Strip:
        if y < len(self._strips):
            return self._strips[y].adjust_cell_length(
                self.size.width, style(self._theme or "mono", "")
            )
        return Strip.blank(self.size.width)


class ConsoleApp(App[int]):
    """Keys in, lines out."""

    CSS: ClassVar[str] = (
        "Screen { background: ansi_default; } Canvas { background: ansi_default; }"
    )
    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    BINDINGS: ClassVar[list[Any]] = []

    def __init__(
        self, daemon: Callable[[Callable[[], None]], Daemon], options: Options
    ) -> None:
        super().__init__(ansi_color=True)
        self.canvas = Canvas()
        self.modes = modes()
        self._due = False
        self._mouse = True
        self._tasks: set[asyncio.Task[None]] = set()
        self.console_ = Console(
            daemon(self.changed),
            options,
            monotonic=time.monotonic,
            spawn=self.spawn,
            changed=self.changed,
            copy=self.copy_to_clipboard,
            save=save,
            leave=lambda: self.exit(0),
        )

    def compose(self) -> ComposeResult:
        yield self.canvas

    def on_mount(self) -> None:
        if not self.is_headless:
            obey(self.exit, self.modes)
        self.canvas.focus()
        self.console_.start()
        self._keep(self.console_.daemon.run())
        self.set_interval(TICK_S, self.changed)
        self.paint()

    async def on_unmount(self) -> None:
        await self.console_.daemon.close()
        for task in list(self._tasks):
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* beside; what goes wrong with it is told."""

        async def guarded() -> None:
            try:
                await work
            except DripdError as error:
                self.console_.tell(said(error), "bad")

        self._keep(guarded())

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def changed(self) -> None:
        """Something is to be drawn, soon and together with what comes meanwhile."""
        if not self._due and self.is_running:
            self._due = True
            asyncio.get_running_loop().call_later(SETTLE_S, self.paint)

    def paint(self) -> None:
        """Draw what there is now."""
        self._due = False
        if not self.is_running or self.canvas.size.width == 0:
            return
        if self.console_.mouse != self._mouse:
            self._mouse = self.console_.mouse
            self._let_mouse(taken=self._mouse)
        width, height = self.canvas.size
        self.canvas.show(self.console_.frame(width, height), self.console_.theme)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self.console_.key(event.key, event.character if event.is_printable else None)
        self.paint()

    def action_quit_now(self) -> None:
        self.exit(0)

    async def action_quit(self) -> None:
        self.exit(0)

    def action_help_quit(self) -> None:
        self.console_.key("ctrl+c")
        self.paint()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.console_.paste(event.text)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.paint)

    def on_click(self, event: events.Click) -> None:
        self.console_.click(event.x, event.y, again=event.chain > 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.console_.scroll(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.console_.scroll(-3)

    def on_app_blur(self, event: events.AppBlur) -> None:
        """Nobody looks: ask for little."""
        self._pace(slow=True)

    def on_app_focus(self, event: events.AppFocus) -> None:
        self._pace(slow=False)

    def _pace(self, *, slow: bool) -> None:
        console = self.console_
        for watch in (console.overview, *console.page.watches):
            console.daemon.pace(watch, 0.2 if slow else watch.usual_hz)

    def _let_mouse(self, *, taken: bool) -> None:
        """Take the mouse, or leave it to the terminal so that it can select text."""
        driver = self._driver
        if driver is not None and not self.is_headless:
            ending = "h" if taken else "l"
            driver.write("".join(f"\x1b[?{mode}{ending}" for mode in (1000, 1003, 1006)))
            driver.flush()


def save(name: str, kind: str, text: str) -> str:
    """Write *text* to a new file of this directory, as this user; says where."""
    name = "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in name)
    for n in range(1, 1000):
        path = Path(f"dripd-{name}-{n}.{kind}")
        try:
            with path.open("x", encoding="utf-8", newline="") as out:
                out.write(text)
        except FileExistsError:
            continue
        except OSError as error:
            return f"cannot write {path}: {error.strerror}"
        return f"written: {path.resolve()}"
    return "there are 999 such files here already"


def forget_size() -> None:
    """A size that was exported is that of a moment: a terminal that knows its own is followed."""
    with suppress(OSError):
        if os.get_terminal_size(TERMINAL).columns:
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)


def run(daemon: Callable[[Callable[[], None]], Daemon], options: Options) -> int:
    """The console until it is left; returns the exit code. The terminal is whole afterwards."""
    # Textual animates and writes by defaults that nobody watching a daemon needs
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    forget_size()
    app = ConsoleApp(daemon, options)
    try:
        code = app.run()
    except BaseException:
        restore(app.modes)
        raise
    if code is None:
        return app.return_code or 0
    return code
