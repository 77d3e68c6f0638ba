"""What an operator does to live runs: stops, and publications that take them along."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.campaigns.action import MakeTask
from dripd.campaigns.definition import Definition
from dripd.campaigns.enrollment import Change, Kept, Leased
from dripd.campaigns.migration import Migration
from dripd.clock import DAY, HOUR, Instant
from dripd.errors import Conflict
from tests.store.world import T0, Scene, World, campaign, ends, open_scene

APPROVAL = MakeTask(
    seq=1,
    step_key="one",
    kind="approval",
    title="One",
    assignee=None,
    due_at=None,
    awaited=True,
)


def next_version(*keys: str) -> Definition:
    return campaign("c", *((key, "email") for key in keys))


def by_map(scene: Scene, definition: Definition, **keys: str) -> Migration:
    """Every step waits in the lane of follow-ups."""
    return Migration(definition=definition, map=keys, lane=lambda *_: scene.next_lane)


async def migrate(scene: Scene, *keys: str, **given: str) -> int:
    """Publish a version of these steps and take the runs along; how many are in flight."""
    definition = next_version(*keys)
    plan = by_map(scene, definition, **given)
    return await scene.world.publish(scene.account, definition, migration=plan)


async def due(scene: Scene) -> list[tuple[Any, ...]]:
    names = ("step_no", "seq", "attempt", "flags", "due_at", "leased")
    return [tuple(row[name] for name in names) for row in await scene.world.due_steps()]


async def states(scene: Scene) -> list[tuple[str, str]]:
    return [(row["step_key"], row["state"]) for row in await scene.world.tasks()]


def asks(scene: Scene, leased: Leased) -> Change:
    return scene.waits(leased, APPROVAL)


@pytest.mark.trio
class DeskSuite:
    async def test_who_waits_at_a_step_that_stays_passes_as_it_stands(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        await scene.record(scene.tries_again(leased))
        before = await due(scene)
        await migrate(scene, "zero", "one", "two")

        assert [(1, *row[1:]) for row in before] == await due(scene)
        assert (await scene.run())["version"] == 2

    async def test_another_step_is_tried_from_the_beginning(self, world: World) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        await scene.record(scene.tries_again(leased))
        await migrate(scene, "two", "three")

        assert await due(scene) == [(0, 1, 0, 0, Instant(T0 + HOUR), False)]

    async def test_what_was_tried_keeps_its_number(self, world: World) -> None:
        """What is kept of it, or known, is not of the next step."""
        scene = await open_scene(world)
        (leased,) = await scene.take()
        change = scene.tries_again(leased)
        assert change.next is not None
        change.next.flags |= 128
        change.keep = Kept(provider="p", since=T0, until=Instant(T0 + DAY), words={"text": "x"})
        await scene.record(change)
        await migrate(scene, "two", "three")

        assert await due(scene) == [(0, 2, 0, 0, Instant(T0 + HOUR), False)]

    async def test_nobody_is_asked_any_more_about_a_step_that_is_gone(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        await scene.record(asks(scene, leased))
        await world.set_now(Instant(T0 + HOUR))
        await migrate(scene, "two", "three")
        run = await scene.run()

        assert await states(scene) == [("one", "cancelled")]
        assert (run["step_key"], run["hold_reason"], run["status"]) == ("two", None, "waiting")
        assert await due(scene) == [(0, 2, 0, 0, Instant(T0 + HOUR), False)]

    async def test_who_waits_for_a_person_at_a_step_that_stays_goes_on_waiting(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        await scene.record(asks(scene, leased))
        await migrate(scene, "zero", "one")
        run = await scene.run()

        assert await states(scene) == [("one", "open")]
        assert (run["version"], run["step_key"], run["hold_reason"]) == (2, "one", "task")

    async def test_who_has_nothing_more_to_do_is_done(self, world: World) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        await scene.record(asks(scene, leased))
        await migrate(scene, "zero")

        assert (await scene.run())["end_reason"] == "completed"
        assert await due(scene) == []
        assert await states(scene) == [("one", "cancelled")]

    async def test_what_is_in_flight_follows_when_it_is_recorded(self, world: World) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()

        assert 1 == await migrate(scene, "one", "three")
        assert (await scene.run())["version"] == 1
        await scene.record(scene.goes_on(leased))
        plan = by_map(scene, next_version("one", "three"))
        assert 0 == await world.migrate_rest(scene.account, scene.campaign, plan)
        run = await scene.run()
        assert (run["version"], run["step_key"]) == (2, "three")

    async def test_what_would_be_sent_again_is_refused_whole(self, world: World) -> None:
        scene = await open_scene(world)
        done, _ = await scene.take(2)
        await scene.record(scene.goes_on(done))
        before = await due(scene)
        with pytest.raises(Conflict, match="one"):
            await migrate(scene, "two", "one")

        assert before == await due(scene)
        assert {row["version"] for row in await world.enrollments()} == {1}

    async def test_a_publication_that_terminates_ends_who_runs(self, world: World) -> None:
        scene = await open_scene(world)
        leased, _ = await scene.take(2)
        await scene.record(scene.goes_on(leased))
        await world.publish(scene.account, next_version("one"), terminate=True)

        assert {row["end_reason"] for row in await world.enrollments()} == {"edited"}
        assert [(row["attempt"], row["leased"]) for row in await world.due_steps()] == [
            (-1, True)
        ]

    async def test_a_run_that_is_stopped_in_flight_says_what_it_sent(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        flying, waiting = await scene.take(2)
        await scene.record(asks(scene, waiting))
        await world.stop(scene.account, scene.runs)
        await scene.record(ends(flying))

        assert {row["end_reason"] for row in await world.enrollments()} == {"stopped"}
        assert [row["state"] for row in await world.deliveries()] == ["accepted"]
        assert await states(scene) == [("one", "cancelled")]
        assert await due(scene) == []
