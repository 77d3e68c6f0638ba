"""What is kept, and the units of work on it: the `Store` protocol and its row values.

A unit of work takes effect at one point or not at all. Decisions are handed in as pure
callbacks and run inside the unit, so that Postgres and memory share every rule. Rows that
exist a million times are slotted and mutable; values are frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

from dripd.campaigns.action import Effect
from dripd.channels.base import SinkRow
from dripd.clock import Instant

HELD_LANE = -1
"""Rows that wait by themselves: never scanned, their reason stands in `run`."""

WHOLE_ACCOUNT = -1
"""In `park`: every lane of the account."""

FLAG_VARS = 1
"""`due_step.flags`: the run carries vars of its request."""

FLAG_AMBIGUOUS = 2
"""`due_step.flags`: an earlier attempt's outcome is unknown."""


class LaneKey(NamedTuple):
    """What is decided for a whole class of steps of one campaign (DESIGN 3.3).

    `calendar`: a window as canonical JSON, "" always open, "account" as the account has it.
    `zone`: an IANA name, or "account". `channel`: email, sms or "" where nothing is sent.
    """

    campaign_id: int
    kind: int
    channel: str
    calendar: str
    zone: str


class LaneClass(IntEnum):
    INTERNAL = 0
    FIRST = 1
    FOLLOW_UP = 2


class DueKey(NamedTuple):
    """The full key of a due step, and the version that says what it means."""

    account_id: int
    lane: int
    due_at: Instant
    enrollment_id: int
    cv_id: int


class Refusal(StrEnum):
    """Why a key was not granted by the lease."""

    LOCKED = "locked"  # somebody's open transaction: again soon
    CAP = "cap"  # the account's day is spent: park
    HELD = "held"  # account or campaign is paused: drop, the gates un-park it
    EVENT = "event"  # an unprocessed event: after the inbox
    SUPPRESSED = "suppressed"  # for good: recorded at once
    NO_DAY = "no_day"  # the day row is missing or over: make it, then again
    GONE = "gone"  # moved, leased or ended: drop


@dataclass(slots=True)
class Leased:
    """A granted step with its facts. `attrs`, `company`, `vars` are parsed JSON objects.

    `counted`: it took one of the cap of `local_date`. `tags`, `lists`, `events`, `company`,
    `vars` and `started_at` are read only where the version needs them (`Needs`).
    """

    account_id: int
    lane: int
    due_at: Instant
    enrollment_id: int
    contact_id: int
    cv_id: int
    seq: int
    step_no: int
    run_no: int
    attempt: int
    flags: int
    claim_id: int
    leased_at: Instant
    counted: bool
    local_date: date
    email: str | None
    phone: str | None
    timezone: str | None
    attrs: dict[str, object]
    suppressed: bool = False
    owner: str | None = None
    service_owner: str | None = None
    external_id: str | None = None
    started_at: Instant | None = None
    vars: dict[str, object] = field(default_factory=dict)
    company: dict[str, object] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()


class Needs(IntEnum):
    """What a version reads beyond the contact: bits of `LeaseKey.mask` above the event kinds."""

    COMPANY = 1 << 16
    TAGS = 1 << 17
    LISTS = 1 << 18
    EVENTS = 1 << 19
    START = 1 << 20
    COUNTED = 1 << 21  # takes one of the account's daily cap
    EMAIL = 1 << 22  # sends an email: its address must not be suppressed
    SMS = 1 << 23


class LeaseKey(NamedTuple):
    """One key that the wheel fired. `mask`: bits 0-15 are the kinds of event that the version
    ends, resets or branches on (`event_in.kind_bit`), above them `Needs`."""

    lane: int
    due_at: Instant
    enrollment_id: int
    mask: int


class LeaseGroup(NamedTuple):
    """The keys of one account; `local_date` is its day as the daemon computed it."""

    account_id: int
    local_date: date
    keys: Sequence[LeaseKey]


@dataclass(slots=True)
class LeaseResult:
    claim_id: int
    granted: list[Leased]
    refused: list[tuple[int, LeaseKey, Refusal]]
    """(account_id, key, why) of every key that was not granted."""


class LogState(IntEnum):
    AGAIN = 0  # an attempt that will be tried again: not shown
    ACCEPTED = 1
    FAILED = 2
    UNKNOWN = 3
    CANCELLED = 4
    DONE = 5
    SKIPPED = 6


CHANNEL_NO: Mapping[str, int] = {"": 0, "email": 1, "sms": 2}


@dataclass(slots=True)
class LogRow:
    """One row of `step_log`: an attempt, or a performed step."""

    seq: int
    step_no: int
    state: LogState
    at: Instant
    attempt: int = 0
    channel: int = 0
    sent_at: Instant | None = None
    sender_id: int | None = None
    segments: int | None = None
    to_address: str | None = None
    subject: str | None = None
    provider_id: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class Next:
    """Where the due step goes. `lane` None = the held lane (with `hold_reason`)."""

    due_at: Instant
    lane: LaneKey | None
    step_no: int
    seq: int
    attempt: int = 0
    flags: int = 0
    hold_reason: str | None = None
    release_at: Instant | None = None


class RunStatus(IntEnum):
    LIVE = 1
    COMPLETED = 2
    REMOVED = 3
    TERMINATED = 4


class End(NamedTuple):
    status: RunStatus
    reason: str


@dataclass(slots=True)
class Change:
    """What one leased step wants written: exactly one of `next` and `end` is given.

    `refund`: it did not use the cap that the lease took.
    """

    leased: Leased
    log: list[LogRow]
    next: Next | None = None
    end: End | None = None
    refund: bool = False
    effects: list[Effect] = field(default_factory=list)


@dataclass(slots=True)
class Recorded:
    """What became of the changes of one `record` call.

    `moved`: where each applied change with a `next` now stands (held ones left out).
    `stopped`: enrollments that had been stopped while leased: logged and ended.
    `late`: enrollments whose claim was lost: kept as evidence, nothing else was changed.
    `told`: accounts in which the effects wrote an event or a request.
    """

    moved: list[DueKey]
    stopped: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    refunded: set[int] = field(default_factory=set)
    """Accounts that got caps back: lanes parked for `cap` are open again."""
    started: list[DueKey] = field(default_factory=list)
    """Runs that a `move` began."""


# --- admit ---------------------------------------------------------------------------------


@dataclass(slots=True)
class RequestRow:
    """A pending `enroll_request` with what must be known to decide it.

    `account_id`, `campaign_id`, `contact_id` are None where there is no such thing.
    `busy_in` names the campaign of a live exclusive run of the contact (of any scope whose
    name stands in `busy_scopes`). `runs` counts earlier runs here, `live` those that live,
    `unreset` those never reset, `runs_today` those of the last 24 hours.
    """

    id: int
    account_id: int | None
    campaign_key: str | None
    campaign_id: int | None
    campaign_status: str | None
    cv_id: int | None
    contact_id: int | None
    source: str | None
    idempotency_key: str | None
    requested_by: str | None
    conversation_ref: str | None
    vars: dict[str, object] | None
    vars_ok: bool
    start_at: Instant | None
    quote_id: str | None
    email: str | None = None
    phone: str | None = None
    timezone: str | None = None
    attrs: dict[str, object] = field(default_factory=dict)
    owner: str | None = None
    email_suppressed: bool = False
    phone_suppressed: bool = False
    on_board: bool = True
    busy: Mapping[str, str] = field(default_factory=dict)
    """exclusive scope -> key of the campaign in which a live run holds it."""
    runs: int = 0
    live: int = 0
    unreset: int = 0
    runs_today: int = 0
    last_ended_at: Instant | None = None
    last_run_no: int = 0
    duplicate_of: int | None = None
    """Enrollment of the first request with this idempotency key, 0 where that was refused."""


@dataclass(slots=True)
class Accept:
    """Start a run. `reentry` and `exclusive` are what the unique indexes judge."""

    request: RequestRow
    cv_id: int
    started_at: Instant
    due_at: Instant
    lane: LaneKey
    step_no: int = 0
    reentry: int | None = 1
    exclusive: str | None = None
    owner: str | None = None
    end: End | None = None
    """Where the version has no step to perform: the run ends as it begins."""


@dataclass(slots=True)
class Reject:
    request: RequestRow
    reason: str
    enrollment_id: int | None = None


@dataclass(slots=True)
class Leave:
    """Stay pending: its turn comes after what stands before it in the batch or the queue."""

    request: RequestRow


Decision = Accept | Reject | Leave


@dataclass(slots=True)
class Admitted:
    """`taken` requests were looked at; `started` are the new due steps."""

    taken: int
    decided: int
    started: list[DueKey]
    accounts: set[int] = field(default_factory=set)


# --- inbox ---------------------------------------------------------------------------------


@dataclass(slots=True)
class EventRow:
    """An unprocessed event; `contact_ids` are whom it concerns, `enrollment_id` and
    `cv_id`, `step_no` are set where it names a delivery. `list_key` for list events."""

    id: int
    account_id: int
    kind: str
    contact_ids: tuple[int, ...]
    enrollment_id: int | None
    step_key: str | None
    campaign_id: int | None
    conversation_ref: str | None
    address: str | None
    channel: str | None
    occurred_at: Instant
    payload: dict[str, object]
    duplicate: bool = False
    unresolved: str | None = None
    """Why nobody could be found for it, as a word."""


@dataclass(slots=True)
class RunRow:
    """A live run as the inbox sees it, its due step locked.

    `leased`: a step is in flight; `held`: it waits by itself; `overdue`: its delay has
    elapsed. `entered_at` is when its present wait began, as the journal has it.
    """

    account_id: int
    enrollment_id: int
    contact_id: int
    campaign_id: int
    cv_id: int
    run_no: int
    step_no: int
    seq: int
    lane: int
    due_at: Instant
    started_at: Instant
    leased: bool
    hold_reason: str | None
    conversation_ref: str | None
    timezone: str | None
    soft_bounces: int = 0


@dataclass(slots=True)
class EndRun:
    enrollment_id: int
    contact_id: int
    status: RunStatus
    reason: str
    set: Mapping[str, object] = field(default_factory=dict)
    notify: tuple[str, str] | None = None
    """(recipient, campaign key) of a notification `ended`."""


@dataclass(slots=True)
class MoveDue:
    """Reset on interaction: the step now waited on comes up at `due_at`."""

    enrollment_id: int
    due_at: Instant
    event_id: int


@dataclass(slots=True)
class Suppress:
    channel: str
    address: str
    reason: str


@dataclass(slots=True)
class Request:
    """A trigger fired: an `enroll_request` of the contact."""

    campaign_key: str
    contact_id: int
    source: str


@dataclass(slots=True)
class Refuse:
    event_id: int
    reason: str


InboxEffect = EndRun | MoveDue | Suppress | Request | Refuse


@dataclass(slots=True)
class Digested:
    """What one inbox pass did. `stopped`: enrollments that ended: fresh stops for the send loop."""

    taken: int
    stopped: list[int] = field(default_factory=list)
    moved: list[DueKey] = field(default_factory=list)
    requested: int = 0
    accounts: set[int] = field(default_factory=set)


# --- directory -----------------------------------------------------------------------------


@dataclass(slots=True)
class SenderRow:
    id: int
    account_id: int
    address: str
    channel: str
    provider: str
    rate: str | None
    daily_limit: int | None
    status: str


@dataclass(slots=True)
class AccountRow:
    """`cap` is the plan's, None = no cap. `send_window` as in campaign files, parsed."""

    id: int
    key: str
    timezone: str
    cap: int | None
    send_window: object
    rate: str | None
    status: str
    subscription_active: bool
    postal_address: str | None
    senders: list[SenderRow] = field(default_factory=list)
    campaigns: list[CampaignRow] = field(default_factory=list)
    triggers: list[TriggerRow] = field(default_factory=list)


@dataclass(slots=True)
class CampaignRow:
    id: int
    account_id: int
    key: str
    status: str
    live_cv_id: int | None
    owner: str | None


@dataclass(slots=True)
class TriggerRow:
    campaign_id: int
    campaign_key: str
    kind: str
    match: Mapping[str, object]
    after_event_id: int
    """Events up to this id happened before the trigger was attached: it never fires on them."""


@dataclass(slots=True)
class VersionRow:
    cv_id: int
    account_id: int
    campaign_id: int
    campaign_key: str
    campaign_owner: str | None
    version: int
    definition: Mapping[str, object]


@dataclass(slots=True)
class LaneRow:
    account_id: int
    lane: int
    key: LaneKey


class ParkRow(NamedTuple):
    account_id: int
    lane: int
    reason: str
    release_at: Instant | None


@dataclass(slots=True)
class DayRow:
    """An `account_day` to make: its instants are computed in Python."""

    account_id: int
    local_date: date
    cap: int
    starts_at: Instant
    ends_at: Instant


class Head(NamedTuple):
    """The first due instant of a lane that stands after `after`."""

    account_id: int
    lane: int
    due_at: Instant


@dataclass(slots=True)
class Look:
    """What is new, asked many times a second.

    `now` the deployment's instant; `manual`: it is a manual clock's. `nudges`: (id, account).
    """

    now: Instant
    manual: bool
    requests: bool
    events: list[int]
    """Accounts with unprocessed events (0 = events of no account), at most 500."""
    usage: bool
    nudges: list[tuple[int, int]]
    nodes: list[tuple[int, bool]]
    """(incarnation, alive)"""


Decide = Callable[[Sequence[RequestRow], Instant], list[Decision]]
Digest = Callable[[Sequence[EventRow], Sequence[RunRow], Instant], list[InboxEffect]]


class Store(Protocol):
    """Units of work. Each raises `StoreUnavailable` when the database is away (asking again is
    safe), `InDoubt` when it was lost around the commit. Instants are the deployment's."""

    async def look(self, seen_nudges: Sequence[int]) -> Look: ...

    # directory
    async def read_accounts(self, accounts: Sequence[int] | None) -> list[AccountRow]: ...
    async def read_versions(self, cv_ids: Sequence[int]) -> list[VersionRow]: ...
    async def read_lanes(self, accounts: Sequence[int] | None) -> list[LaneRow]: ...
    async def read_parks(self, accounts: Sequence[int] | None) -> list[ParkRow]: ...

    # admit
    async def admit(self, n: int, decide: Decide) -> Admitted: ...

    # feed
    async def heads(self, accounts: Sequence[int]) -> list[Head]: ...
    async def load(
        self, lanes: Sequence[tuple[int, int, Instant, int, int]], horizon: Instant
    ) -> list[DueKey]:
        """Keys of (account, lane, after due, after enrollment, n): unleased, due up to *horizon*,
        beyond (due, enrollment), at most n a lane, in due order."""
        ...

    async def make_days(self, days: Sequence[DayRow]) -> None: ...
    async def park(self, rows: Sequence[ParkRow]) -> None: ...
    async def unpark(self, lanes: Sequence[tuple[int, int]]) -> None: ...

    # lease, record
    async def lease(
        self, incarnation: int, groups: Sequence[LeaseGroup], lease_ahead_ms: int
    ) -> LeaseResult: ...
    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        """Write what leased steps came to; *decide* admits the runs that a move starts,
        *closed* are claims of which no step is left."""
        ...

    # inbox
    async def digest(
        self, account_id: int, n: int, digest: Digest, interest: int
    ) -> Digested | None:
        """Take up to *n* events of the account and apply what *digest* says; only for kinds in
        *interest* (bits) are the contacts and their runs looked up. None: another daemon has
        the account's inbox at this moment."""
        ...

    async def fold_usage(self) -> list[int]: ...

    # nodes, sweep
    async def join(self, incarnation: int, name: str, version: str) -> None: ...
    async def beat(self, incarnation: int, accounts: int, state: str) -> bool:
        """False: this incarnation was declared dead; it must stop and start anew."""
        ...

    async def acknowledge_clock(self, incarnation: int, at: Instant) -> None: ...
    async def leave(self, incarnation: int) -> None: ...
    async def reap(self, incarnation: int, timeout_ms: int) -> int:
        """Declare daemons dead whose heartbeat is older than *timeout_ms* of real time, and
        take their claims over under new claim ids of *incarnation*. Returns the claims taken."""
        ...

    async def orphans(self, incarnation: int, known: Sequence[int]) -> list[Leased]:
        """Steps under claims of *incarnation* that are not among *known*: taken over, or
        leased with an acknowledgement that was lost."""
        ...

    async def sweep(self) -> None:
        """Throw away what has served."""
        ...

    async def remind(self) -> None:
        """Turn reminders whose instant has come into notifications."""
        ...

    # the built-in sink (`channels.base.SinkWriter`), on a connection of its own
    async def write(self, rows: Sequence[SinkRow]) -> list[str]: ...
