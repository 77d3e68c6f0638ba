"""Do the promises hold while everything breaks? Daemons killed, frozen and cut off, for minutes.

Enrollments come in all the time, contacts stop some of them, a share of the provider's answers
is faulty, Postgres loses connections and restarts. Then the faults stop, what is due drains,
and the checker looks at what the sink and SQL say. Every choice is drawn from a seed; what the
operating system makes of it is not repeated.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from dripd.proof.checker import PROMISES, check
from dripd.proof.fleet import DRIPD, Database, Process, daemons, start_sink

NODES: Final = 4
ACCOUNTS: Final = 20
STEPS: Final = 3

WEIGHTS: Final = {"kill9": 30, "sigstop": 11, "terminated": 11, "restarts": 1}
"""How often each fault is drawn: 300 kill -9 in ten minutes need one every two seconds."""

NOT_KEPT: Final = shutil.ignore_patterns("*.sock", "pg*")

STOPPED_FOR_S: Final = (1.2, 3.0)
"""Beyond the heartbeat limit of a second: who wakes has been declared dead."""

SEED_SQL: Final = """
INSERT INTO dripd.plan (key, daily_email_cap) VALUES ('chaos', $1)
"""

ACCOUNT_SQL: Final = """
WITH made AS (
    INSERT INTO dripd.account (key, name, plan) VALUES ($1, $1, $2) RETURNING id
)
INSERT INTO dripd.sender (account_id, address, provider)
SELECT id, 'hello@' || $1 || '.test', $3 FROM made
"""

ENROLL_SQL: Final = """
WITH made AS (
    INSERT INTO dripd.contact (account_id, external_id, email)
    SELECT a.id, 'c' || n, 'c' || n || '@' || a.key || '.test'
    FROM generate_series($1::int, $2::int) AS n
    JOIN dripd.account AS a ON a.key = 'a' || (n % $3::int)
    RETURNING account_id, id
)
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id)
SELECT account_id, 'chaos', id FROM made
"""

STOP_SQL: Final = """
WITH picked AS (
    SELECT account_id, contact_id FROM dripd.run
    WHERE status = 1 AND contact_id % 10 = $1::int AND NOT (contact_id = ANY ($2::int8[]))
    LIMIT 20
)
INSERT INTO dripd.event_in (account_id, contact_id, kind)
SELECT account_id, contact_id, 'reply' FROM picked
RETURNING contact_id
"""

BUSY_SQL: Final = """
SELECT (SELECT count(*) FROM dripd.enroll_request WHERE status = 'pending')
    + (SELECT count(*) FROM dripd.event_in)
    + (SELECT count(*) FROM dripd.claim)
    + (SELECT count(*) FROM dripd.enrollment
        WHERE status IN ('waiting', 'executing') OR status = 'held' AND hold_reason NOT IN ('cap', 'window')) AS n
"""

CUT_SQL: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'dripd' ORDER BY random() LIMIT 1
"""

CAMPAIGN: Final = """\
campaign: chaos
account: {account}
name: Chaos
sender: hello@{account}.test
{window}steps:
  - {{key: s1, do: email, subject: One, text: One}}
  - {{key: s2, do: email, delay: 2s, subject: Two, text: Two}}
  - {{key: s3, do: email, delay: 2s, subject: Three, text: Three}}
"""


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
    asleep: dict[int, float] = field(default_factory=dict)
    enrolled: int = 0

    def run(self) -> None:
        """The faults, for `minutes`; every daemon is kept running as a service manager would."""
        total = self.plan.steps // STEPS
        began = time.monotonic()
        span = self.plan.minutes * 60
        next_fault, next_stop = began, began + 2
        pause = span / max(1, round(self.plan.minutes * 53))
        while (passed := time.monotonic() - began) < span:
            self._wake()
            for at, daemon in enumerate(self.fleet):
                if at not in self.asleep:
                    daemon.keep()
            wanted = min(total, int(total * passed / (span * 0.8)) + 1)
            if wanted > self.enrolled:
                self._enroll(wanted)
            if time.monotonic() > next_stop:
                self._stop_some()
                next_stop = time.monotonic() + 1
            if time.monotonic() > next_fault and passed < span - 3:
                self._fault()
                next_fault = max(next_fault + pause, time.monotonic() - 3 * pause)
            time.sleep(0.05)
        self._enroll(total)
        self._wake(everyone=True)

    def drain(self) -> bool:
        """No more faults: everything that may go must go. False: it did not in time."""
        end, calm = time.monotonic() + self.plan.drain_s, 0
        while time.monotonic() < end and calm < 3:
            for daemon in self.fleet:
                daemon.keep()
            busy = self._try(BUSY_SQL)
            calm = calm + 1 if busy and busy[0]["n"] == 0 else 0
            time.sleep(0.5)
        return calm >= 3

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
        while self._try(ENROLL_SQL, first, up_to, ACCOUNTS) is None:
            time.sleep(0.5)
            there = self._try("SELECT FROM dripd.contact WHERE external_id = $1", f"c{up_to}")
            if there:
                break
        self.enrolled = up_to

    def _stop_some(self) -> None:
        known = [contact for contact, _ in self.stops]
        rows = self._try(STOP_SQL, self.dice.randrange(10), known[-5000:])
        at = time.time_ns() // 1_000_000  # noqa: TID251 - the injector's own clock
        self.stops += [(row["contact_id"], at) for row in rows or ()]

    def _fault(self) -> None:
        kind = self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        awake = [at for at in range(len(self.fleet)) if at not in self.asleep]
        if kind == "kill9" and awake:
            self.fleet[self.dice.choice(awake)].kill()
        elif kind == "sigstop" and len(awake) > 1:
            at = self.dice.choice(awake)
            self.fleet[at].send(signal.SIGSTOP)
            self.asleep[at] = time.monotonic() + self.dice.uniform(*STOPPED_FOR_S)
        elif kind == "terminated":
            if not self._try(CUT_SQL):
                return
        elif kind == "restarts":
            self.dice.choice((self.database.crash, self.database.restart))()
        else:
            return
        self.faults[kind] += 1

    def _wake(self, *, everyone: bool = False) -> None:
        for at, until in list(self.asleep.items()):
            if everyone or time.monotonic() > until:
                self.fleet[at].send(signal.SIGCONT)
                del self.asleep[at]


def run(plan: Plan, say: Callable[[str], None]) -> dict[str, object]:
    """One run from nothing to the verdict: the fields of CONTRACT.md section 8, and more."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dripd-chaos-") as name:
        folder = Path(name)
        database = Database(folder)
        sink, url, log = start_sink(folder, faults=plan.faults, seed=plan.seed)
        fleet = daemons(folder, database.dsn, url, NODES)
        try:
            set_up(database, folder, fleet[0], plan)
            chaos = Chaos(plan, database, fleet, random.Random(plan.seed), say)
            chaos.run()
            say("the faults are over; it drains")
            drained = chaos.drain()
            codes = [daemon.stop() for daemon in fleet]
            sink.stop()
            found = check(database.dsn, log, chaos.stops, chaos.enrolled)
        finally:
            for process in (*fleet, sink):
                process.stop()
            database.close()
            if plan.keep is not None:
                shutil.copytree(folder, plan.keep, dirs_exist_ok=True, ignore=NOT_KEPT)
    faults = {kind: chaos.faults[kind] for kind in WEIGHTS}
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


def set_up(database: Database, folder: Path, daemon: Process, plan: Plan) -> None:
    """Accounts, senders and campaigns; a quarter under a cap that is too small for them."""
    own = plan.steps // ACCOUNTS
    database.fetch(SEED_SQL, max(1, own * 6 // 10))
    for n in range(ACCOUNTS):
        provider = "keyed" if n % 2 else "keyless"
        database.fetch(ACCOUNT_SQL, f"a{n}", "chaos" if n % 4 < 2 else "unlimited", provider)
    opens = datetime.now(UTC) + timedelta(minutes=1)  # noqa: TID251 - a window of real time
    closes = opens + timedelta(minutes=max(1, plan.minutes / 2))
    with_window = f'window: {{from: "{opens:%H:%M}", to: "{closes:%H:%M}"}}\n'
    files = []
    for n in range(ACCOUNTS):
        window = with_window if n % 10 == 9 and opens.date() == closes.date() else ""
        path = folder / f"a{n}.yaml"
        path.write_text(CAMPAIGN.format(account=f"a{n}", window=window))
        files.append(path)
    daemon.start()
    command(folder, "campaign", "apply", *map(str, files), patience_s=60)
    for n in range(ACCOUNTS):
        command(folder, "campaign", "activate", "chaos", "--account", f"a{n}", "--yes")


def command(folder: Path, *words: str, patience_s: float = 10) -> dict[str, object]:
    """One command to the first daemon, tried until it answers."""
    end = time.monotonic() + patience_s
    while True:
        asked = [*DRIPD, "--socket", str(folder / "d0.sock"), *words, "--json"]
        done = subprocess.run(asked, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            answer: dict[str, object] = json.loads(done.stdout)
            return answer
        if time.monotonic() > end or done.returncode not in {5, 75}:
            raise RuntimeError(f"dripd {' '.join(words)}: {done.stderr}")
        time.sleep(0.3)
