"""All deliveries, the latest first: read from the end of the log, each told once."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from dripd.errors import Conflict, NotFound
from dripd.store import desk_delivery
from tests.support.control import Control, open_control

pytestmark = pytest.mark.trio

LOG = """
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq, step_no,
    run_no, channel, state, attempt, to_address, subject)
SELECT $1, 1, t, t, 1, 1, n, 0, 1, CASE WHEN n % 10 = 0 THEN 0 ELSE 1 END, CASE WHEN n % 7 = 0 THEN 2 ELSE 1 END,
    0, 'c1@x.test', repeat('x', 900)
FROM generate_series(1, $2::int) AS n
CROSS JOIN LATERAL (SELECT '2026-01-20'::timestamptz + n * interval '1 hour' AS t) AS at
"""
"""Of 600 the last 312 are in February; nine rows a page of the table."""

BY_HAND = """
INSERT INTO dripd.individual_send (account_id, contact_id, incarnation, sender_id, channel, to_address, state, leased_at)
SELECT 1, 1, 1, 1, 'email', 'c1@x.test', 'accepted', '2026-01-20'::timestamptz + n * interval '100 hours'
FROM generate_series(1, 6) AS n
"""


async def furnished(control: Control, n: int = 600) -> int:
    await control.furnish("c1")
    run = await control.start("c1")
    await control.one("SELECT dripd.make_partitions('2026-02-01', 1)")
    await control.rows(LOG, run, n)
    await control.rows(BY_HAND)
    return run


async def listed(control: Control, limit: int, **given: Any) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    after = None
    for _ in range(1000):
        page = await control.do("delivery.list", limit=limit, after=after, **given)
        assert len(page["items"]) <= limit
        found += page["items"]
        after = page["next"]
        if after is None:
            return found
    raise AssertionError("it never ends")


@pytest.mark.parametrize("limit", [7, 60, 1000])
async def test_every_delivery_comes_once_and_the_latest_first(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(desk_delivery, "PAGES", 5)
    async with open_control(pg_dsn) as control:
        run = await furnished(control)
        rows = await listed(control, limit)
        known = await control.one("SELECT count(*) FROM dripd.delivery")

    ids = [row["id"] for row in rows]
    assert (len(ids), len(set(ids))) == (known, known)
    assert ids[:3] == ["i-6", f"{run}-599", f"{run}-598"]
    assert [row["leased_at"] for row in rows] == sorted(
        (row["leased_at"] for row in rows), reverse=True
    )


async def test_what_narrows_the_list_is_looked_for_page_by_page(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_delivery, "PAGES", 2)
    monkeypatch.setattr(desk_delivery, "LONGEST_S", 0.0)
    async with open_control(pg_dsn) as control:
        await furnished(control)
        first = await control.do("delivery.list", limit=50, state="failed")
        failed = await listed(control, 50, state="failed")
        mine = await listed(control, 500, campaign="welcome")
        texts = await listed(control, 500, channel="sms")
        nobody = await listed(control, 500, state="leased")

    assert len(first["items"]) < 10
    assert first["next"] is not None
    assert {row["state"] for row in failed} == {"failed"}
    assert len(failed) == 600 // 7 - 600 // 70
    assert len(mine) == 540
    assert (texts, nobody) == ([], [])


async def test_what_comes_meanwhile_moves_no_page(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        run = await furnished(control, 40)
        first = await control.do("delivery.list", limit=10)
        await control.rows(LOG.replace("n, 0, 1, CASE", "n + 1000, 0, 1, CASE"), run, 20)
        second = await control.do("delivery.list", limit=10, after=first["next"])

    assert {row["id"] for row in first["items"]} & {
        row["id"] for row in second["items"]
    } == set()
    assert all("-10" not in row["id"] for row in second["items"])


async def test_a_part_that_was_dropped_meanwhile_ends_the_list(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await furnished(control)
        first = await control.do("delivery.list", limit=10)
        await control.one("DROP TABLE dripd.step_log_2026_02")
        rest = await control.do("delivery.list", limit=1000, after=first["next"])

    assert [row["id"][:2] for row in rest["items"]] == ["i-"] * 5
    assert rest["next"] is None


async def test_a_run_that_nobody_has_is_said_to_be_none(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        run = await furnished(control, 3)
        await control.do("contact.add", external_id="c2", email="c2@x.test")
        for state in (None, "unknown"):
            with pytest.raises(NotFound, match="there is no enrollment 4711"):
                await control.do("delivery.list", enrollment=4711, state=state)
        with pytest.raises(NotFound, match=f"enrollment {run} is none of 'c2'"):
            await control.do("contact.timeline", contact="c2", enrollment=run)

        assert (await control.do("delivery.list", enrollment=run))["items"] != []


IN_DOUBT = """
WITH told AS (
    UPDATE dripd.due_step SET flags = flags | 2 WHERE enrollment_id = $1
    RETURNING account_id, enrollment_id, cv_id, seq, step_no, run_no
)
INSERT INTO dripd.step_log (account_id, enrollment_id, claim_id, leased_at, at, cv_id, seq, step_no, run_no, channel, state,
    attempt)
SELECT account_id, enrollment_id, 1, dripd.now(), dripd.now(), cv_id, seq, step_no, run_no, 1, 3, 1 FROM told
RETURNING enrollment_id || '-' || seq
"""


async def test_who_finds_a_message_failed_waits_for_the_lease_that_sends_it_again(
    pg_dsn: str,
) -> None:
    """The lease was not seen, for it was not committed: what it sent was accepted and failed."""
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        delivery = await control.one(IN_DOUBT, run)
        lease = f"UPDATE dripd.due_step SET claim_id = 77 WHERE enrollment_id = {run}"
        async with trio.open_nursery() as nursery:
            await nursery.start(control.hold, lease)
            with pytest.raises(Conflict, match="sent again"):
                await control.do("delivery.resolve", id=delivery, state="failed")

        assert 3 == await control.one("SELECT state FROM dripd.step_log")
