"""What a console sees at a glance, and what an action is held to."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.admin.messages import Promise
from dripd.clock import parse_instant
from dripd.daemon.control_account import window_now
from dripd.daemon.control_console import alerts
from dripd.errors import BadRequest, Conflict, NotFound, StoreBusy, StoreUnavailable
from dripd.store import desk_estimate
from dripd.store.desk_console import spread
from tests.support.control import WELCOME, Control, open_control

pytestmark = pytest.mark.trio

LANE = """
INSERT INTO dripd.lane (account_id, lane, campaign_id, class, channel, calendar, zone)
SELECT account_id, 0, id, 1, 'email', '', 'account' FROM dripd.campaign RETURNING lane
"""


DOUBTS = """
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq,
    step_no, run_no, channel, state, attempt, reason)
SELECT r.id, 1, dripd.now(), dripd.now(), r.account_id, r.cv_id, n, 0, 1, channel, 3, 1, reason
FROM (SELECT * FROM dripd.run LIMIT 1) AS r,
    (VALUES (1, 1, 'timeout'), (2, 1, 'presumed_sent'), (3, 0, 'a script')) AS v (n, channel, reason)
RETURNING 1
"""


async def test_the_overview_says_what_is_due_and_what_holds_it(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b", "c")
        await control.start("a", due_in="-1 minute")
        await control.start("b", due_in="30 minutes")
        await control.start("c", lane=-1, hold="step_failed")
        await control.do("account.pause", key="acme")
        await control.one(LANE)
        await control.one(DOUBTS)
        found = await control.do("daemon.overview", brief=True)

    due = found["due"]
    assert (due["active"], due["overdue"], due["held"], due["percent"]) == (3, 1, 1, 100)
    assert sum(due["minutes"]) == 1
    assert {row["reason"]: row["count"] for row in found["holding"]} == {
        "account_paused": 1,
        "step_failed": 1,
    }
    assert found["figures"]["sent_per_s"] == 1.5
    assert "history" not in found
    assert [one["what"] for one in found["alerts"]] == ["step_failed"]
    assert found["alerts"][0]["of"] == {"account": "acme", "campaign": "welcome"}
    assert found["accounts"] == {"active": False, "paused": True}
    assert found["unknown"] == {"n": 2, "presumed": 1}


async def test_the_overview_says_what_is_tried_again_and_who_waits_at_the_doors(
    pg_dsn: str,
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b")
        await control.start("a", due_in="1 minute")
        await control.start("b", due_in="1 minute")
        again = "UPDATE dripd.due_step SET attempt = 2 WHERE enrollment_id = (SELECT min(id) FROM dripd.run) RETURNING 1"
        await control.one(again)
        await control.one(
            "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id) VALUES ('acme', 'welcome', 'a') RETURNING 1"
        )
        found = await control.do("daemon.overview", brief=True)

    assert (found["due"]["retrying"], found["due"]["active"]) == (1, 2)
    (waits,) = found["queues"]
    assert (waits["account"], waits["requests"]) == ("acme", 1)
    assert found["zones_differ"] == []


async def test_a_sample_is_scaled_to_the_whole() -> None:
    found = spread({-2: 1, -1: 2, 5: 1, 107: 2, 1003: 4, 9999: 1}, 10.0, 3)

    assert (found["held"], found["overdue"], found["active"]) == (10, 20, 110)
    assert found["retrying"] == 30
    assert found["seconds"][5] == 10  # type: ignore[index]  # series are lists
    assert found["minutes"][0] == 10  # type: ignore[index]
    assert found["hours"][0] == 30  # type: ignore[index]
    assert sum(found["hours"]) == 70  # type: ignore[call-overload]


async def test_alerts_come_the_worst_first() -> None:
    glance = {
        "nodes": [{"node": "n2", "silent_s": 31.0}],
        "holding": [
            {"reason": "no_sender", "account_key": "a", "campaign_key": "c", "count": 9, "more": False},
            {"reason": "window", "account_key": "a", "campaign_key": "c", "count": 9, "more": False},
        ],
    }  # fmt: skip

    found = alerts({"lag_ms": 9_000}, glance, StoreUnavailable("gone"))

    assert [one["level"] for one in found] == ["!!", "!!", "!", "!"]
    assert [one["what"] for one in found] == [
        "database away", "node silent", "steps are late", "no_sender",
    ]  # fmt: skip


async def test_a_daemon_that_leases_nothing_and_rules_that_differ_are_alerts() -> None:
    barred = {"node": "n1", "silent_s": 1.0, "figures": {"barred": {"adopt": "a copy"}}}
    glance = {
        "nodes": [barred, {"node": "n2", "silent_s": 1.0}],
        "zones_differ": ["n1 a", "n2 b"],
    }
    found = alerts({}, glance, None)

    assert [(one["level"], one["what"], one["where"], one["detail"]) for one in found] == [
        ("!!", "nothing leaves", "n1", "a copy"),
        ("!", "zones differ", "", "rules of time zones: n1 a, n2 b"),
    ]
    assert {one["screen"] for one in found} == {"nodes"}


async def test_a_sender_of_which_much_fails_is_an_alert_of_all_daemons_that_tried_it() -> None:
    def node(name: str, *senders: tuple[str, int, int]) -> dict[str, Any]:
        told = [
            {"account": "acme", "sender": one, "tried": tried, "failed": failed}
            for one, tried, failed in senders
        ]
        return {"node": name, "silent_s": 1.0, "figures": {"failing_senders": told}}

    nodes = [
        node("n1", ("a@x.test", 100, 5), ("b@x.test", 40, 20)),
        node("n2", ("a@x.test", 20, 7)),
    ]
    found = alerts({}, {"nodes": nodes}, None)

    assert [(one["level"], one["what"], one["where"], one["detail"]) for one in found] == [
        ("!!", "sender fails", "acme/b@x.test", "50% of 40 within the hour"),
        ("!", "sender fails", "acme/a@x.test", "10% of 120 within the hour"),
    ]
    assert found[0]["of"] == {"account": "acme"}


async def test_an_alert_that_is_snoozed_rests_until_its_time_or_until_it_grows_worse() -> None:
    held = {
        "reason": "step_failed",
        "account_key": "a",
        "campaign_key": "c",
        "count": 3,
        "more": False,
    }
    until = parse_instant("2026-01-05T10:00:00Z")
    snooze = {
        "what": "step_failed",
        "place": "a/c",
        "level": "!",
        "until_at": until,
        "created_by": "ann",
    }
    other = {**held, "campaign_key": "d"}

    def found(**changes: object) -> list[tuple[object, ...]]:
        glance = {"holding": [held, other], "snoozes": [{**snooze, **changes}]}
        return [
            (one["where"], one["snoozed_until"], one["snoozed_by"])
            for one in alerts({}, glance, None)
        ]

    awake = [("a/c", None, None), ("a/d", None, None)]
    assert found() == [awake[1], ("a/c", "2026-01-05T10:00:00Z", "ann")]
    assert found(place="") == awake
    assert found(what="breaker") == awake
    assert found(level="") == awake


async def test_an_alert_is_snoozed_for_everybody_and_woken(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a")
        await control.start("a", lane=-1, hold="step_failed")
        of = {"what": "step_failed", "where": "acme/welcome"}

        async def rests() -> tuple[object, object]:
            (one,) = (await control.do("alert.list"))["items"]
            (same,) = (await control.do("daemon.overview"))["alerts"]
            assert one == same
            return one["snoozed_until"], one["snoozed_by"]

        assert await rests() == (None, None)
        done = await control.do("alert.snooze", **of, lasts="4h", user="ann")
        until = done["snoozed_until"]
        assert await rests() == (until, "ann")
        with pytest.raises(Conflict):
            await control.do("alert.wake", **of, expect={"snoozed_until": None})
        assert (await control.do("alert.wake", **of, expect={"snoozed_until": until}))[
            "changed"
        ]
        assert await rests() == (None, None)
        assert not (await control.do("alert.wake", **of))["changed"]
        with pytest.raises(NotFound):
            await control.do("alert.snooze", what="step_failed", where="acme/other")
        with pytest.raises(BadRequest):
            await control.do("alert.snooze", **of, until="2001-01-01T00:00:00Z")
        rows = (await control.do("audit.list", method="alert.snooze"))["items"]

    assert [(row["user"], row["target"]) for row in rows] == [
        ("ann", "step_failed acme/welcome")
    ]


async def test_a_database_that_is_slow_is_not_said_to_be_away() -> None:
    (found,) = alerts({}, {}, StoreBusy("a statement took too long: broken off after 2.5 s"))

    assert (found["level"], found["what"]) == ("!", "database slow")
    assert "2.5 s" in found["detail"]


async def test_undo_is_refused_once_somebody_else_has_changed_it(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("account.pause", key="acme", expect={"status": "active"})
        await control.do("account.resume", key="acme", expect={"status": "paused"})
        with pytest.raises(Conflict, match="status is 'active'"):
            await control.do("account.resume", key="acme", expect={"status": "paused"})
        with pytest.raises(BadRequest, match="cannot expect"):
            await control.do("account.pause", key="acme", expect={"color": "red"})

        assert (await control.do("account.show", key="acme"))["status"] == "active"


async def test_an_action_touches_exactly_what_was_planned(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b")
        for contact in ("a", "b"):
            await control.start(contact)
        dry = await control.do("enroll.stop", campaign=["welcome"], dry_run=True)
        held_to = Promise(n=dry["set"]["n"], digest=dry["set"]["digest"])
        await control.do("contact.add", external_id="c", email="c@x.test")
        await control.start("c")
        with pytest.raises(Conflict, match="changed: was 2, now 3"):
            await control.do("enroll.stop", campaign=["welcome"], yes=True, promise=held_to)
        live = await control.one("SELECT count(*) FROM dripd.run WHERE status = 1")

        assert (held_to.n, live) == (2, 3)


async def test_publish_and_drain_are_held_to_the_draft_and_the_status_that_were_seen(
    pg_dsn: str,
) -> None:
    draft = WELCOME.replace("name: Welcome", "name: Other")
    ending = {"key": "welcome", "inflight": "terminate"}
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b")
        await control.start("a")
        await control.apply(draft)
        publish = await control.do("campaign.publish", **ending, dry_run=True)
        drain = await control.do("campaign.drain", key="welcome", dry_run=True)
        await control.start("b")
        await control.apply(draft.replace("Other", "Another"))
        with pytest.raises(Conflict, match="changed: was 1, now 2; nothing was done"):
            await control.do("campaign.publish", **ending, yes=True, promise=promised(publish))
        drained = await control.do("campaign.drain", key="welcome", promise=promised(drain))
        with pytest.raises(Conflict, match="nothing was done"):
            await control.do("campaign.drain", key="welcome", promise=promised(drain))

    assert (publish["set"]["n"], drain["set"]["n"]) == (1, 1)
    assert (drained["status"], drained["live"]) == ("draining", 2), "another run is no surprise"


async def test_a_step_is_skipped_only_where_it_was_seen(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a")
        run = await control.start("a")
        dry = await control.do("enroll.skip", enrollment=[run], dry_run=True)
        seen = {"step_key": "hello", "status": "waiting"}
        await control.do("enroll.skip", enrollment=[run], expect=seen)
        with pytest.raises(Conflict, match="step_key is 'nudge' by now, not 'hello'"):
            await control.do("enroll.skip", enrollment=[run], expect={"step_key": "hello"})
        with pytest.raises(Conflict, match="step_key is 'nudge'"):
            await control.do("enroll.due_now", enrollment=[run], expect={"step_key": "hello"})
        with pytest.raises(Conflict, match="not what the plan was made for"):
            await control.do("enroll.skip", enrollment=[run], promise=promised(dry))
        with pytest.raises(BadRequest, match="cannot expect"):
            await control.do("enroll.stop", enrollment=[run, run], expect={"step_key": "nudge"})
        shown = await control.do("enroll.show", enrollment=run)
        await control.do("enroll.stop", enrollment=[run], expect={"step_key": "nudge"})

    assert shown["step_key"] == "nudge"


async def test_a_draft_is_approved_only_as_it_was_read(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a")
        task = await control.one(
            "INSERT INTO dripd.task (account_id, kind, title, assignee, payload) "
            """VALUES (1, 'approval', 'Send?', 'ann', '{"subject": "Hi"}') RETURNING id"""
        )
        (seen,) = (await control.do("task.list"))["items"]
        await control.do("task.edit", id=task, subject="Hello", expect={"draft": seen["draft"]})
        for method in ("task.approve", "task.cancel"):
            with pytest.raises(Conflict, match="draft is"):
                await control.do(method, id=task, expect={"draft": seen["draft"]})
        with pytest.raises(Conflict, match="draft is"):
            await control.do("task.edit", id=task, text="x", expect={"draft": seen["draft"]})
        await control.do("task.assign", id=task, to="bob", expect={"assignee": "ann"})
        with pytest.raises(Conflict, match="assignee is 'bob' by now, not 'ann'"):
            await control.do("task.assign", id=task, to="cem", expect={"assignee": "ann"})
        (now,) = (await control.do("task.list"))["items"]
        await control.do(
            "task.approve", id=task, expect={"draft": now["draft"], "state": "open"}
        )
        with pytest.raises(Conflict, match="state is 'done'"):
            await control.do("task.approve", id=task, expect={"state": "open"})

    assert (now["assignee"], now["state"]) == ("bob", "open")


async def test_one_of_many_tasks_is_read_with_its_content(pg_dsn: str) -> None:
    """A console looked for it among the first thousand of its kind."""
    async with open_control(pg_dsn) as control:
        await control.furnish("a")
        await control.rows(
            "INSERT INTO dripd.task (account_id, kind, title, payload) "
            "SELECT 1, 'approval', 'Send?', jsonb_build_object('subject', n::text) "
            "FROM generate_series(1, 1200) AS n"
        )
        ids = [row["id"] for row in await control.rows("SELECT id FROM dripd.task ORDER BY id")]
        (found,) = (await control.do("task.list", id=ids[-1]))["items"]
        nobody = await control.do("task.list", id=ids[-1] + 1)

    assert found["payload"] == {"subject": "1200"}
    assert (nobody["items"], nobody["next"]) == ([], None)


def promised(dry: Any) -> Promise:
    return Promise(n=dry["set"]["n"], digest=dry["set"]["digest"])


async def test_a_contact_is_unmasked_for_a_reason_that_the_audit_keeps(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a")
        with pytest.raises(BadRequest, match="say why"):
            await control.do("contact.unmask", contact="a")
        seen = await control.do("contact.unmask", contact="a", reason="asked by phone")
        rows = (await control.do("audit.list", method="contact.unmask"))["items"]

    assert seen["email"] == "a@x.test"
    assert [(row["target"], row["reason"]) for row in rows] == [
        (f"contact {seen['id']}", "asked by phone")
    ]
    assert "a@x.test" not in str(rows)


async def test_a_request_has_its_effect_once_on_whatever_daemon(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as first:
        await first.do("account.set", key="acme")
        await first.do("account.pause", key="acme", request_id="r1")
        await first.do("account.resume", key="acme", request_id="r2")
    async with open_control(pg_dsn) as second:
        with pytest.raises(Conflict, match="r1 was carried out before"):
            await second.do("account.pause", key="acme", request_id="r1")

        assert (await second.do("account.show", key="acme"))["status"] == "active"


LOGGED = """
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq,
    step_no, run_no, channel, state, attempt)
SELECT r.id, 1, t, t, r.account_id, r.cv_id, n, 0, 1, 1, CASE WHEN n % 4 = 0 THEN 2 ELSE 1 END, 1
FROM dripd.run AS r, generate_series(1, $1::int4) AS n,
    LATERAL (SELECT dripd.now() - interval '2 days' + n * (interval '2 days' / $1::int4) AS t) AS moment
ORDER BY n
"""


async def figures_of_welcome(control: Control) -> Any:
    found = await control.do("campaign.list", figures=True)
    assert found["as_of"] is not None
    return found["items"][0]["figures"]


async def test_campaigns_are_listed_with_what_they_come_to(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b", "c")
        await control.start("a")
        await control.start("b", lane=-1, hold="step_failed")
        bare = await control.do("campaign.list")
        nothing = await figures_of_welcome(control)
        await control.one(LOGGED, 40)
        run = await control.start("c")
        await control.one(
            "UPDATE dripd.run SET status = 3, ended_at = dripd.now(), end_reason = 'reply' "
            "WHERE id = $1 RETURNING 1", run,
        )  # fmt: skip
        found = await figures_of_welcome(control)

    assert "figures" not in bare["items"][0]
    assert (nothing["active"], nothing["sent_24h"], nothing["failed_24h"]) == (2, 0, 0)
    assert found["active"] == 3
    assert (found["sent_24h"], found["failed_24h"]) == (30, 10)
    assert found["replied"] == pytest.approx(1 / 3, abs=0.001)
    assert (nothing["ended"], found["ended"]) == (0, pytest.approx(1 / 3, abs=0.001))
    assert set(found["least"].values()) == {1}


async def test_what_stands_early_in_a_small_log_is_counted_too(pg_dsn: str) -> None:
    """Vacuum makes room on early pages, and the latest rows come to stand there."""
    async with open_control(pg_dsn) as control:
        await control.furnish("a")
        await control.start("a")
        await control.one(LOGGED.replace("ORDER BY n", "ORDER BY n DESC"), 4_000)
        found = await figures_of_welcome(control)

    assert (found["sent_24h"], found["failed_24h"]) == (1_500, 500)


async def test_what_is_large_is_estimated_from_some_of_its_pages(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_estimate, "LOG_PAGES", 20)
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b")
        await control.start("a")
        await control.one(LOGGED, 20_000)
        found = await figures_of_welcome(control)

    assert found["least"]["sent_24h"] > 1
    assert found["sent_24h"] == pytest.approx(7_500, rel=0.1)
    assert found["failed_24h"] == pytest.approx(2_500, rel=0.1)


async def test_accounts_are_listed_with_their_backlog_and_window(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("a", "b", "c")
        await control.start("a", due_in="-1 minute")
        await control.start("b", due_in="-1 minute", claim=7)
        await control.start("c")
        await control.one(LANE)
        await control.do("account.set", key="wide", window="{}")
        found = await control.do("account.list", figures=True)
        bare = await control.do("account.list")

    told = {
        row["key"]: (row["backlog"], row["window"], row["opens_at"]) for row in found["items"]
    }
    assert told == {
        "acme": (1, "always", None), "wide": (0, "open", None)
    }  # fmt: skip
    assert "backlog" not in bare["items"][0]


async def test_a_window_says_when_it_opens() -> None:
    row = {
        "send_window": {"days": ["mon"], "from": "09:00", "to": "17:00"},
        "timezone": "Europe/Berlin",
    }
    sunday = parse_instant("2026-03-01T12:00:00Z")

    found = window_now(row, sunday, lambda _name: frozenset())

    assert found == {"window": "closed", "opens_at": "2026-03-02T08:00:00Z"}
    assert (
        window_now({**row, "timezone": "No/Where"}, sunday, lambda _name: frozenset())["window"]
        == "unreadable"
    )
