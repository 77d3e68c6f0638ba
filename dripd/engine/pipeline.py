"""What stands between the stages: plain deques, one event each, one counter of back-pressure.

No stage owns another. `feed` fills `ready`, `lease` takes from it and fills `leased`, the
senders take from that and fill `done`, `record` empties it. `unsent` (leased and not yet
recorded) is the whole back-pressure: the lease stops at its limit.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple, TypeAlias

import trio

from dripd.campaigns.enrollment import Change, DueKey, Leased
from dripd.clock import Clock, Instant, SystemClock, asleep_s
from dripd.engine.directory import Directory
from dripd.engine.doubt import Policy
from dripd.engine.flow import Flow
from dripd.engine.headway import Headways
from dripd.engine.intent import Journal, NoJournal
from dripd.engine.lanes import Lanes
from dripd.engine.tuning import Tuning
from dripd.engine.written import Written
from dripd.metrics import Registry
from dripd.policy.inbox_rows import EventRow
from dripd.ratelimit.bucket import Bucket
from dripd.ratelimit.reputation import Guard
from dripd.ratelimit.traffic import Failing, Traffic
from dripd.ring import Ring
from dripd.scheduler.fairness import Ready
from dripd.scheduler.wheel import Wheel
from dripd.spans import Spans
from dripd.store.protocol import DayRow, IndividualEnd, Standstill, Store

Entries: TypeAlias = list[tuple[int, tuple[Instant, int, int]]]
"""(lane, (due, enrollment, cv)), as `Ready` hands them out."""

Picked: TypeAlias = list[tuple[int, Entries]]
"""The entries of each account."""

SLEPT_LEAST_S = 1.0
"""Less than that is the difference of two clocks that are not read at once."""

LEASES_KEPT = 5
"""What every heartbeat brings."""

AGAIN_S = 0.05
"""Real seconds until a key that was in somebody's way is asked for again."""


@dataclass(slots=True)
class Counters:
    """What has been done since start, for status and the log's pulse."""

    leased: int = 0
    accepted: int = 0
    recorded: int = 0
    unknown: int = 0
    regret: int = 0
    late: int = 0
    turned_at: float = 0.0
    """When the feed last ended a turn, in the loop's own time; 0: not yet."""


NOBODY = (0, 0)
"""Before every contact (account, contact)."""


class Watch:
    """What the last looks have seen."""

    def __init__(self, asleep: Callable[[], float] = asleep_s) -> None:
        self.seen = Spans()
        """Nudges that were taken in."""
        self.alive: frozenset[int] = frozenset()
        self.learnt_to = 0
        """The accounts up to this id have been read in this round."""
        self.sought_to: int | None = 0
        """In the first round: in the accounts up to this id what is due was looked for."""
        self.urgent: list[int] = []
        """Those of them in which something is due, and which are not read yet."""
        self.learnt = trio.Event()
        """The first round is over: every account has been read."""
        self.next_slice_at = -1e9
        self.queued: tuple[tuple[int, int], float] = (NOBODY, -1e9)
        """Up to which contact (account, contact) it was asked in this round who in the queue is
        busy still, and when more are asked for."""
        self.asked: set[int] = set()
        """Accounts to be read anew with the next look."""
        self.behind: set[tuple[int, int]] = set()
        """Lanes (account, lane) to be loaded anew once nothing of them is ready."""
        self.days: dict[int, DayRow] = {}
        """Today's row of each account, as it was last made."""
        self.left: dict[int, Left] = {}
        """By account, rounds of its inbox in which much has to stay."""
        self.told_at: Instant | None = None
        """The manual instant of which others were told last that it is known here."""
        self.beaten_at: float | None = None
        """When our own heartbeat was last written; None: nobody keeps one."""
        self.in_touch_since = 0.0
        """Since when it came without a gap."""
        self._asleep = asleep
        self._slept = 0.0

    def note_beat(self, asked: float, limit_s: float, slept: float | None = None) -> None:
        """Our heartbeat has been written, not before it was *asked* for, which is an instant of
        the loop's time; *slept*: how long the machine had been suspended by then."""
        if self.beaten_at is None or asked - self.beaten_at > limit_s / 2:
            self.in_touch_since = asked
        self.beaten_at, self._slept = asked, self._asleep() if slept is None else slept

    def is_heard(self, now: float, limit_s: float) -> bool:
        """Has the database heard of us lately? Who comes back from silence asks first what is so.

        The loop's time stands still while the machine is suspended: that counts as silence.
        """
        if self.beaten_at is None:
            return True
        slept = self._asleep() - self._slept
        return now - self.beaten_at + (slept if slept > SLEPT_LEAST_S else 0) <= limit_s

    def hears_silence(self, now: float, limit_s: float) -> bool:
        """Is somebody's silence his own? Not while we could not be heard ourselves: after an
        outage of the database every heartbeat is old, and whoever came back first would
        declare all others dead."""
        if self.beaten_at is None:
            return True
        return now - self.beaten_at <= limit_s / 2 and now - self.in_touch_since >= limit_s


Stage: TypeAlias = Literal["look", "admit", "feed", "load", "lease", "done", "outbox"]
"""What can be woken: the fields of `Signals`."""


@dataclass(slots=True)
class Signals:
    """One wake-up a stage."""

    look: trio.Event = field(default_factory=trio.Event)
    admit: trio.Event = field(default_factory=trio.Event)
    feed: trio.Event = field(default_factory=trio.Event)
    load: trio.Event = field(default_factory=trio.Event)
    lease: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    outbox: trio.Event = field(default_factory=trio.Event)


class Work:
    """`with` it a stage has something in hand; between two such it sleeps, or is to be woken."""

    def __init__(self) -> None:
        self.n = 0
        self.over = trio.Event()
        """Set whenever nobody has anything in hand any more."""

    def __enter__(self) -> None:
        self.n += 1

    def __exit__(self, *_: object) -> None:
        self.n -= 1
        if not self.n:
            self.over.set()


@dataclass(slots=True)
class First:
    """The versions that are past their first steps; of others, how many SQL knows of and how
    many were done here since."""

    grown: set[int] = field(default_factory=set)
    told: dict[int, int] = field(default_factory=dict)
    untold: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Alone:
    """The individual messages that this daemon has in hand: SQL cannot know which of those that
    it has begun have been given up."""

    starting: int = 0
    """Those whose number is not known here yet."""
    in_hand: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Left:
    """What stays in an account's queue in one round: so many events, and the contacts they are
    about: what comes after them of these stays too.

    A round goes on behind the events that it has seen, over several looks where many stay, and
    takes in what comes meanwhile. `until`: once it has seen all, when the next one begins.
    """

    n: int = 0
    contacts: set[int] = field(default_factory=set)
    after: tuple[int, int] = (0, 0)
    took_s: float = 0.0
    until: float | None = None


class LeaseEvent(NamedTuple):
    """`what` is one of `heartbeat_late accounts_moved claims_swept`; `at` is real time."""

    at: Instant
    what: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """What is no event and yet told among them: a change by hand, a call that was refused."""

    at: Instant
    kind: str
    account_id: int | None
    detail: str
    source: str
    note: str | None = None


@dataclass(slots=True)
class Lately:
    """What was recorded and what was digested lately, and what befell the right to do so, for
    those who look on."""

    recorded: Ring[Change] = field(default_factory=Ring)
    heard: Ring[EventRow | Aside] = field(default_factory=Ring)
    traffic: Traffic = field(default_factory=Traffic)
    failing: list[Failing] = field(default_factory=list)
    """The senders of which much fails, as they were last looked at."""
    leases: deque[LeaseEvent] = field(default_factory=lambda: deque(maxlen=LEASES_KEPT))

    def befell(self, what: str, said: str) -> None:
        """Something has befallen this daemon's heartbeat, its accounts or others' claims."""
        self.leases.append(LeaseEvent(SystemClock().now(), what, said))


@dataclass(slots=True)
class Blocked:
    """Answers of an account that are written apart, so that no other account waits for its rows."""

    changes: list[Change] = field(default_factory=list)
    again_at: float = 0.0
    """The real instant to try again; infinite while that is done."""


@dataclass(eq=False)
class Pipeline:
    """The state that the stages of one daemon share."""

    store: Store
    directory: Directory
    clock: Clock
    incarnation: int
    tuning: Tuning
    metrics: Registry = field(default_factory=Registry)
    journal: Journal = field(default_factory=NoJournal)

    owned: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)
    """Accounts of which a lease is in flight."""
    lanes: Lanes = field(default_factory=Lanes)
    ready: Ready[tuple[Instant, int, int]] = field(default_factory=Ready)
    again: deque[tuple[float, DueKey]] = field(default_factory=deque)
    """Keys that had something in their way, with the real instant to try again."""
    leased: dict[str, deque[Leased]] = field(default_factory=dict)
    """By provider, messages that wait for an idle sender."""
    arrived: dict[str, trio.Event] = field(default_factory=dict)
    """By provider, set when there are more of them."""
    headways: Headways = field(default_factory=Headways)
    stopped: set[int] = field(default_factory=set)
    """Runs that ended while their step was leased: what has not left yet does not leave."""
    done: list[Change] = field(default_factory=list)
    lost: deque[tuple[float, Change]] = field(default_factory=deque)
    """What could not be written in any form, with the real instant to try again."""
    blocked: dict[int, Blocked] = field(default_factory=dict)
    """By account, answers that wait for rows which somebody holds; they are not `unsent`."""
    untold: deque[IndividualEnd] = field(default_factory=deque)
    """What came of individual messages while the database was away."""
    claims: dict[int, int] = field(default_factory=dict)
    """Claims that are open, and how many of their steps are not recorded."""
    unsent: int = 0
    """Steps that are leased and not recorded."""
    asked: int = 0
    """Keys of leases that are not answered yet."""

    written: Written = field(default_factory=Written)
    guard: Guard = field(default_factory=Guard)
    """How much of what senders sent may come back before they are stopped."""
    doubts: dict[str, Policy] = field(default_factory=dict)
    """By provider, what is done about messages of which nobody knows whether they left."""
    unfit: dict[int, set[int]] = field(default_factory=dict)
    """By account, events that this daemon cannot read and nobody may throw away."""
    standstills: list[Standstill] = field(default_factory=list)
    """When nobody was at work: what came due then is paced."""
    pace: dict[int, Bucket] = field(default_factory=dict)
    """Of each account that catches up, how fast."""
    alone: Alone = field(default_factory=Alone)
    first: First = field(default_factory=First)

    signals: Signals = field(default_factory=Signals)
    work: Work = field(default_factory=Work)
    gathering: trio.Lock = field(default_factory=trio.Lock)
    """Held by who waits until a batch of `done` is worth writing."""
    watch: Watch = field(default_factory=Watch)
    counters: Counters = field(default_factory=Counters)
    lately: Lately = field(default_factory=Lately)

    draining: bool = False
    """It is being stopped: nothing more is admitted or leased."""
    leaving: bool = False
    """The time to end is over: what cannot be recorded is left to whoever sweeps."""
    drained: bool = False
    """An operator asked that it lease nothing more; it serves everything else."""
    barred: dict[str, str] = field(default_factory=dict)
    """Why nothing may be leased at all: a word, and what is wrong."""
    buried: trio.Event = field(default_factory=trio.Event)
    """Others have declared this daemon dead: it must end and start anew."""

    def __post_init__(self) -> None:
        self.flow = Flow(self.directory)
        self.wheel = Wheel(self.clock.now(), width=4)

    @property
    def is_heard(self) -> bool:
        """Has the database heard of this daemon lately?"""
        return self.watch.is_heard(trio.current_time(), self.tuning.node_timeout_ms / 1000)

    @property
    def may_lease(self) -> bool:
        return self.is_heard and not (self.draining or self.drained or self.barred)

    def wake(self, name: Stage) -> None:
        """Wake the stage *name*; one that is awake is not told twice."""
        getattr(self.signals, name).set()

    async def wait(self, name: Stage, most_s: float) -> None:
        """Sleep until woken or *most_s* of real time have passed."""
        event: trio.Event = getattr(self.signals, name)
        with trio.move_on_after(most_s):
            await event.wait()
        setattr(self.signals, name, trio.Event())

    @property
    def rests(self) -> bool:
        """No stage has anything in hand, none has been woken, and nothing is on its way out."""
        woken = any(getattr(self.signals, one.name).is_set() for one in fields(Signals))
        return not (self.work.n or self.unsent or woken)

    async def rest(self, most_s: float) -> None:
        """Wait until it rests, at most *most_s* of real time."""
        with trio.move_on_after(most_s):
            while not self.rests:
                if self.work.over.is_set():  # somebody else may wait for the one that is not
                    self.work.over = trio.Event()
                await self.work.over.wait()

    @property
    def room(self) -> int:
        """How many steps may still be leased: what is in flight is the whole back-pressure."""
        return self.tuning.in_flight - self.unsent - self.asked

    def lack(self, provider: str) -> int:
        """How many steps more may be leased for *provider* before enough waits for it."""
        return self.headways.lack(provider, len(self.leased[provider]))

    def settle(self, change: Change) -> None:
        """A leased step has its answer."""
        self.done.append(change)
        if len(self.done) >= self.tuning.batch or len(self.done) == 1:
            self.wake("done")

    def take_done(self) -> list[Change]:
        """Up to a batch of answers."""
        most = self.tuning.batch
        batch, self.done = self.done[:most], self.done[most:]
        return batch

    def closing(self, batch: Sequence[Change]) -> list[int]:
        """Claims that go with the record of *batch*: it has all that is left of them, or nothing
        is. Of two batches in flight neither closes what the other has a step of: where that is
        not recorded after all, nobody would find the step again."""
        left = Counter(change.leased.claim_id for change in batch)
        return [claim for claim, n in self.claims.items() if n == left[claim]]

    def recorded(self, batch: Sequence[Change], closed: Sequence[int]) -> None:
        """*batch* is on record, and its claims *closed*."""
        self.unsent -= len(batch)
        for change in batch:
            claim = change.leased.claim_id
            if claim in self.claims:
                self.claims[claim] -= 1
        for claim in closed:
            self.claims.pop(claim, None)
        if not (self.unsent or self.asked):  # those that are left were others' to send
            self.stopped.clear()

    @property
    def has_records(self) -> bool:
        """Is there anything to record, or a claim to close?"""
        return bool(self.done) or 0 in self.claims.values()
