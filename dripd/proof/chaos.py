"""Do the promises hold while everything breaks? Daemons killed, frozen and cut off, for minutes.

Enrollments come in all the time, contacts stop some of them, a share of the provider's answers
is faulty, Postgres loses connections and restarts. Then the faults stop, what is due drains,
and the checker looks at what the sink and SQL say. Every choice is drawn from a seed; what the
operating system makes of it is not repeated.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
import tempfile
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from dripd.proof import scene, witness
from dripd.proof.checker import check
from dripd.proof.fleet import (
    SECRET,
    TELLS,
    Database,
    Process,
    daemon,
    free_address,
    running_sink,
)
from dripd.proof.found import PROMISES, Injected
from dripd.proof.proxy import Proxies, Proxy, Way

NODES: Final = 4
ACCOUNTS: Final = 20
STEPS: Final = 3

BEHIND_PROXIES: Final = 2
"""Daemons whose links to database and provider are disturbed; a proxy in Python costs CPU."""

STEPS_A_RUN: Final = 2
"""What a run comes to, with those that a reply or a cap cuts short."""

A_MINUTE: Final = {
    "kill9": 32.0,
    "sigstop": 11.0,
    "terminated": 11.0,
    "toxics": 8.0,
    "clock_steps": 4.0,
    "restarts": 1.1,
}
"""Faults of each kind a minute: 300 kill -9 in ten minutes need one every two seconds."""

TOXIC_S: Final = (0.5, 3.0)

PATIENCE_S: Final = 0.5
"""For which the injector waits for a daemon's gateway."""

NOT_KEPT: Final = shutil.ignore_patterns("*.sock", "pg*")

STOPPED_FOR_S: Final = (1.2, 3.0)
"""Beyond the heartbeat limit of a second: who wakes has been declared dead."""

EVERY_S: Final = {"stop": 1.0, "suppress": 3.0, "rename": 2.0, "tell": 0.2, "look": 5.0}
"""How often, in seconds, each of these is done besides the faults."""

STOP_SQL: Final = """
WITH picked AS (
    SELECT account_id, contact_id FROM dripd.run
    WHERE status = 1 AND contact_id % 10 = $1::int AND NOT (contact_id = ANY ($2::int8[]))
    LIMIT 20
)
INSERT INTO dripd.event_in (account_id, contact_id, kind, dedup_key)
SELECT account_id, contact_id, 'reply', 'r' || contact_id FROM picked, generate_series(1, 1 + (contact_id % 4 = 0)::int)
RETURNING contact_id
"""
"""Some of them are told twice."""

SUPPRESS_SQL: Final = """
WITH picked AS (
    SELECT r.account_id, r.contact_id, c.email
    FROM dripd.run AS r
    JOIN dripd.contact AS c ON c.account_id = r.account_id AND c.id = r.contact_id
    WHERE r.status = 1 AND r.contact_id % 10 = $1::int
    LIMIT 5
), put AS (
    INSERT INTO dripd.suppression (account_id, channel, address)
    SELECT account_id, 'email', upper(email) FROM picked
    ON CONFLICT DO NOTHING
)
SELECT contact_id FROM picked
"""

RENAME_SQL: Final = """
UPDATE dripd.contact AS c SET attrs = jsonb_build_object('first_name', $1::text)
FROM (SELECT account_id, contact_id FROM dripd.due_step WHERE flags & 128 <> 0 OR attempt > 0 LIMIT 20) AS d
WHERE c.account_id = d.account_id AND c.id = d.contact_id
"""
"""Contacts whose message is being sent again get another name."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """How long, how much, how bad."""

    minutes: float
    steps: int
    faults: float
    seed: int
    drain_s: float = 600.0
    heartbeat_ms: int = 1_000
    keep: Path | None = None
    """Where logs and configuration stay for whoever asks afterwards."""


@dataclass(slots=True)
class Chaos:
    """One run under way."""

    plan: Plan
    database: Database
    fleet: list[Process]
    dice: random.Random
    say: Callable[[str], None]
    faults: Counter[str] = field(default_factory=Counter)
    stops: list[tuple[int, int]] = field(default_factory=list)
    suppressed: list[tuple[int, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    sightings: list[str] = field(default_factory=list)
    asleep: dict[int, float] = field(default_factory=dict)
    folder: Path = Path()
    proxies: Sequence[Proxy] = ()
    poisoned: dict[int, float] = field(default_factory=dict)
    enrolled: int = 0
    deployment: str = ""

    def run(self) -> None:
        """The faults, for `minutes`; every daemon is kept running as a service manager would."""
        total = self.plan.steps // STEPS_A_RUN
        deck = self._deck()
        began = time.monotonic()
        span = self.plan.minutes * 60
        next_fault = began
        deeds = {
            "stop": self._stop_some, "suppress": self._suppress_some, "rename": self._rename_some,
            "tell": self._tell, "look": self._look,
        }  # fmt: skip
        due = dict.fromkeys(deeds, began + 2)
        pause = (span - 5) / max(1, len(deck))
        while (passed := time.monotonic() - began) < span:
            self._wake()
            self._heal()
            for at, one in enumerate(self.fleet):
                if at not in self.asleep:
                    one.keep()
            wanted = min(total, int(total * passed / (span * 0.8)) + 1)
            if wanted > self.enrolled:
                self._enroll(wanted)
            for name, do in deeds.items():
                if time.monotonic() > due[name]:
                    do()
                    due[name] = time.monotonic() + EVERY_S[name]
            if deck and time.monotonic() > next_fault and passed < span - 3:
                kind = deck.pop()
                if not self._fault(kind):
                    deck.insert(self.dice.randrange(len(deck) + 1), kind)
                next_fault = max(next_fault + pause, time.monotonic() - 10 * pause)
            time.sleep(0.05)
        self._enroll(total)
        self._wake(everyone=True)
        self._heal(everyone=True)

    def _deck(self) -> list[str]:
        """Every fault of the run, shuffled."""
        deck = [
            kind
            for kind, rate in A_MINUTE.items()
            for _ in range(math.ceil(rate * self.plan.minutes - 0.5))
        ]
        self.dice.shuffle(deck)
        return deck

    def drain(self) -> bool:
        """No more faults: everything that may go must go. False: it did not in time."""
        end, calm = time.monotonic() + self.plan.drain_s, 0
        while time.monotonic() < end and calm < 3:
            for one in self.fleet:
                one.keep()
            busy = self._try(scene.BUSY_SQL)
            calm = calm + 1 if busy and busy[0]["n"] == 0 else 0
            time.sleep(0.5)
        return calm >= 3

    def done(self) -> Injected:
        """What the checker is to know of it."""
        return Injected(
            requests=self.enrolled, stops=self.stops, suppressed=self.suppressed,
            told=self.told, sightings=self.sightings,
        )  # fmt: skip

    def _try(self, text: str, *args: object) -> list[Any] | None:
        """One statement; None where the database is away just now."""
        try:
            return self.database.fetch(text, *args)
        except Exception as error:
            self.say(f"the database is away: {type(error).__name__}")
            return None

    def _enroll(self, up_to: int) -> None:
        """Ask for enrollments up to that number; in doubt, look whether it was committed."""
        first = self.enrolled + 1
        while self._try(scene.ENROLL_SQL, first, up_to, ACCOUNTS) is None:
            time.sleep(0.5)
            there = self._try("SELECT FROM dripd.contact WHERE external_id = $1", f"c{up_to}")
            if there:
                break
        self.enrolled = up_to

    def _stop_some(self) -> None:
        known = [contact for contact, _ in self.stops]
        self._bar(self.stops, STOP_SQL, self.dice.randrange(10), known[-5000:])

    def _suppress_some(self) -> None:
        self._bar(self.suppressed, SUPPRESS_SQL, self.dice.randrange(10))

    def _bar(self, barred: list[tuple[int, int]], text: str, *args: object) -> None:
        rows = self._try(text, *args)
        at = time.time_ns() // 1_000_000  # noqa: TID251 - the injector's own clock
        barred += [(row["contact_id"], at) for row in rows or ()]

    def _rename_some(self) -> None:
        self._try(RENAME_SQL, f"Ann {self.dice.randrange(1_000)}")

    def _look(self) -> None:
        self.sightings += [row["found"] for row in self._try(witness.LIVE) or ()]

    def _tell(self) -> None:
        """A provider tells a daemon of a message that was opened, perhaps of one not yet sent."""
        awake = [one for at, one in enumerate(self.fleet) if at not in self.asleep]
        name = f"o{len(self.told)}-{self.dice.randrange(10**9)}"
        run = self.dice.randint(1, max(1, self.enrolled))
        key = f"dripd:{self.deployment}:{run}:1:s1"
        if awake and tell(self.dice.choice(awake).gateway, name, key):
            self.told.append(f"{TELLS}:{name}")

    def _fault(self, kind: str) -> bool:
        """One fault of *kind*; False: there was nobody to meet it."""
        awake = [at for at in range(len(self.fleet)) if at not in self.asleep]
        awake = [at for at in awake if self.fleet[at].is_up]
        if kind == "kill9" and awake:
            self.fleet[self.dice.choice(awake)].kill()
        elif kind == "sigstop" and len(awake) > 1:
            at = self.dice.choice(awake)
            self.fleet[at].send(signal.SIGSTOP)
            self.asleep[at] = time.monotonic() + self.dice.uniform(*STOPPED_FOR_S)
        elif kind == "terminated" and not self._try(scene.CUT_SQL, 1):
            return False
        elif kind == "toxics":
            self._poison()
        elif kind == "clock_steps":
            self._step_clock()
        elif kind == "restarts":
            self.dice.choice((self.database.crash, self.database.restart))()
        elif kind != "terminated":
            return False
        self.faults[kind] += 1
        return True

    def _step_clock(self) -> None:
        """The wall clock of one host is suddenly somewhere else, by up to two days."""
        ahead_s = self.dice.choice((-1, 1)) * 10 ** self.dice.uniform(0, 5.2)
        skew_file(self.folder, self.dice.randrange(NODES)).write_text(f"{ahead_s * 1000:.0f}")

    def _poison(self) -> None:
        """Something goes wrong on one link of one daemon, mostly one way only."""
        at = self.dice.randrange(len(self.proxies))
        proxy = self.proxies[at]
        ways: tuple[Way, ...] = self.dice.choice((("up",), ("down",), ("up", "down")))
        match self.dice.randrange(6):
            case 0:
                proxy.reset_soon()
            case 1:
                proxy.refuses = True
            case 2:
                _poison(proxy, ways, latency_s=self.dice.uniform(0.05, 0.5))
            case 3:
                _poison(proxy, ways, black_hole=True)
            case 4:
                _poison(proxy, ways, limit=self.dice.randrange(5_000))
            case _:
                _poison(proxy, ways, drip_bytes=200, drip_s=0.02)
        self.poisoned[at] = time.monotonic() + self.dice.uniform(*TOXIC_S)

    def _heal(self, *, everyone: bool = False) -> None:
        for at, until in list(self.poisoned.items()):
            if everyone or time.monotonic() > until:
                self.proxies[at].heal()
                del self.poisoned[at]

    def _wake(self, *, everyone: bool = False) -> None:
        for at, until in list(self.asleep.items()):
            if everyone or time.monotonic() > until:
                self.fleet[at].send(signal.SIGCONT)
                del self.asleep[at]


def tell(gateway: str, name: str, key: str) -> bool:
    """Post an event to a daemon as Postmark does. True: it was answered 2xx."""
    body = {"RecordType": "Open", "ID": name, "Metadata": {"dripd_key": key}}
    headers = {"Authorization": f"Basic {b64encode(b'x:' + SECRET.encode()).decode()}"}
    link = HTTPConnection(gateway, timeout=PATIENCE_S)
    try:
        link.request("POST", f"/hooks/{TELLS}", json.dumps(body), headers)
        return link.getresponse().status == 200
    except (OSError, HTTPException):  # it is dead, frozen, or just starting
        return False
    finally:
        link.close()


def _poison(proxy: Proxy, ways: Sequence[Way], **toxics: float) -> None:
    for way in ways:
        proxy.poison(way, **toxics)


def run(plan: Plan, say: Callable[[str], None]) -> dict[str, object]:
    """One run from nothing to the verdict: what `--json` shows."""
    began = time.monotonic()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="dripd-chaos-")))
        if plan.keep is not None:
            kept = partial(shutil.copytree, dirs_exist_ok=True, ignore=NOT_KEPT)
            opened.callback(kept, folder, plan.keep)
        database = opened.enter_context(Database(folder))
        running = running_sink(folder, faults=plan.faults, seed=plan.seed)
        sink, url, log = opened.enter_context(running)
        proxies = opened.enter_context(Proxies())
        fleet, disturbed = _fleet(folder, database, url, proxies)
        for one in fleet:
            opened.enter_context(one)
        _prepare(database, folder, fleet[-1], plan)
        dice = random.Random(plan.seed)
        chaos = Chaos(plan, database, fleet, dice, say, folder=folder, proxies=disturbed)
        chaos.deployment = database.fetch("SELECT id FROM dripd.deployment")[0]["id"]
        chaos.run()
        say("the faults are over; it drains")
        drained = chaos.drain()
        codes = [one.stop() for one in fleet]
        sink.stop()
        found = check(database.dsn, log, chaos.done())
    faults = {kind: chaos.faults[kind] for kind in A_MINUTE}
    counts = {promise: found.counts[promise] for promise in PROMISES}
    return {
        "seed": plan.seed,
        "faults": faults,
        "steps": found.deliveries,
        **counts,
        "unknown": found.unknown,
        "unknown_accepted": found.unknown_accepted,
        "ok": drained and not any(counts.values()),
        "drained": drained,
        "stops": len(chaos.stops),
        "suppressed": len(chaos.suppressed),
        "events_told": len(chaos.told),
        "late_ms": found.late_ms,
        "least_share": found.least_share,
        "enrollments": chaos.enrolled,
        "daemons": NODES,
        "ended": ends(fleet),
        "exits": codes,
        "heartbeat_limit_ms": plan.heartbeat_ms,
        "faulty_answers": plan.faults,
        "seconds": round(time.monotonic() - began, 1),
        "examples": {
            promise: found.examples[promise] for promise in PROMISES if counts[promise]
        },
    }


def ends(fleet: Sequence[Process]) -> dict[str, int]:
    """How often daemons ended by themselves, by exit code and reason."""
    told = (f"{end.code}: {end.why}" for daemon in fleet for end in daemon.ends)
    return dict(Counter(told).most_common(20))


def _fleet(
    folder: Path, database: Database, url: str, proxies: Proxies
) -> tuple[list[Process], list[Proxy]]:
    """The daemons, and the links of some of them that can be disturbed."""
    fleet, disturbed = [], []
    port = int(url.rpartition(":")[2])
    for no in range(NODES):
        dsn, provider = database.dsn, url
        if no >= NODES - BEHIND_PROXIES:
            to_database, at = proxies.lead(database.socket)
            dsn = database.dsn_at(at)
            to_sink, at = proxies.lead(("127.0.0.1", port))
            provider = f"http://127.0.0.1:{at}"
            disturbed += [to_database, to_sink]
        skew = skew_file(folder, no)
        fleet.append(daemon(folder, no, dsn, provider, skew=skew, gateway=free_address()))
    return fleet, disturbed


def skew_file(folder: Path, no: int) -> Path:
    """By how much the host of daemon *no* is off."""
    return folder / f"d{no}.skew"


def _prepare(database: Database, folder: Path, first: Process, plan: Plan) -> None:
    """Accounts and campaigns: half of them under a cap that is too small, some with a window."""
    opens = datetime.now(UTC) + timedelta(minutes=1)  # noqa: TID251 - a window of real time
    closes = opens + timedelta(minutes=max(1, plan.minutes / 2))
    window = f'window: {{from: "{opens:%H:%M}", to: "{closes:%H:%M}"}}\n'
    scene.prepare(
        database,
        folder,
        first,
        accounts=ACCOUNTS,
        steps=STEPS,
        cap=max(1, plan.steps // ACCOUNTS * 9 // 10),
        windows=window if opens.date() == closes.date() else "",
    )
