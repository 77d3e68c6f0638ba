"""What stands between the stages: plain deques, one event each, one counter of back-pressure.

No stage owns another. `feed` fills `ready`, `lease` takes from it and fills `leased`, the
senders take from that and fill `done`, `record` empties it. `unsent` (leased and not yet
recorded) is the whole back-pressure: the lease stops at its limit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import trio

from dripd.campaigns.enrollment import Change, LaneKey, Leased
from dripd.clock import Clock, Instant
from dripd.engine.directory import Directory
from dripd.engine.tuning import Tuning
from dripd.scheduler.fairness import Ready
from dripd.scheduler.wheel import Wheel
from dripd.store.protocol import Store


@dataclass(slots=True)
class Counters:
    """What has been done since start, for status and the log's pulse."""

    leased: int = 0
    accepted: int = 0
    recorded: int = 0
    unknown: int = 0
    regret: int = 0
    late: int = 0


@dataclass(slots=True)
class LaneState:
    """What of a lane has been loaded. `next_at`: the first due that may not be in memory."""

    key: LaneKey
    next_at: Instant | None = None
    cursor: tuple[Instant, int] = (Instant(0), 0)
    loaded_to: Instant = Instant(0)


@dataclass(slots=True)
class Signals:
    """One wake-up a stage."""

    look: trio.Event = field(default_factory=trio.Event)
    admit: trio.Event = field(default_factory=trio.Event)
    inbox: trio.Event = field(default_factory=trio.Event)
    feed: trio.Event = field(default_factory=trio.Event)
    lease: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)


class Pipeline:
    """The state that the stages of one daemon share."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        clock: Clock,
        incarnation: int,
        tuning: Tuning,
    ) -> None:
        self.store = store
        self.directory = directory
        self.clock = clock
        self.incarnation = incarnation
        self.tuning = tuning
        self.wheel = Wheel(clock.now(), width=4)
        self.ready: Ready[tuple[Instant, int, int]] = Ready()
        self.lanes: dict[tuple[int, int], LaneState] = {}
        self.parked: dict[tuple[int, int], tuple[str, Instant | None]] = {}
        self.owned: set[int] = set()
        self.busy: set[int] = set()
        self.again: deque[tuple[float, int, int]] = deque()
        """Lanes in which something was in the way: (real instant, account, lane)."""
        self.leased: dict[str, deque[Leased]] = {}
        self.arrived: dict[str, trio.Event] = {}
        self.done: list[Change] = []
        self.claims: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.unsent = 0
        self.asked = 0
        """Keys of leases that are not answered yet."""
        self.asked_accounts: set[int] = set()
        self.signals = Signals()
        self.counters = Counters()
        self.draining = False

    def wake(self, name: str) -> None:
        """Wake the stage *name*; one that is awake is not told twice."""
        getattr(self.signals, name).set()

    async def wait(self, name: str, most_s: float) -> None:
        """Sleep until woken or *most_s* of real time have passed."""
        event: trio.Event = getattr(self.signals, name)
        with trio.move_on_after(most_s):
            await event.wait()
        setattr(self.signals, name, trio.Event())

    @property
    def room(self) -> int:
        """How many steps may still be leased: what is in flight is the whole back-pressure."""
        return self.tuning.in_flight - self.unsent - self.asked

    def settle(self, change: Change) -> None:
        """A leased step has its answer."""
        self.done.append(change)
        if len(self.done) >= self.tuning.batch or len(self.done) == 1:
            self.wake("done")

    def take_done(self) -> tuple[list[Change], list[int]]:
        """Up to a batch of answers, and the claims of which they are the last steps."""
        most = self.tuning.batch
        batch, self.done = self.done[:most], self.done[most:]
        closed = []
        for change in batch:
            claim = change.leased.claim_id
            if claim in self.claims:
                self.claims[claim] -= 1
                if self.claims[claim] == 0:
                    closed.append(claim)
        return batch, closed
