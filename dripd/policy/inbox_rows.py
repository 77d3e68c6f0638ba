"""What the inbox looks at and answers: rows of events and runs, effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from dripd.campaigns.action import Effect
from dripd.campaigns.enrollment import LaneKey, Leased, RunStatus
from dripd.clock import Instant
from dripd.ratelimit.reputation import Guard, Mark


@dataclass(slots=True)
class EventRow:
    """An unprocessed event; `contact_ids` are whom it concerns. `enrollment_id`, `cv_id`,
    `step_key` and `channel` are set where it names a delivery."""

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
    cv_id: int | None = None
    named: int | None = None
    """The contact that it names, also where nobody listens and none was looked up."""
    delivery_id: str | None = None
    dedup_key: str | None = None
    asked: Sequence[int] = ()
    """Live versions of the campaigns into which its contacts were to be enrolled before it, and
    of which nobody has decided yet."""
    duplicate: bool = False
    unresolved: str | None = None
    """Why nobody could be found for it, as a word."""
    newcomer: bool = False
    """Does it put a contact on a list that was made within the last minute?"""
    own: Sequence[str | None] = ()
    """The contact's address and number, where it forbids and names neither those nor a delivery."""


FIELD_KINDS = frozenset({"field_changed", "status_changed"})
"""Kinds that tell of a field of a contact; both are one."""


def changes_in(kind: str | None, payload: object) -> list[dict[str, object]]:
    """The payloads of a change of several fields at once; none where it is no such change."""
    changes = payload.get("changes") if isinstance(payload, dict) else None
    if kind not in FIELD_KINDS or not isinstance(changes, list):
        return []
    return [one for one in changes if isinstance(one, dict)]


def one_by_one(event: EventRow) -> list[EventRow]:
    """The events that a row of the queue tells of: one, but for several fields of a contact that
    were changed at once, which are as many with the row's id."""
    changes = changes_in(event.kind, event.payload)
    return [replace(event, payload=change) for change in changes] or [event]


@dataclass(slots=True)
class RunRow:
    """A live run as the inbox sees it, its due step locked; `leased`: that is in flight."""

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
    flags: int = 0
    entered: int = 0
    """The sequences that it has been in, as bits; the present one may be left out."""
    attempt: int = 0
    """How often its step was tried."""
    soft_bounces: int = 0
    attrs: Mapping[str, object] = field(default_factory=dict)
    """Of the contact, read for the person whom an end is told to."""
    parked: bool = False
    """Its lane, or its account, rests."""


@dataclass(slots=True)
class EndRun:
    enrollment_id: int
    contact_id: int
    status: RunStatus
    reason: str
    set: Mapping[str, object] = field(default_factory=dict)
    notify: tuple[str, str] | None = None
    """(recipient, campaign key) of a notification `ended`."""
    event_id: int = 0
    since: Instant | None = None
    """When what ends it happened, by its event: what left of the run since should not have."""


@dataclass(slots=True)
class MoveDue:
    """Reset on interaction: the step now waited on comes up at `due_at`."""

    enrollment_id: int
    due_at: Instant
    event_id: int


@dataclass(slots=True)
class Release:
    """What held this one run was put right, or what it waits for came: due now, in `lane`."""

    enrollment_id: int
    lane: LaneKey


@dataclass(slots=True)
class Poke:
    """What a step waits for came while it is leased: it is judged again after that."""

    enrollment_id: int


@dataclass(slots=True)
class EnterSequence:
    """An event moves the run into a sequence: its step is now the first one there.

    `entered` are the sequences that it has been in, as bits; `goal`: its goal moved it on.
    """

    enrollment_id: int
    step_no: int
    due_at: Instant
    lane: LaneKey
    entered: int
    goal: bool = False


@dataclass(slots=True)
class EnterLater:
    """An event that came before the steps which the run has just begun with: told again, as
    `ENTER`, which stands in the way of no lease. `source` is that of a run it may have to start.
    """

    enrollment_id: int
    contact_id: int
    campaign_key: str
    sequence: str
    source: str
    goal: bool = False

    def payload(self) -> dict[str, object]:
        return {
            "enrollment": self.enrollment_id,
            "campaign": self.campaign_key,
            "sequence": self.sequence,
            "source": self.source,
            "goal": self.goal,
        }


@dataclass(slots=True)
class ForgetRuns:
    """The contact's ended runs in the campaign no longer count as runs."""

    contact_id: int
    campaign_key: str


@dataclass(slots=True)
class Later:
    """The event stays in the queue: a step that it would move is in flight, or a run that it
    is about was asked for before it and has not begun."""

    event_id: int


@dataclass(slots=True)
class TellOpened:
    """Somebody watches the message: a person of the contact (`field`), else the owner."""

    enrollment_id: int
    delivery_id: str
    field: str
    owner: str


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
    entry: str = ""
    """The sequence in which the run begins; "" = the first."""


@dataclass(slots=True)
class Judge:
    """Bounces and complaints: too much that came back pauses a sender."""

    marks: Sequence[Mark]
    guard: Guard


@dataclass(slots=True)
class Refuse:
    event_id: int
    reason: str


@dataclass(slots=True)
class ContactRow:
    """A contact as actions on events see it; `company`, `tags`, `lists` included."""

    id: int
    external_id: str | None
    email: str | None
    phone: str | None
    timezone: str | None
    owner: str | None
    service_owner: str | None
    attrs: dict[str, object]
    company: dict[str, object]
    tags: frozenset[str]
    lists: frozenset[str]

    @property
    def vars(self) -> Mapping[str, object]:
        """Nobody has asked for a run, so nothing came with the request."""
        return {}

    def copy(self) -> ContactRow:
        """One that may be changed: what an action does is seen by the next."""
        return replace(self, attrs=dict(self.attrs), company=dict(self.company))


@dataclass(slots=True)
class Act:
    """What an action on an event wants written; `once`: only if it never was for the contact."""

    leased: Leased
    campaign_id: int
    once: str | None
    effects: list[Effect]


InboxEffect: TypeAlias = Act | (
    EndRun
    | MoveDue
    | EnterSequence
    | EnterLater
    | ForgetRuns
    | Release
    | Poke
    | TellOpened
    | Suppress
    | Request
    | Refuse
    | Judge
    | Later
)
