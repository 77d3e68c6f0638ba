"""What is a run made of? Its due step, the lease on it, and the change that comes of it.

These values pass through every stage: the store reads and writes them, `perform` and
`advance` turn one into the next. Rows that exist a million times are slotted and mutable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from enum import IntEnum
from typing import Final, NamedTuple

from dripd.campaigns.action import Effect
from dripd.clock import DAY, Instant, Millis

HELD_LANE = -1
"""Rows that wait by themselves: never scanned, their reason stands in `run`."""

FLAG_VARS = 1
"""`due_step.flags`: the run carries vars of its request."""

FLAG_HELD = 32
"""`due_step.flags`: held by itself in its lane until its due; `run.hold_reason` says why."""

FLAG_AMBIGUOUS = 2
"""`due_step.flags`: an earlier attempt's outcome is unknown; its row of the log says `unknown`."""

FLAG_WAITING = 4
"""`due_step.flags`: the step has begun and waits for an answer or an event; judge it again."""

FLAG_APPROVED = 8
"""`due_step.flags`: a person approved the message, as it stands in its task."""

FLAG_POKED = 16
"""`due_step.flags`: what a waiting step waits for came while it was leased."""

FLAG_ASKED = FLAG_WAITING | FLAG_APPROVED
"""The lease brings the task that was made for the step."""


FLAG_COUNTED = 64
"""`due_step.flags`, while it is leased: the lease took one of the cap."""

FLAG_KEPT = 128
"""`due_step.flags`: an attempt was made; `kept_message` has what every further one sends."""

FLAG_TRIED = FLAG_AMBIGUOUS | FLAG_KEPT
"""The lease brings what is kept of the attempts before."""

PRESUMED = "presumed_sent"
"""Why a delivery is `unknown` once nobody waits for evidence any more."""


FLAG_ERASED = 512
"""`due_step.flags`: its contact was erased; what is recorded of it says nothing of whom."""

FLAG_SUSPECT = 256
"""`due_step.flags`: a daemon died over it; performed only once the journal knows of the trial."""


FLAG_PUT_OFF = 1024
"""`due_step.flags`: a hold of its own, or another try, moved its due, which was
`run.due_was` before."""


class LaneKey(NamedTuple):
    """What is decided for a whole class of steps of one campaign.

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
    IN_DOUBT = 3  # messages that may have left: no cap is taken again, no window waited for
    CATCHING_UP = 4  # what came due while nobody was at work: it goes out paced


class DueKey(NamedTuple):
    """The full key of a due step, and the version that says what it means."""

    account_id: int
    lane: int
    due_at: Instant
    enrollment_id: int
    cv_id: int


@dataclass(slots=True)
class Asked:
    """The task that a step made for a person; its payload holds what may have been edited."""

    state: str
    payload: dict[str, object]
    created_at: Instant


@dataclass(slots=True, kw_only=True)
class Kept:
    """What is known of the attempts before.

    `words`: what every further attempt sends; None where nothing is to be sent. `since` is
    the first attempt; at `until` a message in doubt is presumed sent, None: somebody must say.
    `state` and `reason` are what stands on record.
    """

    provider: str = ""
    since: Instant = Instant(0)
    until: Instant | None = None
    words: dict[str, object] | None = None
    state: int = 0
    reason: str = ""

    @property
    def to(self) -> str | None:
        """The address that every attempt goes to; None where no words are kept."""
        to = None if self.words is None else self.words.get("to")
        return to if isinstance(to, str) else None


WORDS_KEPT_MS: Final = Millis(7 * DAY)
"""Longer than the eight attempts of a step take; then it is asked whether its run still waits."""


class Recent(NamedTuple):
    """A processed event of the contact, none of another run's delivery."""

    kind: str
    payload: dict[str, object]
    step_key: str | None


@dataclass(slots=True)
class Leased:
    """A granted step with its facts. `attrs`, `company`, `vars` are parsed JSON objects.

    `counted`: it took one of the cap of `local_date`. `tags`, `lists`, `events`, `company`,
    `vars`, `started_at` and `run_owner` are read only where the version needs them (`Needs`),
    `asked` only for a step that waits for an answer or had one.
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
    paid: dict[str, object] = field(default_factory=dict)
    """Step key to what its message was charged at the acceptance; read under `Needs.PAID`."""
    frozen: dict[str, object] = field(default_factory=dict)
    tolled: bool = False
    """It was granted one of the account's quota of actions."""
    run_owner: str | None = None
    asked: Asked | None = None
    sent: tuple[tuple[int, int, Instant], ...] = ()
    """The contact's latest messages of all campaigns, as (enrollment, seq, at)."""
    in_hand: int = 0
    """Messages to the contact that other daemons have in hand: they may leave or not."""
    recent: tuple[Recent, ...] = ()
    holders: tuple[int, ...] = ()
    kept: Kept | None = None
    """Of a step that was tried before (`FLAG_TRIED`)."""
    due_was: Instant | None = None
    """When a step came due that has been put off since; read under `Needs.START`."""

    @property
    def run_id(self) -> int | None:
        """Its run; None where there is none: an action that an event sets in motion."""
        return self.enrollment_id or None

    @property
    def came_due(self) -> Instant:
        """When it first came due, whatever has put it off since: a hold of its own, another
        try, the person who approved it."""
        if self.flags & FLAG_APPROVED and self.asked is not None:
            return min(self.asked.created_at, self.due_at)
        return self.due_at if self.due_was is None else self.due_was


class Needs(IntEnum):
    """What a version reads beyond the contact: bits of `LeaseKey.mask` above the event kinds."""

    COMPANY = 1 << 16
    TAGS = 1 << 17
    LISTS = 1 << 18
    EVENTS = 1 << 19
    START = 1 << 20  # when the run began, and whose it is
    COUNTED = 1 << 21  # takes one of the account's daily cap
    EMAIL = 1 << 22  # sends an email: its address must not be suppressed
    SMS = 1 << 23
    PAID = 1 << 24  # what its messages were charged, and their frozen texts
    RECENT = 1 << 26  # what the contact did since the step before was leased
    SENT = 1 << 27  # what else the contact was sent of late, by whatever campaign
    ASKED = 1 << 25  # the task of a step that waits, set by the lease itself


class LogState(IntEnum):
    AGAIN = 0  # an attempt that will be tried again: not shown
    ACCEPTED = 1
    FAILED = 2
    UNKNOWN = 3
    CANCELLED = 4
    DONE = 5
    SKIPPED = 6


DELIVERY_STATES: Mapping[str, LogState] = {
    "accepted": LogState.ACCEPTED,
    "failed": LogState.FAILED,
    "unknown": LogState.UNKNOWN,
    "cancelled": LogState.CANCELLED,
}
"""What `dripd.delivery` says of a message that is not leased."""

CHANNEL_NO: Mapping[str, int] = {"": 0, "email": 1, "sms": 2}
CHANNEL_OF: Mapping[int, str] = {number: channel for channel, number in CHANNEL_NO.items()}


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


BROKEN: Final = frozenset(
    {"quarantined", "step_failed", "connector_missing", "no_sender", "missing_tag", "too_long"}
)
"""Hold reasons, by their word before any colon, that wait for somebody to put something right."""

MENDABLE: Final = ("missing_tag", "no_address", "bad_date", "too_long")
"""How hold reasons begin that a change of the contact, or of its company, may put right."""


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
    due_was: Instant | None = None
    """When it came due before it was put off (`FLAG_PUT_OFF`)."""
    is_mendable: bool = False
    """An event that came while the step was leased may have put right what holds it."""


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
    metered: bool = False
    """Its version counts automation actions."""
    money_back: Decimal | None = None
    """Its message cost so much less than it was charged."""
    keep: Kept | None = None
    """What further attempts need."""

    def lock_order(self) -> tuple[int, int, int, int]:
        """The full key of the due step: all who lock several lock them in this order."""
        leased = self.leased
        return leased.account_id, leased.lane, leased.due_at, leased.enrollment_id

    def forget(self) -> None:
        """Its contact has been erased: nothing is written that says of whom it is."""
        leased = self.leased
        known = {leased.email, leased.phone, *(row.to_address for row in self.log)}
        names = [name.lower() for name in known if name]
        for row in self.log:
            row.provider_id = _unless(row.provider_id, names)
            row.reason = _unless(row.reason, names)
            row.to_address = row.subject = None
        self.effects = []
        if self.keep is not None:
            self.keep = replace(self.keep, words=None)

    @property
    def stays(self) -> bool:
        """Is the run still at the step that was leased, with the same delivery?"""
        return self.next is not None and self.next.seq == self.leased.seq

    @property
    def is_past(self) -> bool:
        """Is nothing needed any more of what was kept of the attempts before?

        A run that ends with its message in doubt leaves that to whoever waits for evidence.
        """
        if self.keep is not None or not self.leased.flags & FLAG_TRIED:
            return False
        if self.next is not None and self.next.flags & FLAG_TRIED:
            return False
        is_open = self.leased.flags & FLAG_AMBIGUOUS and not self.log
        state = self.leased.kept.state if self.leased.kept is not None else 0
        return not (is_open and self.end is not None and state == LogState.UNKNOWN)


def _unless(said: str | None, names: Sequence[str]) -> str | None:
    """What was *said*, unless it holds one of *names*."""
    return None if said and any(name in said.lower() for name in names) else said
