"""What stands in memory's tables? The rows, as the first migration has their columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from dripd.campaigns.definition import Content
from dripd.campaigns.enrollment import LaneKey, LogRow, RunStatus
from dripd.clock import Instant

Subject = tuple[str, int | str] | None
"""Whom an event concerns, as far as its row tells; None = only the inbox can tell."""


@dataclass(slots=True, kw_only=True)
class Account:
    id: int
    key: str
    name: str | None
    plan: str
    timezone: str
    send_window: object
    rate: str | None
    subscription_active: bool
    status: str
    postal_address: str | None
    prices: dict[str, object] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        return self.status == "active" and self.subscription_active


@dataclass(slots=True, kw_only=True)
class Operator:
    """Who may act in an account."""

    account_id: int
    name: str
    role: str


@dataclass(slots=True, kw_only=True)
class Contact:
    account_id: int
    id: int
    external_id: str | None
    email: str | None
    phone: str | None
    timezone: str | None
    owner: str | None
    service_owner: str | None
    company_id: int | None
    attrs: dict[str, object]
    created_at: Instant = Instant(0)
    erased_at: Instant | None = None


@dataclass(slots=True, kw_only=True)
class Company:
    account_id: int
    id: int
    attrs: dict[str, object]


@dataclass(slots=True, kw_only=True)
class ContactList:
    account_id: int
    id: int
    key: str
    kind: str = "bucket"


@dataclass(slots=True, kw_only=True)
class Mark:
    """A contact's tag (`what` a word) or place on a list (`what` its id)."""

    account_id: int
    contact_id: int
    what: str | int


@dataclass(slots=True, kw_only=True)
class Suppression:
    """`account_id` 0 = everywhere."""

    account_id: int
    channel: str
    address: str
    reason: str | None
    expires_at: Instant | None


@dataclass(slots=True, kw_only=True)
class EnrollRequest:
    id: int
    account_id: int | None
    account_key: str | None
    campaign_key: str | None
    contact_id: int | None
    external_id: str | None
    source: str | None
    idempotency_key: str | None
    requested_by: str | None
    conversation_ref: str | None
    vars: object
    start_at: Instant | None
    quote_id: str | None
    inserted_at: Instant
    status: str = "pending"
    reject_reason: str | None = None
    enrollment_id: int | None = None
    decided_at: Instant | None = None
    entry: str | None = None
    queued_for: int | None = None


@dataclass(slots=True, kw_only=True)
class SeenRequest:
    request_id: int
    enrollment_id: int | None


@dataclass(slots=True, kw_only=True)
class EventIn:
    id: int
    account_id: int | None
    contact_id: int | None
    kind: str | None
    delivery_id: str | None
    conversation_ref: str | None
    address: str | None
    dedup_key: str | None
    occurred_at: Instant | None
    payload: object
    kind_bit: int
    subject: Subject
    internal: bool = True


@dataclass(slots=True, kw_only=True)
class EventLog:
    id: int
    account_id: int | None
    contact_id: int | None
    enrollment_id: int | None
    kind: str | None
    delivery_id: str | None
    conversation_ref: str | None
    address: str | None
    dedup_key: str | None
    occurred_at: Instant | None
    payload: object
    processed_at: Instant
    refused_reason: str | None


@dataclass(slots=True, kw_only=True)
class Campaign:
    account_id: int
    id: int
    key: str
    name: str
    status: str
    live_cv_id: int | None
    owner: str | None
    board: str | None


@dataclass(slots=True, kw_only=True)
class CampaignVersion:
    """`steps`: (key, kind) by step_no."""

    account_id: int
    id: int
    campaign_id: int
    campaign_key: str
    version: int
    definition: dict[str, object]
    steps: list[tuple[str, str]]
    shared: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Trigger:
    account_id: int
    id: int
    campaign_id: int
    campaign_key: str
    kind: str
    match: dict[str, object]
    origin: str
    after_event_id: int
    after_contact_id: int


@dataclass(slots=True, kw_only=True)
class Run:
    account_id: int
    campaign_id: int
    id: int
    contact_id: int
    cv_id: int
    run_no: int
    started_at: Instant
    status: RunStatus = RunStatus.LIVE
    ended_at: Instant | None = None
    reset_at: Instant | None = None
    release_at: Instant | None = None
    reentry: int | None = None
    end_reason: str | None = None
    hold_reason: str | None = None
    exclusive: str | None = None
    owner: str | None = None
    source: str | None = None
    conversation_ref: str | None = None
    entered: int | None = None
    due_was: Instant | None = None
    vars: dict[str, object] | None = None
    paid: dict[str, object] | None = None
    frozen: dict[str, object] | None = None


@dataclass(slots=True, kw_only=True)
class LedgerLine:
    """Money that came, was charged or went back; never changed."""

    id: int
    account_id: int
    kind: str
    amount: Decimal
    at: Instant
    enrollment_id: int | None = None
    step_key: str | None = None
    delivery_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Meter:
    account_id: int
    kind: str
    period: str
    n: int = 0


@dataclass(slots=True, kw_only=True)
class HeldAction:
    """An action of a quota that a step in flight holds."""

    account_id: int
    enrollment_id: int
    claim_id: int
    period: str


@dataclass(slots=True, kw_only=True)
class DueStep:
    account_id: int
    enrollment_id: int
    contact_id: int
    cv_id: int
    run_no: int
    due_at: Instant
    lane: int
    step_no: int
    seq: int = 1
    claim_id: int | None = None
    attempt: int = 0
    flags: int = 0


@dataclass(slots=True, kw_only=True)
class AccountDay:
    account_id: int
    local_date: date
    cap: int
    starts_at: Instant
    ends_at: Instant
    used: int = 0
    bulk: int = 0
    individual: int = 0
    internal: int = 0
    held: bool = False
    paused: frozenset[int] = frozenset()

    @property
    def remains(self) -> int:
        return max(self.cap - self.used - self.bulk, 0)


@dataclass(slots=True, kw_only=True)
class Claim:
    """One leased batch; which steps stand under it, they say. `claimed_at` is real time in ms."""

    claim_id: int
    incarnation: int
    leased_at: Instant
    claimed_at: int
    n: int
    adopted_from: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class Lane:
    account_id: int
    lane: int
    key: LaneKey


@dataclass(slots=True, kw_only=True)
class Park:
    account_id: int
    lane: int
    reason: str
    release_at: Instant | None


@dataclass(slots=True, kw_only=True)
class StepLog:
    account_id: int
    enrollment_id: int
    claim_id: int
    leased_at: Instant
    cv_id: int
    run_no: int
    row: LogRow


@dataclass(slots=True, kw_only=True)
class JournalLine:
    at: Instant
    account_id: int
    enrollment_id: int | None
    contact_id: int | None
    kind: str
    detail: dict[str, object]
    actor: str = "dripd"


@dataclass(slots=True, kw_only=True)
class KeptMessage:
    account_id: int
    enrollment_id: int
    seq: int
    contact_id: int
    provider: str
    since: Instant
    until: Instant
    message: dict[str, object] | None


@dataclass(slots=True, kw_only=True)
class Evidence:
    at: Instant
    account_id: int
    enrollment_id: int
    claim_id: int
    seq: int
    state: int
    provider_id: str | None
    reason: str | None
    applied_at: Instant | None = None


@dataclass(slots=True, kw_only=True)
class Beginning:
    """How the first steps of a version came out."""

    done: int = 0
    failed: int = 0


@dataclass(slots=True, kw_only=True)
class Recovery:
    """When, in real milliseconds, a step was taken over from a dead daemon, unperformed."""

    at: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Task:
    account_id: int
    id: int
    enrollment_id: int | None
    contact_id: int
    seq: int
    campaign_key: str | None
    step_key: str
    kind: str
    title: str
    assignee: str | None
    due_at: Instant | None
    reminder_at: Instant | None
    payload: dict[str, object]
    created_at: Instant
    state: str = "open"
    closed_by: str | None = None
    closed_at: Instant | None = None
    recipient: str | None = None
    awaited: bool = False
    category: str | None = None
    snoozed_until: Instant | None = None
    snoozed_by: str | None = None


@dataclass(slots=True, kw_only=True)
class ReplyWatch:
    """A message of which somebody is told if no reply comes in time."""

    account_id: int
    enrollment_id: int
    seq: int
    contact_id: int
    step_key: str
    recipient: str
    since: Instant
    due_at: Instant


@dataclass(slots=True, kw_only=True)
class Busy:
    """A time at which a person is busy, half-open."""

    account_id: int
    person: str
    begins: Instant
    ends: Instant


@dataclass(slots=True, kw_only=True)
class Template:
    account_id: int
    key: str
    content: Content


@dataclass(slots=True, kw_only=True)
class Connector:
    account_id: int
    key: str
    url: str
    secret: str | None


@dataclass(slots=True, kw_only=True)
class Call:
    account_id: int
    id: int
    enrollment_id: int | None
    contact_id: int
    cv_id: int
    step_no: int | None
    seq: int
    step_key: str
    kind: str
    target: str
    awaited: bool
    due_at: Instant
    created_at: Instant
    state: str = "open"
    reason: str | None = None
    attempt: int = 0
    taken_until_ms: int | None = None
    taken_by: int | None = None


@dataclass(slots=True, kw_only=True)
class Notification:
    account_id: int
    id: int
    kind: str
    recipient: str | None
    enrollment_id: int | None
    task_id: int | None
    payload: dict[str, object]
    created_at: Instant


@dataclass(slots=True, kw_only=True)
class ContactSender:
    account_id: int
    sender_id: int


@dataclass(slots=True, kw_only=True)
class SenderMark:
    account_id: int
    sender_id: int
    at: Instant
    kind: str


@dataclass(slots=True, kw_only=True)
class SenderTurn:
    account_id: int
    sender_id: int
    starts_at: Instant | None = None
    used: int = 0
    next_at: Instant | None = None


@dataclass(slots=True, kw_only=True)
class Individual:
    account_id: int
    id: int
    contact_id: int
    incarnation: int
    sender_id: int
    channel: str
    to_address: str | None
    subject: str | None
    leased_at: Instant
    notice: bool = False
    call_id: int | None = None
    state: str = "leased"
    provider_id: str | None = None
    segments: int | None = None
    reason: str | None = None
    sent_at: Instant | None = None
    accepted_at: Instant | None = None


@dataclass(slots=True, kw_only=True)
class SinkRule:
    id: int
    account_id: int
    recipient_like: str
    answer: str
    times: int | None


@dataclass(slots=True, kw_only=True)
class Node:
    """`beat_at` is real time in ms, the other instant the deployment's."""

    incarnation: int
    name: str
    version: str
    beat_at: int
    clock_at: Instant | None = None
    accounts: int = 0
    state: str = "running"
    dead: bool = False
    drain: bool = False
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Nudge:
    """`at` is real time in ms."""

    id: int
    account_id: int
    at: int


@dataclass(slots=True, kw_only=True)
class Usage:
    id: int
    account_key: str
    source: str
    n: int
