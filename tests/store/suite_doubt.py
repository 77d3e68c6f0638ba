"""Messages in doubt: what every store keeps of their attempts, and what it never makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    FLAG_HELD,
    FLAG_KEPT,
    PRESUMED,
    Change,
    End,
    Kept,
    LaneClass,
    LaneKey,
    Leased,
    LogState,
    Needs,
    Next,
    RunStatus,
)
from dripd.clock import DAY, HOUR, MINUTE, Instant
from dripd.policy.inbox_rows import EndRun
from tests.store.world import MAIL, NODE, T0, Scene, World, ends, open_scene, sent

LATER, OVER = Instant(T0 + MINUTE), Instant(T0 + HOUR)
WORDS: dict[str, object] = {"to": "p0@x.example", "subject": "Hi", "sender": [1, "a@x.example"]}


def in_doubt(scene: Scene, leased: Leased, due_at: Instant = LATER, **kept: Any) -> Change:
    """An attempt of which nobody knows; the next comes in a minute, evidence for an hour."""
    step = Next(
        due_at=due_at,
        lane=LaneKey(scene.campaign, LaneClass.IN_DOUBT, "email", "", "account"),
        step_no=leased.step_no,
        seq=leased.seq,
        attempt=leased.attempt + 1,
        flags=leased.flags | FLAG_AMBIGUOUS | FLAG_KEPT | FLAG_HELD,
        hold_reason="unknown",
        release_at=due_at,
    )
    row = sent(leased, LogState.UNKNOWN, reason="timeout", provider_id=None)
    keep = Kept(**{"provider": "p", "since": T0, "until": OVER, "words": WORDS, **kept})
    return Change(leased=leased, log=[row], next=step, keep=keep)


async def take_again(scene: Scene) -> Leased:
    """The step in doubt, leased when it comes up."""
    await scene.world.set_now(LATER)
    result = await scene.lease(await scene.keys(), mask=MAIL & ~Needs.COUNTED)
    return result.granted[0]


@pytest.mark.trio
class DoubtSuite:
    async def test_a_message_in_doubt_is_unknown_at_once_and_keeps_its_cap(
        self, world: World
    ) -> None:
        scene = await open_scene(world, cap=1)
        leased = (await scene.take())[0]
        await scene.record(in_doubt(scene, leased), closed=[leased.claim_id])
        run, (row,) = await scene.run(), await world.deliveries()

        assert (row["state"], row["reason"], row["id"]) == (
            "unknown",
            "timeout",
            f"{leased.enrollment_id}-1",
        )
        assert (run["status"], run["hold_reason"], run["release_at"]) == (
            "held",
            "unknown",
            LATER,
        )
        again = await take_again(scene)
        assert again.kept == Kept(
            provider="p", since=T0, until=OVER, words=WORDS, state=3, reason="timeout"
        )
        assert (again.seq, again.attempt, again.counted) == (1, 1, False)
        assert await scene.used() == 1

    async def test_a_later_attempt_settles_the_same_delivery(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(in_doubt(scene, leased))
        again = await take_again(scene)
        assert [row["state"] for row in await world.deliveries()] == ["unknown"]
        accepted = scene.goes_on(again)
        accepted.log[0].attempt = 2
        await scene.record(accepted)
        (row,) = await world.deliveries()

        assert (row["state"], row["attempt"], row["reason"]) == ("accepted", 2, None)
        assert row["provider_id"] == f"m{leased.enrollment_id}"
        assert [one["outcome"] for one in await world.step_runs()] == ["done"]
        await world.set_now(OVER)
        await world.store.sweep(0)
        assert [one["reason"] for one in await world.deliveries()] == [None]

    @pytest.mark.parametrize(
        "state", [LogState.FAILED, LogState.CANCELLED, LogState.AGAIN, LogState.SKIPPED]
    )
    async def test_nothing_but_acceptance_changes_it(
        self, world: World, state: LogState
    ) -> None:
        scene = await open_scene(world, cap=1)
        leased = (await scene.take())[0]
        await scene.record(in_doubt(scene, leased))
        again = await take_again(scene)
        change = replace(scene.tries_again(again), log=[sent(again, state, reason="no")])
        await scene.record(change)

        assert [row["state"] for row in await world.deliveries()] == ["unknown"]
        assert await scene.used() == 1

    async def test_a_stop_leaves_it_unknown_until_it_is_presumed_sent(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        waiting, flying, first = await scene.take(3)
        await scene.record(in_doubt(scene, waiting), in_doubt(scene, flying))
        await world.set_now(LATER)
        keys = [key for key in await scene.keys() if key.enrollment_id == flying.enrollment_id]
        again = (await scene.lease(keys, mask=MAIL & ~Needs.COUNTED)).granted[0]
        for one in (waiting, flying, first):
            await world.event(scene.account, "reply", contact_id=one.contact_id)
        await scene.digest(
            *(
                EndRun(one.enrollment_id, one.contact_id, RunStatus.REMOVED, "reply")
                for one in (waiting, flying, first)
            )
        )
        await scene.record(replace(in_doubt(scene, again), keep=None), in_doubt(scene, first))

        assert [row["state"] for row in await world.deliveries()] == ["unknown"] * 3
        assert await world.due_steps() == []
        await world.store.sweep(0)
        assert PRESUMED not in {row["reason"] for row in await world.deliveries()}
        await world.set_now(OVER)
        await world.store.sweep(0)
        told = {(row["state"], row["reason"]) for row in await world.deliveries()}
        assert told == {("unknown", PRESUMED)}
        assert await scene.used() == 3

    async def test_an_end_while_in_doubt_leaves_it_to_be_presumed(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(in_doubt(scene, leased))
        again = await take_again(scene)
        over = replace(ends(again), log=[], end=End(RunStatus.REMOVED, "suppressed"))
        await scene.record(over)
        await world.set_now(OVER)
        await world.store.sweep(0)
        (row,) = await world.deliveries()

        assert (row["state"], row["reason"]) == ("unknown", PRESUMED)

    async def test_evidence_lets_the_run_go_on_at_once(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(in_doubt(scene, leased, OVER, words=None))
        await world.set_now(LATER)
        assert await world.store.testify([(leased.enrollment_id, 1, "m7")]) == 1
        (key,) = await scene.keys()

        assert key.due_at == LATER
        again = await take_again(scene)
        assert again.kept is not None
        assert (again.kept.state, again.kept.words) == (LogState.ACCEPTED, None)

    async def test_the_words_of_a_failed_attempt_are_kept_for_the_next(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        change = scene.tries_again(leased)
        assert change.next is not None
        change.next.flags, change.next.due_at = FLAG_KEPT, LATER
        await scene.record(replace(change, keep=Kept(provider="p", until=OVER, words=WORDS)))
        await world.set_now(LATER)
        again = (await scene.lease(await scene.keys())).granted[0]

        assert again.kept is not None
        assert (again.kept.words, again.kept.state, again.counted) == (WORDS, 0, True)
        await scene.record(scene.goes_on(again))
        assert [row["state"] for row in await world.deliveries()] == ["accepted"]

    async def test_words_are_kept_as_long_as_a_run_waits_for_its_next_attempt(
        self, world: World
    ) -> None:
        """A campaign that was paused for weeks between two attempts sent something else."""
        scene = await open_scene(world)
        waiting, ended = await scene.take(2)
        for leased in (waiting, ended):
            change = scene.tries_again(leased)
            assert change.next is not None
            change.next.flags = FLAG_KEPT
            await scene.record(
                replace(change, keep=Kept(provider="p", until=OVER, words=WORDS))
            )
        await world.event(scene.account, "reply", contact_id=ended.contact_id)
        await scene.digest(
            EndRun(ended.enrollment_id, ended.contact_id, RunStatus.REMOVED, "reply")
        )
        for weeks in (1, 2, 5):
            await world.set_now(Instant(T0 + 7 * weeks * DAY + HOUR))
            await world.store.sweep(0)
        (kept,) = await world.kept_messages()

        assert waiting.enrollment_id == kept["enrollment_id"]
        assert kept["message"]

    async def test_an_erasure_takes_the_words_with_it(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(in_doubt(scene, leased))
        (key,) = await scene.keys()
        await world.erase_contact(scene.account, leased.contact_id)
        await scene.clear_events()
        await world.set_now(LATER)
        again = (await scene.lease([key], mask=0)).granted[0]

        assert again.kept is not None
        assert (again.kept.words, again.kept.until) == (None, OVER)

    async def test_a_dead_daemon_leaves_what_is_kept(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(in_doubt(scene, leased))
        again = await take_again(scene)
        adopted = [again.claim_id]
        (orphan,) = await world.store.orphans(NODE, [], adopted)
        await world.store.add_facts([orphan])

        assert orphan.flags & FLAG_AMBIGUOUS
        assert orphan.kept == again.kept
