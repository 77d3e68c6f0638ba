"""A deployment with a past, made by SQL: what a console looks at after years of use.

Half of the runs belong to one campaign of account 1, the rest to the campaigns of 999 other
accounts. Seven of ten live and are due over thirty days; every run has performed its first
step. Some deliveries are unknown, some runs failed and wait for somebody, a campaign is paused
with its backlog; tasks, notices, events and suppressions are there in proportion.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

ACCOUNTS = 1_000

STEPS = ("hello", "nudge", "last")

ACCOUNT_OF = f"CASE WHEN n % 2 = 0 THEN 1 ELSE 2 + (n / 2) % {ACCOUNTS - 1} END::int4"

DEFINITION = json.dumps(
    {
        "campaign": "bench",
        "account": "a@@",
        "name": "Bench",
        "sender": "s@a@@.test",
        "steps": [
            {
                "key": key,
                "do": "email",
                "delay": "5d",
                "subject": "Hi {First Name}",
                "text": "Hello",
            }
            for key in STEPS
        ],
    }
)

GROUND = f"""
SET session_replication_role = replica;
SELECT dripd.make_partitions(dripd.now(), 3);
INSERT INTO dripd.account (id, key, plan)
    SELECT n, 'a' || n, 'unlimited' FROM generate_series(1, {ACCOUNTS}) AS n;
INSERT INTO dripd.sender (account_id, id, address, provider)
    SELECT n, n, 's@a' || n || '.test', 'counting' FROM generate_series(1, {ACCOUNTS}) AS n;
INSERT INTO dripd.campaign (account_id, id, key, name, status, live_version, live_cv_id)
    SELECT n, n, 'bench', 'Bench', CASE WHEN n = 3 THEN 'paused' ELSE 'active' END, 1, n
    FROM generate_series(1, {ACCOUNTS}) AS n;
INSERT INTO dripd.campaign_version (account_id, id, campaign_id, campaign_key, version, definition)
    SELECT n, n, n, 'bench', 1, replace('{DEFINITION}', '@@', n::text)::jsonb
    FROM generate_series(1, {ACCOUNTS}) AS n;
INSERT INTO dripd.version_step
    SELECT n, n, s - 1, (ARRAY{list(STEPS)})[s], 'email', ''
    FROM generate_series(1, {ACCOUNTS}) AS n, generate_series(1, {len(STEPS)}) AS s;
INSERT INTO dripd.lane SELECT n, 0, n, 2, 'email', 'account', 'account' FROM generate_series(1, {ACCOUNTS}) AS n;
"""

CONTACTS = """
SET session_replication_role = replica;
INSERT INTO dripd.contact (account_id, id, external_id, email, attrs)
    SELECT {account}, n, 'c' || n, 'c' || n || '@x.test', '{{"first_name": "Ann"}}'
    FROM generate_series({low}, {high}) AS n;
"""

RUNS = """
SET session_replication_role = replica;
INSERT INTO dripd.run (account_id, campaign_id, id, contact_id, started_at, cv_id, run_no, reentry,
        status, ended_at, end_reason, hold_reason)
    SELECT a, a, n, n, dripd.now() - interval '6 days', a, 1, 1,
        s, CASE WHEN s > 1 THEN dripd.now() END,
        CASE s WHEN 2 THEN CASE WHEN n % 50 = 0 THEN 'goal:reply' ELSE 'completed' END
               WHEN 3 THEN 'reply' WHEN 4 THEN 'stopped' END,
        CASE WHEN s = 1 AND n % {held} = 1 THEN 'step_failed' END
    FROM (SELECT n, {account} AS a,
              CASE WHEN n % 10 < 7 THEN 1 WHEN n % 10 = 7 THEN 2 WHEN n % 10 = 8 THEN 3 ELSE 4 END AS s
          FROM generate_series({low}, {high}) AS n) AS made;
"""

DUE = """
SET session_replication_role = replica;
INSERT INTO dripd.due_step (due_at, enrollment_id, contact_id, account_id, cv_id, seq, step_no, lane)
    SELECT {due},
        n, n, {account}, {account}, 2, 1, CASE WHEN n % {held} = 1 THEN -1 ELSE 0 END
    FROM generate_series({low}, {high}) AS n WHERE n % 10 < 7;
"""

LOG = """
SET session_replication_role = replica;
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, sent_at, account_id, cv_id, sender_id,
        seq, step_no, run_no, channel, state, attempt, segments, to_address, subject, provider_id)
    SELECT n, n / 500, t, t, t, a, a, a, 1, 0, 1, 1,
        CASE WHEN n % 10007 = 0 THEN 3 WHEN n % 50 = 3 THEN 2 ELSE 1 END,
        1, 1, 'c' || n || '@x.test', 'Hi Ann', 'p' || n
    FROM (SELECT n, {account} AS a,
              dripd.now() - interval '5 days' + n * (interval '5 days' / {n}) AS t
          FROM generate_series({low}, {high}) AS n) AS made;
"""

REST = """
SET session_replication_role = replica;
INSERT INTO dripd.task (account_id, enrollment_id, contact_id, seq, campaign_key, step_key, kind, title, state)
    SELECT {account}, n, n, 9, 'bench', 'hello', 'call', 'Call', CASE WHEN n % 200 = 0 THEN 'open' ELSE 'done' END
    FROM generate_series(1, {n} / 10) AS n;
INSERT INTO dripd.notification (account_id, kind, recipient, enrollment_id, read_at)
    SELECT {account}, 'opened', 'ann', n, CASE WHEN n % 200 > 0 THEN dripd.now() END
    FROM generate_series(1, {n} / 10) AS n;
INSERT INTO dripd.suppression (account_id, channel, address, address_h, reason)
    SELECT {account}, 'email', 'gone' || n || '@x.test', dripd.address_hash('gone' || n || '@x.test'), 'bounce'
    FROM generate_series(1, {n} / 20) AS n;
INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind)
    SELECT {account}, n, n, 'event' FROM generate_series(1, {n} / 10) AS n;
INSERT INTO dripd.admin_audit (node, uid, "user", role, method, account_id, target, result)
    SELECT 'n1', 0, 'root', 'admin', 'campaign.pause', {account}, 'bench', 'changed'
    FROM generate_series(1, {n} / 100) AS n;
INSERT INTO dripd.individual_send (account_id, contact_id, incarnation, sender_id, channel, to_address, state, leased_at)
    SELECT {account}, n, 1, 1, 'email', 'c' || n || '@x.test', 'accepted', dripd.now() - n * interval '1 second'
    FROM generate_series(1, {n} / 100) AS n;
SELECT setval('dripd.run_id', {n});
"""


LATER = "dripd.now() + interval '2 minutes' + (n::int8 * 7919 % 30000000) * interval '86.4 ms'"
"""Over thirty days: at ten million runs some three a second."""

NUDGE = "INSERT INTO dripd.nudge (account_id) SELECT id FROM dripd.account"


def estate(n: int) -> Sequence[str]:
    """SQL, to be run one text after the other: *n* runs and what belongs to them."""
    held = max(1, n // 100_000) * 10
    given = {"account": ACCOUNT_OF, "low": 1, "high": n, "n": n, "held": held, "due": LATER}
    return [GROUND, *(text.format(**given) for text in (CONTACTS, RUNS, DUE, LOG, REST))]


def burst(low: int, high: int) -> Sequence[str]:
    """SQL: the runs from *low* to *high* beside them, seven of ten of them due at once."""
    held = 2 * high
    given = {
        "account": ACCOUNT_OF,
        "low": low,
        "high": high,
        "held": held,
        "due": "dripd.now()",
    }
    return [*(text.format(**given) for text in (CONTACTS, RUNS, DUE)), NUDGE]
