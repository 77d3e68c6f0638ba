"""The console without a screen: one line a change, for screen readers, pipes and slow minds."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from dripd.tui.chrome import Chrome
from dripd.tui.console import Console, said
from dripd.tui.draw import Cell
from dripd.tui.ending import watch
from dripd.tui.options import Options
from dripd.tui.page import ListPage
from dripd.tui.source import Daemon
from dripd.tui.table import Column, Row
from dripd.tui.watch import Follow
from dripd.tui.words import awake, clock, text

AGES: Final = frozenset({"", "ST", "AGE", "DUE", "EXPIRES", "FIRST", "LAST", "HEARTBEAT"})
"""Columns that change by themselves, or only mark: they are not told,"""

SOON: Final = re.compile(r"in \d")
"""nor is in how long something comes, whatever column has it."""

OUT: Final = 1
"""Where it is said: what a pipe ends at may go."""


class Plain:
    """Says what changes on one screen, line by line."""

    def __init__(
        self,
        daemon: Callable[[Callable[[], None]], Daemon],
        options: Options,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._shown: dict[str, str] = {}
        self._alerts: set[str] = set()
        self._headline = ""
        self._stirred = asyncio.Event()
        self._is_over = False
        self._console = Console(
            daemon(self._changed),
            options,
            monotonic=time.monotonic,
            spawn=self._spawn,
            changed=self._changed,
            copy=say,
            save=lambda _name, _kind, _text: "",
            leave=lambda: None,
        )

    async def run(self) -> None:
        """Until it is interrupted, or nobody reads it any more."""
        console = self._console
        console.start()
        loop = asyncio.get_running_loop()
        link = loop.create_task(console.daemon.run())

        def leave() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._leave)

        watch(OUT, leave)
        try:
            while not link.done() and not self._is_over:
                await self._stirred.wait()
                self._stirred.clear()
                self._look()
                await asyncio.sleep(0.25)
            if not self._is_over:
                link.result()
        finally:
            link.cancel()

    def _leave(self) -> None:
        self._is_over = True
        self._stirred.set()

    def _changed(self) -> None:
        self._stirred.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()  # only keys start anything, and there are none

    def _look(self) -> None:
        console = self._console
        headline = " ".join(Chrome(console).headline()[:2]) if console.daemon.up else ""
        trouble = console.daemon.trouble
        lost = f"dripd: {said(trouble)}" if trouble else ""
        headline = f"dripd {console.env} {headline}" if headline else lost
        if headline and headline != self._headline:
            self._headline = headline
            self._say(f"{self._now()} {headline}")
        self._tell_alerts()
        if console.toast is not None:
            self._say(console.toast[0])
            console.toast = None
        self._tell_rows()

    def _tell_alerts(self) -> None:
        """What somebody should look at, on whatever screen; what is snoozed is over."""
        alerts = {
            f"{text(one.get('what'))} {one.get('where') or ''}".strip(): one
            for one in awake(self._console.overview.answer or {})
        }
        for name, one in alerts.items():
            if name not in self._alerts:
                detail = f": {text(one['detail'])}" if one.get("detail") else ""
                self._say(f"{self._now()} alert {text(one.get('level'))} {name}{detail}")
        for name in sorted(self._alerts - alerts.keys()):
            self._say(f"{self._now()} alert over: {name}")
        self._alerts = set(alerts)

    def _tell_rows(self) -> None:
        page = self._console.page
        if page.trouble and self._shown.get("") != page.trouble:
            self._shown[""] = page.trouble
            self._say(f"{self._now()} {page.name}: {page.trouble}")
        table = page.table
        if table is None:
            return
        if not isinstance(page, ListPage):
            page.lines(80, 24)  # takes what the overview has
        rows = {name: self._words(row) for name, row in table.rows.items()}
        for name in reversed(table.order) if _is_tail(page) else table.order:
            if self._shown.get(name) != rows[name]:
                self._say(f"{self._now()} {page.name} {rows[name]}")
        if not _is_tail(page):
            for name in self._shown.keys() - rows.keys() - {""}:
                self._say(f"{self._now()} {page.name} gone: {self._shown[name]}")
            kept = {"": self._shown[""]} if "" in self._shown else {}
            self._shown = {**rows, **kept}
        else:
            self._shown |= rows

    def _words(self, row: Row) -> str:
        table = self._console.page.table
        return "" if table is None else words_of(row, table.columns)

    def _now(self) -> str:
        return clock((self._console.overview.answer or {}).get("now"))


def words_of(row: Row, columns: Sequence[Column]) -> str:
    """A row in words: the titles and what stands under them, ages left out."""
    found = []
    for column in columns:
        if column.title in AGES:
            continue
        cell = column.show(row)
        shown = (cell.text if isinstance(cell, Cell) else cell).strip()
        if shown not in {"", "-"} and not SOON.match(shown):
            found.append(f"{column.title.lower()} {shown}")
    return ", ".join(found)


def _is_tail(page: object) -> bool:
    return isinstance(page, ListPage) and any(isinstance(w, Follow) for w in page.watches)


def run(
    daemon: Callable[[Callable[[], None]], Daemon], options: Options, say: Callable[[str], None]
) -> int:
    """Say what changes until the process is interrupted, or nobody reads it any more."""
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(Plain(daemon, options, say).run())
    return 0
