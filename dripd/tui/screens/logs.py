"""What does the daemon say about itself? Its last log lines, and those that come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from dripd.admin.closed import LogLevel, words
from dripd.tui.draw import Cell, Line, line
from dripd.tui.filter import Key
from dripd.tui.page import Action, Deeds, Port, TailPage
from dripd.tui.table import Column, Row
from dripd.tui.words import LEVELS, clock, instant, text

ORDER = words(LogLevel)
COMMON = {"ts", "level", "event", "stage", "seq", "_n"}


def rest(row: Row) -> str:
    return " ".join(f"{key}={text(value)}" for key, value in row.items() if key not in COMMON)


class Logs(TailPage):
    name: ClassVar[str] = "logs"
    digit: ClassVar[str] = "L"
    short: ClassVar[str] = "Logs"
    tiny: ClassVar[str] = "Lo"
    title: ClassVar[str] = "Logs"
    method: ClassVar[str] = "logs"
    keys: ClassVar[Mapping[str, Key]] = {
        "level": Key(
            param="level",
            help="at this level; >= or worse",
            values=ORDER,
            negated=True,
            ordered=True,
        ),
        "event": Key(
            param="event", help="this event; text* matches its beginning", negated=True
        ),
        "stage": Key(param="stage", help="of this stage", negated=True),
    }
    figures = (
        ("ring", "the daemon keeps its last 2 000 lines in memory; the journal has the rest"),
        ("alone of N nodes", "each daemon knows its own lines alone; --socket chooses another"),
        ("+ _", "shows only worse lines, or more again"),
        ("TIME", "when, in UTC; t: seconds after the line before it of those that are shown"),
        ("EVENT", "noun.participle of the log catalogue; never an address or content"),
    )

    def __init__(self, port: Port, deeds: Deeds) -> None:
        self._gaps = False
        super().__init__(port, deeds)

    def columns(self) -> Sequence[Column]:
        return (
            Column(title="TIME", width=9, show=self._when),
            Column(title="LEVEL", width=8, show=lambda row: Cell(text(row.get("level")).upper(), LEVELS.get(str(row.get("level")), ""))),
            Column(title="STAGE", width=8, show=lambda row: text(row.get("stage"))),
            Column(title="EVENT", width=20, show=lambda row: text(row.get("event"))),
            Column(title="KEYS", show=rest),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        return [
            Action(key="+", label="worse", help="only lines of a higher level", run=lambda: self._turn(1),
                   why_not=lambda: "only the worst are shown" if self._least == len(ORDER) - 1 else ""),
            Action(key="_", label="more", help="lines of a lower level as well", run=lambda: self._turn(-1),
                   why_not=lambda: "" if self._least else "every level is shown"),
            Action(key="m", label="unmark" if self._table.cursor in self._table.pins else "mark",
                   help="the line, to find it again by n N; the tail goes on", run=self._pin, why_not=self._no_row),
            Action(key="t", label="times" if self._gaps else "gaps", help="how long after the line before, or when", run=self._turn_gaps),
            Action(key="enter", label="all of it", help="every key of the line", run=self.enter,
                   why_not=self._no_row),
        ]  # fmt: skip

    def _pin(self) -> None:
        self._table.pin()

    @property
    def extent(self) -> str:
        pinned = len(self._table.pins)
        return f"{super().extent}{f'   {pinned} marked' if pinned else ''}"

    def _when(self, row: Row) -> str:
        """When, or how long after the line before it of those that are shown."""
        before = self._table.rows.get(str(row.get("_n", 0) - 1), {})
        at, last = instant(row.get("ts")), instant(before.get("ts"))
        if not self._gaps:
            return clock(row.get("ts"))
        return "-" if at is None or last is None else f"+{(at - last) / 1000:.3f}"

    def _turn_gaps(self) -> None:
        self._gaps = not self._gaps

    @property
    def _least(self) -> int:
        wanted = self.wanted.get("level")
        return ORDER.index(wanted[0]) if isinstance(wanted, list) else 0

    def _turn(self, by: int) -> None:
        least = max(0, min(len(ORDER) - 1, self._least + by))
        others = [one for one in self.filter_text.split() if not one.startswith("level")]
        self.set_filter(" ".join([*others, *([f"level>={ORDER[least]}"] if least else [])]))

    def enter(self) -> None:
        if row := self._table.row:
            self.show_row(text(row.get("event")), row)

    def detail(self, row: Row, width: int) -> list[Line]:
        style = LEVELS.get(str(row.get("level")), "")
        return [
            line(
                Cell(
                    f" > {clock(row.get('ts'))} {text(row.get('level')).upper()} {text(row.get('event'))}",
                    style,
                )
            ),
            line(f"   {rest(row)}"),
        ]
