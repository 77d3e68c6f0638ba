"""The console itself, without a terminal: what is shown, and what each key does.

It knows lines and keys by name; `dripd.tui.app` puts the ones on a terminal and takes the
others from it. Time comes in as `monotonic`; the deployment's instant is what the daemon says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, Final

from dripd.clock import Instant, format_instant
from dripd.errors import DripdError
from dripd.tui import help as guide
from dripd.tui.chrome import Chrome
from dripd.tui.deeds import Deeds
from dripd.tui.dialog import Choice, Dialog, Menu, Reading
from dripd.tui.draw import Cell, Line, line
from dripd.tui.export import as_csv, as_ndjson
from dripd.tui.field import Field
from dripd.tui.filter import BadFilter, complete
from dripd.tui.names import names
from dripd.tui.options import Options
from dripd.tui.page import Action, ListPage, Page, TailPage, is_search
from dripd.tui.pages import PAGES, TABS
from dripd.tui.source import Daemon
from dripd.tui.table import Table
from dripd.tui.theme import NAMES
from dripd.tui.watch import Watch
from dripd.tui.words import clock, instant

WRITE_S: Final = 15 * 60
STANDS_S: Final[Mapping[str, float]] = {"ok": 3.0, "": 4.0, "warn": 6.0, "bad": 20.0}
"""How long a message stands, by its style, unless a key comes."""

SEEN_S: Final[Mapping[str, float]] = {"bad": 2.0}
"""How long it stands whatever key comes, other than Esc: else a second."""

PAST: Final = "this is a recording: nothing can be changed in it"

MOST_SAID: Final = 100
"""Messages that `!` shows."""

BURST: Final = 5
BURST_S: Final = 0.02
"""More different keys than `BURST` within `BURST_S`, outside a field, are a paste gone astray."""

MOVES: Final[Mapping[str, tuple[int, bool]]] = {
    "j": (1, False), "down": (1, False), "k": (-1, False), "up": (-1, False),
    "ctrl+d": (1, True), "pagedown": (1, True), "ctrl+u": (-1, True), "pageup": (-1, True),
    "g": (-100, True), "home": (-100, True), "G": (100, True), "end": (100, True),
}  # fmt: skip
"""How far a key moves, and whether in pages."""


JUMPS: Final[Mapping[str, float]] = {"left": -10.0, "right": 10.0}
"""How many seconds of a recording a key goes back or on."""


class Console:
    """All screens, one of them shown, over a daemon (or a recording of one)."""

    def __init__(
        self,
        daemon: Daemon,
        options: Options,
        *,
        monotonic: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        changed: Callable[[], None],
        copy: Callable[[str], None],
        save: Callable[[str, str, str], str],
        leave: Callable[[], None],
    ) -> None:
        self.daemon = daemon
        self.options = options
        self.low_bandwidth = options.low_bandwidth
        self.theme = options.theme
        self.monotonic = monotonic
        self.spawn = spawn
        self.changed = changed
        self.copy_out = copy
        self.save_as = save
        self.leave = leave
        self.deeds = Deeds(self, monotonic)
        self.overview = Watch(
            "daemon.overview",
            {"brief": options.low_bandwidth},
            hz=0.5 if options.low_bandwidth else 1.0,
            changed=changed,
        )
        self.pages: dict[str, Page] = {}
        self.dialogs: list[Dialog] = []
        self.trail: list[str] = []
        self.typing: Field | None = None
        self.search = ""
        self.toast: tuple[str, str, float] | None = None
        self.said: deque[tuple[str, str, str]] = deque(maxlen=MOST_SAID)
        """The last messages: when in the deployment's time, what, and in which style."""
        self._told_at = 0.0
        self.mouse = True
        self._write_until = 0.0
        self._leaving_at = -10.0
        self._burst: list[tuple[float, str]] = []
        self._seen_at = (0, 0.0)
        self._commands: dict[str, Callable[[], None]] = {
            "q": lambda: self._back(leave=True),
            "escape": lambda: self._back(leave=False),
            "backspace": lambda: self._back(leave=False),
            "-": self._go_back_to_last,
            ":": lambda: self.ask(self._palette()),
            "ctrl+p": lambda: self.ask(self._palette()),
            "?": self._help,
            "!": self._messages,
            "ctrl+w": self._toggle_writing,
            "z": self.deeds.undo,
            "M": self._turn_mouse,
            "T": self._turn_theme,
        }
        self.chrome = Chrome(self)
        self.page = self._page("overview")

    def start(self) -> None:
        """Begin to watch; says what is wrong with the options."""
        self.daemon.watch(self.overview)
        self.page.show()
        self.go(self.options.screen, self.options.filter)
        self.trail.clear()

    # What pages may ask: the Port

    @property
    def now_ms(self) -> int:
        """The deployment's instant, as far as is known here; a real clock goes on by itself."""
        answer = self.overview.answer or {}
        told = instant(answer.get("now")) or instant(answer.get("as_of")) or 0
        if told != self._seen_at[0]:
            self._seen_at = (told, self.monotonic())
        if answer.get("mode") == "manual" or not told:
            return told
        return told + int((self.monotonic() - self._seen_at[1]) * 1000)

    @property
    def env(self) -> str:
        """The deployment's name, as the daemon says it."""
        return str(self.daemon.hello.get("env") or self.daemon.hello.get("node") or "dripd")

    @property
    def me(self) -> str:
        """Who sits here, as the daemon knows them."""
        return str(self.daemon.hello.get("user", ""))

    @property
    def is_writing(self) -> bool:
        return not self.options.read_only and self.monotonic() < self._write_until

    @property
    def write_left_s(self) -> float:
        return max(0.0, self._write_until - self.monotonic())

    def watch(self, watch: Watch) -> None:
        self.daemon.watch(watch)

    def unwatch(self, watch: Watch) -> None:
        self.daemon.unwatch(watch)

    async def call(
        self, method: str, params: Mapping[str, object], *, once: bool = False
    ) -> Any:
        return await self.daemon.call(method, params, once=once)

    def tell(self, said: str, style: str = "") -> None:
        """Something for a few seconds, where the keys stand; `!` shows it again."""
        self._told_at = self.monotonic()
        self.toast = (said, style, self._told_at + STANDS_S.get(style, STANDS_S[""]))
        at = format_instant(Instant(self.now_ms)) if self.now_ms else ""
        self.said.append((at, said, style))
        self.changed()

    def ask(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog)
        self.changed()

    def copy(self, said: str) -> None:
        """To the terminal's clipboard (OSC 52), and shown, for terminals without."""
        self.copy_out(said)
        self.tell(f"copied: {said}")

    def save(self, name: str, kind: str, text: str) -> None:
        """To a new file, called after *name*, of this *kind*; tells where."""
        self.tell(self.save_as(name, kind, text))

    def has(self, method: str) -> bool:
        """Whether this daemon lets this user call *method*."""
        return method in self.daemon.hello.get("methods", [])

    def go(self, name: str, filter_text: str = "") -> None:
        """Show another screen, or the second list of one, with a filter if one is given; one
        that is not there is told."""
        place = TABS.get(name, name)
        if place not in PAGES:
            self.tell(f"no screen {name!r}; there are {', '.join([*PAGES, *TABS])}", "bad")
            return
        if place != self.page.name:
            self.page.hide()
            self.trail.append(self.page.name)
            self.page = self._page(place)
            self.page.show()
        if name in TABS and isinstance(self.page, ListPage):
            self.page.turn(second=True)
        if filter_text:
            self._filter(filter_text)
        self.changed()

    # Keys

    def key(self, name: str, char: str | None = None) -> None:
        """One key; *char* is what it types, if it types something."""
        if self._is_burst(name, char):
            return
        if self._dismisses(name):
            return
        if name in {"ctrl+c", "ctrl+q"}:
            self._leave(name)
        elif self.chrome.is_small and name not in {"q", "escape"}:
            self.tell("nothing is done unseen: make the terminal larger, or q")
        elif self.dialogs:
            self.dialogs[-1].key(name, char, self.monotonic())
            self.dialogs = [one for one in self.dialogs if one.open]
        elif self.typing is not None:
            self._type(name, char)
        else:
            self._command(name, char)
        self.changed()

    def _dismisses(self, name: str) -> bool:
        """Take a message away that was seen by now; whether the key did nothing else.

        Esc takes any away at once, and of what went wrong it does that alone.
        """
        if self.toast is None:
            return False
        _, style, until = self.toast
        now = self.monotonic()
        is_over = now > until
        if is_over or name == "escape" or now - self._told_at >= SEEN_S.get(style, 1.0):
            self.toast = None
            self.changed()
            return (
                name == "escape"
                and style == "bad"
                and not (is_over or self.dialogs or self.typing)
            )
        return False

    def paste(self, text: str) -> None:
        """Text from the clipboard: into a field, or nowhere."""
        if self.dialogs:
            self.dialogs[-1].paste(text)
            self.dialogs = [one for one in self.dialogs if one.open]
        elif self.typing is not None:
            self.typing.insert(text)
        else:
            self.tell("what was pasted is ignored: no field is open")
        self.changed()

    def click(self, x: int, y: int, *, again: bool) -> None:
        """A click at a place; *again* where it is a second one on the same."""
        if self.dialogs:
            return
        if y == 1:
            name = self.chrome.page_at(x)
            if name:
                self.go(name)
        elif self.page.table is not None:
            self.page.click(y - 3)
            if again:
                self.page.enter()
        self.changed()

    def scroll(self, by: int) -> None:
        if self.dialogs or self.page.scroll(by):
            self.changed()
        elif self.page.table is not None:
            self.page.table.move(by)
            self.page.moved()
            self.changed()

    def frame(self, width: int, height: int) -> list[Line]:
        """The whole screen: *height* lines of *width* columns."""
        return self.chrome.frame(width, height)

    def _is_burst(self, name: str, char: str | None) -> bool:
        if char is None or self.typing is not None or self.dialogs:
            self._burst.clear()
            return False
        now = self.monotonic()
        self._burst = [one for one in self._burst if now - one[0] < BURST_S][-20:]
        self._burst.append((now, name))
        if len({one[1] for one in self._burst}) <= BURST:
            return False
        self.tell("too many keys at once: a paste? They are ignored", "warn")
        return True

    def shown(self, key: str) -> str:
        """The key to press for the console's *key*."""
        return self.options.keys.shown(key)

    def _leave(self, name: str) -> None:
        now = self.monotonic()
        if name == "ctrl+q" or now - self._leaving_at < 2:
            self.leave()
            return
        self._leaving_at = now
        self.tell("ctrl+c again, ctrl+q or q leaves the console; sending goes on")

    def _command(self, name: str, char: str | None) -> None:
        pressed = char if char and len(char) == 1 and char.isprintable() else name
        key = self.options.keys.meant("space" if pressed == " " else pressed)
        if self._navigate(key) or self._move(key) or self._look(key):
            return
        for action in self.page.actions():
            if action.key == key:
                self._run(action)
                return
        if key == "enter":
            self.page.enter()

    def _navigate(self, key: str) -> bool:
        for page in PAGES.values():
            if key == page.digit:
                self.go(page.name)
                return True
        if key in JUMPS and self.daemon.jump(JUMPS[key]):
            return True
        command = self._commands.get(key)
        if command is not None:
            command()
        return command is not None

    def _go_back_to_last(self) -> None:
        if self.trail:
            self.go(self.trail[-1])

    def _help(self) -> None:
        self.ask(Reading(f"help: {self.page.title}", guide.lines(self, self.page)))

    def _messages(self) -> None:
        """What was told lately, the newest first."""
        body = [
            line(Cell(f"{clock(at)}  ", "dim"), Cell(said, style))
            for at, said, style in reversed(self.said)
        ]
        self.ask(Reading("messages", body or [line("nothing was told yet")]))

    def _turn_mouse(self) -> None:
        self.mouse = not self.mouse
        said = "taken by the console" if self.mouse else "left to the terminal"
        self.tell(f"the mouse is {said}")

    def _turn_theme(self) -> None:
        self.theme = NAMES[(NAMES.index(self.theme) + 1) % len(NAMES)]
        self.tell(f"theme: {self.theme}")

    def _move(self, key: str) -> bool:
        table = self.page.table
        if table is None:
            return False
        if key in MOVES and self.page.scroll(MOVES[key][0], pages=MOVES[key][1]):
            return True
        match key:
            case "j" | "down" | "k" | "up":
                table.move(MOVES[key][0])
            case "ctrl+d" | "pagedown":
                table.page(1)
            case "ctrl+u" | "pageup":
                table.page(-1)
            case "g" | "home" | "G" | "end":
                table.end(first=key in {"g", "home"})
            case "<" | ">":
                table.more_columns = key == ">"
            case "n" | "N" if self.search or table.pins:
                if not table.find(self.search, 1 if key == "n" else -1):
                    self.tell(f"{self.search!r} is in no loaded row")
            case _:
                return False
        self.page.moved()
        return True

    def _look(self, key: str) -> bool:
        """Filter, search, sort, freeze, copy, export."""
        page, table = self.page, self.page.table
        match key:
            case "/":
                self.typing = Field(page.filter_text)
            case "." | "space" | " " if isinstance(page, TailPage) or key == ".":
                self._freeze()
            case "space" | " " if table is not None:
                self._mark()
            case "o" if isinstance(page, ListPage):
                self.ask(page.sort_menu())
            case "ctrl+r" if isinstance(page, ListPage):
                page.reload()
            case "y" if table is not None and table.row is not None:
                self.copy(table.cursor)
            case "Y" if table is not None and table.row is not None:
                self.copy(guide.as_json(table.row))
            case "w" if table is not None:
                self.ask(self._export(page, table))
            case _:
                return False
        return True

    def _export(self, page: Page, table: Table) -> Menu:
        why_not = "" if table.order else "nothing is loaded"
        name = page.tabs[1] if isinstance(page, ListPage) and page.second else page.name
        return Menu(
            "write to a file",
            [
                Choice(label="CSV", note="the loaded rows, for spreadsheets", why_not=why_not,
                       run=lambda: self.save(name, "csv", as_csv(table))),
                Choice(label="NDJSON", note="the loaded rows, a JSON object a line", why_not=why_not,
                       run=lambda: self.save(name, "ndjson", as_ndjson(table))),
                *page.exports(),
            ],
        )  # fmt: skip

    def _type(self, name: str, char: str | None) -> None:
        """Keys while a filter, or words to look for, are typed."""
        field = self.typing
        if field is None:
            return
        if name == "escape":
            self.typing = None
        elif name == "enter":
            self.typing = None
            if is_search(field.text, self.page):
                self.search = field.text.strip()
                self._move("n")
            else:
                self._filter(field.text)
        elif name == "tab":
            offers = self.offers
            if offers:
                field.set(offers[0])
        else:
            field.key(name, char)

    @property
    def offers(self) -> list[str]:
        """What the filter that is typed could go on to be."""
        if self.typing is None:
            return []

        def seen(param: str) -> list[str]:
            return names(param, self.page, self.pages, self.overview.answer or {})

        return complete(self.typing.text, self.page.keys, seen)

    def _filter(self, said: str) -> None:
        try:
            self.page.set_filter(said.strip())
        except BadFilter as bad:
            self.tell(f"filter, at {bad.at + 1}: {bad.message}", "bad")

    def _mark(self) -> None:
        if self.page.uses_marks and self.page.table is not None:
            self.page.table.mark()
        else:
            self.tell("no key of this screen works on marked rows")

    def _freeze(self) -> None:
        table = self.page.table
        if table is None:
            return
        table.frozen = not table.frozen
        if not table.frozen:
            table.reorder()
            table.end(first=True)
        self.tell("frozen: sending goes on" if table.frozen else "follows again")

    @property
    def is_deep(self) -> bool:
        """Is there somewhere to go back to before the console is left?"""
        return bool(self.trail or self.page.crumbs)

    def _back(self, *, leave: bool) -> None:
        if self.page.back():
            return
        if self.page.filter_text and not leave:
            self._filter("")
        elif self.search and not leave:
            self.tell(f"{self.search!r} is looked for no more")
            self.search = ""
        elif self.trail:
            last = self.trail.pop()
            self.go(last)
            self.trail.pop()
        elif leave:
            self.leave()

    def _toggle_writing(self) -> None:
        if self.options.read_only:
            self.tell("this console was started with --read-only", "warn")
        elif self.daemon.is_past:
            self.tell(PAST, "warn")
        elif self.daemon.hello.get("role") == "viewer":
            self.tell("you are a viewer: nothing can be changed; see dripd whoami", "warn")
        elif self.is_writing:
            self._write_until = 0.0
            self.tell("write mode is off")
        else:
            self._write_until = self.monotonic() + WRITE_S
            self.tell("write mode for 15 minutes: keys that change things work now", "warn")

    def why_not(self, action: Action) -> str:
        """Why *action* can do nothing now, "" where it can."""
        if action.method and not self.has(action.method):
            role = self.daemon.hello.get("role", "?")
            older = f"this daemon ({self.daemon.hello.get('server', '?')}) does not know {action.method}"
            if role == "admin":  # from whom nothing is kept
                return f"{older}: the older package wants an upgrade"
            refused = f"{action.method} is not for the role {role}"
            return refused if role == "viewer" and action.changes else f"{refused}, or {older}"
        if action.changes and self.options.read_only:
            return "this console was started with --read-only"
        if action.changes and self.daemon.is_past:
            return PAST
        if action.changes and not self.is_writing:
            return "ctrl+w turns write mode on first"
        return action.why_not()

    def _run(self, action: Action) -> None:
        why = self.why_not(action)
        if why:
            self.tell(f"{action.label}: {why}", "warn")
        else:
            action.run()

    def _palette(self) -> Menu:
        places = [(name, f"screen {page.digit}") for name, page in PAGES.items()]
        places += [(tab, f"screen {PAGES[place].digit}, tab") for tab, place in TABS.items()]
        going = [
            Choice(label=one, note=note, run=partial(self.go, one)) for one, note in places
        ]
        return Menu("command", [*going, *self._acts(), *self._everywhere()])

    def _acts(self) -> Iterator[Choice]:
        """What this screen can do, then what the others can."""
        for action in self.page.actions():
            yield Choice(
                label=action.label.lower(),
                note=f"{self.shown(action.key)}: {action.help}",
                run=partial(self._run, action),
                why_not=self.why_not(action),
            )
        for name in PAGES:
            page = self._page(name)
            for action in page.actions() if page is not self.page else ():
                yield Choice(
                    label=f"{page.name}: {action.label.lower()}",
                    note=f"{page.digit}, {self.shown(action.key)}: {action.help}",
                    run=partial(self.go, name),
                )

    def _everywhere(self) -> list[Choice]:
        return [
            Choice(label="undo", note="z: the last reversible action", run=self.deeds.undo),
            Choice(label="help", note="?: keys and figures of this screen", run=self._help),
            Choice(label="messages", note="!: what was told lately", run=self._messages),
            Choice(label="next theme", note="T", run=self._turn_theme),
            Choice(
                label="mouse", note="M: to the console or the terminal", run=self._turn_mouse
            ),
            Choice(label="write mode", note="ctrl+w", run=self._toggle_writing),
            Choice(label="freeze view", note=".: sending goes on", run=self._freeze),
            Choice(label="quit", note="ctrl+q", run=self.leave),
        ]

    def _page(self, name: str) -> Page:
        if name not in self.pages:
            self.pages[name] = PAGES[name](self, self.deeds)
        return self.pages[name]


def said(error: DripdError) -> str:
    """An error in one line."""
    return f"{error.message}" + (f" - {error.hint}" if error.hint else "")
