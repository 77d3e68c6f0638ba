"""What clicks and forms set in motion: facts are read, effects written with the event."""

from __future__ import annotations

from typing import Any

from dripd.campaigns.action import AddTag, AddToList, MakeTask, Note, UpdateContact
from dripd.campaigns.enrollment import Leased
from dripd.clock import Instant
from dripd.policy.inbox_rows import Act
from dripd.policy.reactions import NO_RUN
from tests.store.world import T0, TODAY, Scene, World, open_scene


def act(scene: Scene, contact: int, *effects: Any, once: str | None = None) -> Act:
    leased = Leased(
        account_id=scene.account, lane=0, due_at=T0, enrollment_id=NO_RUN, contact_id=contact,
        cv_id=scene.cv, seq=1, step_no=0, run_no=0, attempt=0, flags=0, claim_id=0, leased_at=T0,
        counted=False, local_date=TODAY, email=None, phone=None, timezone=None, attrs={},
    )  # fmt: skip
    return Act(leased=leased, campaign_id=scene.campaign, once=once, effects=list(effects))


async def click(world: World, scene: Scene, contact: int, *acts: Act) -> None:
    await world.event(scene.account, "click", contact_id=contact)
    await scene.digest(*acts)


class ReactionSuite:
    async def test_contacts_are_read_with_all_that_an_action_may_ask(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        company = await world.add_company(scene.account, {"size": 7})
        contact = await world.add_contact(
            scene.account,
            external_id="ann",
            email="ann@x.example",
            company_id=company,
            attrs={"a": 1},
        )
        await world.tag(scene.account, contact, "t")
        await world.list_add(scene.account, contact, "l")
        (row,) = await world.store.read_contacts(scene.account, [contact, contact + 1])

        assert (row.id, row.external_id, row.email) == (contact, "ann", "ann@x.example")
        assert (row.attrs, row.company) == ({"a": 1}, {"size": 7})
        assert (row.tags, row.lists) == ({"t"}, {"l"})

    async def test_effects_of_an_action_are_written_with_its_event(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await scene.clear_events()
        effects = [
            AddTag(tag="hot"),
            AddToList(list_key="l", create=True),
            UpdateContact(attrs={"n": 2}),
            Note(kind="action_failed", detail={"handler": "on_click[0]"}),
        ]
        await click(world, scene, contact, act(scene, contact, *effects))
        told = {row["kind"] for row in await world.event_queue()}

        assert told == {"tag_added", "list_added", "field_changed"}
        (row,) = await world.store.read_contacts(scene.account, [contact])
        assert (row.tags, row.lists, row.attrs["n"]) == ({"hot"}, {"l"}, 2)
        noted = [line for line in await world.journal() if line["kind"] == "action_failed"]
        assert [line["enrollment_id"] for line in noted] == [None]

    async def test_what_is_done_once_for_a_contact_is_done_once(self, world: World) -> None:
        scene = await open_scene(world)
        ann, bob = await scene.contact("ann"), await scene.contact("bob")
        await scene.clear_events()
        for n, contact in enumerate([ann, ann, bob]):
            task = MakeTask(seq=n + 1, step_key="on_click[0]", kind="request", title="Call",
                            assignee="eve", due_at=Instant(T0))  # fmt: skip
            await click(world, scene, contact, act(scene, contact, task, once="click:x"))

        assert [(t["enrollment_id"], t["title"]) for t in await world.tasks()] == [
            (None, "Call"),
            (None, "Call"),
        ]
