"""One line of text that somebody types."""

from __future__ import annotations

from dripd.admin.safe import safe
from dripd.tui.draw import Cell, Line, clip, width_of

MOST = 500


class Field:
    """The text and the place in it; what is pasted is made safe and brought onto one line."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.at = len(text)

    def key(self, name: str, char: str | None) -> bool:
        """Edit by one key; False for one that does not edit."""
        match name:
            case "backspace" | "ctrl+h":
                self.text = self.text[: max(0, self.at - 1)] + self.text[self.at :]
                self.at = max(0, self.at - 1)
            case "delete":
                self.text = self.text[: self.at] + self.text[self.at + 1 :]
            case "left":
                self.at = max(0, self.at - 1)
            case "right":
                self.at = min(len(self.text), self.at + 1)
            case "home" | "ctrl+a":
                self.at = 0
            case "end" | "ctrl+e":
                self.at = len(self.text)
            case "ctrl+u":
                self.text, self.at = self.text[self.at :], 0
            case "ctrl+k":
                self.text = self.text[: self.at]
            case _:
                return self._typed(char)
        return True

    def _typed(self, char: str | None) -> bool:
        if char is None or len(char) != 1 or not char.isprintable():
            return False
        self.insert(char)
        return True

    def insert(self, text: str) -> None:
        """Put *text* in, as far as there is room for it."""
        fresh = safe(text.strip("\r\n") if len(text) > 1 else text)[: MOST - len(self.text)]
        self.text = self.text[: self.at] + fresh + self.text[self.at :]
        self.at += len(fresh)

    def set(self, text: str) -> None:
        self.text, self.at = text, len(text)

    def line(self, width: int, *, focused: bool) -> Line:
        """The field in *width* columns, its end in sight; the place as a reversed cell."""
        before, here, after = (
            self.text[: self.at],
            self.text[self.at : self.at + 1] or " ",
            self.text[self.at + 1 :],
        )
        while before and width_of(before) > width - 2:
            before = before[1:]
        room = max(0, width - width_of(before) - width_of(here))
        mark = "cursor" if focused else "field"
        rest = clip(after, room)
        blank = " " * (room - width_of(rest))
        return (Cell(before, "field"), Cell(here, mark), Cell(rest + blank, "field"))
