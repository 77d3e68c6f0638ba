"""What one daemon tells of senders, any other knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dripd.clock import MINUTE, Instant, SystemClock
from dripd.daemon.traffic import tell_once
from dripd.engine.pipeline import Lately
from dripd.ratelimit.traffic import Place, Refusal
from dripd.store.desk_traffic import put_traffic, sweep_traffic
from tests.support.control import Control, open_control

pytestmark = pytest.mark.trio


def daemon(incarnation: int) -> Any:
    """What is told of a daemon that serves no account."""
    directory = SimpleNamespace(accounts={})
    return SimpleNamespace(
        incarnation=incarnation, lately=Lately(), directory=directory, owned=set()
    )


async def place_of(control: Control) -> Place:
    (row,) = (await control.do("sender.list"))["items"]
    return row["account_id"], row["id"]


async def tell(
    control: Control, pipe: Any, passed: list[Place], *refusals: Refusal, ago_ms: int = 0
) -> None:
    now = SystemClock().now()
    pipe.lately.traffic.note(passed, refusals, 0.09, Instant(now - ago_ms))
    await tell_once(cast("Any", pipe), control.desk)


async def test_what_several_daemons_tell_of_a_sender_adds_up(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        place = await place_of(control)
        refused = Refusal(place, "smtp_550", late=False)
        one, other = daemon(1), daemon(2)
        await tell(control, one, [place] * 30)
        await tell(control, other, [place] * 8, refused, refused)
        await tell(control, one, [place] * 20)
        (row,) = (await control.do("sender.list"))["items"]
        shown = await control.do("sender.show", address="sales@acme.test", quick=True)

    assert (row["tried_1h"], row["failed_1h"]) == (60, 2)
    assert 4 < row["sent_per_s"] <= 5.8
    assert 70 < row["p95_ms"] <= 100
    assert row["last_error"]["reason"] == "smtp_550"
    assert row["standing"] is None
    assert (shown["tried_1h"], shown["last_error"]) == (60, row["last_error"])


async def test_how_a_sender_stands_is_told_by_the_daemon_that_serves_it(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        place = await place_of(control)
        figures = {"per_s": 1, "p95_ms": None, "hour": [], "error": None, "error_at": None}
        standing = {"breakers": [{"of": "provider ses", "since": "x", "probe_at": None}]}
        await control.desk.run(put_traffic, 1, {place: {**figures, "standing": standing}})
        await control.desk.run(put_traffic, 2, {place: {**figures, "standing": None}})
        (row,) = (await control.do("sender.list"))["items"]
        await control.one(
            "UPDATE dripd.sender_traffic SET at = at - interval '1 min' RETURNING 1"
        )
        (later,) = (await control.do("sender.list"))["items"]

    assert row["standing"] == standing
    assert (later["standing"], later["sent_per_s"]) == (None, 0)


async def test_only_what_was_tried_lately_is_told_and_a_day_later_forgotten(
    pg_dsn: str,
) -> None:
    async with open_control(pg_dsn) as control:
        await tell(control, daemon(1), [(1, 1)], ago_ms=MINUTE)
        assert await control.one("SELECT count(*) FROM dripd.sender_traffic") == 0
        await tell(control, daemon(1), [(1, n) for n in range(450)])
        assert await control.one("SELECT count(*) FROM dripd.sender_traffic") == 450
        old = "UPDATE dripd.sender_traffic SET at = at - interval '25 h' WHERE sender_id < 50"
        await control.rows(f"{old} RETURNING 1")
        await control.desk.run(sweep_traffic)

        assert await control.one("SELECT count(*) FROM dripd.sender_traffic") == 400


async def test_what_waits_for_a_sender_is_due_in_the_campaigns_that_leave_from_it(
    pg_dsn: str,
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b", "c", "d")
        await control.do("sender.set", address="other@acme.test")
        lane = "INSERT INTO dripd.lane (account_id, lane, campaign_id, class, channel, calendar, zone) SELECT account_id, 0, id, 1, 'email', '', 'account' FROM dripd.campaign RETURNING lane"
        await control.one(lane)
        await control.start("a", due_in="-1 minute")
        await control.start("b", due_in="30 minutes")
        await control.start("c", due_in="2 hours")
        await control.start("d", lane=-1, hold="step_failed")
        shown = await control.do("sender.show", address="sales@acme.test", quick=True)
        other = await control.do("sender.show", address="other@acme.test", quick=True)
        assert shown["waiting"] == {"due": 1, "next_hour": 1}
        assert other["waiting"] == {"due": 0, "next_hour": 0}
        await control.one(
            "UPDATE dripd.campaign_version SET definition = definition - 'sender' RETURNING 1"
        )
        other = await control.do("sender.show", address="other@acme.test", quick=True)

    assert other["waiting"] == {"due": 1, "next_hour": 1}


async def test_a_ramp_says_which_day_it_is_and_what_may_leave_tomorrow(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        await control.do("sender.set", address="sales@acme.test", warmup="20 +10/d")
        shown = await control.do("sender.show", address="sales@acme.test", quick=True)
        assert (shown["warmup_day"], shown["limit_today"], shown["limit_tomorrow"]) == (
            1,
            20,
            30,
        )
        await control.do("sender.set", address="sales@acme.test", warmup="")
        shown = await control.do("sender.show", address="sales@acme.test", quick=True)

    assert (shown["warmup_day"], shown["limit_tomorrow"]) == (None, None)
