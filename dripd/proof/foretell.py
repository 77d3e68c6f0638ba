"""Does every waiting run go when `explain` says it will? Shown on the manual clock.

Accounts of different caps, windows, zones and campaigns have more due than their days hold. Each
waiting run is asked for, one by one; then time passes, and nobody does anything.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dripd.admin.client import Client
from dripd.clock import parse_instant
from dripd.proof import scene
from dripd.proof.fleet import Database, Process, daemon

CAMPAIGN: Final = """\
campaign: chaos
account: {account}
name: Foretold
sender: hello@{account}.test
timezone: {zone}
{window}steps:
  - {{key: a, do: email, {delay}subject: a, text: x}}
  - {{key: b, do: tag_add, delay: 1d, tag: b}}
  - {{key: c, do: email, day: 4, day_at: "10:30", subject: c, text: x}}
"""

ZONES: Final = ("account", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")

WINDOWS: Final = (
    "",
    'window: {from: "09:00", to: "17:00"}\n',
    'window: {days: [mon, wed, fri], from: "10:00", to: "12:00"}\n',
    'window: {from: "08:00", to: "18:00", holidays: ["2026-01-06"]}\n',
)

DELAYS: Final = ("", "delay: 36h, ", "delay: 2bd, ")

PLAN_SQL: Final = (
    "INSERT INTO dripd.plan (key, daily_email_cap) VALUES ('p' || $1::int, $1::int)"
)

WAITING_SQL: Final = """
SELECT e.id, e.step_key FROM dripd.enrollment AS e
WHERE e.ended_at IS NULL AND e.step_key IN ('a', 'c')
ORDER BY e.id
"""

SENT_SQL: Final = "SELECT enrollment_id, step_key, received_at FROM dripd.sink_message"

BEGIN, LATER = "2026-01-01T00:00:00Z", "2026-03-15T00:00:00Z"

PATIENCE_S: Final = 3600.0


def run(rows: int, seed: int, say: Callable[[str], None]) -> dict[str, object]:
    """Ask for up to *rows* waiting runs of as many accounts as they need, then compare."""
    dice = random.Random(seed)
    accounts = max(2, rows // 100)
    with tempfile.TemporaryDirectory(prefix="dripd-foretell-") as name:
        folder = Path(name)
        clock, nowhere = ("--clock", "manual"), "http://127.0.0.1:9"
        with (
            Database(folder) as database,
            daemon(folder, 0, database.dsn, nowhere, args=clock) as process,
        ):
            _begin(database, process, accounts, -(-rows // accounts), dice)
            waiting = database.fetch(WAITING_SQL)
            chosen = dice.sample(waiting, min(rows, len(waiting)))
            told = {
                (row["id"], row["step_key"]): _ready_at(process, row["id"]) for row in chosen
            }
            say(f"{len(told)} runs were asked for")
            scene.settle(process.socket, LATER, PATIENCE_S)
            came = {
                (row["enrollment_id"], row["step_key"]): int(
                    row["received_at"].timestamp() * 1000
                )
                for row in database.fetch(SENT_SQL)
            }
    wrong = Counter(_judge(at, came.get(key)) for key, at in told.items())
    right = wrong.pop("right", 0)
    return {
        "seed": seed, "rows": len(told), "right": right, "wrong": dict(wrong),
        "days": len({at and at // 86_400_000 for at in told.values()}),
        "ok": right == len(told) and right > 0,
    }  # fmt: skip


def _judge(told: int | None, came: int | None) -> str:
    if told is None or came is None:
        return "untold" if told is None else "never"
    if told == came:
        return "right"
    return "late" if came > told else "early"


def _ready_at(process: Process, run_id: int) -> int | None:
    with Client(process.socket, timeout=900) as client:
        answer: Any = client.call("enroll.explain", {"enrollment": run_id})
    (one,) = answer["enrollments"]
    return None if one["ready_at"] is None else parse_instant(one["ready_at"])


def _begin(
    database: Database, process: Process, accounts: int, each: int, dice: random.Random
) -> None:
    """Accounts in their zones, with campaigns of their own, and *each* contacts in each."""
    process.start()
    scene.patiently(lambda: _call(process, "daemon.ready"))
    for n in range(accounts):
        cap = max(1, each // dice.randint(2, 6))
        if not database.fetch("SELECT FROM dripd.plan WHERE key = $1", f"p{cap}"):
            database.fetch(PLAN_SQL, cap)
        database.fetch(scene.ACCOUNT_SQL, f"a{n}", f"p{cap}", "sink")
        text = CAMPAIGN.format(
            account=f"a{n}", zone=dice.choice(ZONES), window=dice.choice(WINDOWS),
            delay=dice.choice(DELAYS),
        )  # fmt: skip
        _call(process, "campaign.apply", documents=[{"filename": "f.yaml", "text": text}])
        _call(process, "campaign.activate", key="chaos", account=f"a{n}", yes=True)
    database.fetch(scene.ENROLL_SQL, 1, each * accounts, accounts)
    scene.settle(process.socket, BEGIN, PATIENCE_S)


def _call(process: Process, method: str, **params: object) -> object:
    with Client(process.socket, timeout=300) as client:
        return client.call(method, params)
