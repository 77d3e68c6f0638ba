"""What do 10 million waiting steps cost those that are due? Against 100 thousand, in pairs.

Two databases on one server, alike but for the future rows (over 30 days, in 10,000
accounts). Turn by turn a real `dripd run` is started on each, sends what is due (one step an
account at first, then 200 a second at random instants for 20 s) and is stopped. Future rows
are `due_step` rows alone, for nothing else of them is read; what comes up has its contact and
run. Reported for the large one, with the ratio large / small beside it: CPU a step (mostly
that of waiting), lateness, seconds (of wall and of the daemon's CPU) from the start of the
process to the first lease, and the daemon's peak memory.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit, urlunsplit

from bench.field import ground, lay, runs, steps
from bench.meter import Meter, cpu_s, execute, lateness, peak_mb, postmaster_of, value
from bench.process import running
from dripd.config import Config
from dripd.store import migrate

ACCOUNTS = 10_000
SMALL = 100_000
PAIRS = 2
PER_S = 200
SECONDS = 20
FIRST = 1_000
"""Steps that are due at the start: in as many accounts."""

LEAD_S = 5
"""From the later rows to the first of them that is due: the daemon has been told by then."""

EACH = FIRST + PER_S * SECONDS

FUTURE = "dripd.now() + interval '1 hour' + random() * interval '30 days'"

LATE = """
SELECT array_agg(extract(epoch FROM l.sent_at - b.due_at) * 1000)::float8[]
FROM bench_due AS b JOIN dripd.step_log AS l ON l.account_id = b.account_id AND l.enrollment_id = b.enrollment_id
WHERE b.round = {round}
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One daemon on one database."""

    cpu_us_daemon: float
    cpu_us_postgres: float
    other_cpu: float
    p50_ms: float
    p99_ms: float
    first_lease_s: float
    first_lease_cpu_s: float
    rss_mb: float


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* future rows (default 10,000,000) against 100 thousand."""
    del config
    wanted = n or 10_000_000
    large = dsn
    small = beside(dsn, "small")
    asyncio.run(execute(dsn, "CREATE DATABASE small TEMPLATE template0"))
    migrate.migrate(small)
    for one, rows in ((small, SMALL), (large, wanted)):
        made = "CREATE TABLE public.bench_due (round int, account_id int, enrollment_id bigint primary key, due_at timestamptz)"
        lay(
            one,
            ground(ACCOUNTS),
            made,
            steps(1_000_000_000, 999_999_999 + rows, FUTURE, ACCOUNTS),
        )
    turns: dict[str, list[Turn]] = {small: [], large: []}
    for number in range(PAIRS):
        for one in (small, large):
            turns[one].append(turn(one, number))
    return report(wanted, turns[small], turns[large])


def beside(dsn: str, name: str) -> str:
    """The DSN of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def turn(dsn: str, number: int) -> Turn:
    """Start a daemon, let it send what comes up, stop it."""
    low, high = number * EACH + 1, (number + 1) * EACH
    at_once = runs(low, low + FIRST - 1, "dripd.now()", ACCOUNTS)
    asyncio.run(execute(dsn, at_once, "CHECKPOINT"))
    postmaster = postmaster_of(dsn)
    started = time.time()
    with running(dsn) as pid:
        first, start_cpu = _wait(dsn, low, started), cpu_s(pid)
        _lay_later(dsn, number, low + FIRST, high)
        time.sleep(LEAD_S - 2)
        meter = Meter(postmaster, daemons=[pid])
        _wait_for_all(dsn, low, high)
        figures, peak = meter.read(PER_S * SECONDS), peak_mb(pid)
    late = lateness(asyncio.run(value(dsn, LATE.format(round=number))))
    return Turn(
        figures["cpu_us_daemon"],
        figures["cpu_us_postgres"],
        figures["other_cpu"],
        late["p50_ms"],
        late["p99_ms"],
        first,
        start_cpu,
        peak,
    )


def _lay_later(dsn: str, number: int, low: int, high: int) -> None:
    """What comes up in this turn, a note of when, and a word to the daemon."""
    due = f"dripd.now() + interval '{LEAD_S} s' + random() * interval '{SECONDS} s'"
    note = f"""INSERT INTO bench_due SELECT {number}, 1 + n % {ACCOUNTS}, n, {due}
        FROM generate_series({low}, {high}) AS n"""
    noted = "(SELECT b.due_at FROM bench_due AS b WHERE b.enrollment_id = n)"
    tell = f"""INSERT INTO dripd.nudge (account_id)
        SELECT DISTINCT account_id FROM bench_due WHERE round = {number}"""
    asyncio.run(execute(dsn, note, runs(low, high, noted, ACCOUNTS), tell))


def _wait(dsn: str, low: int, started: float) -> float:
    """Seconds until the first lease."""
    text = f"SELECT extract(epoch FROM min(leased_at))::float8 FROM dripd.step_log WHERE enrollment_id >= {low}"
    while True:
        at = asyncio.run(value(dsn, text))
        if at is not None:
            return float(at) - started
        if time.time() - started > 120:
            raise AssertionError("no lease within two minutes")
        time.sleep(0.2)


def _wait_for_all(dsn: str, low: int, high: int) -> None:
    text = f"SELECT count(*) FROM dripd.step_log WHERE enrollment_id BETWEEN {low} AND {high}"
    deadline = time.time() + 180
    while (found := asyncio.run(value(dsn, text))) < EACH:
        if time.time() > deadline:
            raise AssertionError(f"{found} of {EACH} steps were sent")
        time.sleep(0.5)
    if found != EACH:
        raise AssertionError(f"{found} steps were sent, not {EACH}")


def report(n: int, small: list[Turn], large: list[Turn]) -> dict[str, object]:
    """The medians of the large one, and how they stand to the small one's."""

    def middle(turns: list[Turn], name: str) -> float:
        return float(median(getattr(one, name) for one in turns))

    names = Turn.__slots__
    figures = {name: round(middle(large, name), 2) for name in names}
    ratios = {
        f"{name}_ratio": round(middle(large, name) / max(middle(small, name), 1e-9), 3)
        for name in ("cpu_us_daemon", "cpu_us_postgres", "p99_ms")
    }
    pairs = [
        {"small": _shown(one), "large": _shown(two)}
        for one, two in zip(small, large, strict=True)
    ]
    return {"n": n, "seconds": SECONDS, "per_s": PER_S, **figures, **ratios, "pairs": pairs}


def _shown(one: Turn) -> dict[str, float]:
    return {name: round(getattr(one, name), 2) for name in Turn.__slots__}
