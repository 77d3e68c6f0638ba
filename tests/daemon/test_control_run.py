"""Runs over the admin methods: asked for, stopped, reset, moved, released, explained."""

from __future__ import annotations

import pytest
import trio

from dripd.admin.messages import Promise
from dripd.clock import format_instant
from dripd.errors import BadRequest, Conflict, NotFound
from tests.support.control import WELCOME, Control, open_control

pytestmark = pytest.mark.trio


async def statuses(control: Control, runs: list[int]) -> list[tuple[str, str | None]]:
    shown = [await control.do("enroll.show", enrollment=run) for run in runs]
    return [(one["status"], one["end_reason"]) for one in shown]


@pytest.mark.feature("Q20")
@pytest.mark.feature("M58")
async def test_stop_takes_the_chosen_runs_only(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        contacts = [f"c{n}" for n in range(5)]
        await control.furnish(*contacts)
        runs = [await control.start(contact) for contact in contacts]
        with pytest.raises(Conflict) as refused:
            await control.do("enroll.stop", contact=["c0", "c1", "c2"])
        done = await control.do("enroll.stop", contact=["c0", "c1", "c2"], yes=True)
        one = await control.do("enroll.stop", enrollment=[runs[3]])

        assert refused.value.code == "confirm:3"
        assert (done["changed"], one["changed"]) == (3, 1)
        assert [status for status, _ in await statuses(control, runs)] == [
            *["terminated"] * 4, "waiting",
        ]  # fmt: skip
        assert await control.one("SELECT count(*) FROM dripd.due_step") == 1
        with pytest.raises(BadRequest):
            await control.do("enroll.stop")


async def test_stop_of_many_goes_through_each_of_them_once(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read once, changed some at a time: none is skipped for those that have ended before it."""
    monkeypatch.setattr("dripd.store.desk_pick.CHUNK", 2)
    async with open_control(pg_dsn) as control:
        contacts = [f"c{n}" for n in range(7)]
        await control.furnish(*contacts)
        runs = [await control.start(one, claim=7 if one == "c3" else None) for one in contacts]
        for contact in contacts[1:]:
            await control.do("contact.tag", contact=contact, tags=["x"])
        done = await control.do("enroll.stop", tag=["x"], not_started=True, yes=True)

        assert done["changed"] == 5
        assert [status for status, _ in await statuses(control, runs)] == [
            "waiting", *["terminated"] * 2, "executing", *["terminated"] * 3,
        ]  # fmt: skip


async def test_stop_marks_what_is_leased_and_deletes_the_rest(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2")
        leased = await control.start("c1", claim=7)
        await control.start("c2")
        await control.do("enroll.stop", campaign=["welcome"], yes=True)

        rows = await control.rows("SELECT enrollment_id, attempt, claim_id FROM dripd.due_step")
        assert [tuple(row.values()) for row in rows] == [(leased, -1, 7)]
        assert await statuses(control, [leased]) == [("terminated", "stopped")]


async def test_stop_waits_for_a_record_and_sees_what_it_left(pg_dsn: str) -> None:
    """The row is given back between our look and our lock."""
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1", claim=7)
        async with trio.open_nursery() as nursery:
            await nursery.start(
                control.hold,
                "UPDATE dripd.due_step SET claim_id = NULL, seq = 2, step_no = 1,"
                " due_at = due_at + interval '1 day'",
            )
            await control.do("enroll.stop", enrollment=[run])

        assert await statuses(control, [run]) == [("terminated", "stopped")]
        assert await control.one("SELECT count(*) FROM dripd.due_step") == 0


async def test_selection_ands_kinds_and_ors_values(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        contacts = [f"c{n}" for n in range(4)]
        await control.furnish(*contacts)
        await control.do("contact.tag", contact="c1", tags=["vip"])
        await control.do("contact.tag", contact="c2", tags=["old"])
        await control.do("contact.update", contact="c2", ops=["tier set gold"])
        await control.do("list.add", key="new-leads", contacts=["c2", "c3"])
        for contact in contacts:
            await control.start(contact)

        async def dry(**selection: object) -> int:
            done = await control.do("enroll.stop", dry_run=True, **selection)
            return int(done["changed"])

        assert await dry(tag=["vip", "old"]) == 2
        assert await dry(tag=["vip", "old"], list_=["new-leads"]) == 1
        assert await dry(where="attrs.tier == 'gold'") == 1
        assert await dry(campaign=["welcome"], contact=["c0", "c3"]) == 2
        assert await control.one("SELECT count(*) FROM dripd.run WHERE status = 1") == 4


@pytest.mark.feature("M48")
async def test_stop_can_spare_those_that_have_been_sent_something(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        started = await control.start("c1")
        flying = await control.start("c2", claim=7)
        fresh = await control.start("c3")
        await control.rows(
            "INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id,"
            " cv_id, seq, step_no, run_no, channel, state, attempt)"
            " VALUES ($1, 1, dripd.now(), dripd.now(), 1, 1, 1, 0, 1, 1, 1, 0)",
            started,
        )
        done = await control.do("enroll.stop", campaign=["welcome"], not_started=True)

        assert done["changed"] == 1
        found = [status for status, _ in await statuses(control, [started, flying, fresh])]
        assert found == ["waiting", "executing", "terminated"]


@pytest.mark.feature("Q2")
@pytest.mark.feature("Q21")
async def test_reset_frees_the_contact_and_keeps_the_history(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2")
        first, second = await control.start("c1"), await control.start("c2")
        await control.do("enroll.stop", contact=["c1"])
        await control.do("enroll.stop", contact=["c2"], reset=True)
        query = "SELECT id FROM dripd.run WHERE reentry IS NOT NULL ORDER BY id"
        blocked = await control.rows(query)
        done = await control.do("enroll.reset", contact=["c1"])

        assert [row["id"] for row in blocked] == [first]
        assert done["changed"] == 1
        assert await control.rows(query) == []
        assert (await control.do("enroll.show", enrollment=second))["reset_at"] is not None
        assert (
            await control.one("SELECT count(*) FROM dripd.journal_log WHERE kind = 'reset'")
            == 2
        )


async def test_reset_of_a_live_run_ends_it(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        await control.do("enroll.reset", enrollment=[run])

        assert await statuses(control, [run]) == [("terminated", "reset")]


@pytest.mark.feature("Q22")
async def test_reset_of_statistics_takes_only_those_contacts_out(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2")
        for contact in ("c1", "c2"):
            await control.start(contact)
        journal = await control.one("SELECT count(*) FROM dripd.journal")
        await control.do("enroll.stop", contact=["c1"], reset=True, reset_stats=True)

        stats = await control.do("campaign.stats", key="welcome")
        assert (stats["enrolled"], stats["active"], stats["terminated"]) == (1, 1, 0)
        assert await control.one("SELECT count(*) FROM dripd.journal") > journal


async def test_move_ends_and_asks_in_one_transaction(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        await control.apply(WELCOME.replace("campaign: welcome", "campaign: other"))
        run = await control.start("c1")
        with pytest.raises(Conflict) as refused:
            await control.do("enroll.move", enrollment=[run], to="other")
        await control.do("campaign.activate", key="other")
        await control.do("enroll.move", enrollment=[run], to="other", user="ann")

        assert refused.value.code == "not_active"
        assert await statuses(control, [run]) == [("removed", "moved:other")]
        (asked,) = await control.rows("SELECT * FROM dripd.enroll_request")
        assert (asked["campaign_key"], asked["source"], asked["requested_by"]) == (
            "other", "move", "ann",
        )  # fmt: skip


async def test_due_now_gives_a_held_step_its_lane_back(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        waiting = await control.start("c1")
        held = await control.start("c2", lane=-1, hold="step_failed")
        asked = await control.start("c3", lane=-1, hold="approval")
        done = await control.do("enroll.due_now", campaign=["welcome"], yes=True)

        assert done["changed"] == 2
        assert [item["ok"] for item in done["items"]] == [True, True, False]
        rows = await control.rows(
            "SELECT enrollment_id, lane, due_at <= dripd.now() AS due FROM dripd.due_step"
            " ORDER BY enrollment_id"
        )
        assert [tuple(row.values()) for row in rows] == [
            (waiting, 0, True), (held, 0, True), (asked, -1, False),
        ]  # fmt: skip
        assert (await control.do("enroll.show", enrollment=held))["hold_reason"] is None
        assert await control.one("SELECT count(*) FROM dripd.nudge") > 0


async def test_skip_is_logged_and_the_run_goes_on(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        await control.do("enroll.skip", enrollment=[run])
        shown = await control.do("enroll.show", enrollment=run)

        assert shown["step_key"] == "nudge"
        assert [(s["step_key"], s["outcome"], s["reason"]) for s in shown["steps"]] == [
            ("hello", "skipped", "cancelled")
        ]
        leased = await control.one("UPDATE dripd.due_step SET claim_id = 9 RETURNING seq")
        refused = await control.do("enroll.skip", enrollment=[run])
        assert (leased, refused["changed"], refused["items"][0]["ok"]) == (2, 0, False)


async def test_enrollment_that_is_not_there_is_said(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        done = await control.do("enroll.stop", enrollment=[run, 999], yes=True)

        assert done["changed"] == 1
        assert [(item["ok"], item.get("code")) for item in done["items"]] == [
            (True, None), (False, "not_found"),
        ]  # fmt: skip
        with pytest.raises(NotFound):
            await control.do("enroll.show", enrollment=999)


@pytest.mark.feature("M39")
async def test_enroll_add_waits_for_the_decisions(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2")

        async def decide() -> None:
            while not await control.one("SELECT count(*) FROM dripd.enroll_request"):
                await trio.lowlevel.checkpoint()
            await control.rows(
                "UPDATE dripd.enroll_request SET decided_at = dripd.now(),"
                " status = CASE external_id WHEN 'c1' THEN 'accepted' ELSE 'rejected' END,"
                " enrollment_id = CASE external_id WHEN 'c1' THEN 5 END,"
                " reject_reason = CASE external_id WHEN 'c2' THEN 'already_ran' END"
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(decide)
            done = await control.do(
                "enroll.add", campaign="welcome", contacts=["c1", "c2"], key="k"
            )

        assert done["changed"] == 1
        assert [(item["status"], item.get("code")) for item in done["items"]] == [
            ("accepted", None), ("rejected", "already_ran"),
        ]  # fmt: skip
        keys = await control.rows("SELECT idempotency_key AS k FROM dripd.enroll_request")
        assert {row["k"] for row in keys} == {"k:c1", "k:c2"}
        assert control.seen["kick"]


async def test_backfill_says_whom_it_means_and_asks_for_every_member_once(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        await control.do("list.add", key="new-leads", contacts=["c1", "c3"])
        wish = {"campaign": "welcome", "backfill": "new-leads"}
        plan = await control.do("enroll.add", **wish, dry_run=True)
        with pytest.raises(Conflict, match="c1, c3") as refused:
            await control.do("enroll.add", **wish)
        assert await control.one("SELECT count(*) FROM dripd.enroll_request") == 0
        done = await control.do("enroll.add", **wish, yes=True)

        assert refused.value.code == "confirm:2"
        assert plan["set"]["n"] == 2
        assert (done["changed"], done["sample"], done["items"]) == (2, ["c1", "c3"], [])
        rows = await control.rows("SELECT DISTINCT source FROM dripd.enroll_request")
        assert [row["source"] for row in rows] == ["backfill:new-leads"]
        with pytest.raises(BadRequest):
            await control.do("enroll.add", campaign="welcome")


async def test_import_of_requests_judges_each_row(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        rows = [
            {"contact": "c1", "start_at": "2026-05-01T00:00:00Z", "vars": {"x": 1}},
            {"contact": "c1", "start_at": "tomorrow"},
            {"who": "c1"},
        ]
        done = await control.do("enroll.import", campaign="welcome", rows=rows, dry_run=True)

        assert [item["ok"] for item in done["items"]] == [True, False, False]
        assert await control.one("SELECT count(*) FROM dripd.enroll_request") == 0


@pytest.mark.feature("M57")
async def test_explain_names_step_gates_and_when_it_is_ready(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.rows("INSERT INTO dripd.clock (at) VALUES ('2026-01-02T20:00:00Z')")
        await control.furnish("c1")
        window = '{days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}'
        await control.do("account.set", key="acme", window=window)
        await control.rows(
            "INSERT INTO dripd.lane (account_id, lane, campaign_id, class, channel, calendar, zone)"
            " VALUES (1, 0, 1, 1, 'email', 'account', 'account')"
        )
        run = await control.start("c1", due_in="1 hour")
        (one,) = (await control.do("contact.explain", contact="c1"))["enrollments"]

        assert one["enrollment_id"] == run
        assert one["step"] == {"key": "hello", "index": 1, "of": 2}
        assert [(gate["gate"], gate["until"]) for gate in one["chain"]] == [
            ("due", "2026-01-02T21:00:00Z"),
            ("window", "2026-01-05T09:00:00Z"),
        ]
        assert one["ready_at"] == "2026-01-05T09:00:00Z"
        await control.rows("UPDATE dripd.due_step SET due_at = '2026-01-05T16:59:59Z'")
        (one,) = (await control.do("enroll.explain", enrollment=run))["enrollments"]
        assert one["ready_at"] == "2026-01-06T09:00:00Z"  # no message leaves so late
        await control.do("campaign.pause", key="welcome")
        (paused,) = (await control.do("enroll.explain", enrollment=run))["enrollments"]
        assert paused["hold_reason"] == "paused"
        assert [gate["gate"] for gate in paused["chain"]] == ["due", "paused", "window"]
        assert paused["ready_at"] is None


@pytest.mark.feature("M45")
async def test_timeline_tells_a_run_in_its_order(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        await control.do("enroll.skip", enrollment=[run])
        await control.do("enroll.stop", enrollment=[run])
        whole = (await control.do("contact.timeline", contact="c1"))["items"]
        first = await control.do("contact.timeline", contact="c1", limit=1)
        rest = await control.do("contact.timeline", contact="c1", after=first["next"])

        kinds = [item["kind"] for item in whole]
        assert kinds[:2] == ["accepted", "step_skipped"]
        assert sorted(kinds[2:]) == ["stopped", "terminated"]
        assert whole[1]["step_key"] == "hello"
        assert {item["campaign_key"] for item in whole} == {"welcome"}
        assert first["items"] + rest["items"] == whole


async def test_enrollments_are_listed_by_what_they_are(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2")
        await control.start("c1")
        await control.start("c2", lane=-1, hold="too_long")

        async def names(**params: object) -> list[str]:
            found = await control.do("enroll.list", **params)
            return [row["external_id"] for row in found["items"]]

        assert await names() == ["c1", "c2"]
        assert await names(status="held") == ["c2"]
        assert await names(hold="too_long") == ["c2"]
        assert await names(contact="c1", campaign="welcome") == ["c1"]


async def test_dead_steps_are_grouped_retried_and_discarded(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        runs = [await control.start(c, lane=-1, hold="step_failed") for c in ("c1", "c2")]
        await control.start("c3", lane=-1, hold="missing_tag:City")
        groups = (await control.do("dead.list"))["items"]
        failed = groups[0]["group"]
        with pytest.raises(Conflict):
            await control.do("dead.retry", group=failed)
        retried = await control.do("dead.retry", enrollment=[runs[0]])
        gone = await control.do("dead.discard", group=failed)

        assert [(g["count"], g["code"], g["retry"]) for g in groups] == [
            (2, "step_failed", "safe"), (1, "missing_tag:City", "fix"),
        ]  # fmt: skip
        assert (retried["changed"], gone["changed"]) == (1, 1)
        found = await statuses(control, runs)
        assert found == [("waiting", None), ("terminated", "stopped")]
        with pytest.raises(NotFound):
            await control.do("dead.retry", group=failed)


async def test_of_dead_steps_only_those_are_retried_that_nobody_can_have_received(
    pg_dsn: str,
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3")
        runs = [await control.start(c, lane=-1, hold="step_failed") for c in ("c1", "c2")]
        fix = await control.start("c3", lane=-1, hold="missing_tag:City")
        await control.rows(
            "UPDATE dripd.due_step SET flags = flags | 2 WHERE enrollment_id = $1", runs[1]
        )
        group = (await control.do("dead.list"))["items"][0]
        done = await control.do("dead.retry", group=group["group"], safe=True)

        assert group["retry"] == "unsafe"
        assert [one["external_id"] for one in group["sample"]] == ["c2", "c1"]
        assert (done["changed"], [one["enrollment_id"] for one in done["items"]]) == (
            1,
            runs[:1],
        )
        assert [word for word, _ in await statuses(control, runs)] == ["waiting", "held"]
        with pytest.raises(Conflict, match="may have been delivered"):
            await control.do("dead.retry", enrollment=[runs[1]], safe=True)
        with pytest.raises(Conflict, match="until its cause is mended"):
            await control.do("dead.retry", enrollment=[fix], safe=True)


async def test_several_groups_are_retried_by_one_plan_that_tells_them_apart(
    pg_dsn: str,
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2", "c3", "c4")
        runs = [await control.start(c, lane=-1, hold="step_failed") for c in ("c1", "c2")]
        await control.start("c3", lane=-1, hold="missing_tag:City")
        await control.start("c4", lane=-1, hold="missing_tag:Town")
        await control.rows(
            "UPDATE dripd.due_step SET flags = flags | 2 WHERE enrollment_id = $1", runs[1]
        )
        groups = {g["code"]: g["group"] for g in (await control.do("dead.list"))["items"]}
        two = [groups["step_failed"], groups["missing_tag:City"]]
        dry = await control.do("dead.retry", groups=two, dry_run=True)
        kinds = [one["retry"] for one in dry["items"]]
        with pytest.raises(BadRequest, match="groups, or --enrollment"):
            await control.do("dead.retry", groups=two, enrollment=runs)
        with pytest.raises(NotFound, match="nothing of 000000000000 is held"):
            await control.do("dead.retry", groups=[*two, "0" * 12], yes=True)
        done = await control.do(
            "dead.retry", groups=two, promise=Promise(**dry["set"]), yes=True
        )
        (row,) = (await control.do("audit.list", method="dead.retry"))["items"]
        left = (await control.do("dead.list"))["items"]

    assert dry["parts"] == {"safe": 1, "unsafe": 1, "fix": 1}
    assert sorted(kinds) == ["fix", "safe", "unsafe"]
    assert done["changed"] == 3
    assert (row["target"], row["detail"]["groups"]) == ("groups", sorted(two))
    assert [one["code"] for one in left] == ["missing_tag:Town"]


AWAITED = """
WITH held AS (
    UPDATE dripd.run SET hold_reason = 'task', exclusive = 'account', release_at = dripd.now() + interval '1 day'
    WHERE id = $1 RETURNING account_id, id, contact_id
)
INSERT INTO dripd.task (account_id, enrollment_id, contact_id, seq, kind, title, assignee, awaited)
SELECT account_id, id, contact_id, 1, 'call', 'Call', 'ann', true FROM held RETURNING id
"""

BEHIND = """
INSERT INTO dripd.enroll_request (account_id, campaign_key, external_id, queued_for)
SELECT account_id, 'welcome', 'x' || n, contact_id FROM dripd.run, generate_series(1, 2) AS n
WHERE run.id = $1 RETURNING id
"""


async def test_a_task_tells_what_waits_for_it_and_until_when(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1", lane=-1)
        awaited = await control.one(AWAITED, run)
        await control.rows("SET LOCAL session_replication_role = replica")
        await control.rows(BEHIND, run)
        await control.rows(
            "INSERT INTO dripd.task (account_id, enrollment_id, seq, kind, title) "
            "VALUES (1, $1, 2, 'custom', 'Note it') RETURNING id", run,
        )  # fmt: skip
        one, other = (await control.do("task.list"))["items"]
        ends = await control.one("SELECT release_at FROM dripd.run WHERE id = $1", run)
        await control.do("task.done", id=awaited)
        done = (await control.do("task.list", state="done"))["items"]

    assert (one["blocks"], one["expires_at"]) == (3, format_instant(ends))
    assert (other["blocks"], other["expires_at"]) == (0, None)
    assert [row["blocks"] for row in done] == [0]


async def test_a_task_is_snoozed_woken_and_held_to_what_was_seen(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1", lane=-1)
        task = await control.one(AWAITED, run)

        async def listed(**params: object) -> list[int]:
            found = await control.do("task.list", state="open", **params)
            return [row["id"] for row in found["items"]]

        done = await control.do("task.snooze", id=task, lasts="2h", user="ann")
        until = done["snoozed_until"]
        assert (await listed(), await listed(snoozed=False), await listed(snoozed=True)) == (
            [task], [], [task],
        )  # fmt: skip
        inbox = (await control.do("daemon.overview", brief=True))["inbox"]
        assert (inbox["tasks"], inbox["snoozed"], inbox["oldest_at"]) == (0, 1, None)
        with pytest.raises(Conflict, match="snoozed_until is"):
            await control.do("task.wake", id=task, expect={"snoozed_until": None})
        woken = await control.do("task.wake", id=task, expect={"snoozed_until": until})
        assert (woken["changed"], woken["snoozed_until"]) == (True, None)
        again = await control.do("task.wake", id=task)
        assert again["changed"] is False
        await control.do("task.snooze", id=task)
        moved = await control.do("task.assign", id=task, to="bob")
        assert moved["snoozed_until"] is None
        rows = (await control.do("audit.list", method="task.snooze"))["items"]

    assert (done["snoozed_by"], done["changed"]) == ("ann", True)
    assert [row["target"] for row in rows] == [f"task {task}"] * 2


@pytest.mark.parametrize(
    ("given", "fault", "message"),
    [
        ({"until": "2001-01-01T00:00:00Z"}, BadRequest, "already"),
        ({"lasts": "1d"}, BadRequest, "its run waits for it only until"),
        ({"lasts": "soon"}, BadRequest, "soon"),
    ],
)
async def test_a_task_is_not_snoozed_beyond_its_use(
    pg_dsn: str, given: dict[str, object], fault: type[Exception], message: str
) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        task = await control.one(AWAITED, await control.start("c1", lane=-1))
        with pytest.raises(fault, match=message):
            await control.do("task.snooze", id=task, **given)
        await control.do("task.done", id=task)
        with pytest.raises(Conflict, match=f"task {task} is done"):
            await control.do("task.snooze", id=task)
        with pytest.raises(NotFound):
            await control.do("task.snooze", id=999)


async def test_what_is_overdue_had_time_of_its_own(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        for due in ("-1 minute", "1 hour"):
            await control.rows(
                "INSERT INTO dripd.task (account_id, kind, title, created_at, due_at) VALUES (1, 'call', 'x', "
                "dripd.now() - interval '1 day', dripd.now() + $1::text::interval) RETURNING id", due,
            )  # fmt: skip
        await control.rows(
            "INSERT INTO dripd.task (account_id, kind, title, due_at) VALUES (1, 'call', 'x', dripd.now()) RETURNING id"
        )
        inbox = (await control.do("daemon.overview", brief=True))["inbox"]
        first = (await control.do("task.list"))["items"][0]

    assert (inbox["tasks"], inbox["overdue"]) == (3, 1)
    assert (inbox["oldest_at"], inbox["oldest_due_at"]) == (
        first["created_at"],
        first["due_at"],
    )


@pytest.mark.feature("M46")
async def test_tasks_are_filtered_assigned_and_closed_once(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        for kind in ("call", "custom"):
            await control.rows(
                "INSERT INTO dripd.task (account_id, kind, title) VALUES (1, $1, 'Do it')", kind
            )
        calls = (await control.do("task.list", kind="call"))["items"]
        task = calls[0]["id"]
        await control.do("task.assign", id=task, to="ann")
        done = await control.do("task.done", id=task, text="reached her", user="ann")
        again = await control.do("task.done", id=task)
        with pytest.raises(Conflict):
            await control.do("task.cancel", id=task)

        assert len(calls) == 1
        assert (done["state"], done["closed_by"], done["payload"]) == (
            "done", "ann", {"text": "reached her"},
        )  # fmt: skip
        assert again["changed"] is False
        assert len((await control.do("task.list", state="open"))["items"]) == 1


async def test_notification_is_read_once(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        note = await control.one(
            "INSERT INTO dripd.notification (account_id, kind, recipient)"
            " VALUES (1, 'ended', 'ann') RETURNING id"
        )

        assert (await control.do("notification.read", id=note))["changed"] is True
        assert (await control.do("notification.read", id=note))["changed"] is False
        assert (await control.do("notification.list", unread=True))["items"] == []


async def test_deliveries_are_paged_from_the_latest(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        for seq in (1, 2, 3):
            await control.rows(
                "INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id,"
                " cv_id, seq, step_no, run_no, channel, state, attempt)"
                " VALUES ($1, 1, '2026-01-01', '2026-01-01', 1, 1, $2, 0, 1, 1, 1, 0)",
                run, seq,
            )  # fmt: skip
        first = await control.do("delivery.list", limit=2, contact="c1")
        rest = await control.do("delivery.list", limit=2, contact="c1", after=first["next"])
        shown = await control.do("delivery.show", id=f"{run}-2")

        ids = [row["id"] for row in (*first["items"], *rest["items"])]
        assert ids == [f"{run}-3", f"{run}-2", f"{run}-1"]
        assert (shown["state"], shown["leased_at"]) == ("accepted", "2026-01-01T00:00:00Z")
        assert (await control.do("delivery.list", campaign="welcome", state="failed"))[
            "items"
        ] == []
        with pytest.raises(BadRequest):
            await control.do("delivery.show", id="x")
