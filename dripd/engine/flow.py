"""How fast, through whom, and is it any use? What this daemon knows of providers and senders.

Asked twice. Before the lease, for lanes whose messages all leave from one sender: what may not
leave is neither leased nor counted against a cap, its lane rests. And for what is leased:
only here is it taken, exactly. Accounts are divided among daemons, so that an account's
limits are kept in one place; a provider's are each daemon's own. What must hold also while
an account changes hands, a sender's day and its gap, is counted in SQL besides (`engine.turns`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dripd.campaigns.enrollment import Kept, Leased
from dripd.campaigns.event import (
    Accepted,
    Deferred,
    Outcome,
    Rejected,
    Retryable,
    StepEvent,
    Throttled,
    Uncertain,
    Unknown,
)
from dripd.clock import Instant
from dripd.engine.directory import Account, Directory
from dripd.log import get
from dripd.ratelimit.bucket import Bucket
from dripd.ratelimit.buckets import take_all
from dripd.ratelimit.budget import RetryBudget
from dripd.ratelimit.limits import (
    MUCH,
    Closed,
    Day,
    Domains,
    Line,
    Slots,
    give_back,
    room,
    take,
)
from dripd.ratelimit.warmup import limit_on
from dripd.scheduler.calendar import day_bounds, local_date
from dripd.store.protocol import Outage, ParkRow, SenderRow, Store, TurnBack

FAULTS: Final = frozenset({"auth", "payment", "no_tls", "redirected"})
"""Reasons that concern every message alike until somebody changes the set-up."""

ABOUT_US: Final = frozenset({"smtp_450", "smtp_451", "smtp_452", "cancelled"})
"""Greylisting, a full mailbox, our own going away: they say nothing of the provider."""

AMBIGUOUS: Final = frozenset(
    {"timeout", "lost", "deadline", "no_answer", "channel_failed", "protocol"}
)

OUTAGES_MOST: Final = 100
"""So many are remembered here; SQL has them for a month."""

log = get("flow")


@dataclass(slots=True)
class Taken:
    """What one message has taken that may have to be given back."""

    lines: list[Line]
    buckets: list[Bucket]
    turn: TurnBack | None = None
    budget: RetryBudget | None = None


class Flow:
    """The limits of providers, and what of them is taken by what is under way."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.providers: dict[str, Line] = {}
        self.domains: dict[str, Domains] = {}
        self.budgets: dict[str, RetryBudget] = {}
        """How many retries each may still be met with."""
        self.parks: list[ParkRow] = []
        """Lanes that are to rest, found out where nothing may wait."""
        self.opened: set[str] = set()
        """Providers whose breaker has just opened: what waits for them is given back."""
        self.calling: dict[str, int] = {}
        """Messages that a provider's channel has in hand."""
        self.outages: list[Outage] = []
        """When providers and senders failed that are well again."""
        self.untold: list[Outage] = []
        """Those of them that SQL does not know of."""
        self.is_freed = False
        """Whether something that was shut is open again: lanes that rest for it may go."""
        self.backs: list[TurnBack] = []
        """Turns that were not used, to be told to SQL."""
        self._slots = Slots()
        self._taken: dict[int, Taken] = {}
        self._shaky: set[tuple[int, int]] = set()
        self._is_alert = False

    def add_provider(
        self,
        name: str,
        *,
        rate: str = "",
        domains: Mapping[str, str] | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        """A provider that messages may leave through."""
        self.providers[name] = Line(rate)
        self.budgets[name] = budget or RetryBudget()
        if domains:
            self.domains[name] = Domains(domains)
        self._mind()

    def concerns(self, account: Account) -> bool:
        """Might anything here hold a message of *account*? False costs nothing further."""
        return (
            self._is_alert
            or account.is_limited
            or not account.providers <= self.providers.keys()
        )

    def room(
        self, account: Account, channel: str, address: str, now: Instant
    ) -> tuple[int, Closed | None]:
        """How many messages from *address* ("" the account's pool) may be leased now, and why
        no more; `(0, None)`: there is no usable sender.

        Which of several in a pool a message leaves from nobody knows before the lease: that is
        decided one by one, unless all of them are shut.
        """
        senders = account.usable(channel, address)
        if not any(sender.provider in self.providers for sender in senders):
            return 0, None
        if len(senders) > 1:
            return self._pool_room(account, senders, now)
        return room(*self._limits(account, senders[0]), now)

    def room_of(self, account: Account, sender: SenderRow, now: Instant) -> int:
        """How many messages may leave from one sender now."""
        return room(*self._limits(account, sender), now)[0]

    def _pool_room(
        self, account: Account, senders: Sequence[SenderRow], now: Instant
    ) -> tuple[int, Closed | None]:
        """A pool is shut while all of its senders are: until the first opens."""
        found = [room(*self._limits(account, sender), now) for sender in senders]
        if any(n > 0 for n, _ in found):
            return MUCH, None
        return 0, min((why for _, why in found), key=lambda why: why.until)

    def take(
        self, leased: Leased, sender: SenderRow, to: str | None, *, alone: bool, now: Instant
    ) -> Deferred | None:
        """Let one leased message pass, or say what holds it: its lane, or (*alone*) itself."""
        account = self._directory.account(leased.account_id)
        if leased.attempt > 0:
            return self._take_retry(leased, sender, to, alone=alone, now=now)
        if not self.concerns(account):
            return None
        return self._take(account, leased, sender, to, alone=alone, now=now)

    def _take_retry(
        self, leased: Leased, sender: SenderRow, to: str | None, *, alone: bool, now: Instant
    ) -> Deferred | None:
        """A retry takes of its provider's budget besides."""
        budget = self.budgets[sender.provider]
        until = budget.take(now)
        if until is not None:
            return Deferred(reason="rate", until=until, alone=True)
        account = self._directory.account(leased.account_id)
        shut = self._take(account, leased, sender, to, alone=alone, now=now)
        if shut is None:
            self._taken[leased.enrollment_id].budget = budget
        else:
            budget.refund()
        return shut

    def _take(
        self,
        account: Account,
        leased: Leased,
        sender: SenderRow,
        to: str | None,
        *,
        alone: bool,
        now: Instant,
    ) -> Deferred | None:
        lines, buckets = self._limits(account, sender)
        domain = self._domain(sender.provider, to)
        if domain is not None:
            buckets.append(domain)
        key = key_of(leased)
        shut = take(lines, buckets, now, key)
        if shut is None:
            self._taken[leased.enrollment_id] = Taken(lines, buckets)
            return None
        if domain is not None and domain.wait_ms(1, now):
            until = self._slots.next(domain, now)
            return Deferred(reason="rate", until=max(until, shut.until), alone=True)
        return self.refuse(leased, lines[0], shut, alone=alone)

    def refuse(self, leased: Leased, own: Line, shut: Closed, *, alone: bool) -> Deferred:
        """Hold a message of a sender, or (not *alone*) its lane."""
        if not alone:
            self.parks.append(ParkRow(leased.account_id, leased.lane, shut.reason, shut.until))
            return Deferred(reason=shut.reason, until=shut.until)
        until = shut.until
        if shut.reason == "rate" and own.gap is not None:
            until = max(until, own.slot(key_of(leased)))
        return Deferred(reason=shut.reason, until=until, alone=True)

    def corrected(self, enrollment_id: int, own: Line) -> None:
        """SQL knows better of a sender: what a message took of it here is not given back."""
        taken = self._taken.get(enrollment_id)
        if taken is not None:
            taken.lines = [line for line in taken.lines if line is not own]

    def turned(self, enrollment_id: int, turn: TurnBack) -> None:
        """A message has had its turn."""
        taken = self._taken.setdefault(enrollment_id, Taken([], []))
        taken.turn = turn

    def settled(self, enrollment_id: int, event: object) -> None:
        """A leased message has its answer: what it took and did not use goes back."""
        taken = self._taken.pop(enrollment_id, None)
        if taken is None or isinstance(event, Accepted | Unknown | Uncertain):
            return
        was_tried = isinstance(event, Rejected | Retryable | Throttled)
        self.is_freed |= give_back(taken.lines, taken.buckets, left=was_tried)
        if taken.budget is not None and not was_tried:
            taken.budget.refund()
        if taken.turn is not None:
            self.backs.append(replace(taken.turn, reopens=not was_tried))

    def failed(
        self, provider: str, account_id: int, sender_id: int, outcome: Outcome, now: Instant
    ) -> StepEvent:
        """Count an answer that is no acceptance; what an open breaker explains is deferred.

        So no attempt is spent on what would meet the same fault a thousand times.
        """
        line = self.providers[provider]
        if isinstance(outcome, Throttled):
            line.throttled(outcome.after_ms, now)
            self._mind()
            return outcome
        if not _is_failure(outcome) or isinstance(outcome, Accepted):
            return outcome
        own = self._directory.account(account_id).line(sender_id)
        self._shaky.add((account_id, sender_id))
        was_open = line.breaker.is_open
        in_hand = self.calling.get(provider, 0)
        line.breaker.record(0, 1, now, in_hand)
        own.breaker.record(0, 1, now, in_hand)
        if outcome.reason in FAULTS:
            line.breaker.trip(now)
        self._heed(provider, was_open=was_open, reason=outcome.reason)
        self._mind()
        if isinstance(outcome, Retryable) and (line.breaker.is_open or own.breaker.is_open):
            return Deferred(reason="breaker", until=None)
        return outcome

    def take_again(self, leased: Leased, kept: Kept, now: Instant) -> Instant | None:
        """Let a message in doubt be sent again, or say when it may ask for that: it takes of every
        bucket as at first. Its place in the day and its gap it has had."""
        line = self.providers[kept.provider]
        buckets = self._repeated(leased, kept, line)
        slowest = max(buckets, key=lambda bucket: bucket.wait_ms(1, now), default=None)
        if slowest is not None and slowest.wait_ms(1, now):
            return self._slots.next(slowest, now)
        until = line.breaker.wait_until(now)
        if until is None:
            take_all(buckets, 1, now)
            self._taken[leased.enrollment_id] = Taken([], buckets)
        return until

    def _repeated(self, leased: Leased, kept: Kept, line: Line) -> list[Bucket]:
        """The buckets that it left through, as far as its words are here."""
        account = self._directory.account(leased.account_id)
        words = kept.words or {}
        own = None
        if isinstance(sender := words.get("sender"), list) and sender:
            own = account.line(sender[0]).bucket
        domain = self._domain(kept.provider, kept.to)
        found = (account.bucket, own, line.bucket, domain)
        return [bucket for bucket in found if bucket is not None]

    def ended(
        self, provider: str, n: int, senders: Iterable[tuple[int, int]], now: Instant
    ) -> None:
        """One call is over: *n* messages were accepted, from these (account, sender)."""
        line = self.providers[provider]
        if n:
            line.passed()
            self._count(line, n, now, 0, 0, provider)
        if self._shaky:
            was_open = line.breaker.is_open
            line.breaker.record(0, 0, now, self.calling.get(provider, 0))
            self._heed(provider, was_open=was_open, reason="half_failed")
            self._mind_senders(Counter(senders), now)
        if self._is_alert:
            self._mind()

    def _mind_senders(self, passed: Counter[tuple[int, int]], now: Instant) -> None:
        """What of senders that failed lately is counted: the others are spared it."""
        for place in list(self._shaky):
            own = self._directory.account(place[0]).line(place[1])
            self._count(own, passed[place], now, *place, "")
            if own.breaker.is_sound(now):
                self._shaky.discard(place)

    def _heed(self, provider: str, *, was_open: bool, reason: str) -> None:
        if self.providers[provider].breaker.is_open and not was_open:
            self.opened.add(provider)
            log.error("breaker.opened", provider=provider, reason=reason)

    def hasten(self, providers: Container[str]) -> None:
        """Have *providers* that fail, and the senders that go by them, tried now."""
        for name, line in self.providers.items():
            if name in providers:
                line.breaker.hasten()
        for account_id, sender_id in self._shaky:
            account = self._directory.account(account_id)
            for one in account.row.senders:
                if one.id == sender_id and one.provider in providers:
                    account.line(sender_id).breaker.hasten()

    def shut(self, parked: Iterable[ParkRow]) -> list[tuple[int, int]]:
        """The lanes that rest for what may be over: a breaker, a sender's day."""
        accounts = self._directory.accounts
        return [
            (row.account_id, row.lane)
            for row in parked
            if row.reason == "breaker"
            or (
                row.reason in {"cap", "rate"}
                and (found := accounts.get(row.account_id))
                and found.is_limited
            )
        ]

    def _count(
        self, line: Line, n: int, now: Instant, account_id: int, sender_id: int, provider: str
    ) -> None:
        """Count what was accepted, by a provider or by a sender."""
        breaker = line.breaker
        was_open = breaker.is_open
        breaker.record(n, 0, now)
        if was_open and not breaker.is_open:
            self.is_freed = True
            if now > breaker.opened_at:
                over = Outage(breaker.opened_at, now, account_id, sender_id, provider)
                self.outages = [*self.outages[-OUTAGES_MOST:], over]
                self.untold.append(over)

    def _mind(self) -> None:
        """Is there anything that might hold messages of every account?"""
        lines = self.providers.values()
        self._is_alert = bool(
            self.domains or self._shaky or any(line.is_alert for line in lines)
        )

    def _limits(self, account: Account, sender: SenderRow) -> tuple[list[Line], list[Bucket]]:
        lines = [account.line(sender.id)]
        if sender.provider in self.providers:
            lines.append(self.providers[sender.provider])
        found = [account.bucket, *(line.bucket for line in lines)]
        return lines, [bucket for bucket in found if bucket is not None]

    def _domain(self, provider: str, to: str | None) -> Bucket | None:
        domains = self.domains.get(provider)
        return domains.bucket(to) if domains is not None and to else None


def _is_failure(outcome: Outcome) -> bool:
    """Does it say that the provider, not the message, is at fault?"""
    match outcome:
        case Retryable(reason=reason):
            return reason not in ABOUT_US
        case Unknown(reason=reason):
            return reason in AMBIGUOUS or reason.startswith("http_5")
        case _:
            return False


def key_of(leased: Leased) -> str:
    """What the length of the gap behind a message is drawn from."""
    return f"{leased.enrollment_id}:{leased.run_no}:{leased.step_no}"


async def open_days(
    store: Store, directory: Directory, accounts: Iterable[int], now: Instant
) -> None:
    """Read what senders with a daily limit have sent in a local day that is new to us."""
    for account_id in accounts:
        account = directory.accounts.get(account_id)
        if account is None or not account.is_limited:
            continue
        today = local_date(account.zone, now)
        stale = {
            sender.id: most
            for sender in account.row.senders
            if (most := limit_on(today, sender.warmup, sender.daily_limit)) is not None
            and account.line(sender.id).is_dayless(now)
        }
        if stale:
            starts_at, ends_at = day_bounds(account.zone, today)
            sent = await store.count_sent(account_id, list(stale), starts_at)
            for sender_id, limit in stale.items():
                used = sent.get(sender_id, 0)
                account.line(sender_id).day = Day(limit, used, used, starts_at, ends_at)
