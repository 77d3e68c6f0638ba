"""Recording: what every store does with the outcomes of leased steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio

from dripd.campaigns.action import (
    AddTag,
    AddToList,
    MakeTask,
    MoveTo,
    Note,
    RemoveFromList,
    RemoveTag,
    Rota,
    Slot,
    UpdateCompany,
    UpdateContact,
    WatchReply,
)
from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    FLAG_HELD,
    FLAG_PUT_OFF,
    FLAG_VARS,
    HELD_LANE,
    Change,
    DueKey,
    End,
    Leased,
    LogRow,
    LogState,
    Needs,
    Next,
    RunStatus,
)
from dripd.clock import DAY, HOUR, Instant
from dripd.errors import InDoubt
from dripd.policy.admission_rows import Decision, RequestRow
from dripd.policy.inbox_rows import EndRun, Poke, Release, changes_in
from dripd.store.protocol import FirstSteps, ParkRow, Refusal, Turn, TurnBack, Wish
from tests.store.world import (
    NODE,
    T0,
    TODAY,
    TOMORROW,
    Scene,
    World,
    campaign,
    day_row,
    ends,
    open_scene,
    reject_all,
    start_all,
)


async def stop(scene: Scene, *leased: Leased, reason: str = "reply") -> None:
    """A reply of each comes in and ends the run while its step is in flight."""
    for one in leased:
        await scene.world.event(scene.account, "reply", contact_id=one.contact_id)
    done = await scene.digest(
        *(
            EndRun(one.enrollment_id, one.contact_id, RunStatus.TERMINATED, reason)
            for one in leased
        )
    )

    assert done.stopped == [one.enrollment_id for one in leased]


@pytest.mark.trio
class RecordSuite:
    async def test_first_steps_are_added_up_and_a_failing_campaign_is_paused(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)
        first = FirstSteps(scene.account, scene.cv, 5, 2)

        assert await world.store.count_first([first]) == [first]
        total = FirstSteps(scene.account, scene.cv, 10, 4)
        assert await world.store.count_first([first]) == [total]
        assert not await world.store.pause_failing(total._replace(cv_id=scene.cv + 1))
        assert await world.store.pause_failing(total)
        assert not await world.store.pause_failing(total)

        (account,) = await world.store.read_accounts([scene.account])
        assert [one.status for one in account.campaigns] == ["paused"]
        assert [why for *_, why in (await scene.lease(keys)).refused] == [Refusal.HELD]
        assert [row["kind"] for row in await world.notifications()] == ["paused"]
        assert await world.store.count_first([first]) == [first]

    async def test_what_fails_after_the_first_steps_is_not_counted(self, world: World) -> None:
        """Whoever starts anew watches a version as if it were young: six campaigns that had done
        thousands of steps were paused as failing from their start."""
        scene = await open_scene(world)
        first = FirstSteps(scene.account, scene.cv, 150, 2)
        for total in (first, first._replace(done=300, failed=4)):
            assert await world.store.count_first([first]) == [total]
        again = first._replace(done=450, failed=4)
        assert await world.store.count_first([first]) == [again]

    async def test_a_step_that_was_sent_leads_to_the_next(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        done = await scene.record(scene.goes_on(leased), closed=[leased.claim_id])
        lanes = {row.key: row.lane for row in await world.store.read_lanes(None)}
        delivery = (await world.deliveries())[0]
        row = await scene.run()

        assert [tuple(key) for key in done.moved] == [
            (scene.account, lanes[scene.next_lane], T0 + DAY, leased.enrollment_id, scene.cv)
        ]
        assert (done.stopped, done.late, done.refunded, done.started) == ([], [], set(), [])
        assert (row["status"], row["step_key"], row["due_at"]) == ("waiting", "two", T0 + DAY)
        assert (delivery["id"], delivery["state"]) == (f"{leased.enrollment_id}-1", "accepted")
        assert (delivery["step_key"], delivery["attempt"], delivery["run_no"]) == ("one", 1, 1)
        assert (delivery["to_address"], delivery["leased_at"]) == ("p0@x.example", T0)
        assert delivery["idempotency_key"].endswith(f":{leased.enrollment_id}:1:one")
        assert (delivery["accepted_at"], delivery["provider"]) == (T0, None)
        assert [(r["seq"], r["outcome"], r["kind"]) for r in await world.step_runs()] == [
            (1, "done", "email")
        ]
        assert await scene.used() == 1
        assert await world.store.orphans(NODE, [], [leased.claim_id]) == []

    async def test_the_last_step_ends_the_run(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(ends(leased))
        assert "claims" in await world.store.unsettled()
        await scene.record(closed=[leased.claim_id])
        assert "claims" not in await world.store.unsettled()
        row = await scene.run()

        assert (row["status"], row["end_reason"], row["ended_at"]) == (
            "completed",
            "completed",
            T0,
        )
        assert (row["step_key"], row["due_at"]) == (None, None)
        assert await world.due_steps() == []
        kinds = sorted(line["kind"] for line in await world.journal())
        assert kinds == ["accepted", "completed", "step_done"]

    async def test_an_attempt_that_failed_gives_its_cap_back(self, world: World) -> None:
        scene = await open_scene(world, cap=1)
        leased = (await scene.take())[0]
        await world.store.park([ParkRow(scene.account, leased.lane, "cap", None)])
        await world.store.park([ParkRow(scene.account, 99, "window", None)])
        done = await scene.record(scene.tries_again(leased), closed=[leased.claim_id])

        assert await scene.used() == 0
        assert done.refunded == {scene.account}
        assert [park.reason for park in await world.store.read_parks(None)] == ["window"]
        assert [(d["attempt"], d["seq"], d["leased"]) for d in await world.due_steps()] == [
            (1, 1, False)
        ]
        assert await world.deliveries() == []
        assert await world.step_runs() == []

    async def test_nothing_is_refunded_that_was_not_counted(self, world: World) -> None:
        scene = await open_scene(world)
        counted = (await scene.take())[0]
        free = (await scene.take(mask=Needs.START))[0]
        done = await scene.record(scene.tries_again(free))

        assert (done.refunded, await scene.used()) == (set(), 1)
        assert counted.counted

    async def test_a_refund_goes_to_the_day_of_the_lease(self, world: World) -> None:
        scene = await open_scene(world)
        old = (await scene.take())[0]
        start = T0 + 12 * HOUR
        await world.store.make_days(
            [
                day_row(
                    scene.account,
                    local_date=TOMORROW,
                    starts_at=Instant(start),
                    ends_at=Instant(start + DAY),
                )
            ]
        )
        await world.set_now(Instant(start))
        new = await scene.enroll(1, due_at=Instant(start))
        await scene.lease(new, day=TOMORROW)
        await scene.record(scene.tries_again(old))

        assert (await scene.used(TODAY), await scene.used(TOMORROW)) == (0, 1)

    async def test_a_refund_never_goes_below_nothing(self, world: World) -> None:
        scene = await open_scene(world)
        leased = await scene.take(2)
        await scene.record(scene.tries_again(leased[0]))
        twice = [scene.tries_again(one) for one in leased]
        done = await scene.record(*twice)

        assert (done.late, await scene.used()) == ([leased[0].enrollment_id], 0)

    async def test_a_hold_in_its_lane_is_over_when_the_step_goes_on(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        held = replace(
            scene.goes_on(leased).next, due_at=T0, flags=FLAG_HELD | FLAG_PUT_OFF,
            hold_reason="frequency", release_at=Instant(T0 + HOUR), lane=scene.lane, step_no=0,
            seq=1, due_was=Instant(T0 - HOUR),
        )  # fmt: skip
        done = await scene.record(Change(leased=leased, log=[], next=held, refund=True))
        row = await scene.run()
        assert (row["status"], row["hold_reason"]) == ("held", "frequency")
        assert [key.enrollment_id for key in done.moved] == [leased.enrollment_id]
        again = (await scene.lease(done.moved, mask=Needs.START)).granted[0]
        assert again.flags & FLAG_HELD
        assert (again.due_at, again.came_due) == (T0, T0 - HOUR)
        paused = replace(
            held, flags=FLAG_PUT_OFF, hold_reason=None, release_at=None, due_was=None
        )
        done = await scene.record(Change(leased=again, log=[], next=paused, refund=True))
        again = (await scene.lease(done.moved, mask=Needs.START)).granted[0]
        assert again.came_due == T0 - HOUR, "also once nothing of its own holds it"
        done = await scene.record(scene.goes_on(again))
        follows = (await scene.lease(done.moved, mask=Needs.START)).granted
        assert all(one.came_due == one.due_at for one in follows)
        row = await scene.run()

        assert (row["status"], row["hold_reason"], row["release_at"]) == ("waiting", None, None)

    async def test_a_step_that_is_tried_again_knows_when_it_first_came_due(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        again = scene.tries_again(leased)
        assert again.next is not None
        again.next.flags, again.next.due_was = FLAG_PUT_OFF, leased.came_due
        done = await scene.record(again)
        assert (await scene.run())["hold_reason"] is None
        assert [
            row for row in await world.journal() if row["kind"] in {"held", "released"}
        ] == []

        await world.set_now(Instant(T0 + HOUR))
        (leased,) = (await scene.lease(done.moved, mask=Needs.START)).granted
        assert (leased.due_at, leased.came_due) == (T0 + HOUR, T0)

    async def test_what_left_from_a_sender_is_counted_from_an_instant_on(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        leased = await scene.take(3)
        states = (LogState.ACCEPTED, LogState.UNKNOWN, LogState.FAILED)
        for one, state in zip(leased, states, strict=True):
            change = scene.goes_on(one)
            change.log = [replace(change.log[0], sender_id=5, state=state)]
            await scene.record(change)
        count = world.store.count_sent

        assert await count(scene.account, [5, 6], T0) == {5: 2}
        assert await count(scene.account, [5], Instant(T0 + 1)) == {}
        assert await count(scene.account + 1, [5], T0) == {}

    async def test_turns_of_a_day_are_taken_once_whoever_asks(self, world: World) -> None:
        scene = await open_scene(world)

        def turn(n: int, *, day: int = 0, base: int = 0) -> Turn:
            return Turn(
                account_id=scene.account, sender_id=5, n=n, base=base, most=10,
                starts_at=Instant(T0 + day * DAY),
            )  # fmt: skip

        take, back = world.store.take_turns, world.store.return_turns

        assert await take([turn(4, base=3)]) == [(4, None)]
        assert await take([turn(4, base=9)]) == [(3, None)]  # 3 of before, 4, and 3 make 10
        assert await take([turn(1)]) == [(0, None)]
        given = TurnBack(
            account_id=scene.account, sender_id=5, starts_at=T0, n=2, reopens=False
        )
        await back([given])
        assert await take([turn(5)]) == [(2, None)]
        assert await take([turn(9, day=1)]) == [(9, None)]
        await back([given])  # of a day that is over
        assert await take([turn(2)]) == [(1, None)]  # asked by one who is a day behind

    async def test_turns_of_a_sender_with_a_gap_are_taken_one_by_one(
        self, world: World
    ) -> None:
        scene = await open_scene(world)

        def turn(sender: int) -> Turn:
            return Turn(account_id=scene.account, sender_id=sender, n=1, gap_ms=60_000)

        take, until = world.store.take_turns, Instant(T0 + 60_000)

        assert await take([turn(5), turn(6)]) == [(1, until), (1, until)]
        assert await take([turn(6), turn(5)]) == [(0, until), (0, until)]
        kept = TurnBack(
            account_id=scene.account, sender_id=5, starts_at=None, n=1, reopens=False
        )
        await world.store.return_turns([kept, replace(kept, sender_id=6, reopens=True)])
        assert await take([turn(5), turn(6)]) == [(0, until), (1, until)]

    async def test_a_contact_keeps_the_sender_that_was_chosen_first(self, world: World) -> None:
        scene = await open_scene(world)

        def wish(contact: int, proposed: int, *usable: int, pool: str = "") -> Wish:
            return Wish(scene.account, contact, "sms", pool, proposed, frozenset(usable))

        choose = world.store.choose_senders

        assert await choose([wish(1, 5, 5, 6), wish(2, 6, 5, 6)]) == [5, 6]
        assert await choose([wish(1, 6, 5, 6), wish(3, 6, 5, 6)]) == [5, 6]
        assert await choose([wish(1, 6, 6)]) == [6]  # 5 is paused: it moves
        assert await choose([wish(1, 5, 5, 6)]) == [6]  # and stays
        assert await choose([wish(1, 7, 7, pool="a,b")]) == [7]

    async def test_a_hold_takes_the_row_out_of_the_lanes(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        until = Instant(T0 + DAY)
        held = Next(
            due_at=leased.due_at,
            lane=None,
            step_no=0,
            seq=1,
            hold_reason="missing_tag:first",
            release_at=until,
        )
        done = await scene.record(Change(leased=leased, log=[], next=held, refund=True))
        row = await scene.run()

        assert done.moved == []
        assert (row["status"], row["hold_reason"], row["release_at"]) == (
            "held",
            "missing_tag:first",
            until,
        )
        assert [d["lane"] for d in await world.due_steps()] == [HELD_LANE]
        assert await world.store.heads([scene.account]) == []

    async def test_flags_of_vars_are_kept_and_ambiguity_is_set(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1, vars={"n": 1})
        leased = (await scene.lease(keys)).granted[0]
        change = scene.tries_again(leased)
        assert change.next is not None
        change.next.flags = FLAG_AMBIGUOUS
        await scene.record(change)

        assert [d["flags"] for d in await world.due_steps()] == [FLAG_VARS | FLAG_AMBIGUOUS]

    async def test_a_chain_is_logged_step_by_step(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        chain = [
            LogRow(seq=1, step_no=0, state=LogState.DONE, at=T0),
            LogRow(seq=2, step_no=1, state=LogState.SKIPPED, at=T0, reason="condition_false"),
        ]
        step = Next(due_at=Instant(T0 + DAY), lane=scene.next_lane, step_no=2, seq=3)
        await scene.record(Change(leased=leased, log=chain, next=step))

        assert [
            (r["step_key"], r["outcome"], r["reason"]) for r in await world.step_runs()
        ] == [
            ("one", "done", None),
            ("two", "skipped", "condition_false"),
        ]
        assert await world.deliveries() == []

    async def test_a_stop_while_leased_is_logged_and_ends(self, world: World) -> None:
        """The message left, so it has its delivery row."""
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await stop(scene, leased)
        assert (await scene.run())["status"] == "terminated"
        assert [d["attempt"] for d in await world.due_steps()] == [-1]
        done = await scene.record(scene.goes_on(leased), closed=[leased.claim_id])
        row = await scene.run()

        assert (done.stopped, done.moved, done.late) == ([leased.enrollment_id], [], [])
        assert (row["status"], row["end_reason"]) == ("terminated", "reply")
        assert await world.due_steps() == []
        assert [d["state"] for d in await world.deliveries()] == ["accepted"]

    async def test_a_stop_before_the_retry_cancels_and_refunds(self, world: World) -> None:
        scene = await open_scene(world)
        (plain,) = await scene.take()
        await stop(scene, plain)
        done = await scene.record(scene.tries_again(plain))

        assert done.stopped == [plain.enrollment_id]
        states = {row["enrollment_id"]: row["state"] for row in await world.deliveries()}
        assert states == {plain.enrollment_id: "cancelled"}
        assert await scene.used() == 0

    async def test_a_stop_wins_over_the_end_of_the_step(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await stop(scene, leased)
        done = await scene.record(ends(leased, effects=[AddTag(tag="done")]))

        assert done.stopped == [leased.enrollment_id]
        assert ((await scene.run())["end_reason"], done.told) == ("reply", set())

    async def test_the_same_outcome_twice_is_late_the_second_time(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(scene.goes_on(leased))
        again = await scene.record(scene.goes_on(leased))

        assert (again.late, again.moved) == ([leased.enrollment_id], [])
        assert len(await world.deliveries()) == 1
        assert [row["state"] for row in await world.late_evidence()] == [1]

    async def test_late_internal_steps_leave_no_evidence(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        lost = replace(leased, claim_id=leased.claim_id + 2)
        change = Change(
            leased=lost,
            log=[LogRow(seq=1, step_no=0, state=LogState.DONE, at=T0)],
            end=End(RunStatus.COMPLETED, "completed"),
            effects=[AddTag(tag="x")],
        )
        done = await scene.record(change)

        assert done.late == [leased.enrollment_id]
        assert await world.late_evidence() == []
        assert await world.event_queue() == []
        assert (await scene.run())["status"] == "executing"

    async def test_a_record_waits_for_a_locked_row(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        finished = trio.Event()

        async def write() -> None:
            await scene.record(scene.goes_on(leased))
            finished.set()

        async with trio.open_nursery() as nursery:
            async with world.lock_rows([leased.enrollment_id]):
                nursery.start_soon(write)
                await world.pause()
                assert not finished.is_set()
            await finished.wait()

        assert (await scene.run())["status"] == "waiting"

    @pytest.mark.parametrize("loss", ["before", "after"])
    async def test_a_record_in_doubt_may_be_made_again(self, world: World, loss: str) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        world.fail_next("record", "before" if loss == "before" else "after")
        with pytest.raises(InDoubt):
            await scene.record(scene.goes_on(leased))
        again = await scene.record(scene.goes_on(leased))

        assert len(await world.deliveries()) == 1
        assert (await scene.run())["step_key"] == "two"
        assert again.late == ([] if loss == "before" else [leased.enrollment_id])

    async def test_an_end_frees_what_the_run_kept_busy(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.enroll("acme", "c", contact)
        greedy = start_all(scene.lane, reentry=2, exclusive="account")
        keys = (await scene.admit(greedy)).started
        await scene.clear_events()
        leased = (await scene.lease(keys)).granted[0]
        await scene.record(ends(leased))
        await world.enroll("acme", "c", contact)

        assert len((await scene.admit(greedy)).started) == 1
        assert [row["run_no"] for row in await world.enrollments()] == [1, 2]

    async def test_a_run_once_stays_run_once_after_its_end(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.enroll("acme", "c", contact)
        once = start_all(scene.lane, reentry=1)
        keys = (await scene.admit(once)).started
        await scene.clear_events()
        await scene.record(ends((await scene.lease(keys)).granted[0]))
        await world.enroll("acme", "c", contact)

        assert (await scene.admit(once)).started == []


@pytest.mark.trio
class EffectSuite:
    async def test_effects_are_written_and_told(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        done = await scene.record(
            ends(
                leased,
                effects=[
                    AddTag(tag="a"),
                    AddTag(tag="a"),
                    RemoveTag(tag="none"),
                    AddToList(list_key="gone"),
                    AddToList(list_key="new", create=True),
                    RemoveFromList(list_key="gone"),
                    UpdateContact(attrs={"first": None, "n": 2}, columns={"owner": "eve"}),
                ],
            )
        )
        queue = [(e["kind"], e["payload"]) for e in await world.event_queue()]
        lists = [payload.pop("list_id") for kind, payload in queue if kind == "list_added"]

        noops = [line["detail"] for line in await world.journal() if line["kind"] == "noop"]

        assert done.told == {scene.account}
        assert len(lists) == 1
        assert noops == [{"reason": "no_list", "list": "gone"}]
        assert [kind for kind, _ in queue if kind != "field_changed"] == [
            "tag_added",
            "list_added",
        ]
        told = [one for kind, p in queue for one in changes_in(kind, p) or [p]]
        changed = {one["field"]: (one["from"], one["to"]) for one in told if "field" in one}
        assert changed == {"first": ("p0", None), "n": (None, 2), "owner": (None, "eve")}

    async def test_effects_of_a_contact_keep_their_order(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        effects = [AddTag(tag="a"), RemoveTag(tag="a"), AddTag(tag="a")]
        await scene.record(scene.goes_on(leased, effects=effects))

        assert [row["kind"] for row in await world.event_queue()] == [
            "tag_added",
            "tag_removed",
            "tag_added",
        ]

    async def test_a_company_is_changed_through_its_contact(self, world: World) -> None:
        scene = await open_scene(world)
        company = await world.add_company(scene.account, {"size": 7, "old": 1})
        contact = await world.add_contact(scene.account, company_id=company)
        await world.enroll("acme", "c", contact)
        keys = (await scene.admit()).started
        await scene.clear_events()
        leased = (await scene.lease(keys)).granted[0]
        change = scene.tries_again(leased)
        change.effects = [UpdateCompany(attrs={"size": 8, "old": None})]
        done = await scene.record(change)
        await world.set_now(Instant(T0 + HOUR))
        again = (await scene.lease(done.moved, mask=Needs.COMPANY)).granted[0]

        assert again.company == {"size": 8}

    async def test_a_task_is_made_once_with_its_notification(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        task = MakeTask(
            seq=1,
            step_key="one",
            kind="custom_task",
            title="Call",
            assignee="bob",
            due_at=Instant(T0 + DAY),
            reminder_at=Instant(T0 + HOUR),
            recipient="bob",
            payload={"campaign": "c", "text": "soon"},
        )
        await scene.record(scene.goes_on(leased, effects=[task, task]))
        rows = await world.tasks()

        assert [(r["title"], r["assignee"], r["state"], r["step_key"]) for r in rows] == [
            ("Call", "bob", "open", "one")
        ]
        assert (rows[0]["payload"], rows[0]["due_at"]) == ({"text": "soon"}, T0 + DAY)
        await world.store.remind()
        assert await world.notifications() == []

        await world.set_now(Instant(T0 + HOUR))
        await world.store.remind()
        await world.store.remind()
        told = [(n["kind"], n["recipient"], n["payload"]) for n in await world.notifications()]
        assert told == [("task_due", "bob", {"title": "Call"})]
        assert [n["task_id"] for n in await world.notifications()] == [rows[0]["id"]]

    async def test_of_a_snoozed_task_is_told_when_that_is_over(self, world: World) -> None:
        scene = await open_scene(world)
        leased = await scene.take(3)
        for seq, (one, whom) in enumerate(zip(leased, ("bob", "ann", None), strict=True), 1):
            remind_at = Instant(T0 + HOUR) if whom == "bob" else Instant(T0 + DAY)
            task = a_task(seq=seq, assignee=whom, recipient="boss", reminder_at=remind_at)
            await scene.record(scene.goes_on(one, effects=[task]))
        for row in await world.tasks():
            await world.snooze_task(scene.account, row["id"], Instant(T0 + 2 * HOUR), "cem")
        await world.set_now(Instant(T0 + HOUR))
        await world.store.remind()
        assert await world.notifications() == []

        async def told() -> list[tuple[str, str]]:
            titles = {row["id"]: row["assignee"] for row in await world.tasks()}
            found = await world.notifications()
            return sorted((str(titles[one["task_id"]]), one["recipient"]) for one in found)

        await world.set_now(Instant(T0 + 2 * HOUR))
        await world.store.remind()
        await world.store.remind()
        woken = [("None", "cem"), ("ann", "ann"), ("bob", "bob"), ("bob", "boss")]
        assert await told() == woken
        assert {row["snoozed_until"] for row in await world.tasks()} == {None}
        await world.set_now(Instant(T0 + DAY))
        await world.store.remind()

        assert await told() == sorted([*woken, ("None", "boss"), ("ann", "boss")])

    async def test_a_reminder_that_fell_into_a_snooze_rings_when_it_is_woken(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        task = a_task(recipient="bob", reminder_at=Instant(T0 + HOUR))
        await scene.record(scene.goes_on(leased, effects=[task]))
        (row,) = await world.tasks()
        await world.snooze_task(scene.account, row["id"], Instant(T0 + DAY), "bob")
        await world.set_now(Instant(T0 + HOUR))
        await world.store.remind()
        assert await world.notifications() == []
        await world.snooze_task(scene.account, row["id"], None, "bob")
        await world.store.remind()

        assert [n["recipient"] for n in await world.notifications()] == ["bob"]

    async def test_who_is_told_at_once_is_told_once(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(scene.goes_on(leased, effects=[a_task()]))
        await world.store.remind()

        assert [n["recipient"] for n in await world.notifications()] == ["bob"]

    async def test_a_run_waits_for_its_task_and_wakes_when_it_is_closed(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        done = await scene.record(scene.waits(leased, a_task(awaited=True)))

        assert done.moved == []
        held = await scene.run()
        assert (held["status"], held["hold_reason"]) == ("held", "task")

        (task,) = await world.tasks()
        await world.close_task(scene.account, task["id"], "done")
        woken = await scene.digest(Release(leased.enrollment_id, scene.lane))
        again = (await scene.lease(woken.moved)).granted[0]

        assert again.asked is not None
        assert (again.asked.state, again.asked.payload, again.asked.created_at) == (
            "done",
            {"text": "soon"},
            T0,
        )
        assert (await scene.run())["hold_reason"] is None

    async def test_who_waits_for_a_reply_is_told_once_unless_one_came(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        silent, answered, queued, gone = await scene.take(4)
        for leased in (silent, answered, queued, gone):
            watch = WatchReply(seq=1, step_key="one", due_at=Instant(T0 + DAY), recipient="bob")
            await scene.record(scene.goes_on(leased, effects=[watch]))
        await world.set_now(Instant(T0 + HOUR))
        await world.event(scene.account, "reply", contact_id=answered.contact_id)
        await world.event(
            scene.account, "reply", contact_id=silent.contact_id, payload={"auto": True}
        )
        await world.erase_contact(scene.account, gone.contact_id)
        await scene.clear_events()
        await world.set_now(Instant(T0 + DAY))
        await world.event(scene.account, "reply", contact_id=queued.contact_id)
        for _ in range(2):
            await world.store.remind()

        assert [
            (n["kind"], n["recipient"], n["enrollment_id"]) for n in await world.notifications()
        ] == [("no_reply", "bob", silent.enrollment_id)]

    async def test_members_of_a_category_take_turns_by_their_weights(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        rota = Rota(category="help", members={"ann": 2, "bob": 1})
        for leased in await scene.take(6):
            task = a_task(assignee=None, rota=rota, recipient="", category="help")
            await scene.record(scene.goes_on(leased, effects=[task]))
        rows = await world.tasks()

        assert [row["assignee"] for row in rows] == ["ann", "ann", "bob"] * 2
        assert {row["category"] for row in rows} == {"help"}
        told = [row["recipient"] for row in await world.notifications()]
        assert told == [row["assignee"] for row in rows]

    async def test_tasks_of_one_record_are_made_in_one_order(self, world: World) -> None:
        """Whatever else their steps do, and by whichever version each has its members."""
        scene = await open_scene(world)
        slot = Slot(openings=[(T0, Instant(T0 + DAY))], length_ms=HOUR)
        few, more = {"ann": 1, "bob": 1}, {"ann": 1, "bob": 1, "cid": 1}
        leased = await scene.take(6)

        def task(members: dict[str, int], title: str) -> MakeTask:
            rota = Rota(category="help", members=members)
            return replace(
                a_task(assignee=None, rota=rota, recipient="", category="help", slot=slot),
                title=title,
            )

        effects = [
            [AddTag(tag="hot"), task(few, "second wave")],
            [task(few, "0")],
            [Note(kind="noop", detail={}), AddTag(tag="hot"), task(more, "third wave")],
            [task(more, "1")],
            [task(few, "2"), Note(kind="noop", detail={})],
            [task(more, "3")],
        ]
        changes = [
            scene.goes_on(one, effects=made) for one, made in zip(leased, effects, strict=True)
        ]
        await scene.record(*reversed(changes))
        rows = await world.tasks()

        assert [(row["title"], row["assignee"], row["due_at"] - T0) for row in rows] == [
            ("0", "ann", 0),
            ("1", "bob", 0),
            ("2", "ann", HOUR),
            ("3", "cid", 0),
            ("second wave", "bob", HOUR),
            ("third wave", "cid", HOUR),
        ]

    async def test_times_in_a_diary_are_reserved_one_after_another(self, world: World) -> None:
        scene = await open_scene(world)
        slot = Slot(openings=[(T0, Instant(T0 + 2 * HOUR))], length_ms=HOUR)
        first, second, third, *more = await scene.take(5)
        await scene.record(
            *(scene.goes_on(x, effects=[a_task(slot=slot)]) for x in (first, second))
        )
        full = a_task(slot=slot, recipient=None, reminder_at=Instant(T0 + HOUR))
        await scene.record(scene.goes_on(third, effects=[full]))
        rows = await world.tasks()

        assert [row["due_at"] for row in rows] == [T0, T0 + HOUR, T0]
        assert ["slot" in row["payload"] for row in rows] == [True, True, False]
        assert rows[2]["payload"]["no_free_time"] is True
        told = [(n["recipient"], n["payload"]) for n in await world.notifications()]
        assert told[-1] == ("bob", {"title": rows[2]["title"], "no_free_time": True})
        assert [
            (row["enrollment_id"], row["kind"])
            for row in await world.journal()
            if row["kind"] == "no_free_time"
        ] == [(third.enrollment_id, "no_free_time")]
        assert rows[1]["payload"]["slot"] == {
            "from": "2026-01-05T13:00:00Z",
            "to": "2026-01-05T14:00:00Z",
            "person": "bob",
        }
        await world.close_task(scene.account, rows[0]["id"], "cancelled")
        await world.close_task(scene.account, rows[1]["id"], "done")
        later = a_task(slot=slot)
        for leased, freed in zip(more, (T0, T0 + HOUR), strict=True):
            await scene.record(scene.goes_on(leased, effects=[later]))
            assert (await world.tasks())[-1]["due_at"] == freed

    async def test_a_run_that_ends_waits_for_its_task_no_more(self, world: World) -> None:
        scene = await open_scene(world)
        leased, other = await scene.take(2)
        await scene.record(
            scene.waits(leased, a_task(awaited=True)), scene.goes_on(other, effects=[a_task()])
        )
        await stop(scene, leased, other)

        assert [row["state"] for row in await world.tasks()] == ["cancelled", "open"]

    async def test_the_closing_of_an_awaited_task_alone_is_told(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.clear_events()
        awaited = a_task(awaited=True)
        await scene.record(scene.goes_on(leased, effects=[awaited, a_task(seq=2)]))
        for task in await world.tasks():
            await world.close_task(scene.account, task["id"], "cancelled")

        (event,) = await world.event_queue()
        assert (event["kind"], event["contact_id"]) == ("task_closed", leased.contact_id)
        assert event["delivery_id"] == f"{leased.enrollment_id}-1"
        closed = [
            row["detail"] for row in await world.journal() if row["kind"] == "task_cancelled"
        ]
        assert [row["seq"] for row in closed] == [1, 2]

    async def test_an_answer_that_comes_while_it_is_leased_wakes_it(self, world: World) -> None:
        scene = await open_scene(world)
        leased, other = await scene.take(2)
        await world.event(scene.account, "click", contact_id=leased.contact_id)
        await scene.digest(Poke(leased.enrollment_id))
        done = await scene.record(scene.waits(leased), scene.waits(other))
        due = {row["enrollment_id"]: row["due_at"] for row in await world.due_steps()}

        assert due == {leased.enrollment_id: T0, other.enrollment_id: T0 + DAY}
        assert DueKey(scene.account, leased.lane, T0, leased.enrollment_id, leased.cv_id) in (
            done.moved
        )
        assert len((await scene.lease(done.moved)).granted) == 1

    async def test_what_was_put_right_while_it_is_leased_holds_nothing(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        leased, other, failed, passed = await scene.take(4)
        await world.event(scene.account, "field_changed", contact_id=leased.contact_id)
        pokes = [Poke(one.enrollment_id) for one in (leased, failed, passed)]
        await scene.digest(*pokes)
        lacks = Next(due_at=T0, lane=None, step_no=0, seq=1, hold_reason="missing_tag:x",
                     is_mendable=True)  # fmt: skip
        fails = replace(lacks, hold_reason="step_failed", is_mendable=False)
        await world.set_now(Instant(T0 + HOUR))
        done = await scene.record(
            *(Change(leased=one, log=[], next=replace(lacks)) for one in (leased, other)),
            Change(leased=failed, log=[], next=fails),
            Change(leased=passed, log=[], next=replace(lacks, step_no=1)),
        )

        assert [(await scene.run(n))["hold_reason"] for n in range(4)] == [
            None, "missing_tag:x", "step_failed", None,
        ]  # fmt: skip
        granted = (await scene.lease(done.moved)).granted
        assert [one.due_at for one in granted] == [T0, T0], "as late as they are"

    async def test_what_came_for_one_step_wakes_no_later_one(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await world.event(scene.account, "field_changed", contact_id=leased.contact_id)
        await scene.digest(Poke(leased.enrollment_id))
        later = Next(due_at=T0, lane=scene.lane, step_no=1, seq=2)
        moved = (await scene.record(Change(leased=leased, log=[], next=later))).moved
        (again,) = (await scene.lease(moved)).granted
        await scene.record(scene.waits(again))

        assert [row["due_at"] for row in await world.due_steps()] == [T0 + DAY]

    async def test_a_wait_that_is_over_is_no_hold(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        waits = scene.waits(leased)
        assert waits.next is not None
        waits.next.hold_reason, waits.next.due_at = "task", Instant(T0 + HOUR)
        done = await scene.record(waits)
        assert (await scene.run())["hold_reason"] == "task"

        await world.set_now(Instant(T0 + HOUR))
        again = (await scene.lease(done.moved)).granted[0]
        await scene.record(scene.goes_on(again))
        assert (await scene.run())["hold_reason"] is None
        told = [
            line["kind"]
            for line in await world.journal()
            if line["detail"] == {"reason": "task", "seq": 1}
        ]
        assert told == ["held", "released"]

    async def test_a_note_stands_in_the_journal(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        note = Note(kind="held", detail={"reason": "x"})
        await scene.record(scene.goes_on(leased, effects=[note]))
        told = [line for line in await world.journal() if line["kind"] == "held"]

        assert [(n["detail"], n["enrollment_id"], n["at"]) for n in told] == [
            ({"reason": "x"}, leased.enrollment_id, T0)
        ]

    async def test_a_move_ends_here_and_starts_there_at_once(self, world: World) -> None:
        """The exclusive key is free when the target asks for it."""
        scene = await open_scene(world)
        await world.add_campaign(scene.account, campaign("d"))
        given = {"conversation_ref": "talk", "vars": {"offer": "ten"}}
        await world.enroll("acme", "c", await scene.contact(), **given)
        greedy = start_all(scene.lane, exclusive="account")
        keys = (await scene.admit(greedy)).started
        await scene.clear_events()
        leased = (await scene.lease(keys)).granted[0]
        done = await scene.record(move(leased, "d"), decide=greedy)
        rows = await world.enrollments()

        assert [(r["campaign_key"], r["status"], r["end_reason"]) for r in rows] == [
            ("c", "removed", "moved:d"),
            ("d", "waiting", None),
        ]
        assert [key.enrollment_id for key in done.started] == [rows[1]["id"]]
        assert [(r["status"], r["source"]) for r in await world.requests()] == [
            ("accepted", None),
            ("accepted", "moved:d"),
        ]
        again = (await scene.lease(done.started)).granted[0]
        assert again.vars == given["vars"]
        assert [r["conversation_ref"] for r in rows] == ["talk", "talk"]

    async def test_a_move_that_is_refused_ends_all_the_same(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        done = await scene.record(move(leased, "x"), decide=reject_all("unknown_campaign"))

        assert done.started == []
        assert (await scene.run())["end_reason"] == "unable:unknown_campaign"
        assert [(r["outcome"], r["reason"]) for r in await world.step_runs()] == [
            ("failed", "unable:unknown_campaign")
        ]
        assert (await world.requests())[-1]["reject_reason"] == "unknown_campaign"

    async def test_a_record_whose_decision_fails_changes_nothing(self, world: World) -> None:
        def fail(_rows: Sequence[RequestRow], _now: Instant) -> list[Decision]:
            raise ZeroDivisionError

        scene = await open_scene(world)
        leased = (await scene.take())[0]
        with pytest.raises(ZeroDivisionError):
            await scene.record(move(leased, "d"), decide=fail)

        assert (await scene.run())["status"] == "executing"
        assert await world.step_runs() == []
        done = await scene.record(scene.goes_on(leased))
        assert len(done.moved) == 1


def move(leased: Leased, target: str) -> Change:
    """The step says: go over to the campaign *target*."""
    return Change(
        leased=leased,
        log=[LogRow(seq=leased.seq, step_no=leased.step_no, state=LogState.DONE, at=T0)],
        end=End(RunStatus.REMOVED, f"moved:{target}"),
        effects=[MoveTo(campaign_key=target)],
    )


def a_task(**columns: object) -> MakeTask:
    """A task for Bob, of which he is told at once."""
    given: dict[str, object] = {
        "seq": 1,
        "step_key": "one",
        "kind": "general",
        "title": "Call",
        "assignee": "bob",
        "due_at": T0,
        "recipient": "bob",
        "payload": {"campaign": "c", "text": "soon"},
    }
    return MakeTask(**{**given, **columns})  # type: ignore[arg-type]
