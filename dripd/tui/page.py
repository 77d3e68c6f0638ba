"""What is a screen? What it watches, what it draws, and what its keys do.

Pages draw and ask; they never reach the socket themselves, only through the `Port` that the
console is. A page keeps its state while another is shown, but watches only while it is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from dripd.admin.delta import key_of
from dripd.tui.dialog import Blank, Choice, Dialog, Menu, Reading
from dripd.tui.draw import Cell, Line, folded, line, pad, stack, wrap
from dripd.tui.filter import Key, parse
from dripd.tui.table import Column, Row, Table
from dripd.tui.watch import Follow, Watch
from dripd.tui.words import count, text

PAGE_ROWS: Final = 60
Params: TypeAlias = Mapping[str, object]
Inverse: TypeAlias = tuple[str, Params, Params]
"""The method that undoes something, its params, and what must still stand."""

Inverter: TypeAlias = Callable[[Mapping[str, Any]], Inverse]
"""Makes it of the answer to what was done, where only that says what stands now."""

Told: TypeAlias = Callable[[Mapping[str, Any]], tuple[Sequence[str], str]]
"""What a plan found, in lines, and the word to be typed."""

MOST_ROWS: Final = 5_000
"""Rows that a list loads, page by page: beyond it a filter is the way."""

RESERVED: Final = 4
"""Lines beneath a list that its details keep once they had them: the list does not jump."""

MOST_BLANK: Final = 20
"""Looks that find nothing, after which a list looks no further by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A key of a page. `brief`: its label where there is little room; `method`: what it calls,
    which must be allowed; `changes`: only in write mode; `why_not` says why it can do nothing now."""

    key: str
    label: str
    help: str
    run: Callable[[], None]
    brief: str = ""
    method: str = ""
    changes: bool = False
    why_not: Callable[[], str] = lambda: ""


class Port(Protocol):
    """What a page may ask of the console."""

    low_bandwidth: bool
    overview: Watch

    @property
    def now_ms(self) -> int: ...
    @property
    def env(self) -> str: ...
    @property
    def me(self) -> str: ...
    def watch(self, watch: Watch) -> None: ...
    def unwatch(self, watch: Watch) -> None: ...
    async def call(
        self, method: str, params: Mapping[str, object], *, once: bool = False
    ) -> Any: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    def tell(self, said: str, style: str = "") -> None: ...
    def ask(self, dialog: Dialog) -> None: ...
    def go(self, name: str, filter_text: str = "") -> None: ...
    def changed(self) -> None: ...
    def copy(self, said: str) -> None: ...
    def save(self, name: str, kind: str, text: str) -> None: ...
    def has(self, method: str) -> bool: ...


class Deeds(Protocol):
    """How a page changes things: `dripd.tui.deeds.Deeds`, which says what each tier is."""

    def act(
        self, method: str, params: Params, said: str, *, undo: Inverse | Inverter | None = None
    ) -> None: ...

    def confirm(
        self,
        title: str,
        body: Sequence[str],
        method: str,
        params: Params,
        said: str,
        *,
        verb: str,
        blanks: Sequence[Blank] = (),
        pieces: Sequence[Params] = ({},),
    ) -> None: ...

    def planned(
        self,
        title: str,
        method: str,
        params: Params,
        body: Callable[[int], Sequence[str]],
        *,
        verb: str,
        word: Callable[[int], str] = str,
        even_none: bool = False,
        told: Told | None = None,
    ) -> None: ...

    def reveal(
        self,
        title: str,
        body: Sequence[str],
        method: str,
        params: Params,
        lines: Callable[[Mapping[str, Any]], Sequence[Line]],
        *,
        verb: str,
    ) -> None: ...


def held_by(port: Port, account: object, campaign: object = None) -> Cell:
    """What holds back most of what is due of an account, or of one of its campaigns."""
    found = [
        row
        for row in (port.overview.answer or {}).get("holding", [])
        if row.get("account_key") == account and campaign in (None, row.get("campaign_key"))
    ]
    top = max(found, key=lambda row: int(row["count"]), default=None)
    return Cell("-" if top is None else text(top["reason"]), "" if top is None else "warn")


class Page:
    """A screen without anything on it yet."""

    name: ClassVar[str] = ""
    digit: ClassVar[str] = ""
    short: ClassVar[str] = ""
    tiny: ClassVar[str] = ""
    title: ClassVar[str] = ""
    figures: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What each figure means: source and window. Shown by `?`."""

    keys: ClassVar[Mapping[str, Key]] = {}
    bare: ClassVar[str] = ""

    def __init__(self, port: Port, deeds: Deeds) -> None:
        self.port = port
        self.deeds = deeds
        self.filter_text = ""
        self.wanted: dict[str, object] = {}
        self.crumbs: list[str] = []
        self.watches: list[Watch] = []
        self.seen = False

    @property
    def table(self) -> Table | None:
        return None

    @property
    def uses_marks(self) -> bool:
        """Whether any of its keys works on marked rows."""
        return False

    @property
    def trouble(self) -> str:
        """What went wrong with what it watches."""
        return next((watch.error for watch in self.watches if watch.error), "")

    def actions(self) -> list[Action]:
        return []

    def show(self) -> None:
        """It is seen now: watch."""
        self.seen = True
        for watch in list(self.watches):
            self.port.watch(watch)

    def hide(self) -> None:
        self.seen = False
        for watch in self.watches:
            self.port.unwatch(watch)

    def set_filter(self, said: str) -> None:
        """Raises `BadFilter`."""
        self.wanted = parse(said, self.keys, self.bare)
        self.filter_text = said
        self.refilter()

    def refilter(self) -> None:
        """The filter has changed."""

    def moved(self) -> None:
        """The cursor has moved."""

    def enter(self) -> None:
        """Enter on what is under the cursor."""

    def exports(self) -> list[Choice]:
        """What can be written to a file beside the loaded rows."""
        return []

    def back(self) -> bool:
        """Leave the innermost crumb; False: there is none."""
        return False

    def scroll(self, by: int, *, pages: bool = False) -> bool:
        """Move by lines or pages through what is read here; False: there is nothing but the
        table."""
        return False

    def click(self, y: int) -> None:
        """A click on line *y* of the page."""

    def lines(self, width: int, height: int) -> list[Line]:
        raise NotImplementedError

    def replace(self, old: Watch | None, new: Watch | None) -> None:
        """Watch *new* in place of *old*."""
        if old is not None and old in self.watches:
            self.watches.remove(old)
            if self.seen:
                self.port.unwatch(old)
        if new is not None:
            self.watches.append(new)
            if self.seen:
                self.port.watch(new)


class ListPage(Page):
    """A screen of one table: a view of a list, page by page, with details beneath it."""

    method: ClassVar[str] = ""
    fixed: ClassVar[Mapping[str, object]] = {}
    hz: ClassVar[float] = 0.5
    nothing: str = "nothing here"
    folds: ClassVar[bool] = True
    """Whether details that are too long go on in the next line."""
    tabs: ClassVar[tuple[str, ...]] = ()
    """The names of its two lists, where it has two; Tab turns, the second is a crumb deep."""

    def __init__(self, port: Port, deeds: Deeds) -> None:
        super().__init__(port, deeds)
        self.second = False
        self._head_rows = 1
        self._tallest = 0
        self._table = Table(self.columns(), self.key_of)
        self._before: list[Row] = []
        self._blank = 0
        self._list = self._watching(None)
        self.watches = [self._list]

    @property
    def table(self) -> Table:
        return self._table

    def columns(self) -> Sequence[Column]:
        raise NotImplementedError

    def _no_row(self) -> str:
        """Why a key of the row under the cursor does nothing, "" where there is one."""
        return "" if self._table.row else "the cursor is on nothing"

    def show_row(self, title: str, row: Row) -> None:
        """Every value of *row*."""
        body = [line(Cell(pad(k, 16), "key"), text(v)) for k, v in row.items() if k != "_n"]
        self.port.ask(Reading(title, body))

    def key_of(self, row: Row) -> str:
        return str(row["id"]) if "id" in row else key_of(row, self._list.key)

    def params(self) -> dict[str, object]:
        """What the list is asked with, beside its page."""
        return {**self.fixed, **self.wanted}

    def _watching(self, after: object) -> Watch:
        params = {**self.params(), "limit": PAGE_ROWS}
        if after is not None:
            params["after"] = after
        return Watch(self.method, params, hz=self.hz, changed=self._taken)

    def kept(self, rows: list[Row]) -> list[Row]:
        """Those of the loaded rows that are shown: all of them."""
        return rows

    def _taken(self) -> None:
        self._table.take(self.kept([*self._before, *self._list.rows]))
        self.moved()
        self.port.changed()

    def refilter(self) -> None:
        """Begin anew: another filter, another tab."""
        self._before, self._blank = [], 0
        self._table = Table(self.columns(), self.key_of)
        old, self._list = self._list, self._watching(None)
        self.replace(old, self._list)

    def turn(self, *, second: bool) -> None:
        """Show the first or the second of its lists, unfiltered."""
        if second != self.second:
            self.second = second
            self.crumbs = [self.tabs[1].capitalize()] if second else []
            self.wanted, self.filter_text = {}, ""
            self.refilter()

    def turn_over(self) -> None:
        self.turn(second=not self.second)

    def back(self) -> bool:
        was_second = self.second
        self.turn(second=False)
        return was_second

    def reload(self) -> None:
        """Read the list again from its beginning, in its present order."""
        self._table.reorder()
        if self._before:
            self.refilter()

    def moved(self) -> None:
        following = (self._list.answer or {}).get("next")
        loaded = len(self._before) + len(self._list.rows)
        if following is None or loaded >= MOST_ROWS or not self._table.is_near_end:
            return
        if not self._list.rows:
            self._blank += 1
            if self._blank > MOST_BLANK:
                return
        self._before += self._list.rows
        old, self._list = self._list, self._watching(following)
        self.replace(old, self._list)

    @property
    def extent(self) -> str:
        """How much of the list is loaded, and what waits: never a count of everything."""
        n = len(self._table.order)
        more = (self._list.answer or {}).get("next") is not None
        said = f"{count(n)} row{'' if n == 1 else 's'}{', more follow' if more else ''}"
        if self._table.marks:
            said += f"  {len(self._table.marks)} marked"
        if self._table.waiting or self._table.gone:
            said += f"  {len(self._table.waiting)} new, {len(self._table.gone)} gone: ^r"
        return said

    def summary(self, width: int) -> list[Line]:
        """The lines above the table."""
        said = line(
            f" {self.extent}   ", Cell(self.filter_shown, "dim"), Cell(self.sort_shown, "dim")
        )
        return folded(said, width)

    @property
    def filter_shown(self) -> str:
        return f"filter: {self.filter_text or '-'}"

    @property
    def sort_shown(self) -> str:
        by = self._table.sort_by
        return (
            ""
            if by is None
            else f"   sort: {by.title} {'v' if self._table.descending else '^'}"
        )

    def detail(self, row: Row, width: int) -> list[Line]:
        """The lines beneath the table, of the row under the cursor."""
        return []

    def click(self, y: int) -> None:
        if self._table.click(y - self._head_rows):
            self.moved()

    def lines(self, width: int, height: int) -> list[Line]:
        head = self.summary(width)
        if self.trouble and self._table.order:
            head += [
                line(Cell(f" {one}", "bad"))
                for one in wrap(f"as it was: {self.trouble}", width - 2)[:2]
            ]
        self._head_rows = len(head)
        row = self._table.rows.get(self._table.cursor)
        detail = [] if row is None else self.detail(row, width)
        if self.folds:
            detail = [part for one in detail for part in folded(one, width)]
        if detail:
            self._tallest = min(RESERVED, max(self._tallest, len(detail)))
            detail += [line("")] * (self._tallest - len(detail))
        detail = detail[: max(0, height - len(head) - 5)]
        room = height - len(head) - (len(detail) + 1 if detail else 0)
        if not self._table.order:
            return stack([*head, *self._empty(width)], width, height)
        body = self._table.lines(width, room)
        return stack(
            [*head, *body, *([line(Cell("", "dim"))] if detail else []), *detail], width, height
        )

    def _empty(self, width: int) -> list[Line]:
        if self.trouble:
            return [line(Cell(f"  {one}", "bad")) for one in wrap(self.trouble, width - 4)]
        if self._list.answer is None:
            return [line(Cell("  waiting for the daemon ...", "dim"))]
        fits = " that fits the filter" if self.wanted else ""
        return [line(Cell(f"  {self.nothing}{fits}", "dim"))]

    def sort_menu(self) -> Dialog:
        """The columns to sort by: what is loaded, not the whole table."""
        table = self._table

        def by(column: Column | None) -> Callable[[], None]:
            return lambda: table.sort(column)

        choices = [Choice(label="the daemon's order", run=by(None))]
        choices += [
            Choice(label=column.title, run=by(column), note="loaded rows; again = reverse")
            for column in table.columns
            if column.title.strip()
        ]
        return Menu("sort", choices)


class TailPage(ListPage):
    """A screen of what happens: the newest first, frozen by space, never touching the work."""

    hz: ClassVar[float] = 4.0
    nothing = "nothing yet since this daemon started"

    def key_of(self, row: Row) -> str:
        return str(row.get("_n"))

    def _watching(self, after: object) -> Watch:
        hz = 1.0 if self.port.low_bandwidth else self.hz
        return Follow(self.method, self.params(), hz=hz, changed=self._taken)

    def moved(self) -> None:
        """A tail has no further pages."""

    @property
    def extent(self) -> str:
        follow = self._list
        gap = follow.gap if isinstance(follow, Follow) else 0
        frozen = f"FROZEN, {len(self._table.waiting)} new" if self._table.working else "follows"
        part = follow.one_in if isinstance(follow, Follow) else 1
        shows = f"showing 1 in {count(part)}, " if part > 1 else ""
        return f"{frozen}   {self._whose}{shows}{count(gap)} not shown"

    @property
    def _whose(self) -> str:
        """Whose tail this is, where there are others: each daemon knows only its own."""
        overview = self.port.overview.answer or {}
        nodes = overview.get("nodes", [])
        return f"{overview.get('node')} alone of {len(nodes)} nodes, " if len(nodes) > 1 else ""


def is_search(said: str, page: Page) -> bool:
    """Whether *said* is looked for in what is loaded: words, where no word is a filter."""
    return bool(said.strip()) and "=" not in said and not page.bare
