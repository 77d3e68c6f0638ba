"""What does `?` say? The keys of a screen, and the meaning of every figure on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from dripd.tui.draw import Cell, Line, line, pad, wrap
from dripd.tui.keys import KEYS
from dripd.tui.page import Action, Page

EVERYWHERE: Final = (
    ("1 .. 9 0 L", "screens; : or ctrl+p finds any command by name"),
    ("j k arrows", "move; ctrl+d ctrl+u PgDn PgUp a page, g G the ends"),
    ("enter, esc", "go in, go back; - the last screen; q back, then quit"),
    (
        "/",
        "filter (Tab completes); a word alone is a contact on 4, elsewhere looked for in what is loaded, n N the next and previous",
    ),
    ("space", "mark a row; on tails freeze and follow"),
    (".", "freeze the view: never touches sending"),
    ("ctrl+r", "take the order anew: new and vanished rows"),
    ("o", "sort what is loaded; the same column again = reverse"),
    ("< >", "fewer or more columns"),
    ("y Y", "copy the id, the row as JSON (OSC 52)"),
    ("w", "write what is loaded to a CSV or NDJSON file here, masked; a campaign as YAML"),
    ("ctrl+w", "write mode for 15 minutes: keys that change things work"),
    ("z", "undo the last reversible action, for 10 minutes"),
    ("!", "what was told lately; any key takes a message away, an error Esc at once"),
    ("M T", "mouse to the console or the terminal; next theme"),
    ("left right", "10 s back and on, in a recording"),
    ("ctrl+q", "quit; ctrl+c twice as well"),
)

MARKS: Final = (
    ("ok >> .", "fine, in work, waits"),
    ("|| ! !!", "held or paused, warning, critical"),
    ("? !?", "waits for a person; nobody knows the outcome"),
    ("> * -- struck", "cursor, marked, over; struck through: gone from the list"),
    ("N+", "counting stopped there; ~N is an estimate from a sample"),
)


class Judge(Protocol):
    def why_not(self, action: Action) -> str: ...

    def shown(self, key: str) -> str: ...


def lines(judge: Judge, page: Page) -> list[Line]:
    """The whole help of *page*."""
    found = [
        *_section(
            "keys here", [(judge.shown(a.key), _meaning(judge, a)) for a in page.actions()]
        )
    ]
    found += _section("filter", [(f"{name}=", key.help) for name, key in page.keys.items()])
    found += _section("figures here", page.figures)
    found += _section("everywhere", EVERYWHERE)
    moved = [
        (judge.shown(key), f"what {key} is above")
        for key in sorted(KEYS)
        if judge.shown(key) != key
    ]
    found += _section("moved by your console.toml", moved)
    return [*found, *_section("signs", MARKS)]


def _meaning(judge: Judge, action: Action) -> str:
    why = judge.why_not(action)
    return f"{action.label}: {action.help}" + (f" ({why})" if why else "")


def _section(title: str, rows: Any) -> list[Line]:
    found: list[Line] = []
    for name, meaning in rows:
        first, *rest = wrap(meaning, 52)
        found.append(line(Cell(pad(name, 22), "key"), first))
        found += [line(" " * 22, more) for more in rest]
    return [line(Cell(title, "head")), *found, line("")] if found else []


def as_json(row: Mapping[str, Any]) -> str:
    """A row as JSON, without what the console added."""
    return json.dumps({k: v for k, v in row.items() if k != "_n"}, ensure_ascii=True)
