"""How does text become lines of a terminal? Cells with a style's name, measured in columns.

A cell holds text that was made safe where it was decoded, and nothing ever reads it as markup.
Styles are names (`ok`, `warn`, `dim` ...); `dripd.tui.theme` says what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from rich.cells import cell_len, set_cell_size

BLOCKS: Final = "▁▂▃▄▅▆▇█"
MORE: Final = "…"
INDENT: Final = "    "
WORDS: Final = re.compile(r" +|[^ ]+")


class Cell(NamedTuple):
    """A run of text in one style."""

    text: str
    style: str = ""


Line: TypeAlias = tuple[Cell, ...]


def line(*parts: str | Cell) -> Line:
    """A line of *parts*; plain text has the plain style."""
    return tuple(part if isinstance(part, Cell) else Cell(part) for part in parts)


def width_of(text: str) -> int:
    """Columns that *text* takes."""
    return len(text) if text.isascii() else cell_len(text)


def clip(text: str, width: int) -> str:
    """*text* in at most *width* columns, with an ellipsis where something was cut.

    Costs by what is shown, however long the text is: a character takes a column at least, or is
    one of at most three marks on another.
    """
    if width <= 0:
        return ""
    head = text[: 4 * width + 1]
    if len(head) == len(text) and width_of(text) <= width:
        return text
    return (head[: width - 1] if head.isascii() else set_cell_size(head, width - 1)) + MORE


def pad(text: str, width: int, *, right: bool = False) -> str:
    """*text* in exactly *width* columns."""
    shown = clip(text, width)
    room = " " * (width - width_of(shown))
    return room + shown if right else shown + room


def length(one: Line) -> int:
    return sum(width_of(cell.text) for cell in one)


def fit(one: Line, width: int) -> Line:
    """*one* in exactly *width* columns."""
    found: list[Cell] = []
    left = width
    for cell in one:
        text = clip(cell.text, left)
        found.append(Cell(text, cell.style))
        left -= width_of(text)
        if left <= 0:
            return tuple(found)
    return (*found, Cell(" " * left))


def plain(one: Line) -> str:
    """What is written on a line."""
    return "".join(cell.text for cell in one)


def styled(one: Line, style: str) -> Line:
    """*one*, every cell in *style* beside its own."""
    return tuple(Cell(cell.text, f"{cell.style} {style}".strip()) for cell in one)


def wrap(text: str, width: int, *, indent: int = 0) -> list[str]:
    """*text* in lines of *width* columns, broken between words; later lines are indented."""
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        candidate = f"{current} {word}" if current else word
        if width_of(candidate) <= width or not current.strip():
            current = candidate
            continue
        lines.append(clip(current, width))
        current = " " * indent + word
    return [*lines, clip(current, width)]


def folded(one: Line, width: int, *, most: int = 3) -> list[Line]:
    """*one* in at most *most* lines of *width* columns, broken between words; the later ones are
    indented, and what is left then is cut."""
    found: list[list[Cell]] = [[]]
    at = 0
    for cell in one:
        for word in WORDS.findall(cell.text):
            size = width_of(word)
            if at + size > width and at > len(INDENT) and not word.isspace():
                if len(found) == most:
                    if found[-1][-1].text.isspace():
                        found[-1].pop()
                    found[-1].append(Cell(f" {word}", cell.style))
                    return [fit(tuple(part), width) for part in found]
                found.append([Cell(INDENT)])
                at = len(INDENT)
            if at > len(INDENT) or len(found) == 1 or not word.isspace():
                found[-1].append(Cell(word, cell.style))
                at += size
    return [fit(tuple(part), width) for part in found]


def sides(left: Line, right: Line, width: int) -> Line:
    """*left* and *right* at the two ends of a line; the left one gives way."""
    room = width - length(right)
    return (
        fit((*fit(left, max(0, room - 1)), Cell(" "), *right), width)
        if room > 0
        else fit(right, width)
    )


def spark(values: Sequence[float], width: int) -> str:
    """The last *width* of *values* as bars; the highest is full, zero is the lowest."""
    shown = list(values)[-width:]
    top = max(shown, default=0)
    if top <= 0:
        return BLOCKS[0] * len(shown)
    return "".join(BLOCKS[min(7, int(max(0.0, value) / top * 7.999))] for value in shown)


def gathered(values: Sequence[int], width: int) -> list[int]:
    """*values* added up into at most *width* sums of neighbours."""
    if width <= 0:
        return []
    step = -(-len(values) // width)
    return [sum(values[n : n + step]) for n in range(0, len(values), step)]


def peaks(values: Sequence[float], width: int) -> list[float]:
    """At most *width* of *values*, each the highest of as many neighbours."""
    step = max(1, -(-len(values) // max(1, width)))
    return [max(values[n : n + step]) for n in range(0, len(values), step)]


def gauge(share: float, width: int) -> str:
    """A bar that is full at a *share* of 1."""
    full = round(min(1.0, max(0.0, share)) * width)
    return "█" * full + "░" * (width - full)


def stack(lines: Iterable[Line], width: int, height: int) -> list[Line]:
    """Exactly *height* lines of *width* columns."""
    shown = [fit(one, width) for one in lines][:height]
    return shown + [fit((), width)] * (height - len(shown))
