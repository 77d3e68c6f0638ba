"""What is played to the fleet? Accounts and campaigns, requests to enroll, and what is still to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from dripd.admin.client import Client
from dripd.errors import DripdError, TimedOut
from dripd.proof import witness
from dripd.proof.fleet import Database, Process

T = TypeVar("T")

CAMPAIGN: Final = """\
campaign: chaos
account: {account}
name: Chaos
sender: hello@{account}.test
policy: {{reentry: always}}
{window}steps:
"""

STEP: Final = "  - {{key: s{n}, do: email, {delay}subject: 'No {n} for {{First Name|there}}', text: No {n}}}\n"

PLAN_SQL: Final = "INSERT INTO dripd.plan (key, daily_email_cap) VALUES ('chaos', $1)"

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
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id, idempotency_key)
SELECT account_id, 'chaos', id, 'k' || id FROM made, generate_series(1, 1 + (id % 10 = 0)::int)
"""
"""Every tenth is told twice."""

BUSY_SQL: Final = """
SELECT (SELECT count(*) FROM dripd.enroll_request WHERE status = 'pending')
    + (SELECT count(*) FROM dripd.event_in)
    + (SELECT count(*) FROM dripd.claim WHERE n > 0)
    + (SELECT count(*) FROM dripd.enrollment
        WHERE status IN ('waiting', 'executing') OR status = 'held' AND hold_reason NOT IN ('cap', 'window')) AS n
"""

CUT_SQL: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'dripd' ORDER BY random() LIMIT $1
"""


def prepare(
    database: Database,
    folder: Path,
    daemon: Process,
    *,
    accounts: int,
    steps: int,
    cap: int = 0,
    windows: str = "",
) -> None:
    """*accounts* `a0`, `a1`, ...: every other one at a keyed provider, with an active campaign.

    A *cap* holds two of four, *windows* (a line of a campaign file) every tenth.
    """
    database.execute(witness.SET_UP)
    database.fetch(PLAN_SQL, cap or None)
    files = []
    for n in range(accounts):
        is_capped = cap and n % 4 < 2
        provider = "keyed" if n % 2 else "keyless"
        database.fetch(ACCOUNT_SQL, f"a{n}", "chaos" if is_capped else "unlimited", provider)
        path = folder / f"a{n}.yaml"
        path.write_text(_campaign(f"a{n}", steps, windows if n % 10 == 9 else ""))
        files.append(path)
    daemon.start()
    patiently(lambda: _apply(daemon.socket, files))


def _campaign(account: str, steps: int, window: str) -> str:
    head = CAMPAIGN.format(account=account, window=window)
    delays = ["", *["delay: 2s, "] * (steps - 1)]
    return head + "".join(STEP.format(n=n, delay=d) for n, d in enumerate(delays, 1))


def _apply(socket: Path, files: list[Path]) -> None:
    with Client(socket) as client:
        documents = [{"filename": path.name, "text": path.read_text()} for path in files]
        client.call("campaign.apply", {"documents": documents})
        for path in files:
            client.call(
                "campaign.activate", {"key": "chaos", "account": path.stem, "yes": True}
            )


def patiently(ask: Callable[[], T], patience_s: float = 180) -> T:
    """*ask* of a daemon that is still starting."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except DripdError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def settle(socket: Path, to: str, patience_s: float) -> None:
    """Let the manual clock come to *to*, however often the daemon must be asked."""
    end = time.monotonic() + patience_s
    while True:
        try:
            with Client(socket, timeout=patience_s) as client:
                client.call("clock.set", {"to": to})
        except TimedOut:
            if time.monotonic() > end:
                raise
        else:
            return
