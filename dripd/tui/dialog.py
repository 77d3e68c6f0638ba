"""What asks before it acts? Confirmations, questions, menus: drawn over a screen.

A dialog that confirms opens with its focus on Cancel, and hears no confirming key in its first
0.3 seconds: the key that opened it, held or bounced, cannot confirm it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from dripd.tui.draw import Cell, Line, fit, folded, pad, wrap
from dripd.tui.field import Field

DEAF_S: Final = 0.3

MOST_PARTS: Final = 1_000
"""Lines that one value may take where it is read."""

Done: TypeAlias = Callable[[dict[str, str]], None]
"""Called with what was typed, by the fields' names."""


class Dialog(Protocol):
    """Something over the screen that takes every key; `open` until it is answered."""

    open: bool

    def key(self, name: str, char: str | None, at: float) -> None: ...

    def paste(self, text: str) -> None: ...

    def lines(self, width: int, height: int) -> list[Line]: ...


@dataclass(slots=True, kw_only=True)
class Blank:
    """A field of a dialog. `must_be`: only this text confirms; `required`: some text; `number`:
    a whole number."""

    name: str
    label: str
    required: bool = False
    must_be: str = ""
    number: bool = False
    field: Field = field(default_factory=Field)

    @property
    def is_filled(self) -> bool:
        text = self.field.text.strip()
        if self.number and text:
            return text.isascii() and text.isdigit() and len(text) < 10
        return text == self.must_be if self.must_be else bool(text) or not self.required


class Confirm:
    """Says what will happen and what will not be undone; Cancel has the focus."""

    def __init__(
        self,
        title: str,
        body: Sequence[str],
        done: Done,
        *,
        verb: str,
        opened_at: float,
        blanks: Sequence[Blank] = (),
    ) -> None:
        self.title = title
        self.body = list(body)
        self.verb = verb
        self.blanks = list(blanks)
        self.open = True
        self.focus = 0
        """0 Cancel, then the fields, then the confirming button."""
        self._done = done
        self._deaf_until = opened_at + DEAF_S

    @property
    def is_ready(self) -> bool:
        """Whether every field holds what it must."""
        return all(blank.is_filled for blank in self.blanks)

    def key(self, name: str, char: str | None, at: float) -> None:
        if name == "escape":
            self.open = False
        elif name in {"tab", "down"}:
            self.focus = (self.focus + 1) % (len(self.blanks) + 2)
        elif name in {"shift+tab", "up"}:
            self.focus = (self.focus - 1) % (len(self.blanks) + 2)
        elif name == "enter":
            self._enter(at)
        elif blank := self._blank():
            blank.field.key(name, char)
        elif char == "y" and not self.blanks:
            self._confirm(at)
        elif char == "n":
            self.open = False

    def paste(self, text: str) -> None:
        if (blank := self._blank()) and not blank.must_be:
            blank.field.insert(text)

    def _blank(self) -> Blank | None:
        return self.blanks[self.focus - 1] if 0 < self.focus <= len(self.blanks) else None

    def _enter(self, at: float) -> None:
        if self.focus == 0:
            self.open = False
        elif self.focus <= len(self.blanks):
            self.focus += 1
        else:
            self._confirm(at)

    def _confirm(self, at: float) -> None:
        if at >= self._deaf_until and self.is_ready:
            self.open = False
            self._done({blank.name: blank.field.text.strip() for blank in self.blanks})

    def lines(self, width: int, height: int) -> list[Line]:
        room = min(width - 4, 74)
        inner = [Cell(text) for part in self.body for text in wrap(part, room, indent=2)]
        found: list[Line] = [(cell,) for cell in inner[: height - 5 - len(self.blanks)]]
        found += [(Cell(""),)]
        found += [self._field_line(n, blank, room) for n, blank in enumerate(self.blanks, 1)]
        return boxed(self.title, [*found, self._buttons()], room)

    def _field_line(self, n: int, blank: Blank, room: int) -> Line:
        label = Cell(f"{blank.label} ", "head" if self.focus == n else "")
        size = max(8, room - len(blank.label) - 3)
        return (label, Cell("["), *blank.field.line(size, focused=self.focus == n), Cell("]"))

    def _buttons(self) -> Line:
        last = len(self.blanks) + 1
        cancel = Cell("[ Cancel ]", "cursor" if self.focus == 0 else "")
        style = "cursor" if self.focus == last else "" if self.is_ready else "dim"
        hint = "y confirms" if not self.blanks else "Tab to move"
        return (
            cancel,
            Cell("   "),
            Cell(f"[ {self.verb} ]", style),
            Cell(f"   {hint}, Esc cancels", "dim"),
        )


class Question:
    """Asks for some texts, all at once; Enter in the last one answers."""

    def __init__(self, title: str, blanks: Sequence[Blank], done: Done, note: str = "") -> None:
        self.title = title
        self.blanks = list(blanks)
        self.note = note
        self.open = True
        self.focus = 0
        self._done = done

    def key(self, name: str, char: str | None, at: float) -> None:
        if name == "escape":
            self.open = False
        elif name in {"tab", "down"}:
            self.focus = (self.focus + 1) % len(self.blanks)
        elif name in {"shift+tab", "up"}:
            self.focus = (self.focus - 1) % len(self.blanks)
        elif name == "enter":
            self._enter()
        else:
            self.blanks[self.focus].field.key(name, char)

    def paste(self, text: str) -> None:
        self.blanks[self.focus].field.insert(text)

    def _enter(self) -> None:
        if self.focus < len(self.blanks) - 1:
            self.focus += 1
        elif all(blank.is_filled for blank in self.blanks):
            self.open = False
            self._done({blank.name: blank.field.text.strip() for blank in self.blanks})

    def lines(self, width: int, height: int) -> list[Line]:
        room = min(width - 4, 74)
        found: list[Line] = [(Cell(text, "dim"),) for text in wrap(self.note, room) if text]
        for n, blank in enumerate(self.blanks):
            size = max(8, room - len(blank.label) - 3)
            here = n == self.focus
            label = Cell(f"{blank.label} ", "head" if here else "")
            found.append((label, Cell("["), *blank.field.line(size, focused=here), Cell("]")))
        return boxed(self.title, [*found, (Cell("Enter goes on, Esc cancels", "dim"),)], room)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An entry of a menu; `why_not` says why it cannot be chosen."""

    label: str
    note: str = ""
    run: Callable[[], None]
    why_not: str = ""


class Menu:
    """Choices, narrowed by what is typed; the palette is one."""

    def __init__(self, title: str, choices: Sequence[Choice]) -> None:
        self.title = title
        self.open = True
        self._choices = list(choices)
        self._typed = Field()
        self._at = 0

    @property
    def shown(self) -> list[Choice]:
        """The choices that hold every word typed."""
        words = self._typed.text.lower().split()
        return [c for c in self._choices if all(w in c.label.lower() for w in words)]

    def key(self, name: str, char: str | None, at: float) -> None:
        if name == "escape":
            self.open = False
        elif name in {"down", "ctrl+n"}:
            self._at = min(self._at + 1, max(0, len(self.shown) - 1))
        elif name in {"up", "ctrl+p"}:
            self._at = max(0, self._at - 1)
        elif name == "enter":
            self._choose()
        elif self._typed.key(name, char):
            self._at = 0

    def paste(self, text: str) -> None:
        self._typed.insert(text)

    def _choose(self) -> None:
        shown = self.shown
        if self._at < len(shown) and not shown[self._at].why_not:
            self.open = False
            shown[self._at].run()

    def lines(self, width: int, height: int) -> list[Line]:
        room = min(width - 4, 74)
        said = self.shown[self._at] if self._at < len(self.shown) else None
        told = wrap(said.why_not or said.note, room) if said else ["nothing is called so"]
        rows = max(1, height - 5 - len(told))
        top = max(0, self._at - rows + 1)
        found: list[Line] = [(Cell(":"), *self._typed.line(room - 1, focused=True))]
        for n, choice in enumerate(self.shown[top : top + rows], top):
            note = choice.why_not or choice.note
            half = max(20, room - min(36, len(note)) - 3)
            text = (
                Cell((">" if n == self._at else " ") + " " + pad(choice.label, half)),
                Cell(note, "dim"),
            )
            shown = tuple(Cell(c.text, "dim") for c in text) if choice.why_not else text
            found.append(
                tuple(Cell(c.text, "cursor") for c in shown) if n == self._at else shown
            )
        return boxed(self.title, [*found, *((Cell(part, "dim"),) for part in told)], room)


class Reading:
    """Text to be read: help, details; scrolled by the usual keys, left by any other."""

    def __init__(self, title: str, body: Sequence[Line]) -> None:
        self.title = title
        self.body = list(body)
        self.open = True
        self._folded: list[Line] = []
        self._top = 0
        self._rows = 10

    def key(self, name: str, char: str | None, at: float) -> None:
        steps = {
            "down": 1, "j": 1, "up": -1, "k": -1, "pagedown": self._rows, "space": self._rows,
            "pageup": -self._rows, "ctrl+d": self._rows, "ctrl+u": -self._rows,
            "g": -len(self._folded), "home": -len(self._folded), "G": len(self._folded),
            "end": len(self._folded),
        }  # fmt: skip
        by = steps.get(char or "", steps.get(name))
        if by is None:
            self.open = False
            return
        self._top = max(0, min(len(self._folded) - self._rows, self._top + by))

    def paste(self, text: str) -> None:
        self.open = False

    def lines(self, width: int, height: int) -> list[Line]:
        room = min(width - 4, 94)
        self._rows = max(1, height - 4)
        self._folded = [
            part for one in self.body for part in folded(one, room, most=MOST_PARTS)
        ]
        shown = self._folded[self._top : self._top + self._rows]
        left = len(self._folded) - self._top - len(shown)
        more = f"{left} more lines: PgDn" if left else "Esc goes back"
        return boxed(self.title, [*shown, (Cell(more, "dim"),)], room)


def boxed(title: str, lines: Sequence[Line], room: int) -> list[Line]:
    """*lines* in a frame of ASCII, *room* columns wide inside."""
    bar = f"+- {title} "
    top = (Cell(pad(bar + "-" * max(0, room + 3 - len(bar)), room + 3) + "+", "box"),)
    bottom = (Cell("+" + "-" * (room + 2) + "+", "box"),)
    edge = Cell("|", "box")
    body = [(edge, Cell(" "), *fit(one, room), Cell(" "), edge) for one in lines]
    return [top, *body, bottom]
