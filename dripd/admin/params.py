"""What does each method take? The arguments of every call, as forbidding structs.

One struct a method, named after it: `campaign.publish` takes `CampaignPublish`. Names are
those of the commands. Accounts and campaigns are keys; a contact is its external_id or `#ID`;
instants are RFC 3339 and durations `3d`, both as text, read by the handler.
`account=None` means: whichever account of the deployment has that key.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, field

from dripd.admin.closed import (
    AccountStatus,
    CampaignStatus,
    Channel,
    DeliveryState,
    Evidence,
    Inflight,
    ListKind,
    LogLevel,
    OperatorRole,
    ResumeMode,
    RunStatus,
    StopMode,
    TaskKind,
    TaskState,
)

Page: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Some: TypeAlias = Annotated[list[Key], Meta(min_length=1, max_length=1000)]
Upto: TypeAlias = Annotated[list[Key], Meta(max_length=1000)]
Id: TypeAlias = Annotated[int, Meta(ge=1)]
Ids: TypeAlias = Annotated[list[Id], Meta(max_length=1000)]
Sha256: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Rows: TypeAlias = Annotated[list[dict[str, object]], Meta(min_length=1, max_length=500)]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method without arguments, and the base of all others."""


class InAccount(Params, frozen=True, kw_only=True):
    account: Key | None = None


class Listing(InAccount, frozen=True, kw_only=True):
    """`limit` items at most, after the opaque cursor `after` of the page before."""

    limit: Page = 100
    after: str | None = None


class Pin(Params, frozen=True, kw_only=True):
    """A file, by what it holds."""

    sha256: Sha256
    size: Annotated[int, Meta(ge=0)]


class Document(Params, frozen=True, kw_only=True):
    """`files`: what stands beside it by the name that a step gives it."""

    filename: str
    text: str
    files: dict[str, Pin] = {}


class AccountKey(Params, frozen=True, kw_only=True):
    key: Key


class AccountSet(Params, frozen=True, kw_only=True):
    """`window` is YAML or JSON text of a window, or `off`; what is None stays as it is, and so
    does the price of a channel that is not in `prices`."""

    key: Key
    name: str | None = None
    plan: Key | None = None
    timezone: Key | None = None
    window: str | None = None
    rate: str | None = None
    postal_address: str | None = None
    subscription: bool | None = None
    writer: str | None = None
    prices: dict[Channel, str] = {}


class AccountDeposit(AccountKey, frozen=True, kw_only=True):
    amount: Key


class AccountList(Params, frozen=True, kw_only=True):
    """`figures`: with what is due in each account, and whether its window is open."""

    figures: bool = False
    status: AccountStatus | None = None
    limit: Page = 100
    after: str | None = None


class SenderKey(InAccount, frozen=True, kw_only=True):
    address: Key


class SenderShow(SenderKey, frozen=True, kw_only=True):
    """`quick`: without what left in seven days, which is counted."""

    quick: bool = False


class SenderSet(SenderKey, frozen=True, kw_only=True):
    """`daily_limit` 0 takes the limit away; `shared` is `account`, names, or empty; `warmup`
    such as `20 +10/d`, `gap` such as `60s-120s`, or empty."""

    channel: Channel | None = None
    provider: Key | None = None
    owner: str | None = None
    shared: str | None = None
    rate: str | None = None
    daily_limit: Annotated[int, Meta(ge=0)] | None = None
    warmup: str | None = None
    gap: str | None = None
    weight: Annotated[int, Meta(ge=1, le=1000)] | None = None


class SenderLimit(SenderKey, frozen=True, kw_only=True):
    """`daily_limit` 0 takes the limit away."""

    daily_limit: Annotated[int, Meta(ge=0)]


class SenderTest(SenderKey, frozen=True, kw_only=True):
    to: Key


class SenderList(Listing, frozen=True, kw_only=True):
    channel: Channel | None = None


class OperatorKey(InAccount, frozen=True, kw_only=True):
    name: Key


class OperatorSet(OperatorKey, frozen=True, kw_only=True):
    role: OperatorRole | None = None
    boards: list[Key] | None = None


class ConnectorKey(InAccount, frozen=True, kw_only=True):
    name: Key


class ConnectorSet(ConnectorKey, frozen=True, kw_only=True):
    url: str | None = None
    secret: str | None = None


class ConnectorRemove(ConnectorKey, frozen=True, kw_only=True):
    force: bool = False


class ListSet(InAccount, frozen=True, kw_only=True):
    key: Key
    kind: ListKind | None = None
    dynamic: bool = False


class ListList(Listing, frozen=True, kw_only=True):
    kind: ListKind | None = None


class ListShow(Listing, frozen=True, kw_only=True):
    key: Key


class ListMembers(InAccount, frozen=True, kw_only=True):
    key: Key
    contacts: Some


class ListTrigger(InAccount, frozen=True, kw_only=True):
    list_key: Key = field(name="list")
    campaign: Key
    on: str = "list_added"


class ContactKey(InAccount, frozen=True, kw_only=True):
    contact: Key


class ContactAdd(InAccount, frozen=True, kw_only=True):
    external_id: Key
    email: str | None = None
    phone: str | None = None
    timezone: str | None = None
    owner: str | None = None
    service_owner: str | None = None
    attrs: dict[str, object] = {}
    tags: list[Key] = []


class Import(InAccount, frozen=True, kw_only=True):
    """Rows judged one by one: a bad one is refused by itself."""

    rows: Rows


class ContactList(Listing, frozen=True, kw_only=True):
    tag: Key | None = None
    list_key: Key | None = field(default=None, name="list")
    where: str | None = None


class ContactTimeline(Listing, frozen=True, kw_only=True):
    contact: Key
    enrollment: Id | None = None


class ContactUpdate(ContactKey, frozen=True, kw_only=True):
    """`ops` are texts such as `city set Oslo`, all or nothing."""

    ops: list[str] = []
    email: str | None = None
    phone: str | None = None
    timezone: str | None = None
    owner: str | None = None
    service_owner: str | None = None


class ContactTag(ContactKey, frozen=True, kw_only=True):
    tags: Some


class ContactSend(ContactKey, frozen=True, kw_only=True):
    channel: Channel = "email"
    sender: str | None = None
    subject: str = ""
    text: str = ""
    html: str = ""


class CampaignKey(InAccount, frozen=True, kw_only=True):
    key: Key


class CampaignStats(CampaignKey, frozen=True, kw_only=True):
    """`quick`: a large campaign as it was counted last, without waiting for a count. `version`:
    the steps of that one alone, and how many runs are in it."""

    quick: bool = False
    version: int | None = None


class CampaignDocuments(InAccount, frozen=True, kw_only=True):
    documents: Annotated[list[Document], Meta(min_length=1, max_length=1000)]


class CampaignAttach(Params, frozen=True, kw_only=True):
    """Part `part` of a file of `size` bytes, as base64: 512 KiB each, the last may be shorter."""

    account: Key
    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=26_214_400)]
    part: Annotated[int, Meta(ge=0, lt=50)] = 0
    data: Annotated[str, Meta(max_length=700_000)] = ""


class CampaignPlan(InAccount, frozen=True, kw_only=True):
    """Exactly one of `key` (its draft) and `documents` (one); `map` as `CampaignPublish` has it."""

    key: Key | None = None
    documents: Annotated[list[Document], Meta(max_length=1)] = []
    inflight: Inflight | None = None
    map: dict[str, str] = {}


class CampaignPublish(CampaignKey, frozen=True, kw_only=True):
    """`map` leads from step keys of the live version to keys of the draft."""

    inflight: Inflight | None = None
    map: dict[str, str] = {}


class CampaignStop(CampaignKey, frozen=True, kw_only=True):
    mode: StopMode | None = None


class CampaignResume(CampaignKey, frozen=True, kw_only=True):
    mode: ResumeMode | None = None


class CampaignList(Listing, frozen=True, kw_only=True):
    """`figures`: with each campaign's, estimated where they cannot be counted quickly."""

    figures: bool = False
    board: Key | None = None
    status: CampaignStatus | None = None


class CampaignShow(CampaignKey, frozen=True, kw_only=True):
    policy: bool = False
    version: Id | None = None


class CampaignDiff(CampaignKey, frozen=True, kw_only=True):
    """`from` defaults to the live version, `to` to the draft."""

    from_: Id | None = field(default=None, name="from")
    to: Id | None = None


class CampaignExport(CampaignKey, frozen=True, kw_only=True):
    version: Id | None = None


class CampaignQuote(CampaignKey, frozen=True, kw_only=True):
    contact: Key


class LibraryItem(Params, frozen=True, kw_only=True):
    item: Key


class LibraryImport(InAccount, frozen=True, kw_only=True):
    """`as` is the key of the new campaign, by default the item's."""

    item: Key
    as_: Key | None = field(default=None, name="as_key")


class TemplateKey(InAccount, frozen=True, kw_only=True):
    key: Key


class TemplateSet(TemplateKey, frozen=True, kw_only=True):
    """What is not given stays."""

    subject: str | None = None
    text: str | None = None
    html: str | None = None


class TemplateRemove(TemplateKey, frozen=True, kw_only=True):
    force: bool = False


class CampaignTriggerList(InAccount, frozen=True, kw_only=True):
    campaign: Key


class CampaignTrigger(InAccount, frozen=True, kw_only=True):
    campaign: Key
    on: str
    list_key: Key | None = field(default=None, name="list")
    tag: str | None = None
    field_: str | None = field(default=None, name="field")
    to: str | None = None
    from_: str | None = field(default=None, name="from")
    board: str | None = None
    form: str | None = None
    link: str | None = None
    step: str | None = None


class EnrollAdd(InAccount, frozen=True, kw_only=True):
    """`contacts`, or `backfill`: the members of a list. `key` is the idempotency key.

    `quote` is the id of a quote for the one contact.
    """

    campaign: Key
    contacts: Upto = []
    backfill: Key | None = None
    key: str | None = None
    quote: Key | None = None
    conversation_ref: Key | None = None
    start_at: str | None = None
    source: str = "cli"
    vars: dict[str, object] = {}


class EnrollImport(InAccount, frozen=True, kw_only=True):
    campaign: Key
    rows: Rows


class EnrollList(Listing, frozen=True, kw_only=True):
    campaign: Key | None = None
    contact: Key | None = None
    status: RunStatus | None = None
    hold: str | None = None
    list_key: Key | None = field(default=None, name="list")
    tag: Key | None = None
    step: Key | None = None
    """The key of the step at which a live run is."""
    quick: bool = False
    """Whether what one look finds is enough, however few."""


class EnrollKey(Params, frozen=True, kw_only=True):
    enrollment: Id


class Selection(InAccount, frozen=True, kw_only=True):
    """Live runs: the kinds of condition are and-ed, the values of one kind or-ed."""

    enrollment: Ids = []
    contact: Upto = []
    campaign: Upto = []
    lists: Upto = field(default_factory=list, name="list")
    tag: Upto = []
    where: str | None = None
    not_started: bool = False


class EnrollStop(Selection, frozen=True, kw_only=True):
    reset: bool = False
    reset_stats: bool = False


class EnrollMove(Selection, frozen=True, kw_only=True):
    to: Key


class TaskList(Listing, frozen=True, kw_only=True):
    """`id`: that one alone, with its content. `snoozed`: those that are, or are not; None: both."""

    id: Id | None = None
    kind: TaskKind | None = None
    assignee: str | None = None
    campaign: Key | None = None
    state: TaskState | None = None
    snoozed: bool | None = None


class TaskKey(Params, frozen=True, kw_only=True):
    id: Id


class TaskDone(TaskKey, frozen=True, kw_only=True):
    text: str | None = None


class TaskEdit(TaskKey, frozen=True, kw_only=True):
    subject: str | None = None
    text: str | None = None
    html: str | None = None


class TaskAssign(TaskKey, frozen=True, kw_only=True):
    to: Key


class TaskSnooze(TaskKey, frozen=True, kw_only=True):
    """`until` an instant, else it lasts for a duration."""

    lasts: str = "1h"
    until: str | None = None


class NotificationList(Listing, frozen=True, kw_only=True):
    recipient: str | None = None
    unread: bool = False


class DeliveryList(Listing, frozen=True, kw_only=True):
    state: DeliveryState | None = None
    channel: Channel | None = None
    campaign: Key | None = None
    contact: Key | None = None
    enrollment: Id | None = None


class DeliveryKey(Params, frozen=True, kw_only=True):
    id: Key


class DeliveryResolve(Params, frozen=True, kw_only=True):
    id: Key
    state: Evidence


class DeadList(Listing, frozen=True, kw_only=True):
    """`quick`: groups of the latest runs alone, counts with `more` where there are others."""

    campaign: Key | None = None
    quick: bool = False


class DeadPick(InAccount, frozen=True, kw_only=True):
    """A `group` of `dead.list`, several `groups`, or enrollments of them."""

    group: Key | None = None
    groups: Upto = []
    enrollment: Ids = []


class DeadRetry(DeadPick, frozen=True, kw_only=True):
    """`safe`: only those that nobody can have received; the others stay held."""

    safe: bool = False


class Suppress(InAccount, frozen=True, kw_only=True):
    """`channel=None`: email where the address has an @. `account=None`: everywhere."""

    addresses: Some
    channel: Channel | None = None


class SuppressAdd(Suppress, frozen=True, kw_only=True):
    expires_at: str | None = None


class SuppressCheck(InAccount, frozen=True, kw_only=True):
    address: Key


class EventAdd(InAccount, frozen=True, kw_only=True):
    kind: Key
    contact: Key | None = None
    delivery: Key | None = None
    conversation_ref: Key | None = None
    address: Key | None = None
    payload: dict[str, object] = {}
    at: str | None = None
    dedup_key: Key | None = None


class EventTail(Params, frozen=True, kw_only=True):
    """`after` is a number that `next` gave: 0 = from the oldest that is kept, None = the newest."""

    after: Annotated[int, Meta(ge=0)] | None = None
    account: Key | None = None
    kind: Key | None = None
    limit: Page = 100


class ClockSet(Params, frozen=True, kw_only=True):
    to: str


class ClockAdvance(Params, frozen=True, kw_only=True):
    by: str


class AlertKey(Params, frozen=True, kw_only=True):
    """An alert as `alert.list` names it."""

    what: Key
    where: Annotated[str, Meta(max_length=600)] = ""


class AlertSnooze(AlertKey, frozen=True, kw_only=True):
    """`until` an instant, else it lasts for a duration."""

    lasts: str = "1h"
    until: str | None = None


class Everything(Params, frozen=True, kw_only=True):
    """`all` must be true: whoever pauses every account says so."""

    all_: Literal[True] = field(name="all")


class AuditList(Params, frozen=True, kw_only=True):
    """`since` is an instant, or a duration back from now."""

    who: str | None = None
    method: str | None = None
    target: str | None = None
    since: str | None = None
    limit: Page = 100
    after: str | None = None


class NodeKey(Params, frozen=True, kw_only=True):
    """A daemon's name, or its incarnation; of several with one name all are meant."""

    node: Key


class LogsTail(Params, frozen=True, kw_only=True):
    """`after` is a line's number: 0 = from the oldest that is kept, None = the newest lines.

    `level` is the least that is wanted, `event` the beginning of the event's name.
    """

    after: Annotated[int, Meta(ge=0)] | None = None
    level: LogLevel | None = None
    event: str = ""
    limit: Page = 100


class LogsLevel(Params, frozen=True, kw_only=True):
    """`level=None` only asks."""

    level: LogLevel | None = None


class Overview(Params, frozen=True, kw_only=True):
    """`brief` leaves the history of the figures out."""

    brief: bool = False


class ViewOpen(Params, frozen=True, kw_only=True):
    """Keep the answer of the reading method `of` up to date, at most `hz` times a second."""

    of: Key
    params: dict[str, object] = {}
    hz: float = 1.0


class TailOpen(Params, frozen=True, kw_only=True):
    """What happens from now on, and the last `past` things before; `wanted`: column to value."""

    of: Key
    wanted: dict[str, object] = {}
    past: Annotated[int, Meta(ge=0, le=500)] = 200
    hz: float = 4.0


class Subscribed(Params, frozen=True, kw_only=True):
    sub: Id


class Pace(Subscribed, frozen=True, kw_only=True):
    hz: float


class PlanMake(Params, frozen=True, kw_only=True):
    """The changing method that is planned, with its own arguments."""

    method: Key
    params: dict[str, object] = {}
