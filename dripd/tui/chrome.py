"""What frames every screen? Status, navigation, title, keys; and a dialog over it all.

Line 1 says which deployment this is, by the daemon's own words, and how it does; nothing is
ever told by colour alone. When the daemon is away the last picture stays, dimmed, with its age.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from dripd.tui.dialog import Dialog
from dripd.tui.draw import (
    Cell,
    Line,
    fit,
    length,
    line,
    plain,
    sides,
    stack,
    styled,
    width_of,
    wrap,
)
from dripd.tui.field import Field
from dripd.tui.options import Options
from dripd.tui.page import Action, Page, is_search
from dripd.tui.pages import PAGES
from dripd.tui.source import Daemon
from dripd.tui.table import MIDDLE
from dripd.tui.watch import Watch
from dripd.tui.words import BOUND, awake, clock, count, span, undecided

NARROW: Final = (60, 15)
"""Below this only the headline figures are shown."""


CAPS: Final = {"enter": "Enter", "escape": "Esc", "tab": "Tab"}
"""Keys as they are written on a keyboard."""

MOST_TOLD: Final = 4
"""Lines that a message may take; the screen is laid out in the others meanwhile."""


class Seen(Protocol):
    """What is framed: `dripd.tui.console.Console`."""

    daemon: Daemon
    options: Options
    overview: Watch
    page: Page
    dialogs: list[Dialog]
    typing: Field | None
    toast: tuple[str, str, float] | None

    @property
    def env(self) -> str: ...
    @property
    def is_writing(self) -> bool: ...
    @property
    def is_deep(self) -> bool: ...
    @property
    def write_left_s(self) -> float: ...
    @property
    def offers(self) -> list[str]: ...
    def why_not(self, action: Action) -> str: ...

    def shown(self, key: str) -> str: ...
    @property
    def monotonic(self) -> Callable[[], float]: ...


class Chrome:
    """Frames for a console."""

    def __init__(self, console: Seen) -> None:
        self._console = console
        self._nav: list[tuple[int, int, str]] = []
        self.is_small = False
        """Whether the last frame had no room for a screen: nobody acts on what he cannot see."""

    def frame(self, width: int, height: int) -> list[Line]:
        self.is_small = width < NARROW[0] or height < NARROW[1]
        if self.is_small:
            return self._too_small(width, height)
        console = self._console
        foot = self._footer(width)[: 1 if console.dialogs else MOST_TOLD]
        room = height - 3 - len(foot)
        body = console.page.lines(width, room)
        if not console.daemon.up:
            body = [styled(one, "stale") for one in body]
            if console.overview.answer is None:
                body = self._explained(width)
        if console.dialogs:
            body = laid_over(body, console.dialogs[-1].lines(width, room), width)
        return [
            self.band(width),
            self._navigation(width),
            self._title(width),
            *stack(body, width, room),
            *foot,
        ]

    def page_at(self, x: int) -> str:
        """The screen whose name stands at column *x* of the navigation, "" for none."""
        return next((name for start, end, name in self._nav if start <= x < end), "")

    def band(self, width: int) -> Line:
        """Which deployment, how it is, who you are, what time it is there."""
        console = self._console
        if not console.daemon.up:
            return fit(line(Cell(self._lost(), "band-bad")), width)
        facts = [f"dripd {console.env}", *self.headline()]
        if width >= 90:
            facts.insert(2, str(console.daemon.hello.get("node", "")))
        alerts = awake(console.overview.answer or {})
        worst = any(one.get("level") == "!!" for one in alerts)
        style = "band-bad" if worst else "band-warn" if alerts else "band"
        gap = " | " if width >= 100 else "|"
        user = str(console.daemon.hello.get("user", ""))
        if width >= MIDDLE:
            user = f"{console.daemon.hello.get('role', '')} {user}"
        now = (console.overview.answer or {}).get("now")
        left = line(Cell(gap.join([*facts, user]), style))
        right = line(Cell(f"{self._writing()} {clock(now)}", style))
        return styled(sides(left, right, width), style)

    def headline(self) -> list[str]:
        """State, nodes, lag, rate, alerts: in words."""
        answer: dict[str, Any] = self._console.overview.answer or {}
        nodes = answer.get("nodes", [])
        figures = [one.get("figures", {}) for one in nodes] or [answer.get("figures", {})]
        rate = sum(one.get("sent_per_s", 0) for one in figures)
        lag = max((one.get("lag_ms", 0) for one in figures), default=0)
        state = str(answer.get("state", "?")).upper()
        state = {"RUNNING": "RUN"}.get(state, state)
        return [
            state,
            f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}",
            f"lag {lag / 1000:.1f}s",
            f"{count(round(rate, 1))}/s",
            f"!{len(awake(answer))}",
        ]

    def _writing(self) -> str:
        console = self._console
        if console.options.read_only:
            return "[READ ONLY]"
        return f"[WRITE {console.write_left_s / 60:.0f}m]" if console.is_writing else ""

    def _lost(self) -> str:
        console = self._console
        trouble = console.daemon.trouble
        if trouble is None:
            return "dripd: looking for the daemon ..."
        lost = console.daemon.lost_at
        gone = "" if lost is None else span((console.monotonic() - lost) * 1000)
        seen = console.overview.answer is not None
        age = f", stale {gone}" if gone and seen else f" for {gone}" if gone else ""
        return f"NO DAEMON{age}: {trouble.message}"

    def _explained(self, width: int) -> list[Line]:
        """What is wrong and what to do, where there is no picture to keep."""
        trouble = self._console.daemon.trouble
        if trouble is None:
            return [line(Cell("  looking for the daemon ...", "dim"))]
        said = [*wrap(trouble.message, width - 4), "", *wrap(trouble.hint, width - 4), ""]
        said.append("It is tried again by itself; ctrl+q leaves.")
        return [line(""), *(line(Cell(f"  {one}")) for one in said)]

    def _navigation(self, width: int) -> Line:
        wide = width >= 100
        cells: list[Cell] = []
        self._nav, at = [], 0
        for page in PAGES.values():
            name = page.short if wide else page.tiny
            shown = f"{page.digit}{' ' if wide else ''}{name}{self._badge(page.name)}"
            here = page.name == self._console.page.name
            cells += [Cell(shown, "cursor" if here else ""), Cell(" ")]
            self._nav.append((at, at + len(shown), page.name))
            at += len(shown) + 1
        live = self._console.daemon.word if self._console.daemon.up else "STALE"
        table = self._console.page.table
        if table is not None and table.frozen:
            live = "FROZEN"
        return sides(tuple(cells), line(Cell(live, "dim")), width)

    def _badge(self, name: str) -> str:
        """What wants attention on a screen: `(7)`."""
        answer: dict[str, Any] = self._console.overview.answer or {}
        inbox = answer.get("inbox") or {}
        if name == "inbox":
            found = [inbox.get(kind, 0) for kind in ("approvals", "tasks", "unread")]
            n, more = sum(found), any(one > BOUND for one in found)
        elif name == "failures":
            reasons = {"step_failed", "quarantined"}
            holding = answer.get("holding", [])
            failed = [row for row in holding if row.get("reason") in reasons]
            doubts = undecided(answer)
            n = sum(row.get("count", 0) for row in failed) + doubts
            more = doubts >= BOUND or any(row.get("more") for row in failed)
        else:
            return ""
        return f"({count(n, more=more)})" if n else ""

    def _title(self, width: int) -> Line:
        page = self._console.page
        name = " > ".join([page.title, *page.crumbs])
        text = f"-- {page.digit} {name} "
        return fit(line(Cell(text + "-" * max(0, width - len(text)), "title")), width)

    def _footer(self, width: int) -> list[Line]:
        """The keys; or what is typed, or told, in as many lines as that takes."""
        console = self._console
        if console.typing is not None:
            words = [one.rpartition(" ")[2] for one in console.offers]
            offers = [one.partition("=")[2] or one for one in words]
            is_word = is_search(console.typing.text, console.page)
            does = "Enter looks for it, n N go on" if is_word else "Enter, Esc"
            hint = Cell("  ".join(offers[:6]) or does, "dim")
            size = max(20, width - 2 - min(length((hint,)) + 2, width // 2))
            field = console.typing.line(size, focused=True)
            return [fit((Cell("/", "key"), *field, Cell("  "), hint), width)]
        if console.toast is not None and console.toast[2] >= console.monotonic():
            return told(console.toast[0], f"toast {console.toast[1]}", width)
        if not console.daemon.up and console.daemon.trouble is not None:
            todo = f"{console.daemon.trouble.hint or 'it is looked for'}; "
            if console.overview.answer is None:
                todo = ""  # the body says it
            return told(f"{todo}{console.shown('q')} quit", "warn", width)
        return [fit(tuple(self._hints(width)), width)]

    def _hints(self, width: int) -> list[Cell]:
        """The page's keys, then those of everywhere, as many as there is room for; closer
        together, then in brief, where the page's own would not find room."""
        page = self._console.page
        find = ("/", "filter" if page.keys else "search", "")
        common = [find, (".", "freeze", ""), (":", "command", "")]
        cells: list[Cell] = []
        for gap, is_brief in (("  ", False), (" ", False), (" ", True)):
            own = [self._own(action, is_brief=is_brief) for action in page.actions()]
            cells, n = self._row([*own, *common], gap, width)
            if n > len(own):
                break
        return cells

    def _own(self, action: Action, *, is_brief: bool) -> tuple[str, str, str]:
        label = (is_brief and action.brief) or action.label
        return action.key, label, "dim" if self._console.why_not(action) else ""

    def _row(
        self, hints: Sequence[tuple[str, str, str]], gap: str, width: int
    ) -> tuple[list[Cell], int]:
        """As many of *hints* as there is room for, *gap* between them, and how many that are."""
        away = "back" if self._console.is_deep else "quit"
        ends = [*self._hint("?", "help", "", gap), *self._hint("q", away, "", "")]
        cells: list[Cell] = []
        for n, one in enumerate(hints):
            hint = self._hint(*one, gap)
            if length((*cells, *hint, *ends)) > width:
                return [*cells, *ends], n
            cells += hint
        return [*cells, *ends], len(hints)

    def _hint(self, key: str, label: str, style: str, gap: str) -> list[Cell]:
        shown = self._console.shown(key)
        shown = CAPS.get(shown, shown)
        return [Cell(shown, style or "key"), Cell(f" {label}{gap}", style)]

    def _too_small(self, width: int, height: int) -> list[Line]:
        need = f"terminal too small (have {width}x{height}, need {NARROW[0]}x{NARROW[1]})"
        daemon = self._console.daemon
        said = " ".join(self.headline()) if daemon.up else self._lost()
        toast = self._console.toast
        told = toast[0] if toast is not None and toast[2] >= self._console.monotonic() else ""
        rows = [
            *wrap(f"dripd {self._console.env if daemon.hello else ''}", width),
            *wrap(said, width),
            *wrap(told, width),
            "",
            *wrap(need, width),
        ]
        return stack([line(row) for row in rows], width, height)


def told(said: str, style: str, width: int) -> list[Line]:
    """*said* in at most `MOST_TOLD` lines."""
    return [
        fit(line(Cell(f" {part}", style)), width)
        for part in wrap(said, width - 2, indent=2)[:MOST_TOLD]
    ]


def laid_over(body: list[Line], box: list[Line], width: int) -> list[Line]:
    """*box* over the middle of *body*."""
    size = max((length(one) for one in box), default=0)
    left = max(0, (width - size) // 2)
    top = max(0, (len(body) - len(box)) // 2)
    found = list(body)
    for n, one in enumerate(box):
        if top + n < len(found):
            under = plain(fit(found[top + n], width))
            if width_of(under) != len(under):
                under = " " * width  # wide characters cannot be cut in the middle
            found[top + n] = (
                Cell(under[:left], "stale"),
                *one,
                Cell(under[left + size :], "stale"),
            )
    return found
