"""The stages of one daemon over a `MemoryStore`, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from dripd.campaigns.enrollment import Change, DueKey
from dripd.campaigns.parse import parse
from dripd.channels.base import Message, Settle
from dripd.channels.sink import SinkChannel
from dripd.clock import Instant, parse_instant
from dripd.engine import stages as stages_of
from dripd.engine.admit import decider
from dripd.engine.directory import Directory
from dripd.engine.look import learn_all
from dripd.engine.pipeline import Pipeline
from dripd.engine.tuning import Tuning
from dripd.policy.admission_rows import Decision, RequestRow
from dripd.spans import Spans
from dripd.store.memory import MemoryStore
from dripd.store.protocol import (
    Admitted,
    Decide,
    LaneRow,
    LeaseGroup,
    LeaseResult,
    Look,
    Recorded,
)

T0 = parse_instant("2026-01-05T12:00:00Z")

HELLO: dict[str, object] = {"key": "hello", "do": "email", "subject": "Hi", "text": "Hello"}


class VirtualClock:
    """The deployment's instant runs with trio's clock, from `T0` on."""

    def __init__(self) -> None:
        self._began = trio.current_time()

    def now(self) -> Instant:
        return Instant(T0 + round((trio.current_time() - self._began) * 1000))

    def leap(self, by_ms: int) -> None:
        self._began -= by_ms / 1000


class NotingStore(MemoryStore):
    """Notes what it is asked for."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.leases: list[tuple[float, int, int]] = []
        """(real second, keys asked for, lease-ahead)."""
        self.loads: list[tuple[list[tuple[int, int]], Instant]] = []
        self.looks: list[float] = []
        self.admits: list[int] = []
        self.told: list[int] = []
        """Accounts whose lanes were read."""
        self.records: list[tuple[float, int]] = []
        """(real second, changes written at once)."""
        self.told_at_once: list[int] = []

    async def read_lanes(self, accounts: Sequence[int] | None) -> list[LaneRow]:
        self.told += accounts or ()
        self.told_at_once.append(len(accounts or ()))
        return await super().read_lanes(accounts)

    async def look(self, seen_nudges: Spans) -> Look:
        self.looks.append(trio.current_time())
        return await super().look(seen_nudges)

    async def admit(
        self, n: int, decide: Decide, only: Sequence[int] = (), unreadable: Sequence[int] = ()
    ) -> Admitted:
        def counted(rows: Sequence[RequestRow], now: Instant) -> list[Decision]:
            self.admits.append(len(rows))
            return decide(rows, now)

        return await super().admit(n, counted, only, unreadable)

    async def load(
        self, lanes: Sequence[tuple[int, int, Instant, int, int]], horizon: Instant
    ) -> list[DueKey]:
        self.loads.append(([(account, lane) for account, lane, *_ in lanes], horizon))
        return await super().load(lanes, horizon)

    async def lease(
        self, incarnation: int, groups: Sequence[LeaseGroup], lease_ahead_ms: int
    ) -> LeaseResult:
        keys = sum(len(group.keys) for group in groups)
        self.leases.append((trio.current_time(), keys, lease_ahead_ms))
        return await super().lease(incarnation, groups, lease_ahead_ms)

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        self.records.append((trio.current_time(), len(changes)))
        return await super().record(changes, decide, closed)


class SlowSink(SinkChannel):
    """Answers after *wait_s*, and notes when each message came."""

    def __init__(
        self,
        wait_s: float = 0.0,
        *,
        batch: int = 500,
        concurrency: int = 2,
        name: str = "sink",
    ) -> None:
        super().__init__(name, None, batch, concurrency)
        self.wait_s = wait_s
        self.came: list[tuple[float, int]] = []

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        self.came += [(trio.current_time(), message.enrollment_id or 0) for message in messages]
        await trio.sleep(self.wait_s)
        await super().send(messages, settle)


class Rig:
    """A daemon without a database, a socket or a real second."""

    def __init__(self, tuning: Tuning, sink: SlowSink, *others: SlowSink) -> None:
        self.clock = VirtualClock()
        self.store = NotingStore(self.clock)
        self.sink = sink
        self.channels = {one.name: one for one in (sink, *others)}
        self.pipe = Pipeline(self.store, Directory(self.store), self.clock, 1001, tuning)
        self._contacts = 0

    def account(
        self,
        key: str,
        *,
        step: dict[str, object] | None = None,
        steps: Sequence[dict[str, object]] = (),
        provider: str = "sink",
        **how: object,
    ) -> int:
        """An account with a sender and an active campaign: of *steps*, or one email."""
        account = self.store.add_account(key, **how)  # type: ignore[arg-type]  # its own arguments
        self.store.add_sender(account, f"s@{key}.test", provider=provider)
        document = {
            "campaign": "c",
            "account": key,
            "name": "c",
            "sender": f"s@{key}.test",
            "steps": list(steps) or [step or HELLO],
        }
        self.store.add_campaign(account, parse(document))
        return account

    def enroll(self, account: int, n: int) -> None:
        """*n* new contacts ask to run through the account's campaign."""
        for _ in range(n):
            self._contacts += 1
            contact = self.store.add_contact(account, email=f"p{self._contacts}@x.test")
            self.store.enroll(account, "c", contact)

    async def admit_unheard(self) -> None:
        """Requests are decided by somebody who tells nobody."""
        await self.store.admit(100, decider(self.pipe))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All stages run inside."""
        pipe = self.pipe
        await self.store.join(pipe.incarnation, "rig", "0")
        await learn_all(pipe)
        async with trio.open_nursery() as nursery:
            stages_of.start(pipe, self.channels, "test", stages=nursery, recorders=nursery)
            yield
            nursery.cancel_scope.cancel()
