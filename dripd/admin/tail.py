"""What does a tail show of a ring, and which of it does somebody want?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

import trio

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LOOKED_AT: Final = 500
"""Most things that one reading shows or judges: about a millisecond."""

LOOKED_AT_ONCE: Final = 25
"""And most that are without a pause."""

Shown: TypeAlias = dict[str, object]


class Feed(Protocol[T_co]):
    """What happened lately, numbered: `dripd.ring.Ring`, or something that reads like one."""

    @property
    def n(self) -> int: ...

    def since(self, seen: int, most: int) -> tuple[Sequence[T_co], int]:
        """At most *most* things after number *seen*, the latest; and how many came before them."""
        ...


class Source(Generic[T]):
    """A feed, and how one of its things is shown; None: it is nothing to show."""

    def __init__(self, ring: Feed[T], show: Callable[[T], Shown | None]) -> None:
        self.ring = ring
        self.show = show

    def read(
        self, seen: int, most: int, wanted: Mapping[str, object]
    ) -> tuple[list[Shown], int, int]:
        """Up to *most* rows after *seen* that are *wanted*, how many were passed over, and
        the number to come with next."""
        things, missed = self.ring.since(seen, LOOKED_AT)
        rows = [row for one in things if (row := self.show(one)) and matches(row, wanted)]
        over = max(0, len(rows) - most)
        return rows[over:], missed + over, self.ring.n

    async def follow(
        self, seen: int, most: int, wanted: Mapping[str, object]
    ) -> tuple[list[Shown], int, int]:
        """As `read`, a few things at a time, others between them; what is left out unasked is
        counted without being looked at."""
        things, passed = self.ring.since(seen, LOOKED_AT)
        upto, rows = self.ring.n, list[Shown]()
        for end in range(len(things), 0, -LOOKED_AT_ONCE):
            if len(rows) >= most and not wanted:
                passed += end
                break
            part = things[max(0, end - LOOKED_AT_ONCE) : end]
            shown = [row for one in part if (row := self.show(one)) and matches(row, wanted)]
            rows = shown + rows
            await trio.lowlevel.checkpoint()
        over = max(0, len(rows) - most)
        return rows[over:], passed + over, upto


def matches(row: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether *row* has each wanted value: that text, one of a list, not the one after `!`, or
    one that begins as the text before `*` does."""
    return all(_fits(row.get(name), value) for name, value in wanted.items())


def _fits(found: object, wanted: object) -> bool:
    text = "" if found is None else str(found)
    if isinstance(wanted, list):
        return any(_fits(found, one) for one in wanted)
    word = str(wanted)
    if word.startswith("!"):
        return text != word[1:]
    return text.startswith(word[:-1]) if word.endswith("*") else text == word
