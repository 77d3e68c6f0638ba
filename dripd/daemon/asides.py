"""What do those who look on hear beside events? Changes by hand, and calls that proved nothing.

Both stand in the tail of events, for they explain what happens next; the audit and the log keep
them. A flood of forged calls is told of now and then, with how many there were: it must not push
out of the ring what did happen.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from dripd.admin.messages import Call
from dripd.engine.pipeline import Aside, Pipeline
from dripd.store.desk_deed import Deed

ADMIN: Final = "admin"
REFUSED: Final = "refused"
KINDS: Final = frozenset({ADMIN, REFUSED})

MINUTE_S: Final = 60.0
TOLD_EVERY_S: Final = 10.0
"""Refusals of one kind by one provider are told at most so often."""

MOST: Final = 1_000
"""Refusals of a minute that are counted."""


def tell_deed(pipe: Pipeline, call: Call, deed: Deed) -> None:
    """Somebody has changed something by hand."""
    why = f": {call.reason}" if call.reason else ""
    aside = Aside(
        at=pipe.clock.now(),
        kind=ADMIN,
        account_id=deed.accounts[0] if len(deed.accounts) == 1 else None,
        detail=" ".join(filter(None, (call.method, deed.target, f"by {call.actor}{why}"))),
        source="socket",
        note=None if deed.result.get("changed", True) else "unchanged",
    )
    pipe.lately.heard.append(aside)


class Refusals:
    """Calls of providers that were turned away."""

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._seen: dict[tuple[str, str], deque[float]] = {}
        self._told_at: dict[tuple[str, str], float] = {}

    def note(self, provider: str, reason: str, peer: str) -> None:
        """One from *peer* in the name of *provider*."""
        now, what = trio.current_time(), (provider, reason)
        seen = self._seen.setdefault(what, deque(maxlen=MOST))
        seen.append(now)
        if now - self._told_at.get(what, -TOLD_EVERY_S) < TOLD_EVERY_S:
            return
        self._told_at[what] = now
        while seen[0] < now - MINUTE_S:
            seen.popleft()
        often = (
            f" ({len(seen)}{'+' if len(seen) == MOST else ''} in 1 min)"
            if len(seen) > 1
            else ""
        )
        aside = Aside(
            at=self._pipe.clock.now(),
            kind=REFUSED,
            account_id=None,
            detail=f"{WORDS.get(reason, reason)}{often} from {peer or 'somebody'}",
            source=provider,
        )
        self._pipe.lately.heard.append(aside)


WORDS: Final = {"signature": "bad signature", "malformed": "signed, but it cannot be read"}
"""Why a call was refused, in words."""
