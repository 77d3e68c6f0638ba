"""Which leased message goes next? What is due already as it was leased, the rest by its instant.

A message leased ahead is held until it is due, and holds up what stands behind it: so nothing
that is due earlier may. What is due keeps its place, else an old backlog would go before
whatever came in meanwhile, for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dripd.campaigns.enrollment import Leased
from dripd.clock import Instant


def line_up(queue: deque[Leased], fresh: list[Leased], now: Instant) -> None:
    """Append *fresh* to *queue*, so that nobody is held for one that is due later.

    Costs a look at each of *fresh* where all of them are due, else a sort of two runs.
    """
    by_turn = _by_turn(now)
    if any(leased.due_at > now for leased in fresh):
        fresh.sort(key=by_turn)
    if queue and queue[-1].due_at > now:
        fresh = sorted([*queue, *fresh], key=by_turn)
        queue.clear()
    queue.extend(fresh)


def _by_turn(now: Instant) -> Callable[[Leased], Instant]:
    def turn(leased: Leased) -> Instant:
        return max(leased.due_at, now)

    return turn
