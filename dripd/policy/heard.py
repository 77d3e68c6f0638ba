"""What is so of an event whoever hears it? When it was, whether it found anybody, why it is refused.

Both stores ask these while they take events from the queue and put them into the log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from dripd.campaigns.version import is_unknown
from dripd.clock import Instant
from dripd.policy.inbox_rows import EventRow, InboxEffect, Later, Refuse


def occurred(told: Instant | None, now: Instant) -> Instant:
    """When it happened: not later than *now*, and not before the epoch, which nobody could show."""
    return now if told is None else Instant(max(0, min(told, now)))


def unresolved(
    kind: str | None,
    contacts: Collection[int],
    *,
    is_internal: bool,
    is_wanted: bool,
    has_account: bool,
) -> str | None:
    """Why nobody could be found for it, as a word; None: somebody was, or nobody listens.

    *is_wanted*: something in its account listens to events of its *kind*.
    """
    if not has_account:
        return "unknown_account"
    if is_unknown(kind, internal=is_internal):
        return "bad_request:kind"
    return "unknown_contact" if is_wanted and not contacts else None


def staying(effects: Iterable[InboxEffect]) -> list[int]:
    """The events that stay in the queue, as if not seen yet."""
    return [one.event_id for one in effects if isinstance(one, Later)]


def refusals(events: Iterable[EventRow], effects: Iterable[InboxEffect]) -> dict[int, str]:
    """The events of which the log says that they had no effect, to why: first that it came
    before, then what was decided, then that nobody was found."""
    refused = {one.event_id: one.reason for one in effects if isinstance(one, Refuse)}
    for event in events:
        if event.duplicate:
            refused[event.id] = "duplicate"
        elif event.unresolved:
            refused.setdefault(event.id, event.unresolved)
    return refused
