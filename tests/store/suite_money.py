"""Money: what every store charges as runs begin, and gives back as they end."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from dripd.billing.ledger import Ask, paid
from dripd.billing.price import Priced
from dripd.campaigns.enrollment import Leased, LogState, RunStatus
from dripd.policy.inbox_rows import EndRun
from dripd.store.protocol import ParkRow
from tests.store.suite_record import stop
from tests.store.world import Row, Scene, World, campaign, ends, open_scene, sent, start_all

CENT = Decimal("0.01")

THREE = [Priced(key, "email", None, CENT) for key in ("one", "two", "three")]


async def begin(world: World, n: int = 1, *, deposit: str = "1", **columns: Any) -> Scene:
    """*n* runs that were charged a cent for each of three mails."""
    scene = await open_scene(world)
    await world.deposit(scene.account, deposit)
    given = {"charge": 3 * CENT, "paid": paid(THREE, None), **columns}
    for _ in range(n):
        contact = await scene.contact(f"p{len(scene.contacts)}")
        await world.enroll(scene.account, "c", contact)
    done = await scene.admit(start_all(scene.lane, **given))
    scene.runs = sorted(key.enrollment_id for key in done.started)
    await scene.clear_events()
    return scene


def ask(leased: Leased, *, amount: Decimal = Decimal(0), quota: int | None = None) -> Ask:
    """What the first step of a run must be granted."""
    return Ask(
        account_id=leased.account_id,
        lane=leased.lane,
        enrollment_id=leased.enrollment_id,
        claim_id=leased.claim_id,
        step_key="one",
        delivery_id=f"{leased.enrollment_id}-{leased.seq}",
        amount=amount,
        quota=quota,
        period="2026-01",
    )


async def lines(world: World, kind: str) -> list[Row]:
    rows = [row for row in await world.ledger() if row["kind"] == kind]
    return sorted(rows, key=lambda row: (row["enrollment_id"], row["step_key"] or ""))


@pytest.mark.trio
class MoneySuite:
    async def test_a_run_is_charged_as_it_begins(self, world: World) -> None:
        scene = await begin(world)
        rows = await lines(world, "charge")

        assert [(r["account_id"], r["amount"], r["enrollment_id"]) for r in rows] == [
            (scene.account, 3 * CENT, scene.runs[0])
        ]
        assert rows[0]["at"] == (await scene.run())["started_at"]

    async def test_the_oldest_requests_get_what_the_balance_covers(self, world: World) -> None:
        scene = await begin(world, 4, deposit="0.07")

        assert len(scene.runs) == 2
        assert [row["contact_id"] for row in await world.enrollments()] == scene.contacts[:2]
        assert [row["reject_reason"] for row in await world.requests()] == [
            None,
            None,
            "insufficient_balance",
            "insufficient_balance",
        ]
        assert len(await lines(world, "charge")) == 2
        assert [row["enrollment_id"] for row in await world.due_steps()] == scene.runs

    async def test_an_account_without_a_deposit_has_nothing(self, world: World) -> None:
        scene = await open_scene(world)
        await world.enroll(scene.account, "c", await scene.contact())
        await scene.admit(start_all(scene.lane, charge=CENT, paid=paid(THREE[:1], None)))

        assert (await world.requests())[0]["reject_reason"] == "insufficient_balance"
        assert await world.enrollments() == []

    async def test_an_end_by_an_event_gives_back_what_was_not_sent(self, world: World) -> None:
        scene = await begin(world)
        end = EndRun(scene.runs[0], scene.contacts[0], RunStatus.REMOVED, "reply")
        for _ in range(2):
            await world.event(scene.account, "reply", contact_id=scene.contacts[0])
            await scene.digest(end)

        assert [row["step_key"] for row in await lines(world, "refund")] == [
            "one",
            "three",
            "two",
        ]

    async def test_an_end_by_a_step_keeps_what_that_step_sent(self, world: World) -> None:
        scene = await begin(world)
        (leased,) = (await scene.lease(await scene.keys())).granted
        await scene.record(ends(leased))

        assert [row["step_key"] for row in await lines(world, "refund")] == ["three", "two"]

    @pytest.mark.parametrize(
        ("state", "given_back"),
        [
            (LogState.ACCEPTED, ["three", "two"]),
            (LogState.UNKNOWN, ["three", "two"]),
            (LogState.AGAIN, ["one", "three", "two"]),
        ],
    )
    async def test_what_is_in_flight_at_a_stop_is_given_back_once_it_is_known_not_to_have_left(
        self, world: World, state: LogState, given_back: list[str]
    ) -> None:
        scene = await begin(world)
        (leased,) = (await scene.lease(await scene.keys())).granted
        await stop(scene, leased)

        assert [row["step_key"] for row in await lines(world, "refund")] == ["three", "two"]
        change = scene.goes_on(leased)
        change.log = [sent(leased, state)]
        done = await scene.record(change)

        assert done.stopped == scene.runs
        assert [row["step_key"] for row in await lines(world, "refund")] == given_back

    async def test_refund_on_names_the_ends_that_give_back(self, world: World) -> None:
        scene = await begin(world, 2, paid=paid(THREE, ["stop"]))
        for at, reason in enumerate(("bounce", "stopped")):
            contact = scene.contacts[at]
            await world.event(scene.account, "reply", contact_id=contact)
            await scene.digest(EndRun(scene.runs[at], contact, RunStatus.REMOVED, reason))

        assert {row["enrollment_id"] for row in await lines(world, "refund")} == {scene.runs[1]}

    async def test_a_delivery_is_charged_once_however_often_it_is_asked(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        await world.deposit(scene.account, "0.02")
        leased = await scene.take(3)
        asks = [ask(one, amount=CENT) for one in leased]

        assert await world.store.toll(asks[:1]) == {}
        assert await world.store.toll(asks) == {leased[2].enrollment_id: "balance"}
        assert await world.store.read_parks(None) == [
            ParkRow(scene.account, leased[2].lane, "balance", None)
        ]
        rows = await lines(world, "charge")
        assert [(row["delivery_id"], row["step_key"]) for row in rows] == [
            (f"{one.enrollment_id}-1", "one") for one in leased[:2]
        ]

    async def test_who_lost_his_claim_charges_nothing(self, world: World) -> None:
        """A daemon that had slept charged for a run that had ended: nobody gave that back."""
        scene = await open_scene(world)
        await world.deposit(scene.account, "1")
        mine, ended = await scene.take(2)
        await stop(scene, ended)
        await scene.record(scene.goes_on(ended))
        other = replace(ask(mine, amount=CENT), claim_id=mine.claim_id + 1)

        assert await world.store.toll([ask(ended, amount=CENT), other]) == {
            ended.enrollment_id: "lost",
            mine.enrollment_id: "lost",
        }
        assert await lines(world, "charge") == []
        assert await world.store.toll([ask(mine, amount=CENT, quota=1)]) == {}

    async def test_who_cannot_pay_takes_nobodys_place(self, world: World) -> None:
        """The run was ended for another that never began: its contact was in neither."""
        scene = await open_scene(world)
        first, second = await scene.contact("ann"), await scene.contact("ben")
        await world.deposit(scene.account, "0.06")
        cost = {"charge": 3 * CENT, "paid": paid(THREE, None), "exclusive": "account"}
        for contact in (first, second):
            await world.enroll(scene.account, "c", contact)
        done = await scene.admit(start_all(scene.lane, **cost))
        runs = {key.enrollment_id for key in done.started}
        await world.add_campaign(scene.account, campaign("d"))
        for contact in (first, second):
            await world.enroll(scene.account, "d", contact)
        dear = {**cost, "charge": 4 * CENT, "displaces": True}
        done = await scene.admit(start_all(scene.lane, **dear))

        assert (done.decided, done.started) == (2, [])
        told = await world.requests()
        assert [row["reject_reason"] for row in told[2:]] == ["insufficient_balance"] * 2
        live = [row for row in await world.enrollments() if row["ended_at"] is None]
        assert {row["id"] for row in live} == runs
        assert await lines(world, "refund") == []

    async def test_a_deposit_opens_what_waits_for_money(self, world: World) -> None:
        scene = await open_scene(world)
        await world.store.park(
            [
                ParkRow(scene.account, 0, "balance", None),
                ParkRow(scene.account, 1, "rate", None),
            ]
        )
        await world.deposit(scene.account, "1")

        assert [row.lane for row in await world.store.read_parks(None)] == [1]

    async def test_a_quota_holds_for_what_is_in_flight_and_for_what_was_counted(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        first, second, third = await scene.take(3)
        asks = [ask(one, quota=2) for one in (first, second, third)]

        assert await world.store.toll(asks) == {third.enrollment_id: "quota"}
        assert await world.store.toll(asks[:2]) == {}, "asked again after a lost answer"
        for one in (first, second):
            one.tolled = True
            await scene.record(scene.goes_on(one, metered=True))
        assert [(row["kind"], row["period"], row["n"]) for row in await world.meters()] == [
            ("automation_action", "2026-01", 2)
        ]
        assert await world.store.toll([ask(third, quota=2)]) == {third.enrollment_id: "quota"}
        assert await world.store.toll([ask(third, quota=3)]) == {}

    async def test_a_completion_is_one_action_more_and_a_stop_is_not(
        self, world: World
    ) -> None:
        scene = await open_scene(world)
        first, second = await scene.take(2)
        await stop(scene, second)
        await scene.record(ends(first, metered=True), ends(second, metered=True))

        assert [row["n"] for row in await world.meters()] == [3]

    async def test_what_cost_less_than_it_was_charged_is_settled_at_once(
        self, world: World
    ) -> None:
        scene = await begin(world)
        (leased,) = (await scene.lease(await scene.keys())).granted
        await scene.record(scene.goes_on(leased, money_back=Decimal("0.004")))

        assert [(row["step_key"], row["amount"]) for row in await lines(world, "refund")] == [
            ("one", Decimal("0.004"))
        ]

    async def test_a_run_that_was_not_charged_writes_no_money(self, world: World) -> None:
        scene = await open_scene(world)
        leased = (await scene.take())[0]
        await scene.record(ends(leased))

        assert await world.ledger() == []
