"""A table of rows that change while somebody works on them.

Only what is visible is ever drawn. The cursor stands on a row, not on a place: rows may come
and go around it. Once somebody works (the cursor has left the top, rows are marked, or the
table is frozen) the order stands still: new rows are counted and wait, vanished ones stay,
struck through, until the order is taken anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from dripd.tui.draw import Cell, Line, fit, pad, styled, width_of

Row: TypeAlias = dict[str, Any]

MOST_WIDE: Final = 48
"""A column with others behind it grows no wider: the eye would lose its row."""

WIDE: Final = 100
"""Columns of a screen from which on columns of the second priority are shown."""

MIDDLE: Final = 80
"""Columns of a screen below which only the columns that are `narrow` are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`show` makes a cell of a row; `width` 0 shares what room is left. `priority` 2 columns
    are hidden below `WIDE`, those that are not `narrow` below `MIDDLE` as well."""

    title: str
    show: Callable[[Row], str | Cell]
    width: int = 0
    right: bool = False
    priority: int = 1
    narrow: bool = True
    sort: Callable[[Row], Any] | None = None


class Table:
    """Rows under their keys, the cursor, the marks, and what is visible."""

    def __init__(self, columns: Sequence[Column], key: Callable[[Row], str]) -> None:
        self.columns = columns
        self.key = key
        self.rows: dict[str, Row] = {}
        self.order: list[str] = []
        self.gone: set[str] = set()
        self.waiting: list[str] = []
        self.marks: set[str] = set()
        self.pins: set[str] = set()
        """Rows to be found again: unlike marks they keep nothing in its place."""
        self.cursor = ""
        self.frozen = False
        self.more_columns = False
        self.sort_by: Column | None = None
        self.descending = False
        self._fresh: dict[str, Row] = {}
        self._needs: dict[str, int] = {}
        self._top = 0
        self._height = 10

    @property
    def working(self) -> bool:
        """Whether somebody works here, so that nothing may move."""
        at_top = not self.order or self.cursor in ("", self.order[0])
        return self.frozen or bool(self.marks) or not at_top

    @property
    def row(self) -> Row | None:
        """The row under the cursor, if it is still there."""
        return None if self.cursor in self.gone else self.rows.get(self.cursor)

    @property
    def marked(self) -> list[Row]:
        """The marked rows that are still there; without marks, the one under the cursor."""
        if self.marks:
            return [self.rows[k] for k in self.order if k in self.marks and k not in self.gone]
        return [] if self.row is None else [self.row]

    def take(self, rows: Iterable[Row]) -> None:
        """The rows as they stand now, in the daemon's order.

        What comes behind the last row is shown at once: it moves nothing.
        """
        self._fresh = {self.key(row): row for row in rows}
        working = self.working
        if not working or not self.order:
            self.reorder()
            if not working:
                self.cursor, self._top = self.order[0] if self.order else "", 0
            return
        names = self._sorted(self._fresh)
        known = [at for at, name in enumerate(names) if name in self.rows]
        behind = names[known[-1] + 1 :] if known else []
        self.order += behind
        self.waiting = [name for name in names if name not in self.rows and name not in behind]
        self.gone = {name for name in self.order if name not in self._fresh}
        self.marks -= self.gone
        self.rows = {name: self._fresh.get(name) or self.rows[name] for name in self.order}

    def reorder(self) -> None:
        """Take the order, the new and the vanished rows as they stand; marks stay."""
        at = self.order.index(self.cursor) if self.cursor in self.order else 0
        self.rows, self.order = dict(self._fresh), self._sorted(self._fresh)
        self.gone, self.waiting = set(), []
        self.marks &= set(self.rows)
        self.pins &= set(self.rows)
        if self.cursor not in self.rows:
            self.cursor = self.order[min(at, len(self.order) - 1)] if self.order else ""

    def sort(self, column: Column | None) -> None:
        """Sort by *column*, the other way round if by it already; None: the daemon's order."""
        self.descending = column is not None and column == self.sort_by and not self.descending
        self.sort_by = column
        self.reorder()

    def move(self, by: int) -> None:
        """The cursor *by* rows down, negative up, within the table."""
        if not self.order:
            return
        here = self.order.index(self.cursor) if self.cursor in self.order else 0
        self.cursor = self.order[max(0, min(len(self.order) - 1, here + by))]

    def page(self, by: int) -> None:
        """*by* visible pages down."""
        self.move(by * max(1, self._height - 1))

    def end(self, *, first: bool) -> None:
        if self.order:
            self.cursor = self.order[0 if first else -1]

    def mark(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go on to the next."""
        if self.row is not None:
            self.marks ^= {self.cursor}
            self.move(1)

    def pin(self) -> None:
        """Mark the row under the cursor to find it again, or no longer."""
        if self.row is not None:
            self.pins ^= {self.cursor}

    def click(self, y: int) -> bool:
        """The cursor to the row drawn at line *y*; whether there is one."""
        index = self._top + y - 1
        if y < 1 or not 0 <= index < len(self.order):
            return False
        self.cursor = self.order[index]
        return True

    @property
    def is_near_end(self) -> bool:
        """Whether the cursor is within a page of the last row."""
        here = self.order.index(self.cursor) if self.cursor in self.order else 0
        return here >= len(self.order) - 2 * self._height

    def find(self, text: str, by: int) -> bool:
        """The cursor to the next row (*by* 1) or the one before (-1) that shows *text*, if that
        is any, or is pinned."""
        if not self.order:
            return False
        here = self.order.index(self.cursor) if self.cursor in self.order else 0
        n = len(self.order)
        for step in range(1, n + 1):
            name = self.order[(here + by * step) % n]
            if name in self.pins or (text and text.lower() in self.text_of(name).lower()):
                self.cursor = name
                return True
        return False

    def text_of(self, name: str) -> str:
        """All that a row shows."""
        row = self.rows.get(name, {})
        return " ".join(_text(column.show(row)) for column in self.columns)

    def lines(self, width: int, height: int) -> list[Line]:
        """Head and visible rows in at most *height* lines."""
        self._height = max(1, height - 1)
        self._scroll()
        shown = self._shown(width)
        visible = self.order[self._top : self._top + self._height]
        cells = [[_cell(c.show(self.rows.get(name, {}))) for c in shown] for name in visible]
        widths = self._fitted(shown, cells, width - 2)
        head = Cell("  " + _head(shown, widths), "head")
        rows = zip(visible, cells, strict=True)
        return [
            fit((head,), width),
            *(self._line(name, row, shown, widths, width) for name, row in rows),
        ]

    @property
    def n_below(self) -> int:
        """Rows beneath those that were drawn."""
        return max(0, len(self.order) - self._top - self._height)

    def _scroll(self) -> None:
        here = self.order.index(self.cursor) if self.cursor in self.order else 0
        self._top = max(0, min(self._top, here, max(0, len(self.order) - self._height)))
        if here >= self._top + self._height:
            self._top = here - self._height + 1

    def _shown(self, width: int) -> list[Column]:
        if width >= WIDE or self.more_columns:
            return list(self.columns)
        return [c for c in self.columns if c.priority == 1 and (c.narrow or width >= MIDDLE)]

    def _fitted(
        self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int
    ) -> list[int]:
        """The columns' widths; one that would cut what it shows gets the room that others do not
        fill. What a column has needed once it keeps, so that little moves about.
        """
        for n, column in enumerate(columns):
            most = max((width_of(row[n].text[: 4 * MOST_WIDE]) for row in rows), default=0)
            self._needs[column.title] = max(
                self._needs.get(column.title, 0), min(most, MOST_WIDE)
            )
        least = [max(len(c.title), self._needs[c.title]) for c in columns]
        widths = _widths(columns, width)
        room = width - sum(widths) - len(columns) + 1
        if room < 0:
            room += _taken(widths, least, -room)
        for n in range(len(columns)):
            lacks = least[n] - widths[n]
            if lacks > 0:
                part = min(lacks, max(0, room))
                room -= part
                widths[n] += part + _taken(widths, least, lacks - part)
        return _levelled(widths, [len(c.title) for c in columns], width - len(columns) + 1)

    def _line(
        self,
        name: str,
        row: Sequence[Cell],
        columns: Sequence[Column],
        widths: Sequence[int],
        width: int,
    ) -> Line:
        here, marked = name == self.cursor, name in self.marks | self.pins
        sign = (">" if here else " ") + ("*" if marked else " ")
        cells = [Cell(sign, "mark" if marked else "")]
        for column, (text, style), size in zip(columns, row, widths, strict=True):
            cells.append(Cell(pad(text, size, right=column.right), style))
            cells.append(Cell(" "))
        line = fit(tuple(cells[:-1]), width)
        if name in self.gone:
            line = styled(line, "gone")
        return styled(line, "cursor") if here else line

    def _sorted(self, rows: Mapping[str, Row]) -> list[str]:
        if self.sort_by is None:
            return list(rows)
        by = self.sort_by.sort or self.sort_by.show
        return sorted(rows, key=lambda name: _orderly(by(rows[name])), reverse=self.descending)


def _orderly(value: Any) -> tuple[int, float, str]:
    """Numbers before text, nothing last; any two values compare."""
    if isinstance(value, bool | int | float):
        return 0, float(value), ""
    text = "" if value is None else _text(value)
    return (1, 0.0, text.lower()) if text else (2, 0.0, "")


def _cell(shown: str | Cell) -> Cell:
    return shown if isinstance(shown, Cell) else Cell(shown)


def _text(cell: str | Cell) -> str:
    return cell.text if isinstance(cell, Cell) else str(cell)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """The columns' widths; those without one share what is left, at least 6 each."""
    fixed = sum(c.width for c in columns) + len(columns) - 1
    growing = [c for c in columns if c.width == 0]
    share, rest = divmod(max(0, width - fixed), max(1, len(growing)))
    found: list[int] = []
    for column in columns:
        if column.width:
            found.append(column.width)
        else:
            room = max(6, share + (1 if rest > 0 else 0))
            found.append(room if column is columns[-1] else min(MOST_WIDE, room))
            rest -= 1
    return found


def _levelled(widths: Sequence[int], titles: Sequence[int], room: int) -> list[int]:
    """*widths* that fit into *room*, no column narrower than its title: the widest give way."""
    found = [max(one) for one in zip(widths, titles, strict=True)]
    spare = [n - title for n, title in zip(found, titles, strict=True)]
    for _ in range(min(sum(found) - room, sum(spare))):
        widest = spare.index(max(spare))
        spare[widest] -= 1
    return [title + more for title, more in zip(titles, spare, strict=True)]


def _taken(widths: list[int], least: Sequence[int], wanted: int) -> int:
    """As much of *wanted* as columns have beyond their *least*, taken from the last ones first."""
    taken = 0
    for n in reversed(range(len(widths))):
        part = max(0, min(wanted - taken, widths[n] - least[n]))
        widths[n] -= part
        taken += part
    return taken


def _head(columns: Sequence[Column], widths: Sequence[int]) -> str:
    return " ".join(
        pad(c.title, w, right=c.right) for c, w in zip(columns, widths, strict=True)
    )
