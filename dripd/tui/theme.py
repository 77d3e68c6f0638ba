"""What do the style names look like? Four themes; every state is told by glyph and word as well.

`terminal` uses the terminal's own sixteen colours, `mono` attributes alone (chosen by NO_COLOR
and by terminals without colours), `dark` and `light` fixed colours of a contrast of 4.5:1 or
more, which a test computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from rich.style import Style

NAMES: Final = ("terminal", "dark", "light", "mono")

THEMES: Final[Mapping[str, Mapping[str, str]]] = {
    "terminal": {
        "": "", "dim": "dim", "head": "bold", "title": "bold", "band": "reverse",
        "band-warn": "reverse bold yellow", "band-bad": "reverse bold red", "key": "bold",
        "ok": "green", "warn": "yellow", "bad": "bold red", "cursor": "reverse", "mark": "bold",
        "gone": "strike dim", "box": "bold", "field": "underline", "spark": "cyan",
        "stale": "dim", "toast": "reverse",
    },
    "mono": {
        "": "", "dim": "dim", "head": "bold", "title": "bold", "band": "reverse",
        "band-warn": "reverse bold", "band-bad": "reverse bold", "key": "bold", "ok": "",
        "warn": "bold", "bad": "bold underline", "cursor": "reverse", "mark": "bold",
        "gone": "strike dim", "box": "bold", "field": "underline", "spark": "",
        "stale": "dim", "toast": "reverse",
    },
    "dark": {
        "": "#d8dee9 on #16181d", "dim": "#9aa4b5", "head": "bold #ffffff", "title": "bold #ffffff",
        "band": "#ffffff on #2f5d8c", "band-warn": "bold #16181d on #e5b34b",
        "band-bad": "bold #ffffff on #a8323e", "key": "bold #8fc7ff", "ok": "#8ad48a",
        "warn": "#e5b34b", "bad": "bold #ff8f8f", "cursor": "#ffffff on #2f5d8c",
        "mark": "bold #e5b34b", "gone": "strike #9aa4b5", "box": "#8fc7ff",
        "field": "#ffffff on #30353f", "spark": "#8fc7ff", "stale": "#9aa4b5",
        "toast": "#ffffff on #30353f",
    },
    "light": {
        "": "#20242c on #ffffff", "dim": "#5a6270", "head": "bold #000000", "title": "bold #000000",
        "band": "#ffffff on #1f4e7d", "band-warn": "bold #20242c on #f0c14b",
        "band-bad": "bold #ffffff on #a8323e", "key": "bold #1f4e7d", "ok": "#1f6b2c",
        "warn": "#7a5200", "bad": "bold #a01c28", "cursor": "#ffffff on #1f4e7d",
        "mark": "bold #7a5200", "gone": "strike #5a6270", "box": "#1f4e7d",
        "field": "#000000 on #e6e9ee", "spark": "#1f4e7d", "stale": "#5a6270",
        "toast": "#000000 on #e6e9ee",
    },
}  # fmt: skip


@cache
def style(theme: str, names: str) -> Style:
    """The look of *names* (one or several with blanks between), the later ones on top."""
    table = THEMES[theme]
    found = Style.parse(table[""])
    for name in names.split():
        found += Style.parse(table.get(name, ""))
    return found


def choose(environment: Mapping[str, str]) -> str:
    """The theme for a terminal: `mono` where it has no colours, or wants none."""
    term = environment.get("TERM", "")
    plain = term.startswith("vt") or term in {"dumb", "linux-m", ""}
    return "mono" if plain or environment.get("NO_COLOR") else "terminal"
