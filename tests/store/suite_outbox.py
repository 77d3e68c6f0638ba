"""Calls to outside servers: written with their step, taken by one, ended once."""

from __future__ import annotations

from dripd.campaigns.action import CallOut
from dripd.campaigns.enrollment import FLAG_WAITING, Leased, Needs
from dripd.clock import DAY, HOUR, Instant
from dripd.policy.inbox_rows import Release
from dripd.store.protocol import (
    CallEnd,
    CallRow,
    IndividualEnd,
    IndividualSend,
    IndividualStart,
)
from tests.store.suite_reactions import act, click
from tests.store.world import NODE, T0, Scene, World, open_scene

SECOND = 1_000
OTHER, THIRD = 1_002, 1_003


def a_call(kind: str = "script", target: str = "score", *, awaited: bool = False) -> CallOut:
    return CallOut(seq=1, step_key="one", kind=kind, target=target, awaited=awaited)


async def made(world: World, *calls: CallOut) -> tuple[Scene, list[Leased]]:
    """A scene in which the first steps of as many runs have asked for *calls*."""
    scene = await open_scene(world)
    taken = await scene.take(len(calls))
    changes = [
        scene.waits(leased, call) if call.awaited else scene.goes_on(leased, effects=[call])
        for leased, call in zip(taken, calls, strict=True)
    ]
    done = await scene.record(*changes)

    assert done.called
    return scene, taken


async def take(world: World, n: int = 10, of_a_target: int = 4) -> list[CallRow]:
    return await world.store.take_calls(NODE, n, of_a_target, 60 * SECOND)


class OutboxSuite:
    async def test_a_call_says_whom_it_is_about(self, world: World) -> None:
        scene, (leased,) = await made(world, a_call())
        (call,) = await take(world)

        assert (call.kind, call.target, call.awaited, call.attempt) == (
            "script",
            "score",
            False,
            1,
        )
        assert (call.account_key, call.campaign_key, call.run_no) == ("acme", "c", 1)
        assert (call.enrollment_id, call.seq, call.step_key) == (leased.enrollment_id, 1, "one")
        assert call.contact["email"] == "p0@x.example"
        assert call.contact["attrs"] == {"first": "p0"}
        assert (call.url, call.vars) == (None, {})
        assert scene.runs == [leased.enrollment_id]

    async def test_a_connector_lends_its_address(self, world: World) -> None:
        scene = await open_scene(world)
        await world.add_connector(scene.account, "ml", "https://ml.example/x", "env:ML")
        taken = await scene.take(2)
        calls = [a_call("sync", "ml", awaited=True), a_call("script", "ml")]
        await scene.record(
            *(scene.waits(one, call) for one, call in zip(taken, calls, strict=True))
        )
        found = {call.kind: (call.url, call.secret) for call in await take(world)}

        assert found == {"sync": ("https://ml.example/x", "env:ML"), "script": (None, None)}

    async def test_a_call_is_taken_by_one_until_its_patience_ends(self, world: World) -> None:
        await made(world, a_call())

        assert len(await take(world)) == 1
        assert await take(world) == []

    async def test_who_is_dead_loses_a_call_at_once(self, world: World) -> None:
        """It was made again after two minutes, though its daemon was known to be dead."""
        await made(world, a_call())
        await world.store.join(OTHER, "other", "0")
        (mine,) = await take(world)
        assert await world.store.take_calls(OTHER, 10, 4, 60 * SECOND) == []
        await world.store.reap(OTHER, 3_600_000, [NODE])
        (again,) = await world.store.take_calls(OTHER, 10, 4, 60 * SECOND)

        assert (again.id, again.attempt) == (mine.id, 2)
        assert await world.store.take_calls(THIRD, 10, 4, 60 * SECOND) == []

    async def test_who_is_slow_over_a_call_loses_it(self, world: World) -> None:
        await made(world, a_call())
        await world.store.take_calls(NODE, 10, 4, -1)
        await world.pause()
        (again,) = await take(world)

        assert again.attempt == 2

    async def test_a_target_has_a_few_at_a_time_and_holds_up_no_other(
        self, world: World
    ) -> None:
        slow = [a_call("script", "slow") for _ in range(4)]
        await made(world, *slow, a_call("script", "quick"))
        first = await take(world, of_a_target=2)

        assert sorted(call.target for call in first) == ["quick", "slow", "slow"]
        assert await take(world, of_a_target=2) == []
        done = next(call for call in first if call.target == "slow")
        await world.store.end_calls([CallEnd(done.account_id, done.id, done.attempt, "done")])
        assert [call.target for call in await take(world, of_a_target=2)] == ["slow"]

    async def test_no_more_are_taken_than_asked_for(self, world: World) -> None:
        await made(world, *(a_call("script", name) for name in "abc"))

        assert len(await take(world, n=2)) == 2
        assert len(await take(world, n=2)) == 1

    async def test_a_call_that_failed_comes_up_again_at_its_instant(self, world: World) -> None:
        await made(world, a_call())
        (call,) = await take(world)
        again = CallEnd(
            call.account_id, call.id, call.attempt, "open", "http_500", Instant(T0 + HOUR)
        )
        await world.store.end_calls([again])

        assert await take(world) == []
        await world.set_now(Instant(T0 + HOUR))
        (call,) = await take(world)
        assert (call.attempt, call.reason) == (2, "http_500")

    async def test_how_an_attempt_ended_is_said_to_the_next_one_alone(
        self, world: World
    ) -> None:
        await made(world, a_call())
        (call,) = await take(world)
        await world.store.end_calls(
            [CallEnd(call.account_id, call.id, call.attempt, "open", "throttled")]
        )
        (told,) = await world.store.take_calls(NODE, 10, 4, -1)
        await world.pause()
        (again,) = await take(world)

        assert [call.reason, told.reason, again.reason] == [None, "throttled", None]

    async def test_what_nobody_waits_for_is_gone_with_its_end(self, world: World) -> None:
        await made(world, a_call(), a_call())
        good, bad = await take(world)
        ends = [
            CallEnd(good.account_id, good.id, good.attempt, "done"),
            CallEnd(bad.account_id, bad.id, bad.attempt, "failed", "http_400"),
        ]
        await world.store.end_calls(ends)
        await world.store.end_calls(ends)
        await world.set_now(Instant(T0 + DAY))

        assert await take(world) == []
        noted = [
            (line["kind"], line["enrollment_id"], line["detail"])
            for line in await world.journal()
            if line["kind"] == "call_failed"
        ]
        detail = {"step_key": "one", "target": "score", "reason": "http_400"}
        assert noted == [("call_failed", bad.enrollment_id, detail)]
        assert await world.event_queue() == []

    async def test_an_awaited_answer_wakes_its_run_and_is_a_fact_of_the_lease(
        self, world: World
    ) -> None:
        scene, (leased,) = await made(world, a_call("sync", "ml", awaited=True))
        (call,) = await take(world)
        await world.store.end_calls(
            [CallEnd(call.account_id, call.id, call.attempt, "failed", "http_400")]
        )
        (told,) = await world.event_queue()

        assert (told["kind"], told["delivery_id"]) == (
            "task_closed",
            f"{leased.enrollment_id}-1",
        )
        woken = await scene.digest(Release(leased.enrollment_id, scene.lane))
        (again,) = (await scene.lease(woken.moved, mask=Needs.EMAIL)).granted
        assert again.flags & FLAG_WAITING
        assert again.asked is not None
        assert (again.asked.state, again.asked.payload) == ("failed", {"reason": "http_400"})

    async def test_a_call_that_had_its_answer_begins_anew_when_asked_for_again(
        self, world: World
    ) -> None:
        scene, (leased,) = await made(world, a_call("sync", "ml", awaited=True))
        (call,) = await take(world)
        await world.store.end_calls(
            [CallEnd(call.account_id, call.id, call.attempt, "failed", "http_400")]
        )
        woken = await scene.digest(Release(leased.enrollment_id, scene.lane))
        (again,) = (await scene.lease(woken.moved, mask=Needs.EMAIL)).granted
        await scene.record(scene.waits(again, a_call("sync", "ml", awaited=True)))
        (call,) = await take(world)

        assert (call.id, call.attempt) == (call.id, 1)

    async def test_open_calls_unsettle_the_clock_and_are_visited(self, world: World) -> None:
        await made(world, a_call())

        assert "calls" in await world.store.unsettled()
        (call,) = await take(world)
        again = Instant(T0 + HOUR)
        await world.store.end_calls(
            [CallEnd(call.account_id, call.id, call.attempt, "open", "x", again)]
        )
        assert "calls" not in await world.store.unsettled()
        assert await world.store.next_instant() == again

    async def test_a_call_without_a_run_names_its_contact_and_its_action(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact("ann")
        await scene.clear_events()
        mail = CallOut(seq=1, step_key="on_form[0]", kind="email", target="email")
        for _ in range(2):
            await click(world, scene, contact, act(scene, contact, mail))
        found = await take(world)

        assert len(found) == 2
        call = found[0]
        assert (call.enrollment_id, call.run_no, call.step_no) == (None, 0, 0)
        assert (call.contact_id, call.cv_id, call.campaign_key) == (contact, scene.cv, "c")
        assert call.contact["email"] == "ann@x.example"
        await world.store.end_calls(
            [
                CallEnd(one.account_id, one.id, one.attempt, "failed", "suppressed")
                for one in found
            ]
        )
        noted = [line for line in await world.journal() if line["kind"] == "call_failed"]
        assert [line["enrollment_id"] for line in noted] == [None, None]
        assert await take(world) == []

    async def test_who_lost_a_call_to_another_changes_nothing_of_it(self, world: World) -> None:
        """A daemon that woke from a long sleep ended what another was about to make."""
        await made(world, a_call())
        (mine,) = await world.store.take_calls(NODE, 10, 4, -1)
        await world.pause()
        (his,) = await take(world)
        for state in ("open", "failed", "done"):
            await world.store.end_calls(
                [CallEnd(mine.account_id, mine.id, mine.attempt, state)]  # type: ignore[arg-type]
            )

        assert [] == await take(world)
        assert "calls" in await world.store.unsettled()
        await world.store.end_calls([CallEnd(his.account_id, his.id, his.attempt, "done")])
        assert "calls" not in await world.store.unsettled()

    async def test_an_answer_leaves_by_whoever_has_its_call_and_is_its_mark(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        sender = await world.add_sender(scene.account, "ann@acme.example")
        contact = await scene.contact("ann")
        await scene.clear_events()
        mail = CallOut(seq=1, step_key="on_form[0]", kind="email", target="email")
        await click(world, scene, contact, act(scene, contact, mail))
        (mine,) = await world.store.take_calls(NODE, 10, 4, -1)
        await world.pause()
        (his,) = await take(world)

        async def start(call: CallRow) -> IndividualStart:
            wish = IndividualSend(
                account_id=scene.account, contact_id=contact, incarnation=NODE, sender_id=sender,
                channel="email", requested_by="campaign:c", subject="Hi", call_id=call.id,
                attempt=call.attempt,
            )  # fmt: skip
            return await world.store.start_individual(wish)

        assert (None, "ann@x.example", False, True) == await start(mine)
        assert await world.store.last_of_call(scene.account, his.id) is None
        number = (await start(his)).id
        assert number is not None
        assert "leased" == await world.store.last_of_call(scene.account, his.id)
        await world.store.end_individual(
            IndividualEnd(
                account_id=scene.account,
                id=number,
                state="unknown",
                provider_id=None,
                reason="timeout",
                segments=None,
            )
        )
        assert "unknown" == await world.store.last_of_call(scene.account, his.id)
