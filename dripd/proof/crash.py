"""What does a step come to when its daemon breaks at a certain point? Every point, every way.

A daemon that has failpoints (`daemon.failpoint`) is broken at one point at a time while a
healthy one stands by; within a request a proxy holds the bytes up instead. Afterwards
everything must drain, and the checker must find every promise kept. It knows nothing of what
the daemon did but the sink's log and SQL.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from dripd.proof import scene
from dripd.proof.checker import check
from dripd.proof.fleet import Database, daemon, running_sink
from dripd.proof.found import PROMISES, Injected
from dripd.proof.proxy import Proxies, Trap

POINTS: Final = ("K0", "K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K10")

WAYS: Final = ("kill9", "sigstop", "dropped", "crash")
"""kill -9, SIGSTOP beyond the heartbeat limit, its connections cut, Postgres ended at once."""

IN_REQUEST: Final = {"K5": ("up", b"POST", 60), "K6": ("down", b"HTTP/1.1", 0)}
"""Points that a proxy makes: which way, what goes by, how much of it is let through."""

SLOW: Final = ("sigstop", "crash")
"""Ways that take some seconds: a sample has fewer of them."""

SPREAD: Final = ("kill9", "dropped", "kill9", "dropped", "sigstop", "kill9", "dropped", "crash")

ACTIONS: Final = {"kill9": "kill", "sigstop": "stop", "dropped": "wait", "crash": "wait"}

ACCOUNTS: Final = 8

HIT_S: Final = 10.0
"""How long a case may take until its point is reached; then more work is given."""

TRIES: Final = 6
"""How often: on a busy machine a daemon takes half a minute to start."""

BURIED_S: Final = 6.0

DRAIN_S: Final = 200.0
"""What a busy machine kept from being sent in time is tried again after one and two minutes."""


@dataclass(frozen=True, slots=True)
class Case:
    point: str
    way: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`hit`: the point was reached. `broken`: promises that were not kept, and how often."""

    case: Case
    hit: bool
    drained: bool
    broken: dict[str, int]
    unknown: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.hit and self.drained and not self.broken


def cases(n: int = 0, seed: int = 1) -> list[Case]:
    """All of them; or a sample of *n* that has every point and every way in it."""
    everything = [Case(point, way) for way in WAYS for point in POINTS]
    if not n:
        return everything
    dice = random.Random(seed)
    first = [Case(point, SPREAD[at % len(SPREAD)]) for at, point in enumerate(POINTS)]
    rest = [one for one in everything if one not in first]
    slow = [one for one in rest if one.way in SLOW]
    quick = [one for one in rest if one.way not in SLOW]
    n_slow = max(0, n - len(first)) // 3
    chosen = {*first[:n], *dice.sample(slow, n_slow)}
    chosen |= set(dice.sample(quick, max(0, n - len(chosen))))
    return [one for one in everything if one in chosen]


def run(which: Sequence[Case], say: Callable[[str], None]) -> dict[str, object]:
    """Play *which*, one after the other; the verdict on each, and on all."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dripd-crash-") as name, Stage(Path(name)) as stage:
        verdicts = []
        for case in which:
            verdict = stage.play(case)
            verdicts.append(verdict)
            say(line(verdict))
    counts = Counter[str]()
    for verdict in verdicts:
        counts.update(verdict.broken)
    return {
        "cases": len(verdicts),
        "kept": sum(verdict.ok for verdict in verdicts),
        "missed": [f"{v.case.point} {v.case.way}" for v in verdicts if not v.hit],
        **{promise: counts[promise] for promise in PROMISES},
        "unknown": sum(verdict.unknown for verdict in verdicts),
        "seconds": round(time.monotonic() - began, 1),
        "ok": all(verdict.ok for verdict in verdicts),
    }


def line(verdict: Verdict) -> str:
    """A row of the table."""
    told = (
        "kept"
        if verdict.ok
        else f"hit {verdict.hit} drained {verdict.drained} {verdict.broken}"
    )
    case = verdict.case
    return f"{case.point:4} {case.way:8} {told:24} unknown {verdict.unknown}  {verdict.seconds:.1f} s"


class Stage:
    """A database, a sink, a daemon to break and one that stands by."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._order = folder / "failpoint"
        self._hit = folder / "failpoint.hit"
        self._enrolled = 0
        self._counts: Counter[str] = Counter()
        self._unknown = 0
        self._proxies = Proxies()

    def __enter__(self) -> Self:
        with ExitStack() as opened:  # what was opened is closed again if the rest cannot be
            self._database = opened.enter_context(Database(self._folder))
            sink = running_sink(self._folder, faults=0, seed=1)
            _, url, self._log = opened.enter_context(sink)
            opened.enter_context(self._proxies)
            self._proxy, port = self._proxies.lead(("127.0.0.1", int(url.rpartition(":")[2])))
            dsn, env = self._database.dsn, {"DRIPD_FAILPOINT": f"file:{self._order}"}
            proxied = f"http://127.0.0.1:{port}"
            broken = daemon(self._folder, 0, dsn, proxied, env=env)
            self._broken = opened.enter_context(broken)
            self._sound = opened.enter_context(daemon(self._folder, 1, dsn, url))
            scene.prepare(
                self._database, self._folder, self._broken, accounts=ACCOUNTS, steps=1
            )
            self._sound.start()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def play(self, case: Case) -> Verdict:
        """One case, from two daemons at work to the verdict."""
        began = time.monotonic()
        self._until(self._both_work, DRAIN_S)
        trap = self._arm(case)
        hit = self._reach(case, trap)
        if hit:
            self._strike(case)
        self._order.unlink(missing_ok=True)
        self._hit.unlink(missing_ok=True)
        if trap is not None:
            self._proxies.do(self._disarm)
            trap.released.set()
        drained = self._until(self._is_calm, DRAIN_S)
        return self._judge(case, began, hit=hit, drained=drained)

    def _arm(self, case: Case) -> Trap | None:
        if case.point in IN_REQUEST:
            trap = Trap(*IN_REQUEST[case.point])  # type: ignore[arg-type]  # the table is typed loosely
            self._proxy.trap = trap
            return trap
        unseen = self._order.with_suffix(".new")
        unseen.write_text(f"{case.point}:{ACTIONS[case.way]}")
        unseen.rename(self._order)
        return None

    def _disarm(self) -> None:
        self._proxy.trap = None

    def _reach(self, case: Case, trap: Trap | None) -> bool:
        """Give work until the point is reached, and keep the daemon that is to reach it."""

        def is_hit() -> bool:
            self._broken.keep()  # it may have been declared dead for its slowness
            return self._hit.exists() if trap is None else trap.sprung.is_set()

        for _ in range(TRIES):
            first, self._enrolled = self._enrolled + 1, self._enrolled + ACCOUNTS
            self._database.fetch(scene.ENROLL_SQL, first, self._enrolled, ACCOUNTS)
            if self._until(is_hit, HIT_S):
                return True
        return False

    def _strike(self, case: Case) -> None:
        match case.way:
            case "kill9":
                self._broken.kill()
                self._broken.start()
            case "sigstop":
                self._broken.send(signal.SIGSTOP)
                self._until(self._is_buried, BURIED_S)
                self._broken.send(signal.SIGCONT)
            case "dropped":
                self._database.fetch(scene.CUT_SQL, 100)
            case _:
                self._database.crash()

    def _both_work(self) -> bool:
        """Two daemons have a heartbeat, and none is ending."""
        self._broken.keep()
        self._sound.keep()
        return self._count(ALIVE_SQL) == 2

    def _is_buried(self) -> bool:
        return self._count(NOT_DEAD_SQL) == 0

    def _is_calm(self) -> bool:
        self._broken.keep()
        self._sound.keep()
        return self._count(scene.BUSY_SQL) == 0

    def _count(self, statement: str) -> int:
        """What *statement* counts; -1 while the database is away."""
        try:
            return int(self._database.fetch(statement)[0]["n"])
        except Exception:  # it is starting
            return -1

    def _until(self, is_so: Callable[[], bool], most_s: float) -> bool:
        end = time.monotonic() + most_s
        while not is_so():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _judge(self, case: Case, began: float, *, hit: bool, drained: bool) -> Verdict:
        """What this case added to what was found before."""
        found = check(self._database.dsn, self._log, Injected(requests=self._enrolled))
        counts = Counter({promise: found.counts[promise] for promise in PROMISES})
        broken, self._counts = counts - self._counts, counts
        unknown, self._unknown = found.unknown - self._unknown, found.unknown
        seconds = time.monotonic() - began
        return Verdict(case, hit, drained, dict(broken), unknown, seconds)


NOT_DEAD_SQL: Final = "SELECT count(*) AS n FROM dripd.node WHERE name = 'd0' AND NOT dead"

ALIVE_SQL: Final = """
SELECT count(*) AS n FROM dripd.node WHERE NOT dead AND beat_at > clock_timestamp() - interval '0.9 s'
"""
