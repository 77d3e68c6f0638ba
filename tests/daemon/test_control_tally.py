"""Large campaigns are counted beside, small ones as asked; unknown deliveries come by an index."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from dripd.admin import params as p
from dripd.daemon.tallies import Tallies
from dripd.errors import NotFound
from dripd.store import desk_tally
from dripd.store.desk import Desk
from tests.support.control import WELCOME, open_control

pytestmark = pytest.mark.trio

LOG = """
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq,
    step_no, run_no, channel, state, attempt)
SELECT r.id, 1, dripd.now(), dripd.now(), r.account_id, r.cv_id, n, 0, 1, 1, CASE WHEN n < 4 THEN 3 ELSE 1 END, 1
FROM dripd.run AS r, generate_series(1, 4) AS n RETURNING 1
"""

QUICK = p.CampaignStats(key="welcome", quick=True)
WAITING = p.CampaignStats(key="welcome")

CALL: Any = None
"""Who asks does not matter to a count."""


@pytest.fixture(params=[True, False], ids=["large", "small"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether two runs are too many to be counted as asked."""
    if request.param:
        monkeypatch.setattr(desk_tally, "AT_ONCE", 1)
    return bool(request.param)


async def test_a_campaign_is_counted_as_asked_or_as_it_was_counted_last(
    pg_dsn: str, large: bool
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        for contact in ("c1", "c2"):
            await control.start(contact)
        beside = Desk(control.bridge, pg_dsn, size=1, patience_s=600)
        tallies = Tallies(beside)
        first = await tallies.read(control.desk, CALL, QUICK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tallies.run)
            asked = await tallies.read(control.desk, CALL, WAITING)
            await control.start("c3")
            seen = await tallies.read(control.desk, CALL, QUICK)
            again = await tallies.read(control.desk, CALL, WAITING)
            nursery.cancel_scope.cancel()
        await beside.close()

    assert (first["enrolled"], first["as_of"] is None) == (
        (None, True) if large else (2, False)
    )
    assert (asked["enrolled"], asked["active"], asked["status"]) == (2, 2, "active")
    assert seen["enrolled"] == (2 if large else 3), "a look takes what was counted last"
    assert again["enrolled"] == 3, "a command counts anew what is counted quickly"
    assert seen["as_of"] is not None


async def test_a_funnel_is_told_of_one_version(pg_dsn: str, large: bool) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        await control.start("c1")
        await control.apply(WELCOME.replace("name: Welcome", "name: Other"))
        await control.do("campaign.publish", key="welcome", yes=True)
        for contact in ("c2", "c3"):
            await control.start(contact)
        await control.one(LOG)
        await control.desk.run(desk_tally.count_campaign, 1, 1)
        every, first, second = [
            await control.do("campaign.stats", key="welcome", version=n) for n in (None, 1, 2)
        ]
        with pytest.raises(NotFound, match="no version 3"):
            await control.do("campaign.stats", key="welcome", version=3)

    assert (every["versions"], every.get("version")) == ([1, 2], None)
    assert [(one["version"], one["entered"]) for one in (first, second)] == [(1, 1), (2, 2)]
    counts = [
        [(one["at"], one["sent"]) for one in told["steps"]] for told in (every, first, second)
    ]
    assert [found[0] for found in counts] == [(3, 12), (1, 4), (2, 8)]


async def test_a_count_that_is_forgotten_for_others_keeps_nobody_waiting() -> None:
    tallies = Tallies(Desk(None, "", size=1))  # type: ignore[arg-type]  # nothing is counted
    done = [tallies.want((1, n)) for n in range(9)]

    assert [event.is_set() for event in done] == [True] + [False] * 8


async def test_unknown_deliveries_come_by_pages_like_all_others(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2")
        runs = [await control.start(contact) for contact in ("c1", "c2")]
        await control.one(LOG)
        whole = await control.do("delivery.list", state="unknown")
        page = await control.do("delivery.list", state="unknown", limit=4)
        rest = await control.do("delivery.list", state="unknown", limit=4, after=page["next"])
        own = await control.do("delivery.list", state="unknown", enrollment=runs[0])
        other = await control.do("delivery.list", enrollment=runs[0])

    assert {f"{run}-{n}" for run in runs for n in (1, 2, 3)} == {
        row["id"] for row in whole["items"]
    }
    assert [row["id"] for row in whole["items"]] == [
        row["id"] for part in (page, rest) for row in part["items"]
    ]
    assert (rest["next"], len(own["items"])) == (None, 3)
    twin = {row["id"]: row for row in other["items"]}
    assert [twin[row["id"]] for row in own["items"]] == own["items"], (
        "the same columns and values"
    )


async def test_a_funnel_says_where_runs_left_and_why(pg_dsn: str, large: bool) -> None:
    ended = (
        "UPDATE dripd.run SET status = 3, ended_at = dripd.now(), end_reason = $2 "
        "WHERE id = $1 RETURNING 1"
    )
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3", "c4")
        runs = [await control.start(contact) for contact in ("c1", "c2", "c3", "c4")]
        for run, why in zip(runs, ("reply", "reply", "unsubscribe", "completed"), strict=True):
            await control.one(ended, run, why)
        await control.one(
            LOG.replace("r, generate", "r JOIN LATERAL generate").replace(
                "(1, 4) AS n", "(1, 4) AS n ON r.end_reason = 'unsubscribe'"
            )
        )
        await control.desk.run(desk_tally.count_campaign, 1, 1)
        found = await control.do("campaign.stats", key="welcome", quick=True)

    assert [step["left"] for step in found["steps"]][:2] == [{"reply": 2}, {"unsubscribe": 1}]
