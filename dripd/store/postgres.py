"""`PostgresStore`: the units of work on Postgres, each crossing the bridge once.

No SQL stands here: a method names its unit, says whether its commit may be in doubt, and turns
the loss of an acknowledgement into knowledge where that can be had (a lease's tombstone).
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson
import trio

from dripd.billing.ledger import Ask
from dripd.campaigns.enrollment import Change, DueKey, LaneKey, Leased
from dripd.channels.base import SinkRow
from dripd.clock import Instant, to_datetime
from dripd.errors import (
    InDoubt,
    SchemaMismatch,
    StoreBusy,
    StoreError,
    StoreUnavailable,
)
from dripd.log import get
from dripd.metrics import Registry
from dripd.policy.inbox_rows import ContactRow
from dripd.spans import Spans
from dripd.store import (
    unit_admit,
    unit_directory,
    unit_inbox,
    unit_lease,
    unit_node,
    unit_outbox,
    unit_pools,
    unit_record,
    unit_toll,
)
from dripd.store.bridge import Bridge
from dripd.store.condition import Condition
from dripd.store.connect import (
    PATIENCE_S,
    Conn,
    deadline,
    make_pool,
    probe,
    transact,
    translated,
)
from dripd.store.lanes import LaneBook, lane_row
from dripd.store.protocol import (
    FIRST,
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
from dripd.store.session import mind_sessions
from dripd.store.statements import sql
from dripd.store.witness import Witness

T = TypeVar("T")

log = get("store")

HOT_CONNECTIONS = 6
"""Two leases, two records, and what admit, inbox and feed need beside them."""

MONTHS_AHEAD = 3
"""Partitions that stand before they are needed, the present month among them."""

TEND_S = 60.0
"""Until partitions are made or dropped again that somebody holds: behind whoever waits for them
all others wait, and a backup may take an hour."""

SINK_CONNECTIONS = 3
"""Two for the sink, one for who moves the clock."""


class Place(NamedTuple):
    """Of a database: `at_home`, it is where it was begun or adopted; `behind`, it lacks what it had
    committed; `adoption`, a word that changes when somebody adopts it."""

    at_home: bool
    behind: bool
    adoption: str


def new_claim_id() -> int:
    """A claim id nobody else has: 62 random bits."""
    return int.from_bytes(os.urandom(8), "big") >> 2 | 1


class PostgresStore:
    """The `Store` on a Postgres at the schema of this dripd."""

    def __init__(
        self,
        bridge: Bridge,
        dsn: str,
        metrics: Registry | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._bridge = bridge
        self._dsn = dsn
        self._patience_s = patience_s
        self.condition = Condition(self._probe)
        counted = metrics or Registry()
        self._timing = counted.timing("dripd_db_query_seconds")
        self._waits = counted.timing("dripd_db_pool_wait_seconds")
        self._errors = counted["dripd_db_errors_total"]
        self._book = LaneBook()
        self._losers = unit_admit.Losers()
        self._turns = unit_admit.Turns()
        self._pool: Any = None
        self._sink: Any = None
        self._month = ""
        """The last one that the clock was moved to: its partitions stand."""
        self._tends_from = 0.0
        """When partitions are made and dropped again, by the monotonic clock."""
        self._witness = Witness()
        self.on_behind: Callable[[], object] = int
        """Called where the database is found to lack what it had committed."""
        self._in_doubt: set[int] = set()
        """Claims of leases that may have been committed, and are not settled yet."""
        self._found: set[int] = set()
        """Those that had been, and of which nobody has said yet that he works on them."""

    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable`, `SchemaMismatch`."""
        make = partial(make_pool, self._dsn, patience_s=self._patience_s, mind=self._look)
        self._pool = await self._bridge.run(make, HOT_CONNECTIONS)
        self._sink = await self._bridge.run(make, SINK_CONNECTIONS)
        self.condition.pools += [self._pool, self._sink]

    async def close(self) -> None:
        self._witness.close()
        for pool in (self._pool, self._sink):
            if pool is not None:
                await self._bridge.run(_close, pool)

    async def _read(self, unit: Callable[..., Awaitable[T]], *args: Any) -> T:
        """One or more statements that need no transaction of their own."""

        async def cross() -> T:
            async with translated(), self._connection(self._pool) as conn:
                with deadline(conn, self._patience_s):
                    return await unit(conn, *args)

        return await self._cross(name_of(unit, args), cross)

    @asynccontextmanager
    async def _connection(self, pool: Any) -> AsyncIterator[Conn]:
        """A connection of *pool*; how long it was waited for is counted, on this thread alone."""
        began = time.perf_counter()
        async with pool.acquire(timeout=10) as conn:
            waited = time.perf_counter() - began
            self._waits.observe(waited, "hot" if pool is self._pool else "sink")
            yield conn

    async def _cross(self, name: str, unit: Callable[[], Awaitable[T]]) -> T:
        """*unit* on the database's thread, counted and timed under *name*."""
        began, condition = trio.current_time(), self.condition
        try:
            if condition.reason:
                await condition.until_back()
            result = await self._bridge.run(unit)
        except StoreError as error:
            self._errors.add(name, error.code)
            condition.note(name, error)
            raise
        finally:
            self._timing.observe(trio.current_time() - began, name)
        if condition.troubles:
            condition.went_well(name)
        return result

    async def _probe(self) -> None:
        """Raises `StoreUnavailable` while there is no server that takes writes."""
        await self._bridge.run(probe, self._dsn, self.condition.pools, self._mind)

    async def _mind(self, conn: Conn) -> None:
        """Look at a server that is there again. Raises `StoreError` where it is not to be used."""
        await mind_sessions(conn, self._dsn)
        with suppress(StoreUnavailable):  # it is there, and nothing will be sent
            await self._look(conn)

    async def _look(self, conn: Conn) -> None:
        """Look at a new connection: does its server have what was committed?

        Raises `StoreUnavailable` once where it has not: whoever wanted it must not go on.
        """
        if not self._witness.is_behind and await self._witness.look(conn):
            self._bridge.to_trio(self.on_behind)
            raise StoreUnavailable("the database lacks what it had committed", code="behind")

    async def keep_witness(self, folder: Path, incarnation: int) -> None:
        """Remember what is committed in *folder*, and look whether it is there what others of its
        daemons have remembered."""
        adoption = (await self._read(_fetch, "adoption"))[0]["adoption"]
        self._witness.keep(folder, incarnation, adoption)
        known, dead = self._witness.kept()
        if not await self._read(self._witness.look, known):
            gone = [int(path.name.rpartition("-")[2]) for path in dead]
            for path in dead:
                path.unlink(missing_ok=True)
            await self._read(_execute, "drop_witnesses", gone)

    def connections(self) -> dict[tuple[str, str], int]:
        """How many are (`hot` or `sink`, `busy` or `idle`)."""
        pools = {"hot": self._pool, "sink": self._sink}
        found = {}
        for name, pool in pools.items():
            found[name, "idle"] = pool.get_idle_size()
            found[name, "busy"] = pool.get_size() - pool.get_idle_size()
        return found

    async def _write(
        self, unit: Callable[..., Awaitable[T]], *args: Any, pool: Any = None
    ) -> T:
        """A unit of work in one transaction."""

        async def cross() -> T:
            number, wrote = self._witness.next(), list[int]()
            whole = self._witness.witnessed(unit, number, wrote)
            async with (
                translated(committing=True),
                (pool or self._pool).acquire(timeout=10) as conn,
            ):
                result = await transact(conn, self._patience_s, whole, *args)
            for one in wrote:
                self._witness.note(one)
            return result

        return await self._cross(name_of(unit, args), cross)

    async def wake_queued(self, after: tuple[int, int], most: int) -> tuple[int, int] | None:
        rows = await self._write(_fetch, "wake_queued", *after, most)
        return None if not rows else (rows[0]["account_id"], rows[0]["contact_id"])

    async def look(self, seen_nudges: Spans) -> Look:
        return await self._read(unit_directory.look, seen_nudges)

    # directory

    async def account_ids(self, after: int, n: int) -> list[int]:
        return [row["id"] for row in await self._read(_fetch, "account_ids", after, n)]

    async def read_accounts(self, accounts: Sequence[int] | None) -> list[AccountRow]:
        return await self._read(unit_directory.read_accounts, accounts)

    async def read_versions(self, cv_ids: Sequence[int]) -> list[VersionRow]:
        return await self._read(unit_directory.read_versions, cv_ids)

    async def read_attachment(self, account_id: int, sha256: str) -> bytes | None:
        return await self._read(unit_directory.read_attachment, account_id, sha256)

    async def read_lanes(self, accounts: Sequence[int] | None) -> list[LaneRow]:
        rows = await self._read(_fetch, "read_lanes", accounts)
        lanes = [lane_row(dict(row)) for row in rows]
        self._book.keep({(lane.account_id, lane.key): lane.lane for lane in lanes})
        return lanes

    async def read_parks(self, accounts: Sequence[int] | None) -> list[ParkRow]:
        return [ParkRow(*row) for row in await self._read(_fetch, "read_parks", accounts)]

    async def count_sent(
        self, account_id: int, sender_ids: Sequence[int], since: Instant
    ) -> dict[int, int]:
        rows = await self._read(_fetch, "count_sent", account_id, list(sender_ids), since)
        return {row["sender_id"]: row["n"] for row in rows}

    async def take_turns(self, turns: Sequence[Turn]) -> list[tuple[int, Instant | None]]:
        return await self._write(unit_directory.take_turns, turns)

    async def return_turns(self, backs: Sequence[TurnBack]) -> None:
        await self._write(unit_directory.return_turns, backs)

    async def choose_senders(self, wishes: Sequence[Wish]) -> list[int]:
        return await self._write(unit_pools.choose_senders, wishes)

    # admit

    async def admit(
        self, n: int, decide: Decide, only: Sequence[int] = (), unreadable: Sequence[int] = ()
    ) -> Admitted:
        taken = (n, list(only), list(unreadable))
        done, lanes = await self._write(
            unit_admit.admit, self._book, self._losers, self._turns, taken, decide
        )
        self._book.keep(lanes)
        return done

    async def pending_requests(self, n: int) -> list[int]:
        taken, _ = await self._write(unit_admit.take, self._turns, n)
        return [row["id"] for row in taken]

    async def reject_requests(self, ids: Sequence[int], reason: str) -> None:
        n = len(ids)
        columns = (list(ids), ["rejected"] * n, [reason] * n, [None] * n)
        await self._write(_execute, "decide_requests", *columns)

    # feed

    async def heads(self, accounts: Sequence[int]) -> list[Head]:
        return [Head(*row) for row in await self._read(_fetch, "heads", accounts)]

    async def load(
        self, lanes: Sequence[tuple[int, int, Instant, int, int]], horizon: Instant
    ) -> list[DueKey]:
        columns = [list(column) for column in zip(*lanes, strict=True)]
        return [DueKey(*row) for row in await self._read(_fetch, "load", *columns, horizon)]

    async def next_heads(self, lanes: Sequence[tuple[int, int, Instant]]) -> list[Head]:
        columns = [list(column) for column in zip(*lanes, strict=True)]
        return [Head(*row) for row in await self._read(_fetch, "next_heads", *columns)]

    async def move_lanes(
        self, keys: Sequence[DueKey], lanes: Sequence[LaneKey]
    ) -> list[DueKey]:
        moved, made = await self._write(unit_directory.move_lanes, self._book, keys, lanes)
        self._book.keep(made)
        return moved

    async def nudge(self, accounts: Sequence[int]) -> None:
        await self._read(_execute, "look_again", list(accounts))

    async def make_days(self, days: Sequence[DayRow]) -> None:
        await self._write(unit_directory.make_days, days)

    async def park(self, rows: Sequence[ParkRow]) -> None:
        columns = [list(column) for column in zip(*rows, strict=True)]
        await self._read(_execute, "park", *columns)

    async def unpark(self, lanes: Sequence[tuple[int, int]]) -> None:
        columns = [list(column) for column in zip(*lanes, strict=True)]
        await self._read(_execute, "unpark", *columns)

    # lease, record

    async def lease(
        self, incarnation: int, groups: Sequence[LeaseGroup], lease_ahead_ms: int
    ) -> LeaseResult:
        """As the protocol says. An acknowledgement that was lost is settled by the next sweep:
        what is found committed is given back, since nobody holds it."""
        claim_id = new_claim_id()

        async def cross() -> LeaseResult:
            async with translated(committing=True), self._pool.acquire(timeout=10) as conn:
                with deadline(conn, self._patience_s):
                    return await unit_lease.lease(
                        conn, claim_id, incarnation, groups, lease_ahead_ms,
                        self._witness.next(), self._witness.note,
                    )  # fmt: skip

        try:
            return await self._cross("lease", cross)
        except InDoubt:
            self._in_doubt.add(claim_id)
            raise

    async def _settle(self, incarnation: int) -> None:
        """Settle the leases that are in doubt, each by a tombstone on its claim, and keep those
        that had been committed after all until somebody works on them. One whose backend has
        not decided yet is in doubt still."""
        for claim_id in list(self._in_doubt):
            try:
                if not await self._read(_fetch, "settle_claim", claim_id, incarnation):
                    self._found.add(claim_id)
            except StoreBusy:
                continue
            self._in_doubt.discard(claim_id)

    async def set_aside(self, steps: Sequence[SetAside]) -> int:
        columns = [list(column) for column in zip(*sorted(steps), strict=True)]
        return len(await self._write(_fetch, "set_aside", *columns))

    async def count_recoveries(
        self, steps: Sequence[tuple[int, int, int]], within_ms: int
    ) -> dict[int, int]:
        columns = [list(column) for column in zip(*sorted(steps), strict=True)]
        rows = await self._write(_fetch, "count_recoveries", *columns, within_ms)
        return {row["enrollment_id"]: row["n"] for row in rows}

    async def suppressed(self, addresses: Sequence[tuple[int, str, str]]) -> list[bool]:
        columns = [list(column) for column in zip(*addresses, strict=True)]
        return [row[0] for row in await self._read(_fetch, "suppressed", *columns)]

    async def know_addresses(self, places: Sequence[tuple[int, int, str, int]]) -> list[bool]:
        columns = [list(column) for column in zip(*places, strict=True)]
        return [row["told"] for row in await self._write(_fetch, "know_addresses", *columns)]

    async def await_resets(
        self, keys: Sequence[DueKey], resetters: Sequence[MayReset]
    ) -> set[int]:
        accounts, lanes, due, enrollments, _ = map(list, zip(*keys, strict=True))
        columns = [list(column) for column in zip(*resetters, strict=True)]
        rows = await self._read(
            _fetch, "await_resets", accounts, lanes, due, enrollments, *columns
        )
        return {row[0] for row in rows}

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        done, lanes = await self._write(
            unit_record.record, self._book, self._losers, changes, decide, closed
        )
        self._book.keep(lanes)
        return done

    async def count_first(self, rows: Sequence[FirstSteps]) -> list[FirstSteps]:
        columns = [list(column) for column in zip(*rows, strict=True)]
        found = await self._write(_fetch, "count_first", *columns, FIRST)
        return [FirstSteps(*row) for row in found]

    async def pause_failing(self, first: FirstSteps) -> bool:
        return bool(await self._write(_fetch, "pause_failing", *first))

    async def toll(self, asks: Sequence[Ask]) -> dict[int, str]:
        return await self._write(unit_toll.toll, asks)

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
        wish = unit_inbox.Wish(n, interest, listens, list(only), bare, after)
        done, lanes = await self._write(unit_inbox.digest, self._book, account_id, wish, digest)
        self._book.keep(lanes)
        return done

    async def pending_events(self, account_id: int, n: int) -> list[int]:
        rows = await self._read(_fetch, "pending_events", account_id, n)
        return [row["id"] for row in rows]

    async def refuse_events(
        self, account_id: int, ids: Sequence[int], reason: str
    ) -> list[int]:
        rows = await self._write(_fetch, "refuse_events", account_id, list(ids), reason)
        return [row["id"] for row in rows]

    async def read_contacts(self, account_id: int, ids: Sequence[int]) -> list[ContactRow]:
        return await self._read(unit_inbox.read_contacts, account_id, list(ids))

    async def fold_usage(self) -> list[int]:
        return await self._write(unit_directory.fold_usage)

    # outbox

    async def take_calls(
        self, incarnation: int, n: int, of_a_target: int, patience_ms: int
    ) -> list[CallRow]:
        return await self._write(
            unit_outbox.take_calls, incarnation, n, of_a_target, patience_ms
        )

    async def end_calls(self, ends: Sequence[CallEnd]) -> None:
        await self._write(unit_outbox.end_calls, ends)

    # nodes, sweep

    async def join(self, incarnation: int, name: str, version: str) -> None:
        await self._read(_execute, "join_node", incarnation, name, version)

    async def beat(
        self, incarnation: int, accounts: int, state: str, figures: Mapping[str, object]
    ) -> bool:
        said = orjson.dumps(figures).decode()
        return bool(await self._read(_fetch, "beat", incarnation, accounts, state, said))

    async def acknowledge_clock(self, incarnation: int, at: Instant) -> None:
        await self._read(_execute, "acknowledge_clock", incarnation, at)

    async def note_served(self, silence_ms: int) -> list[Standstill]:
        await self._read(_execute, "note_served", silence_ms)
        rows = await self._read(_fetch, "read_standstills")
        return [
            Standstill(row["from_at"], row["until_at"], provider=row["provider"])
            for row in rows
        ]

    async def note_outages(self, outages: Sequence[Outage]) -> None:
        await self._read(_execute, "note_outages", *map(list, zip(*outages, strict=True)))

    async def leave(self, incarnation: int) -> None:
        await self._read(_execute, "leave_node", incarnation)

    async def reap(
        self, incarnation: int, timeout_ms: int, gone: Sequence[int] = ()
    ) -> list[int]:
        return await self._write(unit_node.reap, incarnation, timeout_ms, gone, new_claim_id)

    async def orphans(
        self, incarnation: int, known: Sequence[int], adopted: Sequence[int]
    ) -> list[Leased]:
        await self._settle(incarnation)
        meant = self._found.union(adopted)
        found, empty = await self._read(unit_node.orphans, incarnation, set(known), meant)
        self._found = {leased.claim_id for leased in found}
        if empty:
            await self._read(_execute, "drop_claims", empty)
        return found

    async def add_facts(self, steps: Sequence[Leased]) -> None:
        await self._read(unit_lease.add_facts, steps)

    async def sweep(self, retention_days: int) -> None:
        await self._read(_sweep)
        if time.monotonic() >= self._tends_from:
            await self._tend(retention_days)

    async def _tend(self, retention_days: int) -> None:
        """Make partitions ahead, and drop what is older; nothing else waits for either."""
        try:
            await self._read(_fetch, "make_partitions", None, MONTHS_AHEAD)
            if retention_days:
                await self._read(_fetch, "drop_partitions", retention_days)
        except StoreBusy as error:
            log.warning("partitions.held", error=error.message)
            self._tends_from = time.monotonic() + TEND_S

    async def at_rest(self, incarnations: Sequence[int]) -> list[int]:
        rows = await self._read(_fetch, "at_rest", list(incarnations))
        return [row["incarnation"] for row in rows]

    async def testify(self, accepted: Sequence[tuple[int, int, str | None]]) -> int:
        runs = [one for one in accepted if one[0] > 0]
        alone = [(-number, provider_id) for number, _, provider_id in accepted if number < 0]
        n = 0
        for name, rows in (("testify", runs), ("testify_individuals", alone)):
            columns = [list(column) for column in zip(*rows, strict=True)]
            n += len(await self._read(_fetch, name, *columns)) if rows else 0
        return n

    async def remind(self) -> None:
        """Turn reminders whose instant has come into notifications."""
        await self._read(_execute, "remind")
        await self._read(_execute, "miss_replies")

    async def finish_drained(self) -> None:
        await self._read(_execute, "finish_drained")

    # the built-in sink

    async def write(self, rows: Sequence[SinkRow]) -> list[str]:
        """`SinkWriter`: on a connection of its own, committed before it answers."""
        return await self._write(unit_directory.sink, rows, pool=self._sink)

    # individual sends

    async def start_individual(self, wish: IndividualSend) -> IndividualStart:
        rows = await self._read(
            _fetch,
            "start_individual",
            wish.account_id,
            wish.contact_id,
            wish.incarnation,
            wish.sender_id,
            wish.channel,
            wish.requested_by,
            wish.subject,
            wish.to,
            wish.call_id,
            wish.attempt,
        )
        return IndividualStart(*rows[0]) if rows else IndividualStart(None, None, False)

    async def end_individual(self, end: IndividualEnd) -> None:
        await self._read(
            _execute,
            "end_individual",
            end.account_id,
            end.id,
            end.state,
            end.provider_id,
            end.reason,
            end.segments,
        )

    async def last_of_call(self, account_id: int, call_id: int) -> str | None:
        rows = await self._read(_fetch, "last_of_call", account_id, call_id)
        return rows[0]["state"] if rows else None

    async def lost_individuals(self, incarnation: int) -> list[LostSend]:
        rows = await self._read(_fetch, "lost_individuals", incarnation)
        return [LostSend(*row) for row in rows]

    async def end_lost(self, ends: Sequence[IndividualEnd]) -> None:
        rows = [
            (one.account_id, one.id, one.state, one.provider_id, one.reason) for one in ends
        ]
        await self._write(_execute, "end_lost", *map(list, zip(*rows, strict=True)))

    # the manual clock

    async def clock_mode(self) -> tuple[str, str | None, Instant | None]:
        """(deployment id, `real`, `manual` or None for undecided, the manual instant)."""
        rows = await self._read(_fetch, "clock_mode")
        deployment, mode, at = rows[0]
        return deployment, mode, at

    async def place(self) -> Place:
        """Where the database is, as it says itself, and whether anything of it is missing."""
        await self._read(_execute, "note_place")
        found = (await self._read(_fetch, "is_at_home"))[0]
        return Place(found["at_home"], found["behind"], found["adoption"])

    def adopted(self, place: Place, folder: Path, incarnation: int) -> None:
        """What was remembered before *place* was adopted is over."""
        self._witness.keep(folder, incarnation, place.adoption)

    async def choose_clock(self, mode: str, at: Instant | None) -> None:
        """Start on the clock *mode*; a deployment keeps the mode of its first daemon.

        Raises `SchemaMismatch` (exit 78) if it was started on the other.
        """
        if not await self._read(_fetch, "choose_clock", mode):
            other = "--clock manual" if mode == "real" else "the machine's clock"
            raise SchemaMismatch(
                f"this database was started with {other}",
                code="clock_mode",
                hint="start with the same clock, or use another database",
            )
        if at is not None:
            await self._read(_execute, "start_clock", at)
        await self._tend(0)

    async def own_clock(self) -> Callable[[], Awaitable[None]] | None:
        """As the protocol says, by an advisory lock of a connection of its own."""

        async def take() -> Any:
            conn = await self._sink.acquire(timeout=10)
            if await conn.fetchval(sql("lock_clock")):
                return conn
            await self._sink.release(conn)
            return None

        async def give(conn: Any) -> None:
            await conn.fetchval(sql("unlock_clock"))
            await self._sink.release(conn)

        conn = await self._bridge.run(take)
        return None if conn is None else partial(self._bridge.run, give, conn)

    async def move_clock(self, at: Instant) -> bool:
        month = to_datetime(at).strftime("%Y-%m")
        if month != self._month:
            await self._read(_fetch, "make_partitions", at, 1)
            self._month = month
        return bool(await self._read(_fetch, "move_clock", at))

    async def next_instant(self) -> Instant | None:
        rows = await self._read(_fetch, "next_instant")
        return rows[0][0] if rows else None

    async def unsettled(self) -> list[str]:
        rows = await self._read(_fetch, "unsettled")
        return [word for word, true in rows[0].items() if true]


def name_of(unit: Callable[..., object], args: Sequence[Any]) -> str:
    """What a unit of work is counted as: its own name, or its one statement's."""
    return str(args[0]) if unit in (_fetch, _execute) else unit.__name__.strip("_")


async def _fetch(conn: Conn, name: str, *args: Any) -> list[Any]:
    found: list[Any] = await conn.fetch(sql(name), *args)
    return found


async def _execute(conn: Conn, name: str, *args: Any) -> None:
    await conn.execute(sql(name), *args)


async def _close(pool: Any) -> None:
    pool.terminate()


async def _sweep(conn: Conn) -> None:
    for name in (
        "sweep_nudges",
        "sweep_nodes",
        "sweep_outbox",
        "sweep_recoveries",
        "sweep_standstills",
        "sweep_attachments",
        "sweep_witnesses",
        "apply_evidence",
        "presume_sent",
    ):
        await conn.execute(sql(name))
