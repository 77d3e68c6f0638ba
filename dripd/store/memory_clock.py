"""The manual clock in memory: the twin of `clock.sql`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from dripd.clock import Instant, ManualClock
from dripd.store.memory_directory import LAST_ID
from dripd.store.memory_nodes import drained
from dripd.store.memory_rows import Lane
from dripd.store.memory_tables import STOPPED, Tables
from dripd.store.memory_task import rings
from dripd.store.protocol import WHOLE_ACCOUNT


def move(tables: Tables, at: Instant) -> bool:
    """Forward only. Raises `TypeError` on a store whose clock is not a manual one."""
    if not isinstance(tables.clock, ManualClock):
        raise TypeError("only a manual clock can be moved")
    if at < tables.now():
        return False
    tables.clock.set(at)
    return True


def next_instant(tables: Tables) -> Instant | None:
    """The next instant after the present one at which anything comes up."""
    now = tables.now()
    return min((at for at in _instants(tables, now) if at > now), default=None)


def _instants(tables: Tables, now: Instant) -> Iterator[Instant]:
    for lane in tables.lanes:
        after = tables.due_by_lane.at((lane.account_id, lane.lane)).after((now, LAST_ID))
        yield from (due_at for due_at, _ in islice(after, 1))
    yield from (park.release_at for park in tables.parks if park.release_at is not None)
    for run in tables.runs:
        if run.hold_reason is not None and run.release_at is not None:
            yield run.release_at
    yield from (call.due_at for call in tables.calls if call.state == "open")
    for task in tables.tasks:
        if task.state != "open":
            continue
        if task.recipient is not None and task.reminder_at is not None:
            yield task.reminder_at
        if task.snoozed_until is not None:
            yield task.snoozed_until
    yield from (watch.due_at for watch in tables.watches)


def unsettled(tables: Tables) -> list[str]:
    """The words for what keeps the present instant from being settled, as `clock.sql` has them."""
    now = tables.now()
    shown = now if isinstance(tables.clock, ManualClock) else None
    holds = {
        "requests": any(True for _ in tables.ready_requests()),
        "events": len(tables.events) > 0,
        "usage": len(tables.usage) > 0,
        "claims": any(claim.n > 0 for claim in tables.claims),
        "sends": any(row.state == "leased" for row in tables.individuals),
        "calls": any(c.state == "open" and c.due_at <= now for c in tables.calls),
        "replies": any(watch.due_at <= now for watch in tables.watches),
        "parks": any(p.release_at is not None and p.release_at <= now for p in tables.parks),
        "reminders": any(rings(task, now) for task in tables.tasks),
        "due": any(_is_due(tables, lane, now) for lane in tables.lanes),
        "drained": bool(drained(tables)),
        "nodes": any(not node.dead and node.clock_at != shown for node in tables.nodes),
    }
    return [word for word, true in holds.items() if true]


def _is_due(tables: Tables, lane: Lane, now: Instant) -> bool:
    """Does anything stand due in a lane that is served?"""
    account = tables.accounts[lane.account_id]
    campaign = tables.campaigns[lane.account_id, lane.key.campaign_id]
    places = ((lane.account_id, lane.lane), (lane.account_id, WHOLE_ACCOUNT))
    if (
        not account.is_open
        or campaign.status in STOPPED
        or any(p in tables.parks for p in places)
    ):
        return False
    return any(due_at <= now for due_at, _ in islice(tables.due_by_lane.at(places[0]), 1))
