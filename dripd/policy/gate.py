"""May a message leave at this moment? Asked about now, never about the due instant.

The lease itself has checked what it reads under its locks: liveness, unprocessed events,
suppression, pause, cap. What is left is the same for every step of a lane; what its
sender and provider allow is asked where their limits are kept (`engine.flow`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import TypeAlias

from dripd.campaigns.event import Deferred
from dripd.clock import Instant, Millis
from dripd.scheduler.calendar import Window, is_open, next_open, shut_since


@dataclass(frozen=True, slots=True)
class Cleared:
    """Nothing forbids the message now."""


CLEARED = Cleared()

Gate: TypeAlias = Cleared | Deferred


def judge(
    now: Instant,
    *,
    window: Window | None,
    zone: tzinfo,
    account: tuple[str, bool],
    margin: Millis = Millis(0),
) -> Gate:
    """Judge one message at *now*; *account* is (status, subscription active). Its window must
    stay open for *margin* after that.

    The order is fixed: account, subscription, window. A deferral
    lasts until `until`, which is later than *now*, or with None until somebody changes
    something: a window that never opens, a pause.
    """
    status, subscribed = account
    if status != "active":
        return Deferred(reason="account_paused", until=None)
    if not subscribed:
        return Deferred(reason="no_subscription", until=None)
    opens = goes_at(window, zone, now, margin)
    return CLEARED if opens == now else Deferred(reason="window", until=opens)


def goes_at(
    window: Window | None, zone: tzinfo, due: Instant, margin: Millis
) -> Instant | None:
    """When what comes due at *due* may be let go: its window is open, and stays so for *margin*.

    None where it never opens.
    """
    if not is_open(window, zone, due):
        return next_open(window, zone, due)
    last = Instant(due + margin)
    is_over = margin and not is_open(window, zone, last)
    return next_open(window, zone, last) if is_over else due


def missed_by(
    window: Window | None, zone: tzinfo, due: Instant, margin: Millis
) -> Millis | None:
    """How long its window had closed when it came due at *due*, so that it waits for the next;
    0: within *margin* of its end. None where it waits for none."""
    closed = None if window is None else shut_since(window, zone, Instant(due + margin))
    return None if closed is None else Millis(max(0, due - closed))
