"""Where does memory keep what Postgres keeps? Every table, its indexes, ids and the instant."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date
from itertools import count, takewhile
from typing import TypeVar

from dripd.campaigns.address import address_form
from dripd.campaigns.enrollment import LaneKey
from dripd.campaigns.version import ALWAYS, KIND_BITS
from dripd.channels.base import SinkRow
from dripd.clock import FAR_FUTURE, MINUTE, Clock, Instant
from dripd.policy.admission_rows import Quote
from dripd.store.memory_rows import (
    Account,
    AccountDay,
    Beginning,
    Busy,
    Call,
    Campaign,
    CampaignVersion,
    Claim,
    Company,
    Connector,
    Contact,
    ContactList,
    ContactSender,
    DueStep,
    EnrollRequest,
    EventIn,
    EventLog,
    Evidence,
    HeldAction,
    Individual,
    JournalLine,
    KeptMessage,
    Lane,
    LedgerLine,
    Mark,
    Meter,
    Node,
    Notification,
    Nudge,
    Operator,
    Park,
    Recovery,
    ReplyWatch,
    Run,
    SeenRequest,
    SenderMark,
    SenderTurn,
    SinkRule,
    StepLog,
    Subject,
    Suppression,
    Task,
    Template,
    Trigger,
    Usage,
)
from dripd.store.memory_table import Groups, Shelves, Table, UndoLog
from dripd.store.protocol import SenderRow, Standstill

T = TypeVar("T")

COMPANY_ID = re.compile(r"^[0-9]{1,18}\Z", re.ASCII)
DELIVERY_ID = re.compile(r"^([0-9]{1,18})-[0-9]{1,9}$", re.ASCII)

PLANS: dict[str, int | None] = {
    "professional": 300,
    "accelerator": 400,
    "enterprise": 1000,
    "unlimited": None,
}

Ids = tuple[int, int]
"""(account, id): how every row of an account is known."""


STOPPED = frozenset({"paused", "inactive", "archived"})
"""What a campaign is of which no step is performed."""


class Tables:
    """The rows of one deployment. `real_ms` is real time: who is alive, when a nudge is old."""

    def __init__(self, clock: Clock, real_ms: Callable[[], int]) -> None:
        self.clock = clock
        self.real_ms = real_ms
        self.deployment = "memory"
        self.undo = UndoLog()
        self._ids = {
            name: count(1) for name in ("account", "row", "run", "request", "event", "claim")
        }
        self.last_event_id = 0
        self.served_at: Instant | None = None
        self.standstills: list[Standstill] = []
        self.paused: dict[int, list[Standstill]] = {}
        """By account, when it, its campaigns and its senders were paused; the last may be open."""
        self._make_doors()
        self._make_queues()
        self._make_campaigns()
        self._make_hot()
        self._make_rest()

    def now(self) -> Instant:
        return self.clock.now()

    def next_id(self, name: str = "row") -> int:
        """The next of a sequence; like Postgres's, it is not rolled back."""
        return next(self._ids[name])

    def begin_at(self, name: str, number: int) -> None:
        """The sequence goes on from *number*: rows were loaded that bear those before it."""
        self._ids[name] = count(number)

    def transact(self, work: Callable[[], T], *, keep: bool = True) -> T:
        """Do *work* as a whole or not at all; without *keep* it is rolled back after it."""
        try:
            result = work()
        except BaseException:
            self.undo.roll_back()
            raise
        if keep:
            self.undo.forget()
        else:
            self.undo.roll_back()
        return result

    def _make_doors(self) -> None:
        undo = self.undo
        self.plans = dict(PLANS)
        self.quotas: dict[str, int | None] = {}
        self.account_keys: Groups[int, Account] = Groups(lambda a: a.key)
        self.accounts: Table[int, Account] = Table(undo, self.account_keys)
        self.senders: Table[Ids, SenderRow] = Table(undo)
        self._make_contacts()
        self.list_keys: Groups[Ids, ContactList] = Groups(lambda x: (x.account_id, x.key))
        self.lists: Table[Ids, ContactList] = Table(undo, self.list_keys)
        self.tags_of: Groups[tuple[int, int, str], Mark] = Groups(_marked)
        self.tags: Table[tuple[int, int, str], Mark] = Table(undo, self.tags_of)
        self.places_of: Groups[tuple[int, int, int], Mark] = Groups(_marked)
        self.places: Table[tuple[int, int, int], Mark] = Table(undo, self.places_of)
        self.suppressions: Table[tuple[str, int, str], Suppression] = Table(undo)

    def _make_queues(self) -> None:
        undo = self.undo
        self.pending: Shelves[int, EnrollRequest] = Shelves(_pending)
        self.queued: Shelves[int, EnrollRequest] = Shelves(_queued)
        self.asked_of: Groups[int, EnrollRequest] = Groups(_asked_of)
        self.asked_in: Groups[int, EnrollRequest] = Groups(_asked_in)
        self.requests: Table[int, EnrollRequest] = Table(
            undo, self.pending, self.queued, self.asked_of, self.asked_in
        )
        self.seen_requests: Table[tuple[int, str], SeenRequest] = Table(undo)
        self.events_by_account: Shelves[int, EventIn] = Shelves(
            lambda e: (e.account_id or None, (e.id,))
        )
        self.stops_by_account: Shelves[int, EventIn] = Shelves(_stopping)
        self.events_by_subject: Groups[int, EventIn] = Groups(
            lambda e: (e.account_id, e.subject)
        )
        self.events: Table[int, EventIn] = Table(
            undo, self.events_by_account, self.stops_by_account, self.events_by_subject
        )
        self.logged_of: Groups[tuple[int, int], EventLog] = Groups(
            lambda e: (e.account_id, e.contact_id)
        )
        self.event_log: Table[tuple[int, int], EventLog] = Table(undo, self.logged_of)
        self.seen_events: Table[tuple[int, str], bool] = Table(undo)
        self.usage: Table[int, Usage] = Table(undo)
        self.nudges: Table[int, Nudge] = Table(undo)

    def _make_contacts(self) -> None:
        self.contact_emails: Groups[Ids, Contact] = Groups(_email_of)
        self.contact_phones: Groups[Ids, Contact] = Groups(_phone_of)
        self.mapped: Groups[tuple[int, str, int], Mark] = Groups(
            lambda one: (one.account_id, one.what)
        )
        self.mapped_addresses: Table[tuple[int, str, int], Mark] = Table(self.undo, self.mapped)
        self.contact_names: Groups[Ids, Contact] = Groups(_external_of)
        self.company_staff: Groups[Ids, Contact] = Groups(_company_of)
        self.contacts: Table[Ids, Contact] = Table(
            self.undo,
            self.contact_emails,
            self.contact_phones,
            self.contact_names,
            self.company_staff,
        )
        self.companies: Table[Ids, Company] = Table(self.undo)

    def _make_campaigns(self) -> None:
        self.campaign_keys: Groups[Ids, Campaign] = Groups(lambda c: (c.account_id, c.key))
        self.campaigns: Table[Ids, Campaign] = Table(self.undo, self.campaign_keys)
        self.versions_of: Groups[int, CampaignVersion] = Groups(
            lambda v: (v.account_id, v.campaign_id)
        )
        self.versions_in: Groups[int, CampaignVersion] = Groups(lambda v: v.account_id)
        self.versions: Table[int, CampaignVersion] = Table(
            self.undo, self.versions_of, self.versions_in
        )
        self.triggers: Table[Ids, Trigger] = Table(self.undo)
        self.attachments: Table[tuple[int, str], bytes] = Table(self.undo)

    def _make_hot(self) -> None:
        self.runs_of: Groups[Ids, Run] = Groups(lambda r: (r.account_id, r.contact_id))
        self.run_numbers: Groups[Ids, Run] = Groups(
            lambda r: (r.account_id, r.contact_id, r.campaign_id, r.run_no)
        )
        self.run_reentry: Groups[Ids, Run] = Groups(_reentry)
        self.run_exclusive: Groups[Ids, Run] = Groups(_exclusive)
        self.run_conversation: Groups[Ids, Run] = Groups(_conversation)
        self.runs: Table[Ids, Run] = Table(
            self.undo,
            self.runs_of,
            self.run_numbers,
            self.run_reentry,
            self.run_exclusive,
            self.run_conversation,
        )
        self.due_by_lane: Shelves[Ids, DueStep] = Shelves(
            lambda d: ((d.account_id, d.lane), (d.due_at, d.enrollment_id))
        )
        self.due_by_claim: Groups[Ids, DueStep] = Groups(lambda d: d.claim_id)
        self.due: Table[Ids, DueStep] = Table(self.undo, self.due_by_lane, self.due_by_claim)
        self.days_of: Groups[tuple[int, date], AccountDay] = Groups(lambda d: d.account_id)
        self.days: Table[tuple[int, date], AccountDay] = Table(self.undo, self.days_of)
        self.claims: Table[int, Claim] = Table(self.undo)
        self.lane_keys: Groups[Ids, Lane] = Groups(lambda x: (x.account_id, x.key))
        self.lanes_of: Groups[Ids, Lane] = Groups(lambda x: x.account_id)
        self.lanes: Table[Ids, Lane] = Table(self.undo, self.lane_keys, self.lanes_of)
        self.parks: Table[Ids, Park] = Table(self.undo)
        self.turns: Table[Ids, SenderTurn] = Table(self.undo)
        self.beginnings: Table[int, Beginning] = Table(self.undo)
        self.recoveries: Table[tuple[int, int, int], Recovery] = Table(self.undo)
        self.unreadable: set[tuple[int, int]] = set()
        """Contacts whose attrs nobody can read: it is played so."""
        self.choices: Table[tuple[int, int, str, str], ContactSender] = Table(self.undo)
        self.marks: Table[Ids, SenderMark] = Table(self.undo)

    def _make_tasks(self) -> None:
        self.tasks_of: Groups[Ids, Task] = Groups(lambda x: (x.account_id, x.enrollment_id))
        self.tasks: Table[Ids, Task] = Table(self.undo, self.tasks_of)
        self.task_of_step: Table[tuple[int, int, int], int] = Table(self.undo)

    def _make_rest(self) -> None:
        undo = self.undo
        self.log_of: Groups[int, StepLog] = Groups(lambda x: (x.account_id, x.enrollment_id))
        self.step_log: Table[int, StepLog] = Table(undo, self.log_of)
        self.operators: Table[tuple[int, str], Operator] = Table(undo)
        self.journal: Table[int, JournalLine] = Table(undo)
        self.ledger_of: Groups[int, LedgerLine] = Groups(
            lambda x: (x.account_id, x.enrollment_id)
        )
        self.ledger: Table[int, LedgerLine] = Table(undo, self.ledger_of)
        self.meters: Table[tuple[int, str, str], Meter] = Table(undo)
        self.held_actions: Table[Ids, HeldAction] = Table(undo)
        self.quotes: Table[tuple[int, str], Quote] = Table(undo)
        self.evidence: Table[int, Evidence] = Table(undo)
        self.kept: Table[tuple[int, int, int], KeptMessage] = Table(undo)
        self._make_tasks()
        self.reactions: Table[tuple[int, int, int, str], bool] = Table(undo)
        self.calls: Table[Ids, Call] = Table(undo)
        self.call_of_step: Table[tuple[int, int | None, int], int] = Table(undo)
        self.templates: Table[tuple[int, str], Template] = Table(undo)
        self.field_types: dict[int, dict[str, str]] = {}
        self.connectors: Table[tuple[int, str], Connector] = Table(undo)
        self.watches: Table[tuple[int, int, int], ReplyWatch] = Table(undo)
        self.diary: Table[int, Busy] = Table(undo)
        self.rota: Table[tuple[int, str, str, str], int] = Table(undo)
        self.notifications: Table[Ids, Notification] = Table(undo)
        self.individuals: Table[Ids, Individual] = Table(undo)
        self.sink: Table[int, tuple[Instant, SinkRow]] = Table(undo)
        self.sink_rules: Table[int, SinkRule] = Table(undo)
        self.nodes: Table[int, Node] = Table(undo)
        self.locked_rows: Counter[int] = Counter()
        self.locked_days: Counter[int] = Counter()
        self.locked_inboxes: Counter[int] = Counter()

    def contacts_at(self, account_id: int, address: str) -> list[int]:
        """Whom an address belongs to."""
        form = address_form(address)
        if not form:
            return []
        places = (account_id, form)
        found = (*self.contact_emails.at(places), *self.contact_phones.at(places))
        mapped = {contact_id for *_, contact_id in self.mapped.at(places)}
        return sorted(mapped.union(contact_id for _, contact_id in found))

    def know_address(self, account_id: int, contact_id: int, address: str) -> None:
        """A campaign maps it instead of the contact's own."""
        form = address_form(address)
        key = (account_id, form, contact_id)
        if form and key not in self.mapped_addresses:
            row = Mark(account_id=account_id, contact_id=contact_id, what=form)
            self.mapped_addresses.add(key, row)

    def is_suppressed(self, account_id: int, channel: str, address: str | None) -> bool:
        """Does a standing order, of this account or of all, forbid *address*?"""
        if address is None:
            return False
        now = self.now()
        rows = (
            self.suppressions.get((address_form(address), account, channel))
            for account in (account_id, 0)
        )
        return any(
            row is not None and (row.expires_at is None or row.expires_at > now) for row in rows
        )

    def day_at(self, account_id: int, at: Instant) -> AccountDay | None:
        """The account's day row that contains *at*."""
        for key in self.days_of.at(account_id):
            day = self.days[key]
            if day.starts_at <= at < day.ends_at:
                return day
        return None

    def account_of(self, account_id: int | None, key: str | None) -> Account | None:
        """By id, else by key."""
        if account_id is not None:
            return self.accounts.get(account_id)
        found = self.account_keys.at(key)
        return self.accounts[found[0]] if found else None

    def ready_requests(self) -> Iterator[int]:
        """Pending requests in their order; not those in the queue for a busy contact."""
        return (request_id for (request_id,) in self.pending.at("pending"))

    def free_contact(self, account_id: int, contact_id: int) -> None:
        """Requests in the queue for the contact have their turn."""
        waiting = self.queued.at("queued").after((account_id, contact_id, 0))
        mine = takewhile(lambda entry: entry[:2] == (account_id, contact_id), waiting)
        for *_, request_id in list(mine):
            self.requests.change(request_id, queued_for=None)

    def campaign_of(self, account_id: int, key: str | None) -> Campaign | None:
        found = self.campaign_keys.at((account_id, key))
        return self.campaigns[found[0]] if found else None

    def list_of(self, account_id: int, key: str) -> ContactList | None:
        found = self.list_keys.at((account_id, key))
        return self.lists[found[0]] if found else None

    def lane_of(self, account_id: int, key: LaneKey) -> int:
        """The number of a lane, made if it is not there; never changed or reused."""
        found = self.lane_keys.at((account_id, key))
        if found:
            return found[0][1]
        known = self.lanes_of.at(account_id)
        number = known[-1][1] + 1 if known else 0
        self.lanes.add((account_id, number), Lane(account_id=account_id, lane=number, key=key))
        return number

    def tell(  # noqa: PLR0913 - the columns of one row
        self,
        account_id: int | None,
        kind: str | None,
        *,
        contact_id: int | None = None,
        payload: object = None,
        delivery_id: str | None = None,
        conversation_ref: str | None = None,
        address: str | None = None,
        dedup_key: str | None = None,
        occurred_at: Instant | None = None,
        internal: bool = True,
    ) -> int:
        """Append a row to `event_in`; returns its id. *internal*: dripd tells it itself."""
        self.last_event_id = event_id = self.next_id("event")
        self.events.add(
            event_id,
            EventIn(
                id=event_id,
                account_id=account_id,
                contact_id=contact_id,
                kind=kind,
                delivery_id=delivery_id,
                conversation_ref=conversation_ref,
                address=address,
                dedup_key=dedup_key,
                occurred_at=self.now() if occurred_at is None else occurred_at,
                payload={} if payload is None else copy.deepcopy(payload),
                kind_bit=KIND_BITS.get(kind or "", 0),
                subject=subject_of(contact_id, delivery_id, address),
                internal=internal,
            ),
        )
        return event_id

    def write_journal(
        self,
        account_id: int,
        enrollment_id: int | None,
        contact_id: int | None,
        kind: str,
        detail: dict[str, object],
    ) -> None:
        line = JournalLine(
            at=self.now(),
            account_id=account_id,
            enrollment_id=enrollment_id,
            contact_id=contact_id,
            kind=kind,
            detail=detail,
        )
        self.journal.add(self.next_id(), line)

    def nudge(self, account_id: int) -> None:
        """Say to every daemon: look again at this account."""
        number = self.next_id()
        self.nudges.add(number, Nudge(id=number, account_id=account_id, at=self.real_ms()))

    def refresh_gates(self, account_ids: Iterable[int]) -> None:
        """Pause, resume, publish and close reach later leases through the day rows."""
        now = self.now()
        known = {one for one in account_ids if one in self.accounts}
        self.mind_standstills(known)
        for account_id in known:
            account = self.accounts[account_id]
            paused = frozenset(
                cv_id
                for cv_id in self.versions_in.at(account_id)
                if self.campaign_of_version(cv_id).status in STOPPED
            )
            for key in self.days_of.at(account_id):
                if self.days[key].ends_at > now:
                    self.days.change(key, held=not account.is_open, paused=paused)

    def mind_standstills(self, account_ids: Collection[int]) -> None:
        """Since when what of these accounts is paused stands still, and until when it did."""
        now = self.now()
        standing = {(one, 0, 0) for one in account_ids if not self.accounts[one].is_open}
        standing |= {
            (one.account_id, one.id, 0)
            for one in self.campaigns
            if one.account_id in account_ids and one.status in STOPPED
        }
        standing |= {
            (one.account_id, 0, one.id)
            for one in self.senders
            if one.account_id in account_ids and one.status == "paused"
        }
        for account_id in account_ids:
            rows = self.paused.setdefault(account_id, [])
            for row in [one for one in rows if one.until_at == FAR_FUTURE]:
                place = (account_id, row.campaign_id, row.sender_id)
                if place in standing:
                    standing.discard(place)
                    continue
                rows.remove(row)
                if now - row.from_at >= MINUTE:
                    rows.append(row._replace(until_at=now))
        for account_id, campaign_id, sender_id in sorted(standing):
            row = Standstill(now, FAR_FUTURE, campaign_id, sender_id)
            self.paused[account_id].append(row)

    def campaign_of_version(self, cv_id: int) -> Campaign:
        version = self.versions[cv_id]
        return self.campaigns[version.account_id, version.campaign_id]


def subject_of(contact_id: int | None, delivery_id: str | None, address: str | None) -> Subject:
    """Whom an event concerns, as the generated column `event_in.subject` says it."""
    if contact_id is not None:
        return ("contact", contact_id)
    found = DELIVERY_ID.match(delivery_id or "")
    if found:
        return ("run", int(found[1]))
    return None if address is None else ("address", address_form(address))


def _email_of(contact: Contact) -> tuple[int, str] | None:
    email = contact.email
    return (contact.account_id, address_form(email)) if email is not None else None


def _phone_of(contact: Contact) -> tuple[int, str] | None:
    phone = contact.phone
    return (contact.account_id, address_form(phone)) if phone is not None else None


def _company_of(contact: Contact) -> tuple[int, int] | None:
    return (contact.account_id, contact.company_id) if contact.company_id is not None else None


def _external_of(contact: Contact) -> tuple[int, str] | None:
    named = contact.external_id
    return (contact.account_id, named) if named is not None else None


def _marked(mark: Mark) -> Ids:
    return (mark.account_id, mark.contact_id)


def _pending(request: EnrollRequest) -> tuple[str, tuple[int]] | None:
    is_asked = request.status == "pending" and request.queued_for is None
    return ("pending", (request.id,)) if is_asked else None


def _queued(request: EnrollRequest) -> tuple[str, tuple[int, int, int]] | None:
    if request.status != "pending" or request.queued_for is None:
        return None
    return ("queued", (request.account_id or 0, request.queued_for, request.id))


def _asked_of(request: EnrollRequest) -> int | str | None:
    """For whom it is, as it says it: by id, else by the contact's own name."""
    if request.status != "pending":
        return None
    return request.external_id if request.contact_id is None else request.contact_id


def _asked_in(request: EnrollRequest) -> str | None:
    return request.conversation_ref if request.status == "pending" else None


def _stopping(event: EventIn) -> tuple[int | None, tuple[int]] | None:
    return (event.account_id, (event.id,)) if event.kind_bit & ALWAYS else None


def _reentry(run: Run) -> tuple[int, int, int] | None:
    if run.reentry is None:
        return None
    return (run.account_id, run.campaign_id, run.contact_id)


def _exclusive(run: Run) -> tuple[int, int, str] | None:
    if run.exclusive is None:
        return None
    return (run.account_id, run.contact_id, run.exclusive)


def _conversation(run: Run) -> tuple[int, str] | None:
    if run.conversation_ref is None or run.status != 1:
        return None
    return (run.account_id, run.conversation_ref)
