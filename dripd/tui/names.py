"""Which names could stand in a filter? Those that have been seen: of the screens, and of what holds.

Nothing is asked for them: who types a filter sees the names beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from dripd.tui.page import ListPage, Page
from dripd.tui.table import Row

EVERYWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "account": ("account_key", "account"),
    "campaign": ("campaign_key", "campaign"),
}
"""Parameters that mean the same on every screen, and the columns that hold their names."""

HERE: Final[Mapping[str, tuple[str, ...]]] = {
    "assignee": ("assignee",), "board": ("board",), "contact": ("external_id",),
    "event": ("event",), "kind": ("kind",), "method": ("method",), "reason": ("reason",),
    "recipient": ("recipient",), "source": ("source",), "stage": ("stage",),
    "step": ("step", "step_key"), "target": ("target",), "who": ("as_name", "user"),
}  # fmt: skip
"""Those that are looked for on the screen that is filtered alone."""

KEYS: Final = {"account": "accounts", "campaign": "campaigns"}
"""Whose own screens call them `key`."""


def names(
    param: str, page: Page, pages: Mapping[str, Page], overview: Mapping[str, Any]
) -> list[str]:
    """The names for *param* that were seen, in their order."""
    found: set[object] = set()
    if param in EVERYWHERE:
        found |= set(_in(overview.get("holding", []), EVERYWHERE[param]))
        for one in pages.values():
            found |= set(_in(_rows(one), EVERYWHERE[param]))
        own = pages.get(KEYS[param])
        if isinstance(own, ListPage) and not own.second:
            found |= set(_in(_rows(own), ("key",)))
    else:
        found = set(_in(_rows(page), HERE.get(param, ())))
    return sorted(name for name in found if isinstance(name, str) and '"' not in name)


def _rows(page: Page) -> Iterable[Row]:
    return () if page.table is None else page.table.rows.values()


def _in(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> Iterator[object]:
    return (row[column] for row in rows for column in columns if row.get(column))
