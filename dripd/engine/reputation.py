"""Is too much of what a sender sent coming back? Asked where a bounce or a complaint is digested."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.engine.pipeline import Pipeline
from dripd.log import get
from dripd.policy.inbox_rows import EventRow, InboxEffect, Judge
from dripd.ratelimit.reputation import Guard, Mark, Stop

KINDS = frozenset({"bounce", "complaint"})

log = get("reputation")


def judge(events: Sequence[EventRow], guard: Guard) -> list[InboxEffect]:
    """What of *events* counts against the senders of the messages that they are about."""
    if not guard.is_on:
        return []
    marks = [_mark(event) for event in events if event.kind in KINDS and _counts(event)]
    return [Judge(marks, guard)] if marks else []


def tell_paused(pipe: Pipeline, stops: Sequence[Stop]) -> None:
    for stop in stops:
        pipe.metrics["dripd_sender_stops_total"].add(stop.reason)
        log.error(
            "sender.stopped",
            account_id=stop.account_id,
            sender_id=stop.sender_id,
            reason=stop.reason,
            **stop.figures,
        )


def _counts(event: EventRow) -> bool:
    """Is it about a message of a campaign, and not a mailbox that is merely full?"""
    is_soft = event.kind == "bounce" and event.payload.get("type") == "soft"
    return event.enrollment_id is not None and not is_soft


def _mark(event: EventRow) -> Mark:
    seq = str(event.delivery_id).partition("-")[2]
    return Mark(
        event_id=event.id,
        kind=event.kind,
        enrollment_id=event.enrollment_id or 0,
        seq=int(seq) if seq.isdigit() and len(seq) < 10 else 0,
    )
