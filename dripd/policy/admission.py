"""May this contact begin this campaign now? Every refusal has a stable word.

The questions in their order, the first refusal counts: is there an account, was the key
seen before, is there the campaign, the contact; can the request be read; may the campaign,
the account, its plan; is the contact on the board; what does the version require, who can
be reached, who could send; does the contact run here or did it ever, is it busy elsewhere,
how often and how soon may it run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dripd.campaigns.enrollment import LaneClass, LaneKey
from dripd.campaigns.version import Version
from dripd.clock import DAY, FAR_FUTURE, Instant
from dripd.policy.admission_rows import Accept, Decision, Leave, Reject, RequestRow
from dripd.policy.advance import COMPLETED
from dripd.policy.rooms import Rooms, due_of, step_times
from dripd.policy.suppression import all_suppressed

REENTRY_ONCE = 1
REENTRY_AFTER_END = 2

LATEST_START = Instant(FAR_FUTURE - 3650 * DAY)


class AdmissionRooms(Rooms, Protocol):
    def account_status(self, account_id: int) -> tuple[str, bool]:
        """(status, subscription active) of an account."""


def decide(rows: Sequence[RequestRow], now: Instant, rooms: AdmissionRooms) -> list[Decision]:
    """Decide *rows* in their order; a second one of a contact waits for the first's commit."""
    taken: set[tuple[int, int]] = set()
    decisions: list[Decision] = []
    for row in rows:
        decision = decide_one(row, now, rooms)
        if isinstance(decision, Accept):
            mark = (row.account_id or 0, row.contact_id or 0)
            if mark in taken:
                decision = Leave(row)
            taken.add(mark)
        decisions.append(decision)
    return decisions


def decide_one(row: RequestRow, now: Instant, rooms: AdmissionRooms) -> Decision:
    """The decision on one request, as if it stood alone."""
    reason = _unfit(row, now, rooms)
    if reason is not None:
        return Reject(row, reason, row.duplicate_of or None)
    assert row.cv_id is not None
    version = rooms.version(row.cv_id)
    reason = _lacking(row, version, rooms) or _busy(row, version, now)
    if reason == "":
        return Leave(row)
    if reason is not None:
        return Reject(row, reason)
    return _accept(row, version, now, rooms)


def _unfit(row: RequestRow, now: Instant, rooms: AdmissionRooms) -> str | None:
    if row.account_id is None:
        return "unknown_account"
    if row.duplicate_of is not None:
        return "duplicate"
    if row.campaign_id is None:
        return "unknown_campaign"
    if row.contact_id is None:
        return "unknown_contact"
    if not row.vars_ok:
        return "bad_request:vars"
    if row.start_at is not None and not 0 < row.start_at < LATEST_START:
        return "bad_request:start_at"
    if row.campaign_status != "active" or row.cv_id is None:
        return "not_active"
    status, subscribed = rooms.account_status(row.account_id)
    if status != "active":
        return "account_paused"
    if not subscribed:
        return "no_subscription"
    if not row.on_board:
        return "not_on_board"
    return None


def _lacking(row: RequestRow, version: Version, rooms: AdmissionRooms) -> str | None:
    """What the version requires of contact and account."""
    for need in version.definition.policy.require:
        if not (row.phone if need == "phone" else row.email):
            return f"missing:{need}"
    channels = version.message_channels
    if all_suppressed(
        channels, email_suppressed=row.email_suppressed, phone_suppressed=row.phone_suppressed
    ):
        return "suppressed"
    account, contact = row.account_id or 0, row.contact_id or 0
    if "sms" in channels and rooms.sender(account, "sms", "", contact) is None:
        named = any(step.sender for step in version.steps if step.kind == "sms")
        if not named:
            return "no_sender"
    return None


def _busy(row: RequestRow, version: Version, now: Instant) -> str | None:
    """What the contact already does; "" = its turn comes later."""
    policy = version.definition.policy
    scope, reentry = policy.exclusivity.scope, policy.reentry
    if row.live and reentry.mode == "once":
        return f"already_in:{row.campaign_key}"
    if reentry.mode == "once" and row.unreset:
        return "already_ran"
    if scope != "none" and scope in row.busy:
        return "" if policy.exclusivity.on_busy == "queue" else f"already_in:{row.busy[scope]}"
    if row.live and reentry.mode != "always":
        return f"already_in:{row.campaign_key}"
    if reentry.max_runs is not None and row.runs >= reentry.max_runs:
        return "max_runs"
    if row.runs_today >= reentry.max_runs_per_day:
        return "max_runs"
    ended, start = row.last_ended_at, max(now, row.start_at or 0)
    if ended is not None and reentry.min_gap_ms and start - ended < reentry.min_gap_ms:
        return "min_gap"
    return None


def _accept(row: RequestRow, version: Version, now: Instant, rooms: AdmissionRooms) -> Accept:
    policy = version.definition.policy
    start = Instant(max(now, row.start_at or 0))
    scope = policy.exclusivity.scope
    modes = {"once": REENTRY_ONCE, "after_end": REENTRY_AFTER_END}
    account = row.account_id or 0
    due, lane = start, LaneKey(version.campaign_id, LaneClass.INTERNAL, "", "", "account")
    if version.steps:
        lane, zone, window = step_times(rooms, version, 0, account, row.timezone)
        due = due_of(version.steps[0].timing, start, start, zone, window)
    return Accept(
        request=row,
        cv_id=version.cv_id,
        started_at=start,
        due_at=due,
        lane=lane,
        end=None if version.steps else COMPLETED,
        reentry=modes.get(policy.reentry.mode),
        exclusive=None if scope == "none" else scope,
        owner=row.requested_by or row.owner or version.owner,
    )
