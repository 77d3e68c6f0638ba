"""Do live runs pass to a new version whole, whoever dies meanwhile? Shown on a real database.

Many runs wait, on the manual clock, at a step that the new version has no more; a map leads
them to another. While the version is published the daemon is killed, each time a little later,
and started again: in between every run stands on one version, the old or the new. Then time
passes, and each has done every step of its way once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from dripd.admin.client import Client
from dripd.proof import scene
from dripd.proof.fleet import Database, Process, daemon

OLD: Final = """\
campaign: chaos
account: a0
name: Migrating
steps:
  - {key: first, do: tag_add, tag: first}
  - {key: gone, do: tag_add, delay: 1d, tag: gone}
  - {key: last, do: tag_add, delay: 1h, tag: last}
"""

NEW: Final = OLD.replace("gone", "fresh")

WAY: Final = ["first", "fresh", "last"]
"""What each run must have done."""

CHAOS: Final = {"key": "chaos", "account": "a0"}

FIRST_KILL_S: Final = 0.01
"""Each later one comes after twice the time."""

CHUNK: Final = 10_000
"""Contacts that one statement makes."""

GIVE_UP_S: Final = 3600.0

BEFORE, AFTER = "2026-01-01T01:00:00Z", "2026-01-04T00:00:00Z"
"""When all wait, and when all have done what there is; the manual clock begins with the year."""

VERSIONS_SQL: Final = "SELECT DISTINCT cv_id FROM dripd.due_step"

WAYS_SQL: Final = """
SELECT way, count(*) AS n
FROM (
    SELECT array_agg(s.key ORDER BY l.seq) AS way
    FROM dripd.step_log AS l
    JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
    GROUP BY l.enrollment_id
) AS w
GROUP BY way
"""


def run(runs: int, say: Callable[[str], None]) -> dict[str, object]:
    """Move *runs* runs to a new version; what was seen."""
    with tempfile.TemporaryDirectory(prefix="dripd-migrating-") as name:
        folder = Path(name)
        clock, nowhere = ("--clock", "manual"), "http://127.0.0.1:9"
        with (
            Database(folder) as database,
            daemon(folder, 0, database.dsn, nowhere, args=clock) as process,
        ):
            _begin(database, process, runs)
            say(f"{runs} runs wait")
            kills, torn, took_s = _publish(database, process)
            say(f"published after {kills} kills, the last time in {took_s:.1f} s")
            scene.settle(process.socket, AFTER, GIVE_UP_S)
            ways = {tuple(row["way"]): row["n"] for row in database.fetch(WAYS_SQL)}
    right = ways.pop(tuple(WAY), 0)
    odd = sum(ways.values())
    return {
        "runs": runs, "kills": kills, "torn": torn, "odd": odd, "lost": runs - right - odd,
        "publish_s": round(took_s, 2), "ok": not torn and right == runs,
    }  # fmt: skip


def _begin(database: Database, process: Process, runs: int) -> None:
    database.fetch(scene.ACCOUNT_SQL, "a0", "unlimited", "sink")
    process.start()
    scene.patiently(lambda: _apply(process, OLD), GIVE_UP_S)
    _ask(process, "campaign.activate", **CHAOS)
    for first in range(1, runs + 1, CHUNK):
        database.fetch(scene.ENROLL_SQL, first, min(runs, first + CHUNK - 1), 1)
    scene.settle(process.socket, BEFORE, GIVE_UP_S)
    _apply(process, NEW)


def _publish(database: Database, process: Process) -> tuple[int, int, float]:
    """Publish, killing the daemon ever later, until it is quicker: how often it was killed, how
    often runs then stood on several versions, and how long the last time took."""
    kills = torn = 0
    with ThreadPoolExecutor(1) as asking:
        while True:
            began = time.monotonic()
            asked = asking.submit(_publish_once, process)
            try:
                asked.result(FIRST_KILL_S * 2**kills)
            except TimeoutError:
                process.kill()
            else:
                return kills, torn, time.monotonic() - began
            wait([asked])  # what became of it stands in the database
            kills += 1
            torn += len(database.fetch(VERSIONS_SQL)) > 1
            process.start()
            scene.patiently(lambda: _ask(process, "campaign.show", **CHAOS), GIVE_UP_S)


def _publish_once(process: Process) -> None:
    _ask(
        process,
        "campaign.publish",
        **CHAOS,
        inflight="migrate",
        map={"gone": "fresh"},
        yes=True,
    )


def _apply(process: Process, text: str) -> None:
    with Client(process.socket) as client:
        client.call("campaign.apply", {"documents": [{"filename": "m.yaml", "text": text}]})


def _ask(process: Process, method: str, **more: object) -> None:
    with Client(process.socket, timeout=GIVE_UP_S) as client:
        client.call(method, more)
