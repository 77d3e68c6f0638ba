"""What is kept, and the units of work on it: the `Store` protocol and its row values.

A unit of work takes effect at one point or not at all. Decisions are handed in as pure
callbacks and run inside the unit, so that Postgres and memory share every rule. Rows that
exist a million times are slotted and mutable; values are frozen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Protocol

from dripd.billing.ledger import Ask
from dripd.campaigns.enrollment import (
    Change,
    DueKey,
    LaneKey,
    Leased,
    Needs,
)
from dripd.channels.base import SinkRow
from dripd.clock import Instant
from dripd.policy.admission_rows import Decision, RequestRow
from dripd.policy.inbox_rows import (
    ContactRow,
    EventRow,
    InboxEffect,
    RunRow,
)
from dripd.ratelimit.reputation import Stop
from dripd.spans import Spans

WHOLE_ACCOUNT = -1
"""In `park`: every lane of the account."""

NO_DAY: Final = date(1970, 1, 1)
"""The local day of a claim whose account had none: nothing can be refunded there."""

READS: Final = (
    Needs.COMPANY
    | Needs.TAGS
    | Needs.LISTS
    | Needs.EVENTS
    | Needs.START
    | Needs.RECENT
    | Needs.SENT
    | Needs.PAID
)
"""What a lease brings of some steps only, by a question of its own."""


class Refusal(StrEnum):
    """Why a key was not granted by the lease."""

    LOCKED = "locked"  # somebody's open transaction: again soon
    CAP = "cap"  # the account's day is spent: park
    HELD = "held"  # account or campaign is paused: drop, the gates un-park it
    EVENT = "event"  # an unprocessed event: after the inbox
    SUPPRESSED = "suppressed"  # for good: recorded at once
    NO_DAY = "no_day"  # the day row is missing or over: make it, then again
    GONE = "gone"  # moved, leased or ended: drop


class LeaseKey(NamedTuple):
    """One key that the wheel fired. `mask`: bits 0-15 are the kinds of event that the version
    ends, resets or branches on (`event_in.kind_bit`), above them `Needs`."""

    lane: int
    due_at: Instant
    enrollment_id: int
    mask: int


class MayReset(NamedTuple):
    """A version of the account whose steps may reset the runs of another campaign."""

    account_id: int
    cv_id: int
    campaign_id: int


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
    unreadable: list[tuple[Leased, str]] = field(default_factory=list)
    """Leased like those granted, but their facts cannot be read, and why."""


FIRST: Final = 200
"""So many steps of a version are its first."""


class FirstSteps(NamedTuple):
    """How many steps of a version are done, and how many of the first `FIRST` failed."""

    account_id: int
    cv_id: int
    done: int
    failed: int


class SetAside(NamedTuple):
    """A due step that nobody can lease, and the error."""

    account_id: int
    lane: int
    due_at: Instant
    enrollment_id: int
    why: str


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
    called: bool = False
    """Something was written into the outbox."""


# --- admit ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Admitted:
    """`taken` requests were looked at; `started` are the new due steps. `shut`: of these many the
    campaign is being published or paused; they are decided afterwards."""

    taken: int
    decided: int
    started: list[DueKey]
    accounts: set[int] = field(default_factory=set)
    shut: int = 0


# --- inbox ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Digested:
    """What one inbox pass did. `stopped`: enrollments that ended: fresh stops for the send loop.
    `left`: events that stay in the queue. `after`: up to where it has looked, as `digest` takes it.
    `regret`: messages of theirs that left between what stopped them and this pass."""

    taken: int
    left: list[int] = field(default_factory=list)
    after: tuple[int, int] = (0, 0)
    stopped: list[int] = field(default_factory=list)
    regret: int = 0
    paused: list[Stop] = field(default_factory=list)
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
    owner: str | None = None
    shared: str | None = None
    """`account`, or names with commas between."""
    warmup: str | None = None
    gap: str | None = None
    pause_reason: str | None = None
    """`bounce_rate`, `complaint_rate`; None where an operator paused it."""
    judged_from: Instant | None = None
    weight: int = 1
    probes: int = 0
    """How often somebody had it tried; one more: its provider is asked before its time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A contact is to be written to from a pool: by whom it is, if that sender is `usable`, else
    by the proposed one. `pool`: addresses with commas between; "" = all of the account."""

    account_id: int
    contact_id: int
    channel: str
    pool: str
    proposed: int
    usable: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """*n* messages of a sender are about to leave: in its local day since `starts_at`, of which
    `base` had left where nobody counts yet, `most` may; behind the last of them comes a gap."""

    account_id: int
    sender_id: int
    n: int
    starts_at: Instant | None = None
    base: int = 0
    most: int | None = None
    gap_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnBack:
    """*n* messages that had a turn were not taken; `reopens`: not even tried, no gap is kept."""

    account_id: int
    sender_id: int
    starts_at: Instant | None
    n: int
    reopens: bool


class Standstill(NamedTuple):
    """Nothing went from `from_at` to before `until_at`: of the campaign, the sender or the provider
    that is named, else of the whole account, or, where no account has it, of anybody."""

    from_at: Instant
    until_at: Instant
    campaign_id: int = 0
    sender_id: int = 0
    provider: str = ""


class Outage(NamedTuple):
    """A provider, or (`account_id`) a sender, failed from `from_at` to before `until_at`."""

    from_at: Instant
    until_at: Instant
    account_id: int
    sender_id: int
    provider: str


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
    prices: Mapping[str, object] = field(default_factory=dict)
    action_quota: int | None = None
    connectors: frozenset[str] = frozenset()
    templates: str = ""
    """Another text whenever one of its templates says something else."""
    senders: list[SenderRow] = field(default_factory=list)
    campaigns: list[CampaignRow] = field(default_factory=list)
    triggers: list[TriggerRow] = field(default_factory=list)
    standstills: list[Standstill] = field(default_factory=list)

    def listens(self) -> str:
        """Another text whenever a trigger is attached or gone, or a campaign has another version or
        status: who hears of an event. The statement `listens` says the same of the database."""
        triggers = sorted(trigger.id for trigger in self.triggers)
        campaigns = sorted((one.id, one.live_cv_id or "", one.status) for one in self.campaigns)
        said = ",".join(f"{id_}:{cv}:{status}" for id_, cv, status in campaigns)
        return ",".join(map(str, triggers)) + "|" + said


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
    id: int
    campaign_id: int
    campaign_key: str
    kind: str
    match: Mapping[str, object]
    after_event_id: int
    """Events up to this id happened before the trigger was attached: it never fires on them."""
    after_contact_id: int
    """Contacts up to this id were there before: they are not new on a board."""


@dataclass(slots=True)
class VersionRow:
    cv_id: int
    account_id: int
    campaign_id: int
    campaign_key: str
    campaign_owner: str | None
    version: int
    definition: Mapping[str, object]
    shared: Mapping[str, Any] = field(default_factory=dict)
    """The account's templates that it uses, as at publishing."""
    current: Mapping[str, Any] = field(default_factory=dict)
    """The same as they stand now."""
    types: Mapping[str, Any] = field(default_factory=dict)
    """The fields that the account declares, those of companies as `company.KEY`."""


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
    """The first step of a lane, or the first after an instant, that nobody has leased."""

    account_id: int
    lane: int
    due_at: Instant
    enrollment_id: int


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
    drained: set[int]
    """Incarnations that an operator asked to lease nothing more."""


# --- individual sends ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IndividualSend:
    """One message about a contact; `incarnation` is the daemon that sends it.

    `to` None: to the contact. Else to somebody of the house: what they do with it is not the
    contact's doing. `call_id` and `attempt`: the call of the outbox that it answers.
    """

    account_id: int
    contact_id: int
    incarnation: int
    sender_id: int
    channel: str
    requested_by: str
    subject: str
    to: str | None = None
    call_id: int | None = None
    attempt: int = 0


class IndividualStart(NamedTuple):
    """`id` None: nothing was written, for there is no `address`, it is `suppressed`, or another
    has taken over the call that asks for it (`fenced`)."""

    id: int | None
    address: str | None
    suppressed: bool
    fenced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IndividualEnd:
    """What came of it: `state` is a word of `dripd.delivery`."""

    account_id: int
    id: int
    state: str
    provider_id: str | None
    reason: str | None
    segments: int | None


class LostSend(NamedTuple):
    """An individual message and the daemon that had it under way."""

    account_id: int
    id: int
    incarnation: int


Decide = Callable[[Sequence[RequestRow], Instant], list[Decision]]
Digest = Callable[[Sequence[EventRow], Sequence[RunRow], Instant], list[InboxEffect]]


# --- outbox --------------------------------------------------------------------------------


@dataclass(slots=True)
class CallRow:
    """A call that was taken: whom it is about, and how often it has been tried.

    `enrollment_id` and `run_no` are None and 0 where it stands in no run; then `step_no` says
    which action of the version it is. `reason` is how the attempt before ended, None where
    nobody has said.

    `url` and `secret` (a reference) are the connector's; None where there is none.
    """

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
    attempt: int
    reason: str | None
    account_key: str
    campaign_key: str
    run_no: int
    vars: dict[str, object]
    url: str | None
    secret: str | None
    contact: dict[str, object]


class CallEnd(NamedTuple):
    """How an attempt at a call came out; `open` is again at `again`."""

    account_id: int
    id: int
    attempt: int
    state: Literal["done", "skipped", "failed", "open"]
    reason: str | None = None
    again: Instant | None = None


class Store(Protocol):
    """Units of work. Each raises `StoreUnavailable` when the database is away (asking again is
    safe), `InDoubt` when it was lost around the commit. Instants are the deployment's."""

    async def look(self, seen_nudges: Spans) -> Look: ...

    async def wake_queued(self, after: tuple[int, int], most: int) -> tuple[int, int] | None:
        """Wake the requests that wait for contacts who are busy no more, of *most* contacts
        behind *after* (account, contact); the last one, None once all have been asked for.
        The end of a run wakes them; what it had to pass over is found here."""
        ...

    # directory
    async def account_ids(self, after: int, n: int) -> list[int]:
        """The next *n* accounts by id."""
        ...

    async def read_accounts(self, accounts: Sequence[int] | None) -> list[AccountRow]: ...
    async def read_versions(self, cv_ids: Sequence[int]) -> list[VersionRow]: ...
    async def read_attachment(self, account_id: int, sha256: str) -> bytes | None:
        """What a file holds; None: it is not there in full."""
        ...

    async def read_lanes(self, accounts: Sequence[int] | None) -> list[LaneRow]: ...
    async def read_parks(self, accounts: Sequence[int] | None) -> list[ParkRow]: ...
    async def count_sent(
        self, account_id: int, sender_ids: Sequence[int], since: Instant
    ) -> dict[int, int]:
        """Sender to the messages of campaigns that left from it since an instant: accepted, or
        of unknown outcome."""
        ...

    async def take_turns(self, turns: Sequence[Turn]) -> list[tuple[int, Instant | None]]:
        """Of each, at most one a sender: how many may leave, and when its gap is over. Exact,
        however many daemons ask."""
        ...

    async def return_turns(self, backs: Sequence[TurnBack]) -> None: ...
    async def choose_senders(self, wishes: Sequence[Wish]) -> list[int]:
        """Of each wish, one a contact and pool, the sender; it is kept."""
        ...

    # admit
    async def admit(
        self, n: int, decide: Decide, only: Sequence[int] = (), unreadable: Sequence[int] = ()
    ) -> Admitted:
        """Decide some *n* pending requests, of each account that asks as many, the oldest first;
        or *only* these, if any are named. Those for campaigns whose live version is *unreadable*
        stay pending."""
        ...

    async def pending_requests(self, n: int) -> list[int]:
        """The requests that `admit` would decide."""
        ...

    async def reject_requests(self, ids: Sequence[int], reason: str) -> None: ...

    # feed
    async def heads(self, accounts: Sequence[int]) -> list[Head]: ...
    async def load(
        self, lanes: Sequence[tuple[int, int, Instant, int, int]], horizon: Instant
    ) -> list[DueKey]:
        """Keys of (account, lane, after due, after enrollment, n): unleased, due up to *horizon*,
        beyond (due, enrollment), at most n a lane, in due order."""
        ...

    async def next_heads(self, lanes: Sequence[tuple[int, int, Instant]]) -> list[Head]:
        """The first due of each (account, lane) after an instant; lanes without one are left out."""
        ...

    async def move_lanes(
        self, keys: Sequence[DueKey], lanes: Sequence[LaneKey]
    ) -> list[DueKey]:
        """Let steps that nobody has leased stand in other *lanes*, as due as before: where they
        stand now. What somebody's open transaction holds stays where it is."""
        ...

    async def nudge(self, accounts: Sequence[int]) -> None:
        """Tell every daemon to look again at *accounts*."""
        ...

    async def make_days(self, days: Sequence[DayRow]) -> None: ...
    async def park(self, rows: Sequence[ParkRow]) -> None: ...
    async def unpark(self, lanes: Sequence[tuple[int, int]]) -> None: ...

    # lease, record
    async def lease(
        self, incarnation: int, groups: Sequence[LeaseGroup], lease_ahead_ms: int
    ) -> LeaseResult: ...
    async def set_aside(self, steps: Sequence[SetAside]) -> int:
        """Hold steps that nobody has leased as `quarantined`. Returns how many there were."""
        ...

    async def count_recoveries(
        self, steps: Sequence[tuple[int, int, int]], within_ms: int
    ) -> dict[int, int]:
        """Note that (account, enrollment, seq) was taken over from a dead daemon, unperformed;
        enrollment to how often that has happened *within_ms* of real time, this time included."""
        ...

    async def suppressed(self, addresses: Sequence[tuple[int, str, str]]) -> list[bool]:
        """Is each (account, channel, address) never to be reached? In the order given."""
        ...

    async def know_addresses(self, places: Sequence[tuple[int, int, str, int]]) -> list[bool]:
        """Each (account, contact, address, mask) is the contact's though no column says so: an
        event that names the address concerns it from now on. Does one of a kind in the mask wait,
        which the contact's step must not pass? In the order given."""
        ...

    async def await_resets(
        self, keys: Sequence[DueKey], resetters: Sequence[MayReset]
    ) -> set[int]:
        """The enrollments among *keys* whose step must wait: a step of one of *resetters* that
        sends nothing is due for the same contact, no later, in a lane that is open."""
        ...

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        """Write what leased steps came to; *decide* admits the runs that a move starts,
        *closed* are claims of which no step is left."""
        ...

    async def count_first(self, rows: Sequence[FirstSteps]) -> list[FirstSteps]:
        """Add to the first steps of versions; how many there are of each by now. Of a version
        that is beyond them no failure counts, whatever the caller, who may be new, knows."""
        ...

    async def pause_failing(self, first: FirstSteps) -> bool:
        """Pause the campaign of which this is the live version, with an audit and a notice;
        its first steps are counted anew. False: it is not running, or has another version."""
        ...

    async def toll(self, asks: Sequence[Ask]) -> dict[int, str]:
        """Charge messages, and hold actions of a quota, before they are performed. Enrollment
        to why it was refused: `balance`, its lane parked with it, `quota`, or `lost`, for its
        claim was taken over; a delivery is charged once."""
        ...

    # inbox
    async def digest(
        self,
        account_id: int,
        n: int,
        digest: Digest,
        interest: int,
        listens: str | None = None,
        only: Sequence[int] = (),
        *,
        bare: bool = False,
        after: tuple[int, int] = (0, 0),
    ) -> Digested | None:
        """Take up to *n* events of the account and apply what *digest* says: of those behind
        *after*, the last stop and the last of the others that were looked at. Only for kinds in *interest* (bits) are the contacts and their runs looked up. None:
        another daemon has the account's inbox at this moment.

        *listens* is what the caller knows of who listens (`AccountRow.listens`). Raises
        `MissingAccount`, and does nothing, where that was another thing once the events had
        been seen: a trigger that is attached just before an event fires on it.

        Where *only* names events, those are taken; *bare*: as if they had no payload.
        """
        ...

    async def pending_events(self, account_id: int, n: int) -> list[int]:
        """The events that `digest` would take."""
        ...

    async def refuse_events(
        self, account_id: int, ids: Sequence[int], reason: str
    ) -> list[int]:
        """Events are logged, and have no effect. Returns which: one that stops runs never is."""
        ...

    async def read_contacts(self, account_id: int, ids: Sequence[int]) -> list[ContactRow]: ...

    async def fold_usage(self) -> list[int]: ...

    # outbox
    async def take_calls(
        self, incarnation: int, n: int, of_a_target: int, patience_ms: int
    ) -> list[CallRow]:
        """Up to *n* calls that are due, at most *of_a_target* under way for each target; whoever
        is dead, or has not ended one after *patience_ms* of real time, has lost it to the next.
        """
        ...

    async def end_calls(self, ends: Sequence[CallEnd]) -> None:
        """Attempts at calls that another has taken over change nothing."""
        ...

    # nodes, sweep
    async def join(self, incarnation: int, name: str, version: str) -> None: ...
    async def beat(
        self, incarnation: int, accounts: int, state: str, figures: Mapping[str, object]
    ) -> bool:
        """`figures`: how this daemon is doing, for those who look on. False: this incarnation was
        declared dead; it must stop and start anew."""
        ...

    async def acknowledge_clock(self, incarnation: int, at: Instant) -> None: ...
    async def note_served(self, silence_ms: int) -> list[Standstill]:
        """Somebody is at work now. Returns when nobody was for longer than *silence_ms*, or a
        provider failed."""
        ...

    async def note_outages(self, outages: Sequence[Outage]) -> None: ...

    async def leave(self, incarnation: int) -> None: ...
    async def reap(
        self, incarnation: int, timeout_ms: int, gone: Sequence[int] = ()
    ) -> list[int]:
        """Declare daemons dead that are *gone*, or whose heartbeat is older than *timeout_ms*
        of real time, and take claims of the dead over under new claim ids of *incarnation*.
        Returns the new claim ids, at most a page of them."""
        ...

    async def orphans(
        self, incarnation: int, known: Sequence[int], adopted: Sequence[int]
    ) -> list[Leased]:
        """Steps under claims of *incarnation* that it *adopted*, whose lease was in doubt and
        turns out to be committed, or that are not *known* to it although they are minutes old.
        Each names its holders, and is counted as its lease counted it."""
        ...

    async def add_facts(self, steps: Sequence[Leased]) -> None:
        """Put into *steps* whatever a lease may bring beside the contact, and what is kept of
        their attempts before."""
        ...

    async def at_rest(self, incarnations: Sequence[int]) -> list[int]:
        """Those of *incarnations* that are dead and have held no claim that is still open, nor
        an individual message of which nobody has said what became of it."""
        ...

    async def testify(self, accepted: Sequence[tuple[int, int, str | None]]) -> int:
        """Deliveries (enrollment, seq, provider's id) that were accepted, as a journal says:
        those that are `unknown` are accepted. Returns how many there were. An individual message
        is (minus its id, 0)."""
        ...

    async def sweep(self, retention_days: int) -> None:
        """Throw away what has served; what only grows is kept *retention_days*, 0 = for ever.

        Postgres keeps it by the month, made ahead and dropped as a whole; memory keeps all.
        """
        ...

    async def remind(self) -> None:
        """Turn reminders whose instant has come into notifications."""
        ...

    async def finish_drained(self) -> None:
        """Draining campaigns whose last run has ended become inactive."""
        ...

    # individual sends
    async def start_individual(self, wish: IndividualSend) -> IndividualStart:
        """Written and counted before a byte leaves."""
        ...

    async def end_individual(self, end: IndividualEnd) -> None:
        """What came of it, unless evidence has said so meanwhile."""
        ...

    async def last_of_call(self, account_id: int, call_id: int) -> str | None:
        """The state of the message that the last attempt at a call has begun, if one has."""
        ...

    async def lost_individuals(self, incarnation: int) -> list[LostSend]:
        """Messages that a daemon had under way when it died, and those that *incarnation* has
        begun: which of them it has in hand only it knows."""
        ...

    async def end_lost(self, ends: Sequence[IndividualEnd]) -> None:
        """What became of them, unless somebody has said so meanwhile."""
        ...

    # the manual clock
    async def own_clock(self) -> Callable[[], Awaitable[None]] | None:
        """Become the one mover of the clock; None: somebody is. Call the answer to let go."""
        ...

    async def move_clock(self, at: Instant) -> bool:
        """Forward only: False if the clock is already later."""
        ...

    async def next_instant(self) -> Instant | None:
        """The next instant after the present one at which anything comes up."""
        ...

    async def unsettled(self) -> list[str]:
        """The words for what keeps the present instant from being settled; [] = settled."""
        ...

    # the built-in sink (`channels.base.SinkWriter`), on a connection of its own
    async def write(self, rows: Sequence[SinkRow]) -> list[str]: ...
