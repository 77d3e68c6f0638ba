"""The lease, the daemons that take it, and what the dead leave: what every store does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import trio

from dripd.campaigns.enrollment import (
    Change,
    LaneClass,
    LaneKey,
    LogState,
    Needs,
    Next,
    RunStatus,
)
from dripd.campaigns.version import ALWAYS
from dripd.clock import DAY, HOUR, Instant
from dripd.errors import InDoubt
from dripd.policy.admission_rows import Decision, RequestRow
from dripd.policy.inbox_rows import EndRun, EventRow
from dripd.spans import Spans
from dripd.store.protocol import LeaseResult, MayReset, ParkRow, Refusal, SetAside
from tests.store.world import (
    BOUNCE,
    EVERY_KIND,
    MAIL,
    NODE,
    REPLY,
    T0,
    TAG_ADDED,
    TOMORROW,
    World,
    campaign,
    day_row,
    ends,
    open_scene,
    sent,
    start_all,
)

TEXT = REPLY | Needs.SMS
OTHER, THIRD = 2002, 3003
"""Other daemons."""


def why(result: LeaseResult) -> list[Refusal]:
    return [reason for _, _, reason in result.refused]


@pytest.mark.trio
class LeaseSuite:
    async def test_a_lease_grants_the_step_with_its_facts(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        result = await scene.lease(keys)
        leased = result.granted[0]

        assert len(result.granted) == 2
        assert result.refused == []
        assert (leased.account_id, leased.lane, leased.due_at) == keys[0][:3]
        assert (leased.enrollment_id, leased.cv_id) == keys[0][3:]
        assert (leased.seq, leased.step_no, leased.run_no, leased.attempt) == (1, 0, 1, 0)
        assert (leased.claim_id, leased.leased_at) == (result.claim_id, T0)
        assert (leased.email, leased.attrs) == ("p0@x.example", {"first": "p0"})
        assert (leased.counted, leased.suppressed, leased.external_id) == (True, False, "p0")
        assert leased.started_at is None
        assert await scene.used() == 2
        assert (await scene.run())["status"] == "executing"
        assert [row["state"] for row in await world.deliveries()] == ["leased", "leased"]

    async def test_a_lease_brings_the_contact_s_messages_of_late_where_it_is_asked(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        first = (await scene.take())[0]
        later = replace(scene.goes_on(first).next, due_at=T0)
        moved = (await scene.record(scene.goes_on(first, next=later))).moved
        asked = (await scene.lease(moved, mask=MAIL | Needs.SENT)).granted

        assert [((first.enrollment_id, 1, T0),)] == [leased.sent for leased in asked]

    async def test_a_lease_tells_what_others_have_in_hand_for_its_contact(
        self, world: World
    ) -> None:
        """An account that changed hands wrote to a contact more often than it may."""
        scene = await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        mail, stranger = await scene.enroll(2)
        other, _ = await world.add_campaign(scene.account, campaign("x", ("m", "email")))
        lane = LaneKey(other, LaneClass.FIRST, "email", "", "account")
        await world.enroll(scene.account, "x", scene.contacts[0])
        (second,) = (await scene.admit(start_all(lane))).started
        asked = MAIL | Needs.SENT
        (mine,) = (await scene.lease([mail], mask=asked)).granted
        (his,) = (await scene.lease([second], mask=asked, incarnation=OTHER)).granted
        (alone,) = (await scene.lease([stranger], mask=asked, incarnation=OTHER)).granted

        assert (mine.in_hand, his.in_hand, alone.in_hand) == (0, 1, 0)

    async def test_a_step_waits_for_one_of_its_contact_that_may_reset_its_campaign(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        mail, stranger = await scene.enroll(2)
        other, cv = await world.add_campaign(scene.account, campaign("x", ("r", "tag_add")))
        quiet = LaneKey(other, LaneClass.INTERNAL, "", "", "account")
        await world.enroll(scene.account, "x", scene.contacts[0])
        (reset,) = (await scene.admit(start_all(quiet))).started
        asked, resetters = [mail, stranger], [MayReset(scene.account, cv, scene.campaign)]

        assert await world.store.await_resets(asked, resetters) == {mail.enrollment_id}
        elsewhere = [MayReset(scene.account, cv, other)]
        assert await world.store.await_resets(asked, elsewhere) == set()
        (leased,) = (await scene.lease([reset])).granted
        assert await world.store.await_resets(asked, resetters) == {mail.enrollment_id}
        later = Next(due_at=Instant(T0 + 1), lane=quiet, step_no=0, seq=2)
        await scene.record(Change(leased=leased, log=[], next=later))
        assert await world.store.await_resets(asked, resetters) == set()

    async def test_a_step_waits_for_no_reset_that_is_held_up(self, world: World) -> None:
        scene = await open_scene(world)
        (mail,) = await scene.enroll()
        other, cv = await world.add_campaign(scene.account, campaign("x", ("r", "tag_add")))
        await world.enroll(scene.account, "x", scene.contacts[0])
        quiet = LaneKey(other, LaneClass.INTERNAL, "", "", "account")
        (reset,) = (await scene.admit(start_all(quiet))).started
        resetters = [MayReset(scene.account, cv, scene.campaign)]

        await world.store.park(
            [ParkRow(scene.account, reset.lane, "window", Instant(T0 + DAY))]
        )
        assert await world.store.await_resets([mail], resetters) == set()
        await world.store.unpark([(scene.account, reset.lane)])
        assert await world.store.await_resets([mail], resetters) == {mail.enrollment_id}
        await world.store.set_aside([SetAside(*reset[:4], "unreadable")])
        assert await world.store.await_resets([mail], resetters) == set()

    async def test_two_leases_never_share_a_step(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(3)
        await world.store.join(OTHER, "other", "0")
        first = await scene.lease(keys[:2])
        second = await scene.lease(keys, incarnation=OTHER)

        assert {x.enrollment_id for x in first.granted} == {k.enrollment_id for k in keys[:2]}
        assert [x.enrollment_id for x in second.granted] == [keys[2].enrollment_id]
        assert why(second) == [Refusal.GONE, Refusal.GONE]
        assert await scene.used() == 3

    async def test_the_cap_is_spent_exactly_and_internal_steps_go_on(
        self, world: World
    ) -> None:
        scene = await open_scene(world, cap=2)
        keys = await scene.enroll(4)
        mails = await scene.lease(keys[:3])
        internal = await scene.lease(keys[3:], mask=REPLY)

        assert [x.enrollment_id for x in mails.granted] == [k.enrollment_id for k in keys[:2]]
        assert why(mails) == [Refusal.CAP]
        assert [x.counted for x in internal.granted] == [False]
        assert await scene.used() == 2

    async def test_many_daemons_spend_a_cap_exactly(self, world: World) -> None:
        scene = await open_scene(world, cap=7)
        keys = await scene.enroll(12)
        granted: list[int] = []

        async def spend(incarnation: int) -> None:
            await world.store.join(incarnation, "node", "0")
            left = keys
            while left:
                result = await scene.lease(left[:3], incarnation=incarnation)
                granted.extend(leased.enrollment_id for leased in result.granted)
                again = {k.enrollment_id for _, k, r in result.refused if r is Refusal.LOCKED}
                left = left[3:] + [key for key in left[:3] if key.enrollment_id in again]

        async with trio.open_nursery() as nursery:
            for incarnation in (11, 12, 13, 14):
                nursery.start_soon(spend, incarnation)

        assert len(granted) == len(set(granted)) == 7
        assert await scene.used() == 7

    async def test_reported_usage_is_taken_from_the_cap(self, world: World) -> None:
        scene = await open_scene(world, cap=3)
        keys = await scene.enroll(3)
        await world.record_usage("acme", "bulk", 2)
        await world.record_usage("acme", "internal", 7)

        assert await world.store.fold_usage() == [scene.account]
        result = await scene.lease(keys)
        assert len(result.granted) == 1
        assert why(result) == [Refusal.CAP, Refusal.CAP]
        usage = {row["source"]: row["n"] for row in await world.cap_usage()}
        assert usage == {"program": 1, "bulk": 2, "internal": 7}

    async def test_usage_over_the_cap_is_journaled(self, world: World) -> None:
        scene = await open_scene(world, cap=3)
        await world.record_usage("acme", "bulk", 5)
        await world.record_usage("nobody", "bulk", 5)
        await world.store.fold_usage()
        told = [line["detail"] for line in await world.journal() if line["kind"] == "over_cap"]

        assert told == [{"used": 0, "bulk": 5, "cap": 3}]
        assert not (await world.store.look(Spans())).usage
        assert scene.account

    async def test_usage_reported_before_the_day_is_there_waits_for_it(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        late = await world.add_account("late")
        await world.record_usage("late", "bulk", 5)

        assert [] == await world.store.fold_usage()
        assert (await world.store.look(Spans())).usage
        await world.store.make_days([day_row(late)])
        assert [late] == await world.store.fold_usage()
        assert 5 == sum(r["n"] for r in await world.cap_usage() if r["account_id"] == late)
        assert scene.account

    async def test_absurd_usage_spends_the_cap_and_stops_nothing(self, world: World) -> None:
        scene = await open_scene(world, cap=3)
        keys = await scene.enroll(1)
        for _ in range(3):
            await world.record_usage("acme", "bulk", 2_147_483_647)

        assert [scene.account] == await world.store.fold_usage()
        assert [Refusal.CAP] == why(await scene.lease(keys))

    async def test_an_address_is_suppressed_by_account_channel_and_time(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        other = await world.add_account("other")
        await world.suppress(scene.account, "email", "Ann@x.example")
        await world.suppress(0, "sms", "+49301")
        await world.suppress(0, "email", "old@x.example", expires_at=T0)

        assert [True, False, False, True, False] == await world.store.suppressed(
            [
                (scene.account, "email", "ann@X.example"),
                (other, "email", "ann@x.example"),
                (scene.account, "sms", "ann@x.example"),
                (other, "sms", "+49301"),
                (scene.account, "email", "old@x.example"),
            ]
        )

    @pytest.mark.feature("C53")
    async def test_an_order_that_lasts_longer_takes_the_place_of_one_that_ends(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        soon, later = Instant(T0 + HOUR), Instant(T0 + 2 * HOUR)
        lives: list[list[Instant | None]] = [
            [T0, None], [soon, None], [None, T0], [T0, soon], [later, soon],
        ]  # fmt: skip
        for n, pair in enumerate(lives):
            for end in pair:
                await world.suppress(scene.account, "email", f"p{n}@x.example", expires_at=end)
        asked = [(scene.account, "email", f"p{n}@x.example") for n in range(len(lives))]

        assert [True] * 5 == await world.store.suppressed(asked)
        await world.set_now(soon)
        assert [True, True, True, False, True] == await world.store.suppressed(asked)
        await world.set_now(later)
        assert [True, True, True, False, False] == await world.store.suppressed(asked)

    @pytest.mark.parametrize(
        ("written", "own"),
        [
            ("+1 (555) 000-1111", "+15550001111"),
            ("+15550001111", "+1 (555) 000-1111"),
            ("+1\u00a0555\u2011000\u20111111", "+1.555.000/1111"),
        ],
    )
    async def test_a_number_is_suppressed_however_it_is_written(
        self, world: World, written: str, own: str
    ) -> None:
        scene = await open_scene(world)
        mine = await world.add_contact(scene.account, phone=own)
        other = await world.add_contact(scene.account, phone="+15550001112")
        await world.suppress(scene.account, "sms", written)
        for contact in (mine, other):
            await world.enroll(scene.account, "c", contact)
        await scene.clear_events()
        asked: list[RequestRow] = []

        def decide(rows: Sequence[RequestRow], now: Instant) -> list[Decision]:
            asked.extend(rows)
            return start_all(scene.lane)(rows, now)

        keys = (await scene.admit(decide)).started
        leased = (await scene.lease(keys, mask=TEXT)).granted

        found = {mine: True, other: False}
        assert found == {row.contact_id: row.phone_suppressed for row in asked}
        assert found == {one.contact_id: one.suppressed for one in leased}
        assert [True, False] == await world.store.suppressed(
            [(scene.account, "sms", own), (scene.account, "email", own)]
        )

    async def test_an_event_of_a_mapped_address_is_its_contacts_once_that_is_known(
        self, world: World
    ) -> None:
        """No column says whose it is: what is sent there does."""
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        account, (contact, other) = scene.account, scene.contacts
        await scene.clear_events()
        place = (account, contact, "Ann@Work.example", MAIL)
        wide = (account, other, " - ", MAIL)
        assert [False, False] == await world.store.know_addresses([place, wide])
        assert [False] == await world.store.know_addresses([place])
        await world.event(account, "open", address="ann@work.example")
        assert [False] == await world.store.know_addresses([place])
        await world.event(account, "reply", address=" ANN@work.example")
        await world.event(account, "reply", address="-")
        asked = [place, (account, other, "+4930", MAIL)]
        assert [True, False] == await world.store.know_addresses(asked)
        seen: list[EventRow] = []

        def decide(events: Sequence[EventRow], *_: object) -> list[Any]:
            seen.extend(events)
            return []

        while (await world.store.digest(account, 100, decide, EVERY_KIND)).taken:  # type: ignore[union-attr]
            pass
        await world.erase_contact(account, contact)
        await world.event(account, "reply", address="ann@work.example")
        while (await world.store.digest(account, 100, decide, EVERY_KIND)).taken:  # type: ignore[union-attr]
            pass

        assert len(keys) == 2
        found = [one.contact_ids for one in seen if one.kind in {"reply", "open"}]
        assert sorted(found) == [(), (), (contact,), (contact,)]

    async def test_a_locked_step_costs_itself_only(self, world: World) -> None:
        scene = await open_scene(world, cap=2)
        keys = await scene.enroll(2)
        async with world.lock_rows([keys[0].enrollment_id]):
            result = await scene.lease(keys)

        assert [x.enrollment_id for x in result.granted] == [keys[1].enrollment_id]
        assert why(result) == [Refusal.LOCKED]
        assert await scene.used() == 1
        assert len((await scene.lease(keys[:1])).granted) == 1

    async def test_a_locked_day_costs_its_account_only(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        async with world.lock_days([scene.account]):
            result = await scene.lease(keys)

        assert result.granted == []
        assert why(result) == [Refusal.LOCKED, Refusal.LOCKED]

    @pytest.mark.parametrize(
        "names",
        [
            {"contact_id": "contact"},
            {"delivery_id": "delivery"},
            {"address": "P0@x.example"},
            {"address": "+1"},
        ],
        ids=["contact", "delivery", "email", "phone"],
    )
    @pytest.mark.feature("S2")
    async def test_an_event_that_was_there_before_stops_the_lease(
        self, world: World, names: dict[str, Any]
    ) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        ids = {"contact": scene.contacts[0], "delivery": f"{keys[0].enrollment_id}-1"}
        if names.get("address") == "+1":
            contact = await world.add_contact(scene.account, phone="+1")
            await world.enroll(scene.account, "c", contact)
            keys = [*(await scene.admit()).started, keys[1]]
            await scene.clear_events()
        columns = {name: ids.get(value, value) for name, value in names.items()}
        await world.event(scene.account, "reply", **columns)
        result = await scene.lease(keys)

        assert [x.enrollment_id for x in result.granted] == [keys[1].enrollment_id]
        assert why(result) == [Refusal.EVENT]

    @pytest.mark.feature("Q10")
    async def test_kinds_that_the_version_does_not_stop_on_pass(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)
        await world.tag(scene.account, scene.contacts[0], "x")
        await world.event(scene.account, "nonsense", contact_id=scene.contacts[0])

        assert why(await scene.lease(keys, mask=MAIL | TAG_ADDED)) == [Refusal.EVENT]
        assert len((await scene.lease(keys, mask=MAIL | BOUNCE)).granted) == 1

    async def test_a_reset_stops_until_the_inbox_has_had_it(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        payload = {"campaign": "c"}
        await world.event(scene.account, "reset", contact_id=scene.contacts[0], payload=payload)
        result = await scene.lease(keys, mask=MAIL | ALWAYS)

        assert [x.enrollment_id for x in result.granted] == [keys[1].enrollment_id]
        assert why(result) == [Refusal.EVENT]

    async def test_an_event_nobody_can_place_yet_blocks_its_account(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)
        other = await world.add_account("other")
        await world.event(other, "reply", conversation_ref="t")
        await world.event(None, "reply")
        await world.event(scene.account, "click", conversation_ref="t")

        assert why(await scene.lease(keys)) == [Refusal.EVENT]
        await scene.clear_events()
        assert len((await scene.lease(keys)).granted) == 1

    async def test_a_suppressed_step_is_granted_as_such_and_takes_no_cap(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(4)
        await world.suppress(scene.account, "email", " P0@X.example ")
        await world.suppress(0, "email", "p1@x.example")
        await world.suppress(scene.account, "sms", "p2@x.example")
        await world.suppress(scene.account, "email", "p3@x.example", expires_at=T0)
        granted = {x.enrollment_id: x for x in (await scene.lease(keys)).granted}

        assert [granted[key.enrollment_id].suppressed for key in keys] == [
            True,
            True,
            False,
            False,
        ]
        assert [granted[key.enrollment_id].counted for key in keys] == [
            False,
            False,
            True,
            True,
        ]
        assert await scene.used() == 2

    async def test_blanks_around_an_address_hide_it_from_nobody(self, world: World) -> None:
        scene = await open_scene(world)
        await world.suppress(scene.account, "email", "P0@X.example")
        contact = await world.add_contact(
            scene.account, external_id="p0", email="\u00a0p0@x.example \n", phone="\t+491 "
        )
        await world.enroll(scene.account, "c", contact)
        await scene.admit(start_all(scene.lane, T0))
        await scene.clear_events()
        [key] = await scene.keys()
        [leased] = (await scene.lease([key])).granted

        assert ("p0@x.example", "+491", True) == (leased.email, leased.phone, leased.suppressed)

    async def test_a_day_that_is_missing_or_over_refuses(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)

        assert why(await scene.lease(keys, day=TOMORROW)) == [Refusal.NO_DAY]
        await world.set_now(Instant(T0 + 12 * HOUR))
        assert why(await scene.lease(keys)) == [Refusal.NO_DAY]

    async def test_gates_reach_every_later_lease(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)
        for shut, opened in (("paused", "active"), ("inactive", "active")):
            await world.set_campaign(scene.account, scene.campaign, shut)
            assert why(await scene.lease(keys)) == [Refusal.HELD]
            assert (await scene.run())["hold_reason"] == shut
            await world.set_campaign(scene.account, scene.campaign, opened)
        for column, shut, word in (
            ("status", "paused", "account_paused"),
            ("subscription_active", False, "no_subscription"),
        ):
            await world.set_account(scene.account, **{column: shut})
            assert why(await scene.lease(keys)) == [Refusal.HELD]
            assert (await scene.run())["hold_reason"] == word
            await world.set_account(scene.account, status="active", subscription_active=True)

        assert len((await scene.lease(keys)).granted) == 1

    async def test_nothing_is_leased_before_its_time(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1, due_at=Instant(T0 + 50))

        assert why(await scene.lease(keys, ahead_ms=49)) == [Refusal.LOCKED]
        assert len((await scene.lease(keys, ahead_ms=50)).granted) == 1

    async def test_a_key_that_has_moved_is_gone(self, world: World) -> None:
        scene = await open_scene(world)
        key = (await scene.enroll(1))[0]
        stale = [key._replace(due_at=Instant(T0 - 1)), key._replace(lane=key.lane + 1)]

        assert why(await scene.lease(stale)) == [Refusal.GONE, Refusal.GONE]

    async def test_only_what_the_version_needs_is_read(self, world: World) -> None:
        scene = await open_scene(world)
        company = await world.add_company(scene.account, {"size": 7})
        contact = await world.add_contact(
            scene.account, email="ann@x.example", company_id=company
        )
        await world.enroll(scene.account, "c", contact)
        key = (await scene.admit()).started
        await world.tag(scene.account, contact, "vip")
        await world.list_add(scene.account, contact, "news")
        await scene.clear_events()
        everything = Needs.COMPANY | Needs.TAGS | Needs.LISTS | Needs.EVENTS | Needs.START
        leased = (await scene.lease(key, mask=MAIL | everything)).granted[0]

        assert leased.company == {"size": 7}
        assert (leased.tags, leased.lists) == ({"vip"}, {"news"})
        assert leased.events == {"contact_created", "tag_added", "list_added"}
        assert leased.started_at == T0

    async def test_vars_of_the_request_come_along(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1, vars={"deal": {"n": 1}})
        leased = (await scene.lease(keys)).granted[0]

        assert leased.vars == {"deal": {"n": 1}}
        assert (leased.flags, leased.started_at) == (1, T0)

    async def test_recent_events_are_those_since_the_step_before(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.clear_events()
        await world.set_now(Instant(T0 + HOUR))
        await world.event(scene.account, "open", contact_id=leased.contact_id)
        await world.event(scene.account, "open", contact_id=leased.contact_id, occurred_at=0)
        for link in ("a", "b"):
            await world.event(
                scene.account,
                "click",
                delivery_id=f"{leased.enrollment_id}-1",
                payload={"link": link},
            )
        await world.event(scene.account, "reply", delivery_id="999-1")
        change = scene.goes_on(leased)
        assert change.next is not None
        change.next.due_at = Instant(T0 + HOUR)
        key = (await scene.record(change)).moved
        await scene.clear_events()
        again = (await scene.lease(key, mask=Needs.RECENT)).granted[0]

        assert [(one.kind, one.payload, one.step_key) for one in again.recent][1:] == [
            ("open", {}, None),
            ("click", {"link": "a"}, "one"),
            ("click", {"link": "b"}, "one"),
        ]
        assert [one.kind for one in again.recent][:1] == ["contact_created"]

    async def test_facts_are_copies(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        leased.attrs["first"] = "changed"
        await scene.record(scene.tries_again(leased), closed=[leased.claim_id])
        await world.set_now(Instant(T0 + HOUR))
        row = (await world.due_steps())[0]
        key = (
            await world.store.load(
                [(scene.account, row["lane"], Instant(0), 0, 1)], Instant(T0 + HOUR)
            )
        )[0]
        again = (await scene.lease([key])).granted[0]

        assert (again.attrs, again.attempt) == ({"first": "p0"}, 1)


@pytest.mark.trio
class NodeSuite:
    async def test_a_daemon_that_is_dead_or_unknown_leases_nothing(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(1)
        await world.store.join(OTHER, "other", "0")
        await world.silence(OTHER)
        await world.store.reap(NODE, 10_000)

        assert why(await scene.lease(keys, incarnation=OTHER)) == [Refusal.LOCKED]
        assert why(await scene.lease(keys, incarnation=77)) == [Refusal.LOCKED]
        assert not await world.store.beat(OTHER, 1, "running", {})
        assert await world.store.beat(NODE, 1, "running", {})
        assert not await world.store.beat(77, 1, "running", {})

    async def test_who_is_drained_is_told_so_and_is_still_alive(self, world: World) -> None:
        await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        await world.drain(OTHER)

        seen = await world.store.look(Spans())
        assert seen.drained == {OTHER}
        assert (OTHER, True) in seen.nodes
        assert await world.store.beat(OTHER, 1, "draining", {})

    async def test_only_who_is_silent_for_too_long_is_reaped(self, world: World) -> None:
        scene = await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        await scene.lease(await scene.enroll(1), incarnation=OTHER)

        assert await world.store.reap(NODE, 10_000) == []
        assert await world.store.orphans(NODE, [], []) == []
        await world.silence(OTHER)
        assert await world.store.beat(OTHER, 0, "running", {})
        assert await world.store.reap(NODE, 10_000) == []

    async def test_steps_of_the_dead_are_claimed_anew(self, world: World) -> None:
        scene = await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        zombie = (await scene.take(incarnation=OTHER))[0]
        await world.silence(OTHER)

        adopted = await world.store.reap(NODE, 10_000)
        assert len(adopted) == 1
        assert await world.store.orphans(NODE, adopted, adopted) == []
        untold = await world.store.orphans(NODE, [], [])  # the acknowledgement was lost
        found = await world.store.orphans(NODE, [], adopted)
        assert [x.claim_id for x in untold] == [x.claim_id for x in found]
        assert [(x.enrollment_id, x.leased_at, x.local_date) for x in found] == [
            (zombie.enrollment_id, T0, zombie.local_date)
        ]
        assert [found[0].claim_id] == adopted != [zombie.claim_id]

        late = await scene.record(scene.goes_on(zombie), closed=[zombie.claim_id])
        assert (late.late, late.moved) == ([zombie.enrollment_id], [])
        assert [row["provider_id"] for row in await world.late_evidence()] == [
            f"m{zombie.enrollment_id}"
        ]
        assert [row["state"] for row in await world.deliveries()] == ["leased"]

        done = await scene.record(scene.goes_on(found[0]), closed=[found[0].claim_id])
        assert [key.enrollment_id for key in done.moved] == [zombie.enrollment_id]
        assert [row["state"] for row in await world.deliveries()] == ["accepted"]
        assert await world.store.orphans(NODE, [], adopted) == []

    async def test_what_is_taken_over_names_its_holders_and_its_count(
        self, world: World
    ) -> None:
        """Twice: the journal that tells what left may be two owners away."""
        scene = await open_scene(world)
        for node in (OTHER, THIRD):
            await world.store.join(node, "other", "0")
        await scene.take(incarnation=OTHER)
        first = await world.store.reap(THIRD, 3_600_000, [OTHER])
        found = await world.store.orphans(THIRD, [], first)
        assert [x.holders for x in found] == [(OTHER, THIRD)]

        second = await world.store.reap(NODE, 3_600_000, [THIRD])
        found = await world.store.orphans(NODE, [], second)
        assert [(x.holders, x.counted, x.flags) for x in found] == [
            ((OTHER, THIRD, NODE), True, 0)
        ]
        assert await scene.used() == 1
        await scene.record(scene.tries_again(found[0]), closed=second)
        assert await scene.used() == 0
        assert [row["flags"] for row in await world.due_steps()] == [0]

    async def test_a_step_that_took_no_cap_is_taken_over_uncounted(self, world: World) -> None:
        scene = await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        await scene.take(mask=REPLY, incarnation=OTHER)
        adopted = await world.store.reap(NODE, 3_600_000, [OTHER])
        found = await world.store.orphans(NODE, [], adopted)

        assert [x.counted for x in found] == [False]

    async def test_a_dead_daemon_is_at_rest_when_its_claims_are_closed(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        await scene.take(incarnation=OTHER)
        assert await world.store.at_rest([OTHER, NODE, 77]) == [77]
        adopted = await world.store.reap(NODE, 3_600_000, [OTHER])
        assert await world.store.at_rest([OTHER]) == []

        found = await world.store.orphans(NODE, [], adopted)
        await scene.record(*map(scene.tries_again, found), closed=adopted)
        assert await world.store.at_rest([OTHER]) == [OTHER]

    async def test_a_journal_settles_what_was_unknown_and_nothing_else(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        one, two = await scene.take(2)
        doubtful = scene.goes_on(one)
        doubtful.log = [sent(one, LogState.UNKNOWN, provider_id=None, reason="daemon_died")]
        refused = scene.goes_on(two)
        refused.log = [sent(two, LogState.FAILED, provider_id=None, reason="http_400")]
        await scene.record(doubtful, refused, closed=[one.claim_id])
        told = [(x.enrollment_id, x.seq, "m-7") for x in (one, two)]

        assert await world.store.testify(told) == 1
        assert await world.store.testify(told) == 0
        rows = sorted(await world.deliveries(), key=lambda row: row["id"])
        settled = [
            (r["state"], r["provider_id"], r["reason"]) for r in rows if r["state"] != "leased"
        ]
        assert settled == [("accepted", "m-7", None), ("failed", None, "http_400")]

    async def test_a_late_answer_settles_what_was_called_unknown(self, world: World) -> None:
        """Whichever comes first, the answer of the zombie or the record of who took over."""
        scene = await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        early, late = await scene.take(2, incarnation=OTHER)
        adopted = await world.store.reap(NODE, 3_600_000, [OTHER])
        found = await world.store.orphans(NODE, [], adopted)
        doubts = []
        for leased in found:
            doubt = scene.goes_on(leased)
            doubt.log = [sent(leased, LogState.UNKNOWN, provider_id=None, reason="daemon_died")]
            doubts.append(doubt)
        await scene.record(scene.goes_on(early))
        await world.store.sweep(0)
        await scene.record(*doubts, closed=adopted)
        await scene.record(scene.goes_on(late))
        await world.store.sweep(0)

        told = {
            row["enrollment_id"]: (row["state"], row["provider_id"])
            for row in await world.deliveries()
            if row["state"] != "leased"
        }
        assert told == {
            x.enrollment_id: ("accepted", f"m{x.enrollment_id}") for x in (early, late)
        }

    async def test_claims_of_a_daemon_that_left_are_taken_over(self, world: World) -> None:
        scene = await open_scene(world)
        await world.store.join(OTHER, "other", "0")
        await scene.take(2, incarnation=OTHER)
        await world.store.leave(OTHER)

        adopted = await world.store.reap(NODE, 10_000)
        assert len(await world.store.orphans(NODE, [], adopted)) == 2
        assert [number for number, _ in (await world.store.look(Spans())).nodes] == [NODE]

    async def test_a_contact_that_cannot_be_read_is_leased_apart(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(3)
        bad = scene.contacts[1]
        await world.spoil_contact(scene.account, bad)
        result = await scene.lease(keys)

        assert {x.contact_id for x in result.granted} == {*scene.contacts} - {bad}
        assert [x.contact_id for x, _ in result.unreadable] == [bad]
        assert "attrs cannot be read" in result.unreadable[0][1]
        assert result.refused == []

    async def test_a_step_that_is_set_aside_is_held_with_its_error(self, world: World) -> None:
        scene = await open_scene(world)
        one, two, three = await scene.enroll(3)
        taken = await scene.lease([three])
        steps = [SetAside(*key[:4], "it is bad") for key in (one, three)]

        assert await world.store.set_aside(steps) == 1
        assert await world.store.set_aside(steps) == 0
        held, *_ = [x for x in await world.enrollments() if x["id"] == one.enrollment_id]
        assert (held["status"], held["hold_reason"]) == ("held", "quarantined")
        failed = [
            (x["enrollment_id"], x["outcome"], x["reason"]) for x in await world.step_runs()
        ]
        assert failed == [(one.enrollment_id, "failed", "it is bad")]
        told = [x["detail"] for x in await world.journal() if x["kind"] == "held"]
        assert told == [{"reason": "quarantined", "seq": 2}]
        assert len(taken.granted) == 1
        assert why(await scene.lease([one])) == [Refusal.GONE]
        assert len((await scene.lease([two])).granted) == 1

    async def test_recoveries_are_counted_within_their_time(self, world: World) -> None:
        scene = await open_scene(world)
        one, two = [(scene.account, key.enrollment_id, 1) for key in await scene.enroll(2)]

        assert await world.store.count_recoveries([two, one], 60_000) == {one[1]: 1, two[1]: 1}
        assert await world.store.count_recoveries([one], 60_000) == {one[1]: 2}
        await trio.sleep(0.05)
        assert await world.store.count_recoveries([one], 10) == {one[1]: 1}
        await world.store.sweep(0)
        assert await world.store.count_recoveries([two, one], 60_000) == {one[1]: 2, two[1]: 2}

    async def test_a_lease_lost_before_its_commit_did_not_happen(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        world.fail_next("lease", "before")
        with pytest.raises(InDoubt):
            await scene.lease(keys)

        assert await scene.used() == 0
        await world.age_claims()
        assert await world.store.orphans(NODE, [], []) == []
        assert len((await scene.lease(keys)).granted) == 2

    async def test_a_lease_lost_after_its_commit_is_found_again(self, world: World) -> None:
        scene = await open_scene(world)
        keys = await scene.enroll(2)
        world.fail_next("lease", "after")
        with pytest.raises(InDoubt):
            await scene.lease(keys)

        assert await scene.used() == 2
        assert why(await scene.lease(keys)) == [Refusal.GONE, Refusal.GONE]
        found = await world.store.orphans(NODE, [], [])
        assert await world.store.orphans(NODE, [found[0].claim_id], []) == []
        assert {x.enrollment_id for x in found} == {k.enrollment_id for k in keys}
        done = await scene.record(*map(scene.tries_again, found), closed=[found[0].claim_id])
        assert len(done.moved) == 2
        assert await scene.used() == 0

    async def test_the_stop_mark_does_not_show_in_what_is_taken_over(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await world.event(scene.account, "reply", contact_id=scene.contacts[0])
        await scene.digest(_stop(leased.enrollment_id, scene.contacts[0]))
        found = await world.store.orphans(NODE, [], [leased.claim_id])

        assert [x.attempt for x in found] == [0]
        done = await scene.record(ends(found[0]), closed=[found[0].claim_id])
        assert done.stopped == [leased.enrollment_id]

    async def test_what_has_served_is_swept_and_what_stands_is_not(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await world.store.acknowledge_clock(NODE, T0)
        await world.store.sweep(0)
        look = await world.store.look(Spans())

        assert look.nudges
        assert look.nodes == [(NODE, True)]
        assert len(await world.store.orphans(NODE, [], [leased.claim_id])) == 1
        assert look.now + DAY > T0


def _stop(enrollment: int, contact: int) -> EndRun:
    return EndRun(enrollment, contact, RunStatus.TERMINATED, "reply")
