"""`audit.verify` finds each promise that a history breaks."""

from __future__ import annotations

import pytest
import trio

from dripd.store.desk_audit import PROMISES
from tests.support.control import open_control

DONE = """
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq, step_no, run_no,
    channel, state, attempt, to_address)
SELECT d.enrollment_id, 1, dripd.now() + k.later * interval '1 hour', dripd.now(), d.account_id, d.cv_id, k.seq, 0, 1,
    k.channel, k.state, 0, k.address
FROM dripd.due_step AS d, (VALUES {}) AS k (seq, later, channel, state, address)
"""
"""Rows of the log: sequence number, hours from now, channel, state, address."""

BREAK = {
    "never_lost": "DELETE FROM dripd.due_step",
    "nothing_after_the_end": "UPDATE dripd.run SET status = 3, ended_at = dripd.now(), "
    "end_reason = 'reply'",
    "always_explained": "UPDATE dripd.run SET status = 3, ended_at = dripd.now()",
    "never_over_a_cap": "INSERT INTO dripd.account_day (account_id, local_date, cap, used, "
    "starts_at, ends_at) VALUES (1, '2026-01-01', 3, 4, dripd.now(), dripd.now())",
    "never_twice": DONE.format("(1, 0, 1, 1, 'c'), (2, 0, 1, 3, 'c')"),
    "each_step_once": DONE.format("(1, 0, 0, 5, NULL), (1, 0, 0, 6, NULL)"),
    "no_step_passed_over": DONE.format("(3, 0, 0, 5, NULL)"),
    "in_order": DONE.format("(1, 0, 0, 5, NULL), (2, -1, 0, 5, NULL)"),
    "never_to_a_suppressed_address": "INSERT INTO dripd.suppression (channel, address) "
    "VALUES ('email', 'C1@x.test'); " + DONE.format("(1, 1, 1, 3, 'c1@x.test')"),
    "told_twice_done_once": "INSERT INTO dripd.enroll_request (account_id, idempotency_key, "
    "status, enrollment_id) VALUES (1, 'k', 'accepted', 7), (1, 'k', 'accepted', 8)",
    "money_adds_up": "INSERT INTO dripd.purse (account_id, balance) VALUES (1, 5)",
    "audit_is_insert_only": "ALTER TABLE dripd.admin_audit DISABLE TRIGGER audit_is_insert_only",
}

MORE = {
    "nothing_after_the_end": DONE.format("(1, 1, 0, 5, NULL)")
    + "; UPDATE dripd.run SET status = 3, ended_at = dripd.now(), end_reason = 'reply'; "
    "DELETE FROM dripd.due_step",
    "told_twice_done_once": "INSERT INTO dripd.event_log (id, account_id, dedup_key) "
    "VALUES (1, 1, 'k'), (2, 1, 'k')",
}
"""Other ways to break them."""

CLEAN = "TRUNCATE dripd.run, dripd.due_step, dripd.step_log, dripd.event_log, dripd.suppression"

WELL = {
    "a stopped step that is in flight": "UPDATE dripd.run SET status = 3, ended_at = dripd.now(), "
    "end_reason = 'reply'; UPDATE dripd.due_step SET attempt = -1, claim_id = 1",
    "a step that failed and was released": DONE.format(
        "(1, 0, 1, 2, 'c1@x.test'), (1, 0.1, 1, 1, 'c1@x.test')"
    ),
    "an address suppressed by the message's own bounce": DONE.format(
        "(1, 0, 1, 1, 'c1@x.test')"
    )
    + "; INSERT INTO dripd.suppression (channel, address, created_at) "
    "VALUES ('email', 'c1@x.test', dripd.now() + interval '1 minute')",
    "an event told twice": "INSERT INTO dripd.event_log (id, account_id, dedup_key, refused_reason) "
    "VALUES (1, 1, 'k', NULL), (2, 1, 'k', 'duplicate')",
}


@pytest.mark.feature("D4")
@pytest.mark.parametrize(("promise", "breaks"), [*BREAK.items(), *MORE.items()])
def test_a_broken_promise_is_found(pg_dsn: str, promise: str, breaks: str) -> None:
    async def main() -> None:
        async with open_control(pg_dsn) as control:
            await control.furnish("c1")
            await control.start("c1")
            assert (await control.do("audit.verify"))["ok"]

            await control.desk.run(lambda conn: conn.execute(breaks))

            found = await control.do("audit.verify", account="acme")
            assert not found["ok"]
            assert promise in {one["name"] for one in found["checks"] if not one["ok"]}
            assert all(bool(one["hint"]) != one["ok"] for one in found["checks"])

    trio.run(main)


def test_what_is_right_is_not_accused(pg_dsn: str) -> None:
    async def main() -> None:
        async with open_control(pg_dsn) as control:
            await control.furnish("c1")
            for what, rows in WELL.items():
                await control.start("c1")
                await control.desk.run(lambda conn, rows=rows: conn.execute(rows))
                found = await control.do("audit.verify")
                assert found["ok"], (what, [one for one in found["checks"] if not one["ok"]])
                await control.desk.run(lambda conn: conn.execute(CLEAN))

    trio.run(main)


def test_every_check_has_its_breach() -> None:
    assert {*PROMISES, "audit_is_insert_only"} == set(BREAK)
