"""The manual clock and individual sends: what every store does."""

from __future__ import annotations

from dripd.clock import DAY, HOUR, Instant
from dripd.spans import Spans
from dripd.store.protocol import IndividualEnd, IndividualSend, IndividualStart, ParkRow
from tests.store.suite_inbox import Seen
from tests.store.world import EVERY_KIND, NODE, T0, Scene, World, ends, open_scene


async def settled(world: World) -> list[str]:
    await world.store.acknowledge_clock(NODE, T0)
    return await world.store.unsettled()


class ClockSuite:
    async def test_clock_moves_forward_only(self, world: World) -> None:
        assert await world.store.move_clock(Instant(T0 + HOUR))
        assert not await world.store.move_clock(T0)
        assert Instant(T0 + HOUR) == (await world.store.look(Spans())).now

    async def test_clock_has_one_mover_at_a_time(self, world: World) -> None:
        let_go = await world.store.own_clock()
        assert let_go is not None
        assert await world.store.own_clock() is None
        await let_go()
        again = await world.store.own_clock()

        assert again is not None
        await again()

    async def test_next_instant_is_the_first_that_anything_waits_for(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        assert await world.store.next_instant() is None

        await scene.enroll(due_at=Instant(T0 + DAY))
        assert Instant(T0 + DAY) == await world.store.next_instant()

        await world.store.park([ParkRow(scene.account, 0, "window", Instant(T0 + HOUR))])
        assert Instant(T0 + HOUR) == await world.store.next_instant()

    async def test_settled_is_when_nothing_waits(self, world: World) -> None:
        await open_scene(world)

        assert [] == await settled(world)

    async def test_a_daemon_that_has_not_heard_of_the_instant_unsettles_it(
        self, world: World
    ) -> None:
        await open_scene(world)
        await settled(world)
        await world.set_now(Instant(T0 + HOUR))

        assert ["nodes"] == await world.store.unsettled()

    async def test_undecided_requests_and_events_unsettle(self, world: World) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        assert ["events"] == await settled(world)

        await world.enroll(scene.account, "c", contact)
        assert ["requests", "events"] == await settled(world)

    async def test_what_is_due_unsettles_until_it_is_parked(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(due_at=T0)
        assert ["due"] == await settled(world)

        await world.store.park([ParkRow(scene.account, 0, "window", Instant(T0 + HOUR))])
        assert [] == await settled(world)

        await world.set_now(Instant(T0 + HOUR))
        await world.store.acknowledge_clock(NODE, Instant(T0 + HOUR))
        assert ["parks"] == await world.store.unsettled()

    async def test_what_is_due_in_a_paused_account_is_settled(self, world: World) -> None:
        scene = await open_scene(world)
        await scene.enroll(due_at=T0)
        await world.set_account(scene.account, status="paused")

        assert [] == await settled(world)

    async def test_an_open_claim_unsettles_until_it_is_recorded(self, world: World) -> None:
        scene = await open_scene(world)
        [leased] = await scene.take()
        assert "claims" in await settled(world)

        await scene.record(ends(leased), closed=[leased.claim_id])
        assert [] == await settled(world)


class IndividualSuite:
    async def start(
        self, scene: Scene, contact: int, to: str | None = None, channel: str = "email"
    ) -> object:
        sender = await scene.world.add_sender(scene.account, to or "ann@acme.example")
        wish = IndividualSend(
            account_id=scene.account,
            contact_id=contact,
            incarnation=NODE,
            sender_id=sender,
            channel=channel,
            requested_by="ann",
            subject="Hello",
            to=to,
        )
        return await scene.store.start_individual(wish)

    async def test_individual_send_is_counted_apart_and_shown(self, world: World) -> None:
        scene = await open_scene(world, cap=1)
        number, address, suppressed, _ = await self.start(scene, await scene.contact())  # type: ignore[misc]

        assert ("ann@x.example", False) == (address, suppressed)
        assert 0 == await scene.used()
        assert 1 == sum(r["n"] for r in await world.cap_usage() if r["source"] == "individual")
        [shown] = await world.deliveries()
        assert (f"i-{number}", "leased") == (shown["id"], shown["state"])
        await scene.clear_events()
        assert ["sends"] == await settled(world)

        await scene.store.end_individual(
            IndividualEnd(
                account_id=scene.account,
                id=number,
                state="accepted",
                provider_id="m1",
                reason=None,
                segments=None,
            )
        )
        [shown] = await world.deliveries()
        assert ("accepted", "m1", T0) == tuple(
            shown[name] for name in ("state", "provider_id", "accepted_at")
        )
        assert [] == await settled(world)

    async def test_individual_send_to_a_suppressed_address_is_not_written(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await world.suppress(scene.account, "email", "Ann@x.example")

        assert IndividualStart(None, "ann@x.example", True) == await self.start(scene, contact)
        assert [] == await world.deliveries()

    async def test_individual_text_to_a_number_suppressed_in_another_writing_is_not_written(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await world.add_contact(scene.account, phone="+1 555 000 1111")
        await world.suppress(scene.account, "sms", "+1 (555) 000-1111")

        assert IndividualStart(None, "+1 555 000 1111", True) == await self.start(
            scene, contact, channel="sms"
        )

    async def test_a_message_to_the_house_goes_whatever_is_suppressed(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        for address in ("ann@x.example", "boss@acme.example"):
            await world.suppress(scene.account, "email", address)
        number, address, *_ = await self.start(scene, contact, "boss@acme.example")  # type: ignore[misc]

        assert address == "boss@acme.example"
        [shown] = await world.deliveries()
        assert (f"i-{number}", "boss@acme.example") == (shown["id"], shown["to_address"])
        assert 1 == sum(r["n"] for r in await world.cap_usage() if r["source"] == "individual")

    async def test_what_the_house_does_with_its_mail_is_not_the_contacts_doing(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        contact = await scene.contact()
        await scene.clear_events()
        mine, *_ = await self.start(scene, contact)  # type: ignore[misc]
        house, *_ = await self.start(scene, contact, "boss@acme.example")  # type: ignore[misc]
        for number in (mine, house):
            await world.event(scene.account, "bounce", delivery_id=f"i-{number}")
        seen = Seen()
        await world.store.digest(scene.account, 100, seen, EVERY_KIND)

        assert [(e.contact_ids, e.channel, e.address, e.unresolved) for e in seen.events] == [
            ((contact,), "email", "ann@x.example", None),
            ((), None, None, "unknown_contact"),
        ]

    async def test_individual_sends_of_a_dead_daemon_are_told_apart(self, world: World) -> None:
        scene = await open_scene(world)
        number, *_ = await self.start(scene, await scene.contact())  # type: ignore[misc]
        assert [] == await world.store.lost_individuals(NODE + 1)
        await world.silence(NODE)
        await scene.store.join(NODE + 1, "other", "0")
        await scene.store.reap(NODE + 1, 10_000)
        assert [(scene.account, number, NODE)] == await world.store.lost_individuals(NODE + 1)
        assert [] == await world.store.at_rest([NODE]), "its journal is still to be read"

        for state, reason in (("unknown", "daemon_died"), ("failed", "late")):
            await world.store.end_lost(
                [
                    IndividualEnd(
                        account_id=scene.account,
                        id=number,
                        state=state,
                        provider_id=None,
                        reason=reason,
                        segments=None,
                    )
                ]
            )
            [shown] = await world.deliveries()
            assert ("unknown", "daemon_died") == (shown["state"], shown["reason"])
        assert [NODE] == await world.store.at_rest([NODE])
        assert 1 == await world.store.testify([(-number, 0, "p-1"), (-number - 1, 0, None)])
        [shown] = await world.deliveries()
        assert ("accepted", None, "p-1") == (
            shown["state"],
            shown["reason"],
            shown["provider_id"],
        )

    async def test_a_daemon_finds_what_it_has_begun_itself(self, world: World) -> None:
        scene = await open_scene(world)
        number, *_ = await self.start(scene, await scene.contact())  # type: ignore[misc]

        assert [(scene.account, number, NODE)] == await world.store.lost_individuals(NODE)

    async def test_what_did_not_leave_was_not_sent(self, world: World) -> None:
        scene = await open_scene(world)
        number, *_ = await self.start(scene, await scene.contact())  # type: ignore[misc]
        await scene.store.end_individual(self.end(scene, number, "failed", "unwritable"))
        [shown] = await world.deliveries()

        assert ("failed", None) == (shown["state"], shown["sent_at"])

    async def test_a_late_answer_does_not_contradict_evidence(self, world: World) -> None:
        scene = await open_scene(world)
        number, *_ = await self.start(scene, await scene.contact())  # type: ignore[misc]
        for state in ("unknown", "accepted", "unknown", "failed"):
            await scene.store.end_individual(self.end(scene, number, state, None))
        [shown] = await world.deliveries()

        assert ("accepted", T0) == (shown["state"], shown["sent_at"])

    @staticmethod
    def end(scene: Scene, number: int, state: str, reason: str | None) -> IndividualEnd:
        return IndividualEnd(
            account_id=scene.account, id=number, state=state, provider_id=None, reason=reason,
            segments=None,
        )  # fmt: skip
