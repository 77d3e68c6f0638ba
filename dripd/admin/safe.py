"""What may a terminal be shown? Text without anything that it obeys or hides.

Data holds what others wrote: names, addresses, answers of providers. Every string that comes
over the socket to a person goes through here, in the console where it is decoded, in a command
where it is printed; nothing further on need think of it.
"""

from __future__ import annotations

from typing import Final
from unicodedata import category

BIDI: Final = frozenset(
    [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
HIDDEN: Final = frozenset(
    [
        0x00AD,
        0x034F,
        0x115F,
        0x1160,
        0x180E,
        *range(0x200B, 0x200E),
        0x2028,
        0x2029,
        *range(0x2060, 0x2066),
        0x3164,
        *range(0xFE00, 0xFE10),
        0xFEFF,
        0xFFA0,
        *range(0xFFF9, 0xFFFC),
        *range(0xE0000, 0xE0080),
    ]
)
"""Of no width, or blank where nobody expects it: they hide text or let it look like another."""

SKINS: Final = frozenset(range(0x1F3FB, 0x1F400))
"""Colours of the emoji before them: of no width on some terminals, of two columns on others."""

FLAGS: Final = {0x1F1E6 + n: ord("A") + n for n in range(26)}
"""Pairs of regional letters are one flag on some terminals and two letters on others."""

PICTURES: Final = {
    **FLAGS,
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys(
        [*range(0x80, 0xA0), *BIDI, *HIDDEN, *SKINS, *range(0xD800, 0xE000)], 0xFFFD
    ),
    0x0A: ord("⏎"),
}

MOST: Final = 4_000
"""Most characters of a string: more than any screen shows, less than hurts."""

MOST_MARKS: Final = 3
"""On one character: more would reach into other lines, or hide how long a text is."""

FIRST_MARK: Final = "\u0300"
JAMO: Final = frozenset(map(chr, [*range(0x1160, 0x1200), *range(0xD7B0, 0xD7FC)]))
"""Vowels and tails of Hangul, which join the letter before them."""


def safe(text: str) -> str:
    """*text* without anything that a terminal obeys or hides, on one line."""
    if text.isascii():
        return text if text.isprintable() else text.translate(PICTURES)
    shown = text.translate(PICTURES)
    return shown if max(shown) < FIRST_MARK else _thinned(shown)


def _thinned(text: str) -> str:
    """*text* without the marks that are too many on their characters."""
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if char in JAMO or category(char).startswith("M") else 0
        if marks <= MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def clean(value: object) -> object:
    """*value*, as it came over the wire, with every string in it safe and of bounded length."""
    if isinstance(value, str):
        return safe(value[:MOST] + "…" if len(value) > MOST else value)
    if isinstance(value, dict):
        return {safe(str(key)): clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value
