"""Daemons on one `MemoryStore` in virtual time: the real stages, weeks in milliseconds.

The deployment's clock is a manual one; trio's clock, by which daemons poll and beat, jumps.
Ask for it with the fixture `autojump_clock`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import trio

from dripd.campaigns.parse import parse
from dripd.channels.base import Channel, Message, Settle
from dripd.channels.sink import BATCH, CONCURRENCY, SinkChannel
from dripd.clock import Instant, ManualClock, parse_instant
from dripd.engine import stages as stages_of
from dripd.engine.directory import Directory
from dripd.engine.look import learn_all
from dripd.engine.pipeline import Pipeline
from dripd.engine.settle import move_to
from dripd.engine.tuning import Tuning
from dripd.errors import StoreUnavailable
from dripd.store.memory import MemoryStore

MONDAY = parse_instant("2026-01-05T09:00:00Z")

BEAT_S = 2.0


@dataclass
class Engine:
    """One daemon's stages. `cut` ends them as a power cut would: nothing is given back."""

    pipe: Pipeline
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    gone: trio.Event = field(default_factory=trio.Event)

    async def cut(self) -> None:
        self.scope.cancel()
        await self.gone.wait()


class GatedSink(SinkChannel):
    """A sink that can be made to wait before it answers."""

    def __init__(
        self, store: MemoryStore, *, batch: int = BATCH, concurrency: int = CONCURRENCY
    ) -> None:
        super().__init__("sink", store, batch, concurrency)
        self.open = trio.Event()
        self.open.set()
        self.waiting = trio.Event()

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        self.waiting.set()
        await self.open.wait()
        await super().send(messages, settle)

    def close(self) -> None:
        """Messages wait from now on; `waiting` says when the first does."""
        self.open, self.waiting = trio.Event(), trio.Event()


class Virtual:
    """One deployment in memory with an account `acme` and what stories do to it."""

    def __init__(self, nursery: trio.Nursery, at: Instant) -> None:
        self._nursery = nursery
        self._numbers = count(1)
        self.clock = ManualClock(at)
        self.store = MemoryStore(self.clock, manual=True)
        self.sink = GatedSink(self.store)
        self.engines: list[Engine] = []
        self.acme = self.store.add_account("acme")
        self.sender = self.store.add_sender(self.acme, "sales@acme.test")

    async def start(self) -> Engine:
        """One more daemon."""
        number = next(self._numbers)
        pipe = Pipeline(
            self.store, Directory(self.store), ManualClock(self.clock.now()), number,
            tuning=Tuning().without_time(),
        )  # fmt: skip
        return await self._begin(Engine(pipe), {"sink": self.sink})

    def name_of(self, number: int) -> str:
        return f"node-{number}"

    async def _begin(self, engine: Engine, channels: Mapping[str, Channel]) -> Engine:
        number = engine.pipe.incarnation
        await self.store.join(number, self.name_of(number), "0")
        await learn_all(engine.pipe)
        self.engines.append(engine)
        self._nursery.start_soon(self._run, engine, channels)
        return engine

    async def _run(self, engine: Engine, channels: Mapping[str, Channel]) -> None:
        with engine.scope:
            async with trio.open_nursery() as nursery:
                stages_of.start(
                    engine.pipe, channels, "memory", stages=nursery, recorders=nursery
                )
                nursery.start_soon(self._beat, engine.pipe.incarnation)
        engine.gone.set()

    async def _beat(self, incarnation: int) -> None:
        alive = True
        while alive:
            with suppress(StoreUnavailable):
                alive = await self.store.beat(incarnation, 0, "running", {})
            await self.pass_by(BEAT_S)

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Let virtual time pass until *holds*; at most an hour of it."""
        with trio.fail_after(3_600):
            while not holds():
                await self.pass_by(0.05)

    async def pass_by(self, seconds: float) -> None:
        """Let the daemons go on for a while, the manual clock standing."""
        with trio.move_on_after(seconds):
            await trio.sleep_forever()

    async def advance_to(self, at: str) -> None:
        """Visit every instant up to *at*, settled, by a daemon that lives."""
        mover = next(one for one in self.engines if not one.gone.is_set())
        await move_to(mover.pipe, parse_instant(at))

    async def open_lanes(self) -> None:
        """What is parked is asked anew, as after a change of its sender."""
        parks = await self.store.read_parks(None)
        await self.store.unpark([(row.account_id, row.lane) for row in parks])
        await self.store.nudge([self.acme])

    def campaign(self, *steps: dict[str, Any], **top: Any) -> str:
        """An active campaign of the account; its key."""
        key = str(top.pop("campaign", "welcome"))
        document = {
            "campaign": key, "account": "acme", "name": key, "sender": "sales@acme.test",
            "steps": list(steps), **top,
        }  # fmt: skip
        self.store.add_campaign(self.acme, parse(document))
        return key

    def contact(self, name: str, **columns: Any) -> int:
        return self.store.add_contact(
            self.acme, external_id=name, **{"email": f"{name}@x.test", **columns}
        )

    def enroll(self, *names: str, campaign: str = "welcome") -> None:
        """New contacts, each with a request."""
        for name in names:
            self.contact(name)
            self.store.enroll(self.acme, campaign, name)

    def received(self) -> list[tuple[str, str]]:
        """(recipient, step) of what reached the sink, in order."""
        return [(row["recipient"], row["step_key"]) for row in self.store.sink_messages]

    def senders(self, step: str) -> dict[str, str]:
        """Recipient to the sender of a step's message."""
        rows = self.store.sink_messages
        return {row["recipient"]: row["sender"] for row in rows if row["step_key"] == step}

    def ends(self) -> dict[str, int]:
        """How many runs ended how; `None` while they live."""
        found: dict[str, int] = {}
        for row in self.store.enrollments():
            word = str(row["end_reason"])
            found[word] = found.get(word, 0) + 1
        return found


@asynccontextmanager
async def virtual(*, daemons: int = 1) -> AsyncIterator[Virtual]:
    """A deployment with *daemons* that run until the story is over."""
    async with trio.open_nursery() as nursery:
        world = Virtual(nursery, MONDAY)
        for _ in range(daemons):
            await world.start()
        yield world
        nursery.cancel_scope.cancel()
