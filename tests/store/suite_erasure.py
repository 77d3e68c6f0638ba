"""An erasure that meets a step in flight: what is recorded afterwards says nothing of whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dripd.campaigns.action import AddTag
from dripd.campaigns.enrollment import LogState
from dripd.clock import HOUR, Instant
from tests.store.suite_doubt import in_doubt
from tests.store.world import MAIL, T0, World, open_scene, sent


@pytest.mark.trio
class ErasureSuite:
    async def test_a_delivery_recorded_after_an_erasure_names_nobody(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        gone, kept = await scene.take(2)
        await world.erase_contact(scene.account, gone.contact_id)
        for one in (gone, kept):
            change = scene.goes_on(one)
            row = change.log[0]
            row.to_address, row.subject = one.email, "Hi"
            row.provider_id = f"<1.{one.email}>"
            change.effects = [AddTag(tag="seen")]
            await scene.record(change)
        found = {row["enrollment_id"]: row for row in await world.deliveries()}

        told = found[gone.enrollment_id]
        assert (told["state"], told["to_address"], told["subject"]) == ("accepted", None, None)
        assert told["provider_id"] is None
        assert found[kept.enrollment_id]["to_address"] == kept.email
        assert found[kept.enrollment_id]["provider_id"] == f"<1.{kept.email}>"
        tagged = [
            r["contact_id"] for r in await world.event_queue() if r["kind"] == "tag_added"
        ]
        assert tagged == [kept.contact_id]

    async def test_a_delivery_recorded_before_an_erasure_names_nobody_after_it(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        change = scene.goes_on(leased)
        change.log[0].to_address, change.log[0].subject = leased.email, "Hi"
        await scene.record(change)
        await world.erase_contact(scene.account, leased.contact_id)
        (row,) = await world.deliveries()

        assert (row["state"], row["to_address"], row["subject"]) == ("accepted", None, None)

    async def test_words_of_a_message_in_doubt_are_not_kept_after_an_erasure(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        await world.erase_contact(scene.account, leased.contact_id)
        change = in_doubt(scene, leased)
        change.log[0].to_address = leased.email
        await scene.record(change)
        (row,) = await world.deliveries()

        assert (row["state"], row["to_address"]) == ("unknown", None)
        await scene.clear_events()
        await world.set_now(Instant(T0 + 2 * HOUR))
        again = (await scene.lease(await scene.keys(), mask=0)).granted
        assert all(one.kept is not None and one.kept.words is None for one in again)

    async def test_evidence_that_comes_after_an_erasure_names_nobody(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        (leased,) = await scene.take()
        await world.erase_contact(scene.account, leased.contact_id)
        late = scene.goes_on(replace(leased, claim_id=leased.claim_id + 1_000))
        late.log = [sent(leased, LogState.ACCEPTED, provider_id=f"<1.{leased.email}>")]
        await scene.record(late)
        (row,) = await world.late_evidence()

        assert row["provider_id"] is None

    async def test_a_number_goes_however_it_was_written_and_stays_suppressed(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        gone = await world.add_contact(scene.account, phone="+1 (555) 000-1111")
        kept = await world.add_contact(scene.account, phone="+1 (555) 000-1112")
        for contact in (gone, kept):
            await world.enroll(scene.account, "c", contact)
        await world.suppress(scene.account, "sms", "+1.555.000.1111")
        for address in ("+15550001111", "+15550001112"):
            await world.event(scene.account, "reply", address=address)
        await world.erase_contact(scene.account, gone)
        waiting = [
            (row["contact_id"], row["address"])
            for row in await world.event_queue()
            if row["kind"] == "reply"
        ]

        assert [(gone, None), (None, "+15550001112")] == waiting
        assert [True] == await world.store.suppressed([(scene.account, "sms", "+1-5550001111")])

    async def test_an_address_that_another_contact_has_too_stays_told(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        gone = await world.add_contact(scene.account, email="Änn@x.example", phone="+4930")
        await world.add_contact(scene.account, email="ÄNN@x.example", phone="+49/30")
        await scene.clear_events()
        for address in ("änn@X.example", "+49-30"):
            await world.event(scene.account, "reply", address=address)
        await world.erase_contact(scene.account, gone)

        assert ["änn@X.example", "+49-30"] == [
            row["address"] for row in await world.event_queue() if row["kind"] == "reply"
        ]

    async def test_nothing_is_leased_for_who_was_erased(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        run = next(key for key in keys)
        contact = scene.contacts[scene.runs.index(run.enrollment_id)]
        await world.erase_contact(scene.account, contact)
        granted = (await scene.lease(keys, mask=MAIL | 32768)).granted

        assert run.enrollment_id not in {one.enrollment_id for one in granted}
        assert len(granted) == 1
