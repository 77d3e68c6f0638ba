"""Lists of enrollments: whatever narrows them, their pages together are what the view holds."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.store import desk_enrollment, desk_list
from tests.support.control import WELCOME, Control, open_control

pytestmark = pytest.mark.trio

OTHER = WELCOME.replace("campaign: welcome", "campaign: other")

LANES = """
INSERT INTO dripd.lane (account_id, lane, campaign_id, class, channel, calendar, zone)
SELECT account_id, CASE key WHEN 'welcome' THEN 0 ELSE 1 END, id, 1, 'email', '', 'account'
FROM dripd.campaign RETURNING lane
"""

PARKED = "INSERT INTO dripd.park (account_id, lane, reason) SELECT account_id, 0, 'window' FROM dripd.lane WHERE lane = 0 RETURNING 1"
PAUSED = "UPDATE dripd.campaign SET status = 'paused' WHERE key = 'other' RETURNING 1"

LEASED = """
WITH step AS (
    UPDATE dripd.due_step SET claim_id = 7
    WHERE enrollment_id = (SELECT min(enrollment_id) FROM dripd.due_step WHERE lane = 0)
    RETURNING account_id, due_at
)
INSERT INTO dripd.claim (claim_id, incarnation, leased_at, n, account_ids, due_lo, due_hi)
SELECT 7, 1, dripd.now(), 1, ARRAY[account_id], due_at, due_at FROM step RETURNING 1
"""

TAGGED = "INSERT INTO dripd.contact_tag (account_id, contact_id, tag) SELECT account_id, id, 'vip' FROM dripd.contact WHERE external_id IN ('c3', 'c9') RETURNING 1"

ENDED = "UPDATE dripd.run SET status = 3, ended_at = dripd.now(), end_reason = 'reply' WHERE id % 5 = 0 RETURNING 1"


async def furnish(control: Control) -> None:
    """Twelve contacts: held by themselves, parked, paused, leased, ended, and plainly waiting."""
    names = [f"c{n}" for n in range(12)]
    await control.furnish(*names)
    await control.apply(OTHER)
    await control.do("campaign.activate", key="other")
    for n, name in enumerate(names):
        campaign = "other" if n % 3 == 0 else "welcome"
        more: dict[str, Any] = {"due_in": "-1 minute" if n % 2 else "1 hour"}
        if n % 4 == 3:
            more |= {"lane": -1, "hold": "step_failed"}
        elif n % 6 == 2:
            more |= {"lane": -1, "hold": f"missing_tag:Field {n}"}
        elif campaign == "other":
            more |= {"lane": 1}
        await control.start(name, campaign, **more)
    for statement in (LANES, PARKED, PAUSED, ENDED, LEASED, TAGGED):
        await control.one(statement)


async def listed(control: Control, limit: int, **filters: Any) -> list[int]:
    """All pages, one after the other."""
    found: list[int] = []
    after: dict[str, Any] = {}
    for _ in range(60):
        page = await control.do("enroll.list", limit=limit, **filters, **after)
        assert len(page["items"]) <= limit
        found += [row["id"] for row in page["items"]]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}
    raise AssertionError("the list has no end")


async def test_pages_of_every_filter_are_what_the_view_holds(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at two runs and one lane at a time: pages end where a look ends."""
    monkeypatch.setattr(desk_enrollment, "LOOKED", 2)
    monkeypatch.setattr(desk_enrollment, "LANES", 1)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "true"),
        *(({"status": one}, f"status = '{one}'") for one in ("waiting", "held", "executing", "removed")),
        *(({"hold": one}, f"hold_reason = '{one}'") for one in ("window", "paused", "step_failed", "cap")),
        ({"hold": "missing_tag"}, "hold_reason LIKE 'missing_tag:%'"),
        ({"hold": "missing_tag:Field 8"}, "hold_reason = 'missing_tag:Field 8'"),
        ({"hold": "missing_tag", "contact": "c2"}, "hold_reason = 'missing_tag:Field 2'"),
        ({"hold": "step_failed", "campaign": "other"}, "hold_reason = 'step_failed' AND campaign_key = 'other'"),
        ({"campaign": "welcome", "status": "held"}, "campaign_key = 'welcome' AND status = 'held'"),
        ({"tag": "vip"}, "contact_id IN (SELECT contact_id FROM dripd.contact_tag)"),
        ({"step": "hello"}, "step_key = 'hello'"),
        ({"step": "hello", "campaign": "other", "status": "held"}, "step_key = 'hello' AND campaign_key = 'other' AND status = 'held'"),
        ({"step": "nudge"}, "step_key = 'nudge'"),
        ({"contact": "c1"}, "contact_id = (SELECT id FROM dripd.contact WHERE external_id = 'c1')"),
    ]  # fmt: skip
    async with open_control(pg_dsn) as control:
        await furnish(control)
        empty = []
        for filters, condition in cases:
            rows = await control.rows(f"SELECT id FROM dripd.enrollment WHERE {condition}")
            wanted = sorted(row["id"] for row in rows)
            empty += [] if wanted else [filters]
            for more in ({"limit": 1}, {"limit": 3, "quick": True}, {"limit": 100}):
                assert wanted == sorted(await listed(control, **filters, **more)), (
                    filters,
                    more,
                )

    assert empty == [{"hold": "cap"}, {"step": "nudge"}]


NODES = """
INSERT INTO dripd.node (incarnation, name) VALUES (1, 'one'), (2, 'two'), (3, 'buried') RETURNING 1
"""


async def test_a_run_names_the_daemon_that_has_it_in_hand_else_the_one_that_serves_it(
    pg_dsn: str,
) -> None:
    async with open_control(pg_dsn, server_of=lambda _account: 2) as control:
        await furnish(control)
        await control.one(NODES)
        items = (await control.do("enroll.list", limit=100))["items"]

    by_status = {
        row["status"]: {one["node"] for one in items if one["status"] == row["status"]}
        for row in items
    }
    assert by_status.pop("executing") == {"one"}
    assert by_status.pop("removed") == {None}
    assert set(by_status) == {"waiting", "held"}
    assert by_status["waiting"] == by_status["held"] == {"two"}
    assert all("holder" not in row for row in items)


async def test_a_daemon_that_nobody_knows_has_no_name(pg_dsn: str) -> None:
    async with open_control(pg_dsn, server_of=lambda _account: 9) as control:
        await control.furnish("a")
        await control.start("a")
        (row,) = (await control.do("enroll.list"))["items"]

    assert row["node"] is None


async def test_a_list_says_how_the_runs_of_its_first_members_stand(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b", "c")
        for contact in ("a", "b", "c"):
            await control.start(contact)
        await control.do("list.add", key="new-leads", contacts=["a", "b"])
        ended = "UPDATE dripd.run SET status = 3, ended_at = dripd.now() WHERE id = (SELECT min(id) FROM dripd.run) RETURNING 1"
        await control.one(ended)
        shown = await control.do("list.show", key="new-leads")
        whole = {
            "members": 2,
            "more": False,
            "live": 1,
            "completed": 0,
            "removed": 1,
            "terminated": 0,
        }
        assert shown["runs"] == whole
        monkeypatch.setattr(desk_list, "LOOKED", 1)
        shown = await control.do("list.show", key="new-leads")

    assert shown["runs"] == {**whole, "members": 1, "more": True, "live": 0}
