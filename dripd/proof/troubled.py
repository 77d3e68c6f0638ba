"""Several daemons in virtual time, each on a machine of its own that can fail.

What a service manager does is done here too: a daemon that has ended is started again, one
that learns that it was called dead ends and comes back as a new incarnation.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import trio

from dripd.channels.base import Channel
from dripd.clock import Instant, ManualClock, Millis
from dripd.engine.directory import Directory
from dripd.engine.pipeline import Pipeline, Stage
from dripd.engine.tuning import Tuning
from dripd.errors import StoreError
from dripd.proof.machine import Disk, DiskJournal, Killed, Link, Machine
from dripd.proof.provider import Provider, Request, SimulatedChannel
from dripd.proof.virtual import Engine, Virtual
from dripd.store.memory import MemoryStore
from dripd.store.protocol import Store

NODE_TIMEOUT_S = 1.5

BEAT_S = NODE_TIMEOUT_S / 3

IDLE_S = 2.0

TUNING = Tuning(
    poll_ms=Millis(1_000), node_timeout_ms=Millis(round(NODE_TIMEOUT_S * 1000)),
    send_timeout_ms=Millis(5_000),
).without_time()  # fmt: skip
"""Few idle polls: what is new is told at once by `TellingStore`, as it would be found."""


class PatientPipeline(Pipeline):
    """Stages that are woken when there is something to do look less often whether there is."""

    async def wait(self, name: Stage, most_s: float) -> None:
        await super().wait(name, IDLE_S if name in {"lease", "done"} else most_s)


class TellingStore(MemoryStore):
    """Whoever changes what others look for wakes them, so that they need not poll."""

    engines: list[Engine]

    async def move_clock(self, at: Instant) -> bool:
        moved = await super().move_clock(at)
        self.wake_all()
        return moved

    async def nudge(self, accounts: Sequence[int]) -> None:
        await super().nudge(accounts)
        self.wake_all()

    def wake_all(self) -> None:
        for engine in self.engines:
            engine.pipe.wake("look")


@dataclass
class Daemon(Engine):
    """An engine, its machine and its journal."""

    machine: Machine = field(default_factory=Machine)
    journal: DiskJournal = field(default_factory=lambda: DiskJournal({}, 0))
    channels: Mapping[str, Channel] = field(default_factory=dict)

    @property
    def is_awake(self) -> bool:
        return not self.gone.is_set() and self.machine.thawed.is_set()


class Troubled(Virtual):
    """A deployment whose daemons' machines fail."""

    def __init__(self, nursery: trio.Nursery, at: Instant, dice: random.Random) -> None:
        super().__init__(nursery, at)
        store = TellingStore(self.clock, manual=True)
        store.engines = self.engines
        self.store = store
        self.disk: Disk = {}
        self.asked: list[Request] = []
        """What came to the providers, in its order."""
        self.providers = {
            name: Provider(name, nursery, self.clock.now, dice, self.asked)
            for name in ("p0", "p1")
        }
        self.is_over = False
        """Nobody is started again any more."""

    def name_of(self, number: int) -> str:
        """All bear one name, as copies of one container do: nothing may rest on it."""
        del number
        return "node"

    def living(self) -> list[Daemon]:
        return [cast("Daemon", one) for one in self.engines if not one.gone.is_set()]

    def awake(self) -> list[Daemon]:
        return [one for one in self.living() if one.is_awake]

    async def start(self) -> Engine:
        """One more daemon on a machine of its own. Raises `StoreError` where it cannot begin."""
        number, machine = next(self._numbers), Machine()
        journal = DiskJournal(self.disk, number)
        link = cast("Store", Link(self.store, machine))
        pipe = PatientPipeline(
            link, Directory(link), ManualClock(self.clock.now()), number, TUNING,
            journal=journal,
        )  # fmt: skip
        channels: Mapping[str, Channel] = {
            name: SimulatedChannel(provider, machine)
            for name, provider in self.providers.items()
        }
        daemon = Daemon(pipe, machine=machine, journal=journal, channels=channels)
        return await self._begin(daemon, channels)

    def go_on(self, deed: Callable[..., Awaitable[None]], *args: object) -> None:
        """*deed* goes on beside whatever comes next."""
        self._nursery.start_soon(deed, *args)

    async def kill(self, daemon: Daemon) -> None:
        """kill -9: it hears no answer any more, its journal stays."""
        daemon.machine.kill()
        await daemon.cut()

    async def start_somehow(self) -> None:
        """As a service manager: again and again until it stands."""
        while not self.is_over:
            with suppress(StoreError):
                await self.start()
                return
            await self.pass_by(0.5)

    async def _run(self, engine: Engine, channels: Mapping[str, Channel]) -> None:
        try:
            await super()._run(engine, channels)
        except BaseExceptionGroup as group:
            _, rest = group.split(Killed)
            if rest is not None:
                raise rest from None
        finally:
            cast("Daemon", engine).journal.end()
            engine.gone.set()

    async def _beat(self, incarnation: int) -> None:
        daemon = next(one for one in self.living() if one.pipe.incarnation == incarnation)
        while not daemon.pipe.buried.is_set():
            with suppress(StoreError):
                if not await daemon.pipe.store.beat(incarnation, 0, "running", {}):
                    break
            with trio.move_on_after(BEAT_S):
                await daemon.pipe.buried.wait()
        daemon.scope.cancel()
        self._nursery.start_soon(self.start_somehow)
