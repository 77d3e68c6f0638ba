"""Is a sender still welcome? What came back of what it sent, held against what providers bear.

Mailbox providers want complaints below 0.1 % and turn away a sender for good at 0.3 %; bounces
above some 5 % mark a list that was bought. Small numbers prove nothing: below `least` messages
and `few` of what came back nobody is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dripd.clock import DAY, Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """More than so many in a thousand of what left in the window; 0 = not judged by that."""

    bounces_permille: int = 50
    complaints_permille: int = 3
    least: int = 100
    few: int = 3
    window_ms: Millis = Millis(7 * DAY)

    @property
    def is_on(self) -> bool:
        return bool(self.bounces_permille or self.complaints_permille)

    def may_judge(self, bounced: int, complained: int) -> bool:
        """Is it worth counting what left?"""
        return max(bounced, complained) >= self.few

    def judge(self, sent: int, bounced: int, complained: int) -> str | None:
        """Why the sender is to be stopped; None: it may go on."""
        if sent < self.least:
            return None
        if self._is_over(self.complaints_permille, complained, sent):
            return "complaint_rate"
        if self._is_over(self.bounces_permille, bounced, sent):
            return "bounce_rate"
        return None

    def _is_over(self, permille: int, n: int, sent: int) -> bool:
        return permille > 0 and n >= self.few and n * 1_000 > permille * sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A bounce or a complaint, and the message that it is about."""

    event_id: int
    kind: str
    enrollment_id: int
    seq: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What left from a sender, and what of it came back."""

    sender_id: int
    sent: int
    bounced: int
    complained: int

    def figures(self) -> dict[str, int]:
        return {"sent": self.sent, "bounced": self.bounced, "complained": self.complained}


@dataclass(frozen=True, slots=True)
class Stop:
    """A sender, or (None) the whole account, was paused for what came back."""

    account_id: int
    sender_id: int | None
    reason: str
    figures: dict[str, int]


def stops_of(account_id: int, standings: Sequence[Standing], guard: Guard) -> list[Stop]:
    """The senders to stop; where there is none, perhaps the account."""
    stops = []
    for one in standings:
        reason = guard.judge(one.sent, one.bounced, one.complained)
        if reason is not None:
            stops.append(Stop(account_id, one.sender_id, reason, one.figures()))
    if stops or len(standings) < 2:
        return stops
    whole = Standing(
        0,
        sum(one.sent for one in standings),
        sum(one.bounced for one in standings),
        sum(one.complained for one in standings),
    )
    reason = guard.judge(whole.sent, whole.bounced, whole.complained)
    return [] if reason is None else [Stop(account_id, None, reason, whole.figures())]
