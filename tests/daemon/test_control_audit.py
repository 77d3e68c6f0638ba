"""`audit.verify` finds each promise that a history breaks."""

from __future__ import annotations

import pytest
import trio

from tests.support.control import open_control

BREAK = {
    "never_lost": "DELETE FROM dripd.due_step",
    "nothing_after_the_end": "UPDATE dripd.run SET status = 3, ended_at = dripd.now(), "
    "end_reason = 'reply'",
    "always_explained": "UPDATE dripd.run SET status = 3, ended_at = dripd.now()",
    "never_over_a_cap": "INSERT INTO dripd.account_day (account_id, local_date, cap, used, "
    "starts_at, ends_at) VALUES (1, '2026-01-01', 3, 4, dripd.now(), dripd.now())",
    "never_twice": "INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, "
    "account_id, cv_id, seq, step_no, run_no, channel, state, attempt) "
    "SELECT d.enrollment_id, 1, dripd.now(), dripd.now(), d.account_id, d.cv_id, n, 0, 1, 1, 1, 0 "
    "FROM dripd.due_step AS d, generate_series(1, 2) AS n",
    "audit_is_insert_only": "ALTER TABLE dripd.admin_audit DISABLE TRIGGER audit_is_insert_only",
}


@pytest.mark.feature("D4")
@pytest.mark.parametrize("promise", BREAK)
def test_a_broken_promise_is_found(pg_dsn: str, promise: str) -> None:
    async def main() -> None:
        async with open_control(pg_dsn) as control:
            await control.furnish("c1")
            await control.start("c1")
            assert (await control.do("audit.verify"))["ok"]

            await control.desk.run(lambda conn: conn.execute(BREAK[promise]))

            found = await control.do("audit.verify", account="acme")
            assert not found["ok"]
            assert promise in {one["name"] for one in found["checks"] if not one["ok"]}
            assert all(bool(one["hint"]) != one["ok"] for one in found["checks"])

    trio.run(main)
