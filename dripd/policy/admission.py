"""May this contact begin this campaign now? Every refusal has a stable word.

The questions in their order, the first refusal counts: is there an account, was the key
seen before, is there the campaign, the contact; can the request be read; may the campaign,
the account, its plan; is the contact on the board; what does the version require, who can
be reached, who could send; does who asks see the campaign; does the contact run here or did
it ever, is it busy elsewhere, how often and how soon may it run again; is what was quoted
still the price. Whether the account can afford it is decided last, by its balance, where the
run is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple, Protocol

from dripd.billing.ledger import paid, total
from dripd.billing.price import read_prices
from dripd.campaigns.enrollment import LaneClass, LaneKey, Leased
from dripd.campaigns.version import Version
from dripd.clock import DAY, FAR_FUTURE, Instant, Millis
from dripd.policy.admission_rows import Accept, Decision, Leave, Reject, RequestRow
from dripd.policy.advance import COMPLETED
from dripd.policy.facts import address_of
from dripd.policy.foresee import Foreseen, foresee, priced
from dripd.policy.rooms import Rooms, lane_and_due
from dripd.policy.suppression import all_suppressed
from dripd.policy.visibility import Address, addresses_of, sees

REENTRY_ONCE = 1
REENTRY_AFTER_END = 2

NO_DATE = date.min
"""Stands where a step is only played through: no day is counted."""

LATEST_START = Instant(FAR_FUTURE - 3650 * DAY)


class AdmissionRooms(Rooms, Protocol):
    def addresses(self, account_id: int) -> Sequence[Address]:
        """Every sender of an account."""


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
    reason = _unfit(row)
    if reason is not None:
        return Reject(row, reason, row.duplicate_of or None)
    assert row.cv_id is not None
    version = rooms.version(row.cv_id)
    reason = (
        _unseen(row, version, rooms)
        or _lacking(row, version, rooms)
        or _busy(row, version, now)
    )
    if reason == "":
        return Leave(row, queued_in=version.definition.policy.exclusivity.scope)
    if reason is not None:
        return Reject(row, reason)
    return _charged(_accept(row, version, now, rooms), version, rooms)


class Rehearsal(NamedTuple):
    """What a request would come to: why it would be refused, and what its run would send."""

    reason: str | None
    messages: list[Foreseen]


def rehearse(
    row: RequestRow, now: Instant, rooms: AdmissionRooms, margin: Millis = Millis(0)
) -> Rehearsal:
    """Play a request through without deciding it; `row.cv_id` is known. *margin*: `foresee`."""
    decision = decide_one(row, now, rooms)
    assert row.cv_id is not None
    version = rooms.version(row.cv_id)
    one = _accept(row, version, now, rooms)
    messages = foresee(first_step(one), version, rooms, margin) if one.end is None else []
    return Rehearsal(decision.reason if isinstance(decision, Reject) else None, messages)


def _unfit(row: RequestRow) -> str | None:
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
    if row.account_status != "active":
        return "account_paused"
    if not row.subscribed:
        return "no_subscription"
    if not row.on_board:
        return "not_on_board"
    return None


def _unseen(row: RequestRow, version: Version, rooms: AdmissionRooms) -> str | None:
    """Does who asks not see the campaign? Admins see all; who asks by command and is no
    operator has been let in by the socket, and whoever may write rows may ask for anybody."""
    role, who = row.requester_role, row.requested_by
    if role is None or who is None or role == "admin" or (role == "" and row.source == "cli"):
        return None
    addresses = addresses_of(version.definition, rooms.addresses(row.account_id or 0))
    return None if sees(who, row.campaign_owner, addresses) else "not_visible"


def _lacking(row: RequestRow, version: Version, rooms: AdmissionRooms) -> str | None:
    """What the version requires of contact and account."""
    for need in version.definition.policy.require:
        channel = "sms" if need == "phone" else "email"
        if address_of(row, channel, version.definition.field_map) is None:
            return f"missing:{need}"
    channels = version.message_channels
    if all_suppressed(
        channels,
        email_suppressed=row.email_suppressed and not version.maps("email"),
        phone_suppressed=row.phone_suppressed and not version.maps("sms"),
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
    if reentry.mode == "once" and row.unreset and not _resets(row, version):
        return "already_ran"
    if scope != "none" and scope in row.busy and not _displaces(row, version):
        waits = policy.exclusivity.on_busy == "queue" and not row.live
        return "" if waits else f"already_in:{row.busy[scope]}"
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


def _displaces(row: RequestRow, version: Version) -> bool:
    """Does the run take the place of another campaign's that keeps the contact busy?"""
    exclusivity = version.definition.policy.exclusivity
    elsewhere = row.busy.get(exclusivity.scope) not in {None, row.campaign_key}
    return exclusivity.on_busy == "move" and exclusivity.scope != "none" and elsewhere


def _entry(row: RequestRow, version: Version) -> int:
    """The number of the sequence in which the run begins."""
    keys = [one.key for one in version.definition.sequences]
    return keys.index(row.entry) if row.entry in keys else 0


def _resets(row: RequestRow, version: Version) -> bool:
    """Does the run begin by resetting those before it?"""
    definition = version.definition
    return bool(definition.sequences) and definition.resets_itself(_entry(row, version))


def _accept(row: RequestRow, version: Version, now: Instant, rooms: AdmissionRooms) -> Accept:
    policy = version.definition.policy
    start = Instant(max(now, row.start_at or 0))
    scope = policy.exclusivity.scope
    modes = {"once": REENTRY_ONCE, "after_end": REENTRY_AFTER_END}
    account = row.account_id or 0
    due, lane = start, LaneKey(version.campaign_id, LaneClass.INTERNAL, "", "", "account")
    first = version.definition.starts()[_entry(row, version)]
    if version.steps:
        lane, due = lane_and_due(rooms, version, first, account, row.timezone, start, start)
    return Accept(
        request=row,
        cv_id=version.cv_id,
        started_at=start,
        due_at=due,
        lane=lane,
        step_no=first,
        displaces=_displaces(row, version),
        resets=_resets(row, version),
        yields=row.alone and policy.reentry.mode != "once",
        end=None if version.steps else COMPLETED,
        reentry=modes.get(policy.reentry.mode),
        exclusive=None if scope == "none" else scope,
        owner=row.requested_by or row.owner or version.owner,
        doubt=_doubt(row, version, rooms),
    )


def _doubt(row: RequestRow, version: Version, rooms: AdmissionRooms) -> str:
    """A zone that does not exist is nobody's: times of day are read in the account's."""
    is_read = version.definition.timezone == "contact" and bool(row.timezone)
    return "unknown_zone" if is_read and row.timezone not in rooms.zones else ""


def _charged(one: Accept, version: Version, rooms: AdmissionRooms) -> Accept | Reject:
    """*one* with what it costs; refused where that is not what its quote promised."""
    policy, row = version.definition.policy, one.request
    upfront = policy.billing == "upfront"
    if not upfront and row.quote_id is None:
        if policy.billing == "per_send":
            one.paid = paid((), policy.refund_on)
        return one
    messages = foresee(first_step(one), version, rooms) if one.end is None else []
    bill = priced(messages, read_prices(row.prices))
    if row.quote_id is not None and not _is_quoted(row, total(bill)):
        return Reject(row, "quote_stale")
    if upfront:
        one.charge = total(bill)
        one.paid = paid(bill, policy.refund_on)
        if policy.freeze == "at_enroll":
            one.frozen = frozen(messages)
    return one


def _is_quoted(row: RequestRow, amount: Decimal) -> bool:
    quote = row.quote
    return quote is not None and quote == (row.campaign_id, row.contact_id, amount)


def frozen(messages: Sequence[Foreseen]) -> dict[str, object]:
    """The texts that were charged: they leave as they were, whatever becomes of the contact."""
    return {
        one.step_key: {"subject": one.subject, "text": one.text, "html": one.html}
        for one in messages
        if one.held is None
    }


def first_step(one: Accept) -> Leased:
    """The first step of a run that is being accepted, on the facts of its request."""
    row = one.request
    return Leased(
        account_id=row.account_id or 0,
        lane=0,
        due_at=one.due_at,
        enrollment_id=0,
        contact_id=row.contact_id or 0,
        cv_id=one.cv_id,
        seq=1,
        step_no=one.step_no,
        run_no=row.last_run_no + 1,
        attempt=0,
        flags=0,
        claim_id=0,
        leased_at=one.started_at,
        counted=False,
        local_date=NO_DATE,
        email=row.email,
        phone=row.phone,
        timezone=row.timezone,
        attrs=row.attrs,
        owner=row.owner,
        service_owner=row.service_owner,
        external_id=row.contact_external_id,
        started_at=one.started_at,
        vars=row.vars or {},
        company=row.company,
        tags=row.tags,
        lists=row.lists,
    )
