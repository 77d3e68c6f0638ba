"""Were the promises kept? Read from outside: the sink's log and SQL, nothing of dripd's own code.

What it looks for is what `docs/guarantees.md` promises. It knows the fleet's campaigns only by
what the public relations say of them, and what the injector says that it did. The statements of
`dripd audit verify`, which need nothing but a database, are part of it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from dripd.proof import invariants, witness
from dripd.proof.found import Found, Injected
from dripd.store.desk_audit import PROMISES as AUDIT
from dripd.store.statements import sql

LEGAL_HOLDS: Final = {"cap", "window"}
"""Reasons for which a run may still wait after the drain."""

WINDOW_GRACE_S: Final = 2
"""From the byte that left inside a window to the sink's log."""

DELIVERIES: Final = """
SELECT d.id, d.account_id, d.enrollment_id, d.step_key, d.idempotency_key AS key, d.state, d.leased_at, e.contact_id
FROM dripd.delivery AS d
JOIN dripd.enrollment AS e ON e.account_id = d.account_id AND e.id = d.enrollment_id
"""

RUNS: Final = """
SELECT id, account_id, contact_id, campaign_key, status, hold_reason, started_at FROM dripd.enrollment
"""

CAPS: Final = """
SELECT a.id, p.daily_email_cap AS cap FROM dripd.account AS a JOIN dripd.plan AS p ON p.key = a.plan
WHERE p.daily_email_cap IS NOT NULL
"""

STEPS: Final = """
SELECT v.account_id, s.value ->> 'key' AS key, s.ordinality AS n, coalesce((s.value ->> 'delay')::interval, '0') AS delay, v.definition #>> '{window,from}' AS opens,
    v.definition #>> '{window,to}' AS closes
FROM dripd.campaign_version AS v
CROSS JOIN LATERAL jsonb_array_elements(v.definition -> 'steps') WITH ORDINALITY AS s
"""

USED: Final = (
    "SELECT account_id, sum(n) AS n FROM dripd.cap_usage WHERE source = 'program' GROUP BY 1"
)

EVENTS: Final = """
SELECT dedup_key AS key FROM dripd.event_log WHERE dedup_key IS NOT NULL
UNION SELECT dedup_key FROM dripd.event_in WHERE dedup_key IS NOT NULL
UNION SELECT provider || ':' || event_key FROM dripd.event_parked
"""

FRESH: Final = "ANALYZE; SET enable_nestloop = off; SET jit = off"
"""Small tables of a young database have no statistics, and the joins took minutes for it."""

PENDING: Final = "SELECT count(*) FROM dripd.enroll_request WHERE status = 'pending'"

OPEN: Final = "SELECT count(*) FROM dripd.claim WHERE n > 0"  # 0: a tombstone

MONEY: Final = "SELECT count(*) FROM dripd.ledger_fault"


def check(dsn: str, log: Path, done: Injected) -> Found:
    """Hold what is on record in *dsn* against what the sink wrote to *log*."""
    facts = asyncio.run(_read(dsn))
    entries = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
    return judge(facts, entries, done)


def judge(
    facts: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], done: Injected
) -> Found:
    """As `check`, on what was read."""
    found = Found(deliveries=len(facts["deliveries"]))
    taken = [entry for entry in entries if entry["accepted"]]
    by_key = {row["key"]: row for row in facts["deliveries"]}
    _duplicates(found, taken)
    _lost(found, facts, taken, by_key, done.requests)
    _caps(found, facts, taken, by_key)
    _windows(found, facts, taken, by_key)
    _order(found, facts, entries, by_key)
    _stuck(found, facts)
    _ledger(found, facts)
    invariants.look(found, facts, entries, by_key, done)
    return found


async def _read(dsn: str) -> dict[str, Any]:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(FRESH)
        rows = {
            "deliveries": await conn.fetch(DELIVERIES),
            "runs": await conn.fetch(RUNS),
            "steps": await conn.fetch(STEPS),
            "caps": await conn.fetch(CAPS),
            "used": await conn.fetch(USED),
            "changes": [row["found"] for row in await conn.fetch(witness.BROKEN)],
            "events": {row["key"] for row in await conn.fetch(EVENTS)},
            "audit": await _audit(conn),
        }
        numbers = {
            "pending": await conn.fetchval(PENDING),
            "open": await conn.fetchval(OPEN),
            "money": await conn.fetchval(MONEY),
        }
    finally:
        await conn.close()
    return {**rows, **numbers}


async def _audit(conn: asyncpg.Connection[asyncpg.Record]) -> dict[str, list[str]]:
    """What `dripd audit verify` would say of each account."""
    accounts = [row["id"] for row in await conn.fetch("SELECT id FROM dripd.account")]
    return {
        name: [
            row["found"]
            for account in accounts
            for row in await conn.fetch(sql(one.statement), account)
        ]
        for name, one in AUDIT.items()
    }


def _duplicates(found: Found, taken: Sequence[Mapping[str, Any]]) -> None:
    for key, n in Counter(entry["key"] for entry in taken).items():
        if n > 1:
            found.breach("duplicates", f"{key} {n} times", n - 1)


def _lost(
    found: Found,
    facts: Mapping[str, Any],
    taken: Sequence[Mapping[str, Any]],
    by_key: Mapping[str, Any],
    accepted_requests: int,
) -> None:
    """Everything that was asked for has a run, and record and sink agree on what left."""
    in_sink = {entry["key"] for entry in taken}
    if facts["pending"]:
        found.breach("lost", "requests undecided", facts["pending"])
    missing = accepted_requests - len(facts["runs"])
    if missing:
        found.breach("lost", f"{missing} runs too few", abs(missing))
    for key in sorted(in_sink):
        row = by_key.get(key)
        if row is None or row["state"] in {"failed", "cancelled", "leased"}:
            found.breach("lost", f"{key} was accepted, is {row and row['state']}")
    for key, row in by_key.items():
        if row["state"] == "accepted" and key not in in_sink:
            found.breach("lost", f"{key} is accepted, the sink has none")
        elif row["state"] == "unknown":
            found.unknown += 1
            found.unknown_accepted += key in in_sink


def _caps(
    found: Found,
    facts: Mapping[str, Any],
    taken: Sequence[Mapping[str, Any]],
    by_key: Mapping[str, Any],
) -> None:
    sent: Counter[tuple[int, str]] = Counter()
    for entry in taken:
        row = by_key.get(entry["key"])
        if row is not None:
            sent[row["account_id"], row["leased_at"].astimezone(UTC).date().isoformat()] += 1
    caps = {row["id"]: row["cap"] for row in facts["caps"]}
    for (account, day), n in sent.items():
        if account in caps and n > caps[account]:
            found.breach(
                "cap_excess",
                f"account {account} {day}: {n} of {caps[account]}",
                n - caps[account],
            )


def _windows(
    found: Found,
    facts: Mapping[str, Any],
    taken: Sequence[Mapping[str, Any]],
    by_key: Mapping[str, Any],
) -> None:
    windows = {
        row["account_id"]: (row["opens"], row["closes"])
        for row in facts["steps"]
        if row["opens"]
    }
    for entry in taken:
        row = by_key.get(entry["key"])
        if row is None or row["account_id"] not in windows:
            continue
        opens, closes = (_seconds(text) for text in windows[row["account_id"]])
        at = datetime.fromtimestamp(entry["at"] / 1000, UTC)
        second = at.hour * 3600 + at.minute * 60 + at.second
        if not (opens - 1 <= second < closes + WINDOW_GRACE_S):
            found.breach("window", f"{entry['key']} at {at:%H:%M:%S}")


def _seconds(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 3600 + int(minute) * 60


def _order(
    found: Found,
    facts: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    by_key: Mapping[str, Any],
) -> None:
    """No request for a step came before the last one that was accepted for the step before it."""
    number = {(row["account_id"], row["key"]): row["n"] for row in facts["steps"]}
    furthest: dict[int, int] = {}
    for entry in entries:
        row = by_key.get(entry["key"])
        if row is None:
            continue
        n = number[row["account_id"], row["step_key"]]
        run = row["enrollment_id"]
        if n < furthest.get(run, 0):
            found.breach("order", f"{entry['key']} after step {furthest[run]}")
        furthest[run] = max(n, furthest.get(run, 0))


def _stuck(found: Found, facts: Mapping[str, Any]) -> None:
    if facts["open"]:
        found.breach("stuck", "claims are open", facts["open"])
    for row in facts["runs"]:
        if row["status"] == "held" and row["hold_reason"] in LEGAL_HOLDS:
            continue
        if row["status"] in {"waiting", "held", "executing"}:
            found.breach("stuck", f"run {row['id']} {row['status']} {row['hold_reason']}")


def _ledger(found: Found, facts: Mapping[str, Any]) -> None:
    """Money adds up, and the cap counts exactly what left or may have left."""
    if facts["money"]:
        found.breach("ledger", "ledger_fault is not empty", facts["money"])
    counted = Counter(
        row["account_id"]
        for row in facts["deliveries"]
        if row["state"] in {"accepted", "unknown"}
    )
    used = {row["account_id"]: int(row["n"]) for row in facts["used"]}
    for account in sorted(counted.keys() | used.keys()):
        if counted[account] != used.get(account, 0):
            found.breach(
                "ledger",
                f"account {account}: used {used.get(account, 0)}, sent {counted[account]}",
            )
