"""What does an event do? Ends, goals and resets of live runs, then new requests.

One order inside a transaction (FEATURES 6.9): ends, resets, then triggers. The first end of
a run wins. An event with a delivery concerns that campaign, one with a conversation the runs
that carry it, one with only a contact or address every live run of that contact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dripd.campaigns.definition import ExitRule, Match
from dripd.campaigns.enrollment import HELD_LANE, RunStatus
from dripd.campaigns.version import Version, kind_bit
from dripd.clock import Instant
from dripd.policy.inbox_rows import (
    EndRun,
    EventRow,
    InboxEffect,
    MoveDue,
    Refuse,
    Release,
    Request,
    RunRow,
    Suppress,
)
from dripd.policy.rooms import Rooms, step_times
from dripd.scheduler.due import due_at


class Trigger(Protocol):
    @property
    def campaign_key(self) -> str: ...
    @property
    def match(self) -> Match: ...
    @property
    def after_event_id(self) -> int: ...


class InboxRooms(Rooms, Protocol):
    def triggers(self, account_id: int) -> Sequence[Trigger]:
        """The triggers of the account's campaigns."""


def digest(
    events: Sequence[EventRow], runs: Sequence[RunRow], now: Instant, rooms: InboxRooms
) -> list[InboxEffect]:
    """The effects of *events* on *runs*, in the order in which they are applied."""
    effects: list[InboxEffect] = []
    over: set[int] = set()
    for event in events:
        if event.unresolved is not None:
            effects.append(Refuse(event.id, event.unresolved))
            continue
        effects += _suppressions(event)
        concerned = [
            run for run in runs if run.enrollment_id not in over and concerns(event, run)
        ]
        for run in concerned:
            version = rooms.version(run.cv_id)
            end = end_of(event, run, version)
            if end is not None:
                over.add(run.enrollment_id)
                effects.append(end)
                continue
            reset = reset_of(event, run, version, now, rooms)
            if reset is not None:
                run.due_at = reset.due_at
                effects.append(reset)
            if mends(event, run):
                lane, _, _ = step_times(rooms, version, run.step_no, run.account_id, run.timezone)
                effects.append(Release(run.enrollment_id, lane))
        effects += _requests(event, rooms)
    return effects


def concerns(event: EventRow, run: RunRow) -> bool:
    """Is the run one of those that the event is about (whatever rule may want it)?"""
    if run.contact_id not in event.contact_ids:
        return False
    if event.conversation_ref is not None and event.enrollment_id is None:
        return run.conversation_ref == event.conversation_ref
    return True


def end_of(event: EventRow, run: RunRow, version: Version) -> EndRun | None:
    """How the run ends by the event, if it does."""
    if event.kind == "contact_erased":
        return EndRun(run.enrollment_id, run.contact_id, RunStatus.REMOVED, "contact_erased")
    if event.kind in {"unsubscribe", "complaint"}:
        channels = version.message_channels
        if event.channel is None or not channels or event.channel in channels:
            return EndRun(run.enrollment_id, run.contact_id, RunStatus.REMOVED, event.kind)
    for rule in version.definition.exit_rules:
        if rule.enabled and _fits(rule.match, event, run, version, scope=rule.scope):
            return _by_rule(rule, event, run, version)
    goal = version.definition.goal
    if goal is not None and _fits(goal, event, run, version, scope="any"):
        return EndRun(
            run.enrollment_id, run.contact_id, RunStatus.COMPLETED, f"goal:{goal.goal_word()}"
        )
    return _left_list(event, run, version)


def _by_rule(rule: ExitRule, event: EventRow, run: RunRow, version: Version) -> EndRun:
    definition = version.definition
    notify = None
    told = rule.notify or (definition.notify.ended and event.kind in {"reply", "open"})
    if told:
        notify = (version.owner, version.campaign_key)
    return EndRun(
        run.enrollment_id, run.contact_id, RunStatus.REMOVED, event.kind, rule.set, notify
    )


def _fits(match: Match, event: EventRow, run: RunRow, version: Version, *, scope: str) -> bool:
    """Does *match* want the event? Scope `campaign`: one that names a delivery names ours."""
    about_other = event.campaign_id is not None and event.campaign_id != run.campaign_id
    if about_other and scope == "campaign":
        return False
    policy = version.definition.policy
    payload = event.payload
    if event.kind == "bounce" and payload.get("type") == "soft":
        if run.soft_bounces + 1 < policy.soft_bounces:
            return False
        payload = {**payload, "type": "hard"}
    return match.matches(
        event.kind,
        payload,
        step_key=event.step_key,
        machine_opens=policy.machine_opens == "count",
    )


def _left_list(event: EventRow, run: RunRow, version: Version) -> EndRun | None:
    definition = version.definition
    left = event.payload.get("list")
    if event.kind != "list_removed" or definition.policy.on_list_leave != "remove":
        return None
    if left not in definition.attached_lists():
        return None
    reason = f"left_list:{left}"
    return EndRun(run.enrollment_id, run.contact_id, RunStatus.REMOVED, reason)


def reset_of(
    event: EventRow, run: RunRow, version: Version, now: Instant, rooms: Rooms
) -> MoveDue | None:
    """Reset on interaction: the full delay again, for the step waited on, while it waits.

    A late-logged event counts from when it occurred, and never moves a due into the past.
    """
    step = version.steps[run.step_no]
    if event.kind not in {"interaction", "reply"} or event.payload.get("auto") is True:
        return None
    waiting = not run.leased and run.lane != HELD_LANE and run.due_at > now
    if not step.reset_on_interaction or not waiting:
        return None
    _, zone, window = step_times(rooms, version, run.step_no, run.account_id, run.timezone)
    due = due_at(
        step.timing, previous=event.occurred_at, start=run.started_at, zone=zone, window=window
    )
    due = Instant(max(due, now))
    return None if due <= run.due_at else MoveDue(run.enrollment_id, due, event.id)


MENDABLE = ("missing_tag", "no_address", "bad_date", "too_long")
"""Holds that a change of the contact may put right."""


def mends(event: EventRow, run: RunRow) -> bool:
    """May the event have put right what holds the run? It is then judged anew."""
    held = run.hold_reason or ""
    return event.kind in {"field_changed", "status_changed"} and held.startswith(MENDABLE)


def _suppressions(event: EventRow) -> list[InboxEffect]:
    """A hard bounce, an unsubscribe and a complaint forbid the address from now on."""
    hard = event.kind == "bounce" and event.payload.get("type", "hard") == "hard"
    if not hard and event.kind not in {"unsubscribe", "complaint"}:
        return []
    if not event.address:
        return []
    channel = event.channel or ("email" if "@" in event.address else "sms")
    return [Suppress(channel, event.address, event.kind)]


def _requests(event: EventRow, rooms: InboxRooms) -> list[InboxEffect]:
    """Triggers that the event fires; what happened before one was attached fires nothing."""
    return [
        Request(trigger.campaign_key, contact, f"trigger:{trigger.match.kind}")
        for trigger in rooms.triggers(event.account_id)
        if event.id > trigger.after_event_id
        and trigger.match.matches(event.kind, event.payload, step_key=event.step_key)
        for contact in event.contact_ids
    ]


def interest(triggers: Sequence[Trigger], versions: Sequence[Version]) -> int:
    """The kinds that anything in the account listens to: others are only logged."""
    bits = 0
    for version in versions:
        bits |= version.stops_on
    for trigger in triggers:
        bits |= kind_bit(trigger.match.kind)
    return bits
