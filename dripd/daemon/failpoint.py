"""Where can this daemon be made to fail? Its crash points, for proofs alone.

    DRIPD_FAILPOINT=POINT[:N]:ACTION    break at the Nth passage (the first) of POINT
    DRIPD_FAILPOINT=file:PATH           the same, read from PATH at every passage; PATH becomes
                                        PATH.hit when it strikes

ACTION is `kill` (SIGKILL to itself), `stop` (SIGSTOP) or `wait` (stand still until PATH.hit is
gone; an acknowledgement that was under way is then lost). Without the variable nothing of this
is built in: the points are at the seams of the store and the journal, not on the hot path.
K5 and K6, within a request, lie beyond these seams: a proxy holds the bytes up (`proof.proxy`).
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from dripd.campaigns.enrollment import Change, Leased
from dripd.campaigns.event import Outcome
from dripd.daemon.journal import FileJournal, Soon
from dripd.engine.intent import Leave
from dripd.errors import ConfigError, InDoubt
from dripd.log import get
from dripd.metrics import Registry
from dripd.store.bridge import Bridge
from dripd.store.postgres import PostgresStore
from dripd.store.protocol import Decide, LeaseGroup, LeaseResult, Recorded

T = TypeVar("T")

VARIABLE: Final = "DRIPD_FAILPOINT"

POINTS: Final = {
    "K0": "a lease is about to be asked for",
    "K1": "a lease is committed, its acknowledgement is not here yet",
    "K2": "a lease is acknowledged, nothing else has happened",
    "K3": "a lease whose acknowledgement was lost is about to be settled",
    "T": "a step over which a daemon has died is performed",
    "K4": "a message is about to be written to the journal",
    "K7": "an answer has been read and is nowhere else",
    "K8": "an answer is in the journal, not in the database",
    "K9": "a record is committed, its acknowledgement is not here yet",
    "K10": "a record is acknowledged",
}

AROUND: Final = {"lease": ("K0", "K1"), "settle_claim": ("K3", ""), "record": ("", "K9")}
"""Units of work of the store, and the points before and after each."""

ACTIONS: Final = ("kill", "stop", "wait")

WAIT_MOST_S: Final = 60.0

log = get("daemon")


@dataclass(frozen=True, slots=True)
class Order:
    """Break at the *nth* passage of *point*."""

    point: str
    nth: int
    action: str

    @classmethod
    def parse(cls, text: str) -> Order:
        """Raises `ConfigError` for what is no order."""
        point, _, rest = text.strip().partition(":")
        number, _, action = rest.rpartition(":")
        nth = number or "1"
        if point not in POINTS or action not in ACTIONS or not nth.isdigit():
            known = f"{', '.join(POINTS)}; {', '.join(ACTIONS)}"
            raise ConfigError(f"{VARIABLE}={text}: expected POINT[:N]:ACTION", hint=known)
        return cls(point, int(nth), action)


class Failpoint:
    """Counts passages and breaks at the one that is ordered, once."""

    def __init__(self, text: str) -> None:
        kind, _, rest = text.partition(":")
        self._file = Path(rest) if kind == "file" else None
        self._order = None if self._file is not None else Order.parse(text)
        self._passed: Counter[str] = Counter()

    def order(self) -> Order | None:
        """What is ordered just now."""
        if self._file is None:
            return self._order
        try:
            return Order.parse(self._file.read_text())
        except FileNotFoundError:
            return None

    def pass_by(self, point: str) -> bool:
        """The daemon comes past *point*. True: what is under way there is to be lost."""
        order = self.order()
        if order is None or order.point != point:
            return False
        self._passed[point] += 1
        if self._passed[point] < order.nth:
            return False
        self._passed.clear()
        self._strike(order)
        return order.action == "wait"

    def loses(self, point: str) -> bool:
        """Is an acknowledgement to be lost so that *point* is reached?"""
        order = self.order()
        return order is not None and order.point == point

    def _strike(self, order: Order) -> None:
        hit = None
        if self._file is not None:
            hit = self._file.with_name(f"{self._file.name}.hit")
            self._file.rename(hit)
        self._order = None
        log.warning("daemon.failing", point=order.point, action=order.action)
        if order.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        end = time.monotonic() + WAIT_MOST_S
        while order.action == "wait" and hit is not None and time.monotonic() < end:
            if not hit.exists():
                break
            time.sleep(0.01)


class FailingStore(PostgresStore):
    """A store that breaks around its leases and records."""

    def __init__(
        self,
        bridge: Bridge,
        dsn: str,
        metrics: Registry,
        patience_s: float,
        failpoint: Failpoint,
    ) -> None:
        super().__init__(bridge, dsn, metrics, patience_s=patience_s)
        self._failpoint = failpoint

    async def _cross(self, name: str, unit: Callable[[], Awaitable[T]]) -> T:
        if name not in AROUND:
            return await super()._cross(name, unit)
        before, after = AROUND[name]

        async def breaking() -> T:
            self._failpoint.pass_by(before)
            result = await unit()
            if self._failpoint.pass_by(after) or (
                name == "lease" and self._failpoint.loses("K3")
            ):
                raise InDoubt("an acknowledgement was lost on purpose")
            return result

        return await super()._cross(name, breaking)

    async def lease(
        self, incarnation: int, groups: Sequence[LeaseGroup], lease_ahead_ms: int
    ) -> LeaseResult:
        result = await super().lease(incarnation, groups, lease_ahead_ms)
        if result.granted:
            self._failpoint.pass_by("K2")
        return result

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        result = await super().record(changes, decide, closed)
        self._failpoint.pass_by("K10")
        return result


class FailingJournal(FileJournal):
    """A journal that breaks before its intents, and around its answers."""

    def __init__(
        self, folder: Path, incarnation: int, soon: Soon, fsync: str, failpoint: Failpoint
    ) -> None:
        super().__init__(folder, incarnation, soon, fsync)
        self._failpoint = failpoint

    def intend(self, steps: Sequence[Leased], marks: Sequence[str] = ()) -> Leave:
        self._failpoint.pass_by("K4")
        return super().intend(steps, marks)

    def depart(self, number: int) -> Leave:
        self._failpoint.pass_by("K4")
        return super().depart(number)

    def arrive(self, number: int, outcome: Outcome, to: str) -> None:
        self._failpoint.pass_by("K7")
        super().arrive(number, outcome, to)

    def begin(self, leased: Leased) -> None:
        super().begin(leased)
        self._failpoint.pass_by("T")

    def answer(self, leased: Leased, outcome: Outcome) -> None:
        self._failpoint.pass_by("K7")
        super().answer(leased, outcome)

    def _flush(self) -> None:
        n = len(self._answers)
        super()._flush()
        if n:
            self._failpoint.pass_by("K8")


def open_store(bridge: Bridge, dsn: str, metrics: Registry, patience_s: float) -> PostgresStore:
    """The store; one that breaks where the environment orders it."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return PostgresStore(bridge, dsn, metrics, patience_s=patience_s)
    return FailingStore(bridge, dsn, metrics, patience_s, Failpoint(text))


def open_journal(folder: Path, incarnation: int, soon: Soon, fsync: str) -> FileJournal:
    """The journal; one that breaks where the environment orders it."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return FileJournal(folder, incarnation, soon, fsync)
    return FailingJournal(folder, incarnation, soon, fsync, Failpoint(text))
