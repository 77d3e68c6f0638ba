"""`MemoryStore`: the twin of `PostgresStore`, for stories in virtual time and for the forecast.

Wanted: the same verdicts as the SQL, several daemons on one instance, no I/O. A unit of work
takes effect at one point between two checkpoints, the second of which cannot be cancelled: it
is delivered or did not happen. What only other people's transactions and broken connections
bring about is played: `lock_rows`, `lock_days`, `lock_inbox`, `fail_next`, `away`.

The deployment's instant is the clock handed in; real time (heartbeats, the wait for locks) is
trio's. Doors and views are those of `memory_doors` and `memory_views`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import trio

from dripd.billing.ledger import Ask
from dripd.campaigns.enrollment import Change, DueKey, LaneKey, Leased
from dripd.channels.base import SinkRow
from dripd.clock import Clock, Instant, Millis
from dripd.errors import InDoubt, StoreError, StoreLocked, StoreUnavailable
from dripd.policy.admission_rows import Decision, RequestRow
from dripd.policy.inbox_rows import ContactRow, EventRow, InboxEffect, RunRow
from dripd.spans import Spans
from dripd.store import (
    memory_admit,
    memory_clock,
    memory_directory,
    memory_inbox,
    memory_individual,
    memory_lease,
    memory_load,
    memory_money,
    memory_nodes,
    memory_outbox,
    memory_pools,
    memory_record,
    memory_turns,
    memory_usage,
)
from dripd.store.memory_doors import Doors
from dripd.store.memory_tables import Tables
from dripd.store.memory_views import Views
from dripd.store.protocol import (
    AccountRow,
    Admitted,
    CallEnd,
    CallRow,
    DayRow,
    Decide,
    Digest,
    Digested,
    FirstSteps,
    Head,
    IndividualEnd,
    IndividualSend,
    IndividualStart,
    LaneRow,
    LeaseGroup,
    LeaseResult,
    Look,
    LostSend,
    MayReset,
    Outage,
    ParkRow,
    Recorded,
    SetAside,
    Standstill,
    Turn,
    TurnBack,
    VersionRow,
    Wish,
)
from dripd.store.snapshot import Snapshot
from dripd.store.unit_admit import Losers

T = TypeVar("T")

Loss = Literal["before", "after"]

LOCK_TIMEOUT_S = 5.0
"""How long a unit waits for rows that another's open transaction holds, as `lock_timeout`."""


def _read_trio_clock() -> int:
    return round(trio.current_time() * 1000)


def _never() -> bool:
    return False


class MemoryStore(Doors, Views):
    """The `Store` in this process. *manual*: the clock is to be taken for a manual one."""

    def __init__(self, clock: Clock, *, manual: bool = False) -> None:
        super().__init__(Tables(clock, _read_trio_clock))
        self._manual = manual
        self._moving = False
        self._losers = Losers()
        self._losses: dict[str, list[Loss]] = {}
        self._in_doubt: dict[int, set[int]] = {}
        self._refusals: dict[str, Callable[[Any], bool]] = {}
        self._released: trio.Event | None = None
        self.away = False
        """While true, every unit raises `StoreUnavailable` and has no effect."""

    def take_in(self, snapshot: Snapshot) -> None:
        """Fill an empty store from a snapshot."""
        memory_load.load(self._tables, snapshot)
        self._tables.undo.forget()

    # what can be played

    @contextmanager
    def lock_rows(self, enrollment_ids: Iterable[int]) -> Iterator[None]:
        """Another's open transaction holds the due steps of these runs.

        Leases skip them (`Refusal.LOCKED`); record and digest wait for their release.
        """
        with self._locked(self._tables.locked_rows, enrollment_ids):
            yield

    @contextmanager
    def lock_days(self, account_ids: Iterable[int]) -> Iterator[None]:
        """Another's open transaction holds these accounts' day rows.

        Leases skip the accounts; whoever writes to the rows waits.
        """
        with self._locked(self._tables.locked_days, account_ids):
            yield

    @contextmanager
    def lock_inbox(self, account_ids: Iterable[int]) -> Iterator[None]:
        """Another daemon works on these accounts' events: `digest` returns None."""
        with self._locked(self._tables.locked_inboxes, account_ids):
            yield

    def fail_next(self, unit_name: str, loss: Loss) -> None:
        """The next unit called *unit_name* loses its acknowledgement and raises `InDoubt`.

        `before`: the commit was never made, and the effect is absent; `after`: it is there.
        """
        self._losses.setdefault(unit_name, []).append(loss)

    def refuse(self, unit_name: str, refuses: Callable[[Any], bool]) -> None:
        """From now on a `lease` raises if *refuses* says so of one of its keys, a `record` if
        of one of its changes, `admit` and `digest` of a request or an event: a bad row."""
        self._refusals[unit_name] = refuses

    def spoil_contact(self, account: int, contact: int) -> None:
        """Its attrs are what jsonb holds and nobody can read."""
        self._tables.unreadable.add((account, contact))

    def fail_no_more(self) -> None:
        """What `fail_next` asked for and did not come about is called off."""
        self._losses.clear()

    def silence(self, incarnation: int, for_ms: Millis) -> None:
        """Its last heartbeat was *for_ms* of real time ago."""
        node = self._tables.nodes[incarnation]
        self._tables.nodes.change(incarnation, beat_at=node.beat_at - for_ms)
        self._tables.undo.forget()

    def drain(self, incarnation: int) -> None:
        """An operator drains it."""
        self._tables.nodes.change(incarnation, drain=True)
        self._tables.undo.forget()

    def age_claims(self, by_ms: Millis) -> None:
        """Every claim was made *by_ms* of real time earlier than it was."""
        for claim in self._tables.claims:
            claimed_at = claim.claimed_at - by_ms
            self._tables.claims.change(claim.claim_id, claimed_at=claimed_at)
        self._tables.undo.forget()

    @contextmanager
    def _locked(self, locks: Counter[int], ids: Iterable[int]) -> Iterator[None]:
        held = list(ids)
        locks.update(held)
        try:
            yield
        finally:
            locks.subtract(held)
            if self._released is not None:
                self._released.set()
                self._released = None

    # how a unit runs

    async def _unit(
        self, name: str, work: Callable[[], T], *, blocked: Callable[[], bool] = _never
    ) -> T:
        """Run *work* as a whole once it is not *blocked*, with the losses that are played."""
        await trio.lowlevel.checkpoint()
        await self._wait_while(blocked)
        if self.away:
            raise StoreUnavailable("the database is away: it is played so")
        loss = self._losses[name].pop(0) if self._losses.get(name) else None
        result = self._tables.transact(work, keep=loss != "before")
        await trio.lowlevel.cancel_shielded_checkpoint()
        if loss is not None:
            raise InDoubt(f"the acknowledgement of {name} was lost {loss} its commit")
        return result

    async def _wait_while(self, blocked: Callable[[], bool]) -> None:
        if not blocked():
            return
        with trio.move_on_after(LOCK_TIMEOUT_S) as scope:
            while blocked():
                if self._released is None:
                    self._released = trio.Event()
                await self._released.wait()
        if scope.cancelled_caught:
            raise StoreLocked(
                "somebody holds a lock for long: canceling statement due to lock timeout"
            )

    def _any_locked(self, rows: Iterable[int], accounts: Iterable[int]) -> bool:
        tables = self._tables
        return any(tables.locked_rows[row] for row in rows) or any(
            tables.locked_days[account] for account in accounts
        )

    # the units of work

    async def wake_queued(self, after: tuple[int, int], most: int) -> tuple[int, int] | None:
        return await self._unit(
            "wake_queued", lambda: memory_admit.wake_queued(self._tables, after, most)
        )

    async def look(self, seen_nudges: Spans) -> Look:
        manual = self._manual
        return await self._unit(
            "look", lambda: memory_directory.look(self._tables, seen_nudges, manual=manual)
        )

    async def account_ids(self, after: int, n: int) -> list[int]:
        return await self._unit(
            "account_ids", lambda: memory_directory.account_ids(self._tables, after, n)
        )

    async def read_accounts(self, accounts: Sequence[int] | None) -> list[AccountRow]:
        return await self._unit(
            "read_accounts", lambda: memory_directory.read_accounts(self._tables, accounts)
        )

    async def read_versions(self, cv_ids: Sequence[int]) -> list[VersionRow]:
        return await self._unit(
            "read_versions", lambda: memory_directory.read_versions(self._tables, cv_ids)
        )

    async def read_attachment(self, account_id: int, sha256: str) -> bytes | None:
        place = (account_id, sha256)
        return await self._unit("read_attachment", lambda: self._tables.attachments.get(place))

    async def read_lanes(self, accounts: Sequence[int] | None) -> list[LaneRow]:
        return await self._unit(
            "read_lanes", lambda: memory_directory.read_lanes(self._tables, accounts)
        )

    async def read_parks(self, accounts: Sequence[int] | None) -> list[ParkRow]:
        return await self._unit(
            "read_parks", lambda: memory_directory.read_parks(self._tables, accounts)
        )

    async def count_sent(
        self, account_id: int, sender_ids: Sequence[int], since: Instant
    ) -> dict[int, int]:
        return await self._unit(
            "count_sent",
            lambda: memory_directory.count_sent(self._tables, account_id, sender_ids, since),
        )

    async def take_turns(self, turns: Sequence[Turn]) -> list[tuple[int, Instant | None]]:
        return await self._unit(
            "take_turns", lambda: memory_turns.take_turns(self._tables, turns)
        )

    async def return_turns(self, backs: Sequence[TurnBack]) -> None:
        await self._unit("return_turns", lambda: memory_turns.return_turns(self._tables, backs))

    async def choose_senders(self, wishes: Sequence[Wish]) -> list[int]:
        return await self._unit(
            "choose_senders", lambda: memory_pools.choose_senders(self._tables, wishes)
        )

    async def admit(
        self, n: int, decide: Decide, only: Sequence[int] = (), unreadable: Sequence[int] = ()
    ) -> Admitted:
        def judge(rows: Sequence[RequestRow], now: Instant) -> list[Decision]:
            self._look_for_poison("admit", rows)
            return decide(rows, now)

        return await self._unit(
            "admit",
            lambda: memory_admit.admit(
                self._tables, self._losers, n, judge, set(only), set(unreadable)
            ),
        )

    async def pending_requests(self, n: int) -> list[int]:
        return await self._unit("pending_requests", lambda: memory_admit.take(self._tables, n))

    async def reject_requests(self, ids: Sequence[int], reason: str) -> None:
        await self._unit(
            "reject_requests", lambda: memory_admit.reject(self._tables, ids, reason)
        )

    async def heads(self, accounts: Sequence[int]) -> list[Head]:
        return await self._unit("heads", lambda: memory_directory.heads(self._tables, accounts))

    async def load(
        self, lanes: Sequence[tuple[int, int, Instant, int, int]], horizon: Instant
    ) -> list[DueKey]:
        return await self._unit(
            "load", lambda: memory_directory.load(self._tables, lanes, horizon)
        )

    async def next_heads(self, lanes: Sequence[tuple[int, int, Instant]]) -> list[Head]:
        return await self._unit(
            "next_heads", lambda: memory_directory.next_heads(self._tables, lanes)
        )

    async def move_lanes(
        self, keys: Sequence[DueKey], lanes: Sequence[LaneKey]
    ) -> list[DueKey]:
        return await self._unit(
            "move_lanes", lambda: memory_directory.move_lanes(self._tables, keys, lanes)
        )

    async def nudge(self, accounts: Sequence[int]) -> None:
        def tell() -> None:
            for account_id in accounts:
                self._tables.nudge(account_id)

        await self._unit("nudge", tell)

    async def make_days(self, days: Sequence[DayRow]) -> None:
        accounts = {day.account_id for day in days}
        await self._unit(
            "make_days",
            lambda: memory_directory.make_days(self._tables, days),
            blocked=lambda: self._any_locked((), accounts),
        )

    async def park(self, rows: Sequence[ParkRow]) -> None:
        await self._unit("park", lambda: memory_directory.park(self._tables, rows))

    async def unpark(self, lanes: Sequence[tuple[int, int]]) -> None:
        await self._unit("unpark", lambda: memory_directory.unpark(self._tables, lanes))

    async def lease(
        self, incarnation: int, groups: Sequence[LeaseGroup], lease_ahead_ms: int
    ) -> LeaseResult:
        made: list[int] = []

        def work() -> LeaseResult:
            self._look_for_poison("lease", [key for group in groups for key in group.keys])
            result = memory_lease.lease(self._tables, incarnation, groups, lease_ahead_ms)
            made.append(result.claim_id)
            return result

        try:
            return await self._unit("lease", work)
        except InDoubt:
            self._in_doubt.setdefault(incarnation, set()).update(made)
            raise

    async def set_aside(self, steps: Sequence[SetAside]) -> int:
        return await self._unit(
            "set_aside", lambda: memory_lease.set_aside(self._tables, steps)
        )

    async def count_recoveries(
        self, steps: Sequence[tuple[int, int, int]], within_ms: int
    ) -> dict[int, int]:
        return await self._unit(
            "count_recoveries",
            lambda: memory_nodes.count_recoveries(self._tables, steps, within_ms),
        )

    async def suppressed(self, addresses: Sequence[tuple[int, str, str]]) -> list[bool]:
        return await self._unit(
            "suppressed", lambda: [self._tables.is_suppressed(*one) for one in addresses]
        )

    async def know_addresses(self, places: Sequence[tuple[int, int, str, int]]) -> list[bool]:
        return await self._unit(
            "know_addresses",
            lambda: [memory_lease.know_address(self._tables, *one) for one in places],
        )

    async def await_resets(
        self, keys: Sequence[DueKey], resetters: Sequence[MayReset]
    ) -> set[int]:
        return await self._unit(
            "await_resets", lambda: memory_lease.await_resets(self._tables, keys, resetters)
        )

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        rows = [change.leased.enrollment_id for change in changes]
        days = {c.leased.account_id for c in changes if c.refund and c.leased.counted}

        def work() -> Recorded:
            self._look_for_poison("record", changes)
            return memory_record.record(self._tables, self._losers, changes, decide, closed)

        return await self._unit("record", work, blocked=lambda: self._any_locked(rows, days))

    def _look_for_poison(self, unit_name: str, items: Sequence[object]) -> None:
        refuses = self._refusals.get(unit_name)
        if refuses is not None and any(map(refuses, items)):
            raise StoreError(f"a row of this {unit_name} cannot be taken: it is played so")

    async def count_first(self, rows: Sequence[FirstSteps]) -> list[FirstSteps]:
        return await self._unit(
            "count_first", lambda: memory_record.count_first(self._tables, rows)
        )

    async def pause_failing(self, first: FirstSteps) -> bool:
        return await self._unit(
            "pause_failing", lambda: memory_record.pause_failing(self._tables, first)
        )

    async def toll(self, asks: Sequence[Ask]) -> dict[int, str]:
        return await self._unit("toll", lambda: memory_money.toll(self._tables, asks))

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
        def taken() -> tuple[Sequence[int], tuple[int, int]]:
            if only:
                return only, after
            return memory_inbox.take(self._tables, account_id, n, after)

        def work() -> Digested:
            ids, to = taken()
            done = memory_inbox.digest(
                self._tables, account_id, ids, judge, interest, listens, bare=bare
            )
            done.after = to
            return done

        def judge(
            events: Sequence[EventRow], runs: Sequence[RunRow], now: Instant
        ) -> list[InboxEffect]:
            self._look_for_poison("digest", events)
            return digest(events, runs, now)

        if self._tables.locked_inboxes[account_id]:
            return await self._unit("digest", lambda: None)

        def is_blocked() -> bool:
            runs = memory_inbox.runs_to_lock(self._tables, account_id, taken()[0], interest)
            return self._any_locked(runs, ())

        with self.lock_inbox([account_id]):
            return await self._unit("digest", work, blocked=is_blocked)

    async def pending_events(self, account_id: int, n: int) -> list[int]:
        return await self._unit(
            "pending_events", lambda: memory_inbox.pending(self._tables, account_id, n)
        )

    async def refuse_events(
        self, account_id: int, ids: Sequence[int], reason: str
    ) -> list[int]:
        return await self._unit(
            "refuse_events", lambda: memory_inbox.refuse(self._tables, ids, reason)
        )

    async def read_contacts(self, account_id: int, ids: Sequence[int]) -> list[ContactRow]:
        return await self._unit(
            "read_contacts", lambda: memory_inbox.read_contacts(self._tables, account_id, ids)
        )

    async def fold_usage(self) -> list[int]:
        return await self._unit(
            "fold_usage",
            lambda: memory_usage.fold_usage(self._tables),
            blocked=lambda: self._any_locked((), memory_usage.days_to_lock(self._tables)),
        )

    async def join(self, incarnation: int, name: str, version: str) -> None:
        await self._unit(
            "join", lambda: memory_nodes.join(self._tables, incarnation, name, version)
        )

    async def beat(
        self, incarnation: int, accounts: int, state: str, figures: Mapping[str, object]
    ) -> bool:
        return await self._unit(
            "beat",
            lambda: memory_nodes.beat(self._tables, incarnation, accounts, state, figures),
        )

    async def acknowledge_clock(self, incarnation: int, at: Instant) -> None:
        await self._unit(
            "acknowledge_clock",
            lambda: memory_nodes.acknowledge_clock(self._tables, incarnation, at),
        )

    async def note_served(self, silence_ms: int) -> list[Standstill]:
        return await self._unit(
            "note_served", lambda: memory_nodes.note_served(self._tables, silence_ms)
        )

    async def note_outages(self, outages: Sequence[Outage]) -> None:
        await self._unit(
            "note_outages", lambda: memory_nodes.note_outages(self._tables, outages)
        )

    async def leave(self, incarnation: int) -> None:
        await self._unit("leave", lambda: memory_nodes.leave(self._tables, incarnation))

    async def reap(
        self, incarnation: int, timeout_ms: int, gone: Sequence[int] = ()
    ) -> list[int]:
        return await self._unit(
            "reap", lambda: memory_nodes.reap(self._tables, incarnation, timeout_ms, gone)
        )

    async def orphans(
        self, incarnation: int, known: Sequence[int], adopted: Sequence[int]
    ) -> list[Leased]:
        lost = self._in_doubt.get(incarnation, set())
        meant = set(adopted) | lost
        found = await self._unit(
            "orphans",
            lambda: memory_nodes.orphans(self._tables, incarnation, set(known), meant),
        )
        lost -= meant
        return found

    async def add_facts(self, steps: Sequence[Leased]) -> None:
        await self._unit("add_facts", lambda: memory_lease.add_facts(self._tables, steps))

    async def sweep(self, retention_days: int) -> None:
        def work() -> None:
            memory_nodes.sweep(self._tables)
            memory_outbox.sweep(self._tables)

        await self._unit("sweep", work)

    async def take_calls(
        self, incarnation: int, n: int, of_a_target: int, patience_ms: int
    ) -> list[CallRow]:
        return await self._unit(
            "take_calls",
            lambda: memory_outbox.take_calls(
                self._tables, incarnation, n, of_a_target, patience_ms
            ),
        )

    async def end_calls(self, ends: Sequence[CallEnd]) -> None:
        await self._unit("end_calls", lambda: memory_outbox.end_calls(self._tables, ends))

    async def at_rest(self, incarnations: Sequence[int]) -> list[int]:
        return await self._unit(
            "at_rest", lambda: memory_nodes.at_rest(self._tables, incarnations)
        )

    async def testify(self, accepted: Sequence[tuple[int, int, str | None]]) -> int:
        return await self._unit("testify", lambda: memory_nodes.testify(self._tables, accepted))

    async def remind(self) -> None:
        await self._unit("remind", lambda: memory_nodes.remind(self._tables))
        await self._unit("remind", lambda: memory_nodes.miss_replies(self._tables))

    async def finish_drained(self) -> None:
        await self._unit("finish_drained", lambda: memory_nodes.finish_drained(self._tables))

    async def start_individual(self, wish: IndividualSend) -> IndividualStart:
        return await self._unit(
            "start_individual", lambda: memory_individual.start(self._tables, wish)
        )

    async def end_individual(self, end: IndividualEnd) -> None:
        await self._unit("end_individual", lambda: memory_individual.end(self._tables, end))

    async def last_of_call(self, account_id: int, call_id: int) -> str | None:
        return await self._unit(
            "last_of_call",
            lambda: memory_individual.last_of_call(self._tables, account_id, call_id),
        )

    async def lost_individuals(self, incarnation: int) -> list[LostSend]:
        return await self._unit(
            "lost_individuals", lambda: memory_individual.lost(self._tables, incarnation)
        )

    async def end_lost(self, ends: Sequence[IndividualEnd]) -> None:
        await self._unit("end_lost", lambda: memory_individual.end_lost(self._tables, ends))

    async def own_clock(self) -> Callable[[], Awaitable[None]] | None:
        async def let_go() -> None:
            self._moving = False

        def take() -> bool:
            mine, self._moving = not self._moving, True
            return mine

        return let_go if await self._unit("own_clock", take) else None

    async def move_clock(self, at: Instant) -> bool:
        return await self._unit("move_clock", lambda: memory_clock.move(self._tables, at))

    async def next_instant(self) -> Instant | None:
        return await self._unit("next_instant", lambda: memory_clock.next_instant(self._tables))

    async def unsettled(self) -> list[str]:
        return await self._unit("unsettled", lambda: memory_clock.unsettled(self._tables))

    async def write(self, rows: Sequence[SinkRow]) -> list[str]:
        """`SinkWriter`: committed before it answers."""
        return await self._unit("write", lambda: memory_directory.write(self._tables, rows))
