"""Has a contact been written to too often? A limit across campaigns, over a sliding span."""

from __future__ import annotations

from collections.abc import Iterable

from dripd.campaigns.definition import Frequency
from dripd.clock import Instant


def release_at(limit: Frequency, sent: Iterable[Instant], now: Instant) -> Instant | None:
    """When another message may go, later than *now*; None: it may go now.

    In any span of `per_ms`, half-open at its end, at most `n` messages go; *sent* are those
    that went, in any order.
    """
    within = sorted(at for at in sent if at > now - limit.per_ms)
    if len(within) < limit.n:
        return None
    return Instant(max(within[-limit.n] + limit.per_ms, now + 1))
