"""What the daemon keeps in memory about accounts: the rooms that the judgement asks.

A cache of SQL: read whole at start, in part after a nudge, again every half minute.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, tzinfo
from hashlib import blake2b

import trio

from dripd.billing.price import read_prices
from dripd.campaigns.address import meant
from dripd.campaigns.definition import Match
from dripd.campaigns.enrollment import LaneKey, Leased
from dripd.campaigns.links import Links
from dripd.campaigns.settings import parse_window
from dripd.campaigns.version import KIND_BITS, Version
from dripd.campaigns.window import WindowSpec, build_window
from dripd.engine.calendars import (
    NEVER,
    bounds,
    holidays_or_none,
    known_zones,
    open_window,
    open_zone,
)
from dripd.engine.compiler import Compiler, follows_templates
from dripd.engine.files import Files
from dripd.errors import DripdError
from dripd.log import get
from dripd.policy.rooms import MissingAccount, MissingVersion, Sender
from dripd.ratelimit.bucket import Bucket, parse_rate
from dripd.ratelimit.caps import NO_CAP
from dripd.ratelimit.limits import Line
from dripd.scheduler.calendar import Today, Window
from dripd.store.protocol import AccountRow, DayRow, SenderRow, Store

DAYS_AHEAD = 2
"""Day rows are made so far ahead: the lease itself never makes one."""

ALL_KINDS = 0xFFFF


log = get("directory")


@dataclass(frozen=True, slots=True)
class AttachedTrigger:
    """A trigger as the inbox asks it."""

    campaign_key: str
    match: Match
    after_event_id: int
    after_contact_id: int
    cv_id: int | None = None


class Account:
    """One account as the engine sees it, with its zone, window and token bucket opened."""

    def __init__(self, row: AccountRow, *, unreadable: bool = False) -> None:
        self.row = row
        self.unreadable = unreadable
        """Nobody can say when its messages may leave: they wait until it is put right."""
        self.listens = row.listens()
        self.zone = open_zone(row.timezone)
        self.window = self._window(row)
        self.bucket = Bucket(parse_rate(row.rate)) if row.rate else None
        self.prices = read_prices(row.prices)
        self.providers = frozenset(sender.provider for sender in row.senders)
        self.is_limited = (
            bool(row.rate) or not row.senders or any(map(_is_limited, row.senders))
        )
        """Does the account or one of its senders have a limit of its own, or a sender rest?"""
        self._lines: dict[int, Line] = {}
        self._named: dict[tuple[str, str], tuple[SenderRow, ...]] = {}
        self.campaigns = {campaign.id: campaign for campaign in row.campaigns}
        live = {campaign.id: campaign.live_cv_id for campaign in row.campaigns}
        self.triggers = [
            AttachedTrigger(
                one.campaign_key,
                Match(kind=one.kind, params=one.match),
                one.after_event_id,
                one.after_contact_id,
                live.get(one.campaign_id),
            )
            for one in row.triggers
        ]

    def line(self, sender_id: int) -> Line:
        """The limits of one of its senders, made when first asked for."""
        found = self._lines.get(sender_id)
        if found is None:
            own = next((one for one in self.row.senders if one.id == sender_id), None)
            rate, gap = ("", "") if own is None else (own.rate or "", own.gap or "")
            found = self._lines[sender_id] = Line(rate, gap)
        return found

    def take_over(self, before: Account) -> None:
        """Go on with what *before* had counted, where the limits are the same."""
        if before.row.rate == self.row.rate:
            self.bucket = before.bucket
        limits = {sender.id: sender for sender in self.row.senders}
        olds = {sender.id: sender for sender in before.row.senders}
        for sender_id, line in before._lines.items():
            sender = limits.get(sender_id)
            if sender is None or sender_id not in olds:
                continue
            if line.rate != (sender.rate or ""):
                line.set_rate(sender.rate or "")
            if sender.gap != olds[sender_id].gap:
                line.set_gap(sender.gap or "")
            if _most(sender) != _most(olds[sender_id]):
                line.day = None
            self._lines[sender_id] = line

    def asked_since(self, before: Account) -> set[str]:
        """The providers that somebody wants tried who did not when *before* was read."""
        olds = {sender.id: sender.probes for sender in before.row.senders}
        return {
            sender.provider
            for sender in self.row.senders
            if sender.probes > olds.get(sender.id, sender.probes)
        }

    def forget_days(self) -> None:
        """Somebody else has served it: what its senders have sent is to be read anew."""
        for line in self._lines.values():
            line.day = None

    def usable(self, channel: str, address: str) -> list[SenderRow]:
        """The active senders of *address*, several with commas between; for "" all."""
        return [one for one in self.named(channel, address) if one.status == "active"]

    def named(self, channel: str, address: str) -> tuple[SenderRow, ...]:
        """As `usable`, also those that are paused; found when first asked for."""
        found = self._named.get((channel, address))
        if found is None:
            own = [one for one in self.row.senders if one.channel == channel]
            known = meant(address, (one.address for one in own))
            found = tuple(one for one in own if not address or one.address in known)
            if found:
                self._named[channel, address] = found
        return found

    @staticmethod
    def _window(row: AccountRow) -> Window | None:
        if row.send_window is None or row.send_window == "off":
            return None
        spec = parse_window(row.send_window)
        return build_window(spec, holidays_or_none) if isinstance(spec, WindowSpec) else None

    def is_running(self, campaign_id: int) -> bool:
        """May steps of the campaign be performed, as far as is known here?"""
        campaign = self.campaigns.get(campaign_id)
        stopped = {"paused", "inactive", "archived"}
        return self.is_open and (campaign is None or campaign.status not in stopped)

    @property
    def is_open(self) -> bool:
        return self.row.status == "active" and self.row.subscription_active

    def days(self, dates: Today) -> list[DayRow]:
        """The day rows that should be there at the instant of *dates*."""
        today = dates.of(self.zone)
        cap = NO_CAP if self.row.cap is None else self.row.cap
        days = [date.fromordinal(today.toordinal() + n) for n in range(DAYS_AHEAD + 1)]
        return [DayRow(self.row.id, day, cap, *bounds(self.zone, day)) for day in days]


def _is_limited(sender: SenderRow) -> bool:
    return bool(sender.rate) or takes_turns(sender) or sender.status != "active"


def takes_turns(sender: SenderRow) -> bool:
    """Is what leaves from it counted for all daemons together?"""
    return sender.daily_limit is not None or sender.warmup is not None or sender.gap is not None


def _most(sender: SenderRow) -> tuple[int | None, str | None]:
    return sender.daily_limit, sender.warmup


class Directory:
    """Accounts, versions and what follows from them. Implements `policy.rooms` in full."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._compiler = Compiler()
        self.accounts: dict[int, Account] = {}
        self.versions: dict[int, Version] = {}
        self.public: Links | None = None
        self.local: Links | None = None
        """Links that only this machine can follow: for what stays on it."""
        self.sinks: frozenset[str] = frozenset()
        """The providers whose messages reach nobody."""
        self.frequent: set[int] = set()
        """Accounts in which a version limits how often a contact is written to."""
        self.resetting: dict[int, dict[int, Version]] = {}
        """By account and `cv_id`, the versions that reset another campaign."""
        self.turning: set[int] = set()
        """Accounts of which what leaves from a sender is counted for all daemons together."""
        self.pooled: set[int] = set()
        """Accounts with several senders of one channel."""
        self.chosen: dict[tuple[int, int, str, str], int] = {}
        """(account, contact, channel, pool) to the sender that writes to the contact."""
        self.files = Files(store)
        self.eased: set[tuple[int, str]] = set()
        """(account, reason of parks) of which what shut the lanes is not what it was: senders, or
        the quota."""
        self.asked: set[str] = set()
        """Providers that somebody wants tried, and that were not yet."""
        self.broken: dict[int, str] = {}
        """Versions that this dripd cannot read: cv_id to why."""

    async def refresh(self, accounts: Sequence[int] | None = None) -> None:
        """Read *accounts* (None = all) again; a bucket with an unchanged rate goes on."""
        reworded: set[int] = set()
        for row in await self._store.read_accounts(accounts):
            before = self.accounts.get(row.id)
            if before is not None and before.row == row:
                continue
            fresh = self._account(row)
            if fresh.unreadable and not (before and before.unreadable):
                log.warning("account.unreadable", account_id=row.id)
            if before is not None:
                fresh.take_over(before)
                self.asked |= fresh.asked_since(before)
                if before.row.senders != row.senders:
                    self.eased.add((row.id, "no_sender"))
                if before.row.action_quota != row.action_quota:
                    self.eased.add((row.id, "quota"))
                if before.row.templates != row.templates:
                    reworded.add(row.id)
            self.accounts[row.id] = fresh
            self._mind_turns(fresh)
            if is_pooled(row):
                self.pooled.add(row.id)
            else:
                self.pooled.discard(row.id)
        if reworded:
            await self._reword(reworded)

    async def load_accounts(self, accounts: Iterable[int]) -> None:
        """Read the accounts that are not known yet."""
        missing = set(accounts) - self.accounts.keys()
        if missing:
            await self.refresh(sorted(missing))

    def _mind_turns(self, account: Account) -> None:
        if any(map(takes_turns, account.row.senders)):
            self.turning.add(account.row.id)
        else:
            self.turning.discard(account.row.id)

    async def _reword(self, accounts: Container[int]) -> None:
        """Compile anew the versions whose words follow the templates of *accounts*."""
        follow = [
            version.cv_id
            for version in self.versions.values()
            if version.account_id in accounts and follows_templates(version.definition)
        ]
        if follow:
            await self._compile(follow)

    @staticmethod
    def _account(row: AccountRow) -> Account:
        try:
            return Account(row, unreadable=row.timezone not in known_zones())
        except (DripdError, ValueError, KeyError):
            plain = replace(row, send_window=None, rate=None)
            plain.senders = [replace(one, rate=None, gap=None) for one in row.senders]
            return Account(plain, unreadable=True)

    async def load_versions(self, cv_ids: Iterable[int]) -> None:
        """Compile the versions that are not loaded yet."""
        missing = [
            cv for cv in set(cv_ids) if cv not in self.versions and cv not in self.broken
        ]
        if not missing:
            return
        await self._compile(missing)
        for cv in missing:
            if cv not in self.versions:
                self.broken.setdefault(cv, "the version does not exist")

    async def _compile(self, cv_ids: Sequence[int]) -> None:
        for row in await self._store.read_versions(cv_ids):
            try:
                version = self.versions[row.cv_id] = self._compiler.compile(row)
                if version.frequency is not None:
                    self.frequent.add(version.account_id)
                if version.resets:
                    self.resetting.setdefault(version.account_id, {})[row.cv_id] = version
            except DripdError as error:
                self.broken[row.cv_id] = error.message
            await trio.lowlevel.checkpoint()  # a millisecond each: sends go on between

    # policy.rooms

    @property
    def zones(self) -> Container[str]:
        return known_zones()

    def account(self, account_id: int) -> Account:
        found = self.accounts.get(account_id)
        if found is None:
            raise MissingAccount(account_id)
        return found

    def zone(self, account_id: int, name: str) -> tzinfo:
        return self.account(account_id).zone if name == "account" else open_zone(name)

    def window(self, account_id: int, calendar: str) -> Window | None:
        if calendar == "account":
            return self.account(account_id).window
        return open_window(calendar)

    def lane_window(self, account_id: int, lane: LaneKey) -> tuple[Window | None, tzinfo]:
        """The window of a lane and the zone in which it is read."""
        account = self.account(account_id)
        zone = account.zone if lane.zone == "account" else open_zone(lane.zone)
        if account.unreadable and lane.channel:
            return NEVER, zone
        is_own = lane.calendar == "account"
        return account.window if is_own else open_window(lane.calendar), zone

    def sender(
        self, account_id: int, channel: str, address: str, contact_id: int
    ) -> SenderRow | None:
        """The sender of *address*; of a pool ("" or several) the one that the contact has."""
        usable = self.account(account_id).usable(channel, address)
        if len(usable) < 2:
            return usable[0] if usable else None
        chosen = self.chosen.get((account_id, contact_id, channel, address))
        found = next((one for one in usable if one.id == chosen), None)
        return found or ranked(contact_id, usable)

    def is_chosen(self, leased: Leased, address: str, sender: SenderRow) -> bool:
        """Has the contact *sender* of the pool *address* for good? Where there is but one it has."""
        place = (leased.account_id, leased.contact_id, sender.channel, address)
        if self.chosen.get(place) == sender.id:
            return True
        return len(self.account(leased.account_id).usable(sender.channel, address)) < 2

    def is_linked(self, provider: str) -> bool:
        """Can whoever gets mail through *provider* follow our links?"""
        return self.public is not None or (self.local is not None and provider in self.sinks)

    def links(self, sender: Sender) -> Links | None:
        return self.public or (self.local if sender.provider in self.sinks else None)

    def has_connector(self, account_id: int, key: str) -> bool:
        return key in self.account(account_id).row.connectors

    def postal_address(self, account_id: int) -> str | None:
        return self.account(account_id).row.postal_address

    def version(self, cv_id: int) -> Version:
        found = self.versions.get(cv_id)
        if found is None:
            raise MissingVersion(cv_id)
        return found

    def reacting(self, account_id: int) -> Sequence[Version]:
        """The live versions of the account's campaigns that have handlers."""
        closed = {"draft", "inactive", "archived"}
        live = (
            self.version(one.live_cv_id)
            for one in self.account(account_id).row.campaigns
            if one.live_cv_id is not None
            and one.status not in closed
            and one.live_cv_id not in self.broken
        )
        return [version for version in live if version.definition.handlers]

    def is_readable(self, cv_id: int) -> bool:
        return cv_id not in self.broken

    def is_running(self, account_id: int, campaign_id: int) -> bool:
        return self.account(account_id).is_running(campaign_id)

    def account_status(self, account_id: int) -> tuple[str, bool]:
        row = self.account(account_id).row
        return row.status, row.subscription_active

    def addresses(self, account_id: int) -> Sequence[SenderRow]:
        return self.account(account_id).row.senders

    def triggers(self, account_id: int) -> Sequence[AttachedTrigger]:
        found = self.accounts.get(account_id)
        if found is None:
            return ()
        if not self.broken:
            return found.triggers
        return [
            replace(one, cv_id=None) if one.cv_id in self.broken else one
            for one in found.triggers
        ]

    def listens(self, account_id: int) -> str | None:
        """Who listens to its events, as far as is known here."""
        found = self.accounts.get(account_id)
        return None if found is None else found.listens

    def interest(self, account_id: int) -> int:
        """The kinds of event whose contacts the inbox looks up: a bulk import of contacts that
        nothing listens to is only logged."""
        bits = ALL_KINDS
        kinds = {trigger.match.kind for trigger in self.triggers(account_id)}
        if "contact_created" not in kinds:
            bits &= ~KIND_BITS["contact_created"]
        return bits


def ranked(contact_id: int, senders: Sequence[SenderRow]) -> SenderRow:
    """The first of *senders* for a contact: always the same, and each as often as it weighs.

    Source: weighted rendezvous hashing, in which a node's score is weight / -ln(hash).
    """
    return min(senders, key=lambda one: _score(contact_id, one.id) / one.weight)


def _score(contact_id: int, sender_id: int) -> float:
    digest = blake2b(b"%d:%d" % (contact_id, sender_id), digest_size=8).digest()
    return -math.log1p(-int.from_bytes(digest) / 2**64)


def is_pooled(row: AccountRow) -> bool:
    """Has it several senders of one channel, so that somebody must choose?"""
    return len(row.senders) > len({one.channel for one in row.senders})
