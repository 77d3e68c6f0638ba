"""What stands between one simulated daemon and the world: it may be frozen, cut off or killed.

A daemon touches the world at its store, its channels and its journal only, so what befalls
these befalls it: whoever is frozen waits at the next touch and goes on when it is thawed, as
after SIGSTOP; whoever is dead learns nothing more of what it asked for, whether it happened or
not. Its journal is on a disk that outlives it, unless the disk is lost too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any

import trio

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import Outcome
from dripd.engine.intent import Leave, Past, Testimony, alone
from dripd.errors import InDoubt, StoreUnavailable
from dripd.store.memory import MemoryStore

IDLE = frozenset({"remind", "finish_drained", "take_calls"})
"""Units that are asked for again and again and have nothing to do in a simulation: it has no
tasks, drains no campaign and calls nobody. They cost a third of its time."""


class Killed(BaseException):
    """The process is gone: nothing of it goes on from here."""


@dataclass
class Machine:
    """What can be done to one daemon from outside."""

    thawed: trio.Event = field(default_factory=trio.Event)
    cut_off: bool = False
    """The network between it and the database is gone; all else goes on."""
    dead: bool = False
    n_frozen: int = 0

    def __post_init__(self) -> None:
        self.thawed.set()

    def freeze(self) -> None:
        self.thawed = trio.Event()
        self.n_frozen += 1

    def thaw(self) -> None:
        self.thawed.set()

    def kill(self) -> None:
        """Whatever it waits for, it never hears the answer."""
        self.dead = True
        self.thaw()

    async def touch(self) -> None:
        """Wait while it is frozen. Raises `Killed` once it is dead."""
        while not self.thawed.is_set():
            await self.thawed.wait()
        if self.dead:
            raise Killed


class Link:
    """A `Store` as one machine reaches it: every unit of work passes here, there and back."""

    def __init__(self, store: MemoryStore, machine: Machine) -> None:
        self._store = store
        self._machine = machine

    def __getattr__(self, name: str) -> Any:
        unit = getattr(self._store, name)
        if not iscoroutinefunction(unit):
            return unit
        through = self._through(_nothing if name in IDLE else unit, name)
        setattr(self, name, through)
        return through

    def _through(
        self, unit: Callable[..., Coroutine[Any, Any, Any]], name: str
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        machine = self._machine

        async def through(*args: Any, **named: Any) -> Any:
            if not machine.thawed.is_set() or machine.dead:
                await machine.touch()
            if machine.cut_off:
                await trio.lowlevel.checkpoint()
                raise StoreUnavailable("the database cannot be reached: it is played so")
            result = await unit(*args, **named)
            if not machine.thawed.is_set() or machine.dead:
                await machine.touch()
            if machine.cut_off:
                raise InDoubt(f"the acknowledgement of {name} was lost on the way")
            return result

        return through


async def _nothing(*args: Any, **named: Any) -> tuple[()]:
    del args, named
    return ()


@dataclass
class Page:
    """The journal of one incarnation, as it lies on the disk."""

    testimony: Testimony = field(default_factory=lambda: Testimony(whole=True))
    is_sealed: bool = False
    is_gone: bool = False
    """Its process has ended."""


Disk = dict[int, Page]
"""What the daemons of one machine have written down, by incarnation."""


class DiskJournal:
    """`engine.intent.Journal` on a disk that simulated daemons share. `full`: it takes nothing.

    The page stays open for its writer, as a file does that others have thrown away.
    """

    def __init__(self, disk: Disk, incarnation: int) -> None:
        self._disk = disk
        self._own = incarnation
        self._page = disk[incarnation] = Page()
        self.full = False

    def intend(self, steps: Sequence[Leased], marks: Sequence[str] = ()) -> Leave:
        if self.full:
            return Leave.UNWRITABLE
        for n, leased in enumerate(steps):
            mark = marks[n] if marks else ""
            self._page.testimony.intend(leased.enrollment_id, leased.seq, mark)
        return Leave.FENCED if self._page.is_sealed else Leave.YES

    def answer(self, leased: Leased, outcome: Outcome) -> None:
        if not self.full:
            page, place = self._page.testimony, (leased.enrollment_id, leased.seq)
            page.answer(*place, outcome, leased.attempt)

    def depart(self, number: int) -> Leave:
        if self.full:
            return Leave.UNWRITABLE
        self._page.testimony.intend(*alone(number))
        return Leave.FENCED if self._page.is_sealed else Leave.YES

    def arrive(self, number: int, outcome: Outcome, to: str) -> None:
        del to
        if not self.full:
            self._page.testimony.answer(*alone(number), outcome)

    def keep(self, number: int) -> None:
        """Its pages are few."""

    def end(self) -> None:
        """Its process has ended; the page stays, if the disk has it."""
        self._page.is_gone = True

    def begin(self, leased: Leased) -> None:
        page = self._disk.get(self._own)
        if page is not None and not self.full:
            page.testimony.tried = (leased.enrollment_id, leased.seq)

    def survive(self, leased: Leased) -> None:
        page = self._disk.get(self._own)
        if page is not None:
            page.testimony.tried = None

    def fault(self) -> str:
        return "No space left on device (simulated)" if self.full else ""

    def past(self, incarnations: Collection[int]) -> Past:
        found = {one: self._disk[one] for one in incarnations if one in self._disk}
        for one, page in found.items():
            page.is_sealed |= one != self._own
        return {one: page.testimony for one, page in found.items()}

    def abandoned(self) -> list[int]:
        return sorted(n for n, page in self._disk.items() if page.is_gone and n != self._own)

    def unattended(self) -> list[int]:
        return self.abandoned()

    def tidy(self, open_claims: Collection[int]) -> None:
        """Its pages are few: nothing is thrown away before its time."""

    def forget(self, incarnations: Collection[int]) -> None:
        for one in incarnations:
            if one != self._own:
                self._disk.pop(one, None)
