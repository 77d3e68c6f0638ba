"""What happened lately on this daemon? The last few thousand things, for tails.

Whoever produces adds a whole batch at once and knows nothing of who looks: nothing is paid
for a tail that nobody has open but the batch's place in the ring. Readers come with the number
they had last and learn how many they have missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, Generic, TypeVar

T = TypeVar("T")

RING: Final = 2_000
"""Things that are kept: what a console shows of the past when it opens a tail."""


class Ring(Generic[T]):
    """The last `RING` things, numbered from 1 on without gaps."""

    def __init__(self, most: int = RING) -> None:
        self._kept: deque[T] = deque(maxlen=most)
        self.n = 0

    def extend(self, batch: Iterable[T], n: int) -> None:
        """Add the *n* things of *batch*."""
        self._kept.extend(batch)
        self.n += n

    def append(self, one: T) -> None:
        self._kept.append(one)
        self.n += 1

    def since(self, seen: int, most: int) -> tuple[list[T], int]:
        """At most *most* things after number *seen*, the latest; and how many came before them."""
        fresh = max(0, self.n - seen)
        taken = min(fresh, most, len(self._kept))
        found = list(islice(self._kept, len(self._kept) - taken, None))
        return found, fresh - taken
