"""Money and quotas on memory in virtual time: the same stages, the same verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

import pytest
from trio.testing import MockClock

from dripd.billing.ledger import Ask
from dripd.proof.virtual import Virtual, virtual
from dripd.store.memory import MemoryStore

pytestmark = pytest.mark.trio


def texts(world: Virtual, n: int, **policy: object) -> None:
    """*n* texts, a day apart, at a cent a segment."""
    world.store.add_sender(world.acme, "+15550001", channel="sms")
    world.store.set_prices(world.acme, sms="0.01")
    steps = [
        {"key": f"t{i}", "do": "sms", "text": "Hi", "delay": "0" if i == 0 else "1d"}
        for i in range(n)
    ]
    world.campaign(*steps, policy=policy)


def amounts(world: Virtual, kind: str) -> Decimal:
    rows = [row["amount"] for row in world.store.ledger if row["kind"] == kind]
    return sum(rows, Decimal(0))


async def test_four_daemons_never_spend_more_than_there_is(autojump_clock: MockClock) -> None:
    async with virtual(daemons=4) as world:
        texts(world, 3, billing="per_send")
        world.store.deposit(world.acme, "0.20")
        for n in range(10):
            world.contact(f"c{n}", phone=f"+4930{n}")
            world.store.enroll(world.acme, "welcome", f"c{n}")
        await world.advance_to("2026-01-10T09:00:00Z")

        assert len(world.received()) == 20
        assert amounts(world, "charge") == Decimal("0.20")
        holds = {row["hold_reason"] for row in world.store.enrollments()}
        assert holds == {"balance"}
        world.store.deposit(world.acme, "1")
        await world.advance_to("2026-01-12T09:00:00Z")

        assert len(world.received()) == len(set(world.received())) == 30
        assert amounts(world, "charge") == Decimal("0.30")


async def test_a_quota_is_shared_by_four_daemons(autojump_clock: MockClock) -> None:
    async with virtual(daemons=4) as world:
        world.store.set_quota("unlimited", 7)
        world.campaign(
            {"key": "a", "do": "tag_add", "tag": "a"},
            {"key": "b", "do": "email", "subject": "b", "text": "x"},
            {"key": "c", "do": "delay", "delay": "1d"},
            policy={"meter": "actions"},
        )
        world.enroll(*[f"c{n}" for n in range(6)])
        await world.advance_to("2026-01-20T00:00:00Z")
        counted = {row["period"]: row["n"] for row in world.store.meters}

        assert 7 <= counted["2026-01"] <= 7 + 6  # completions are counted, never held
        assert {row["hold_reason"] for row in world.store.enrollments()} >= {"quota"}
        world.store.set_quota("unlimited", None)
        await world.advance_to("2026-01-25T00:00:00Z")

        assert world.ends() == {"completed": 6}
        assert sum(row["n"] for row in world.store.meters) == 6 * 3 + 6


async def test_an_upfront_run_that_is_answered_gets_back_what_was_not_sent(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        texts(world, 5, billing="upfront")
        world.store.deposit(world.acme, "1")
        contact = world.contact("ann", phone="+4930")
        world.store.enroll(world.acme, "welcome", "ann")
        await world.advance_to("2026-01-06T10:00:00Z")
        world.store.event(world.acme, "reply", contact_id=contact)
        await world.advance_to("2026-01-06T11:00:00Z")

        assert world.ends() == {"reply": 1}
        assert (amounts(world, "charge"), amounts(world, "refund")) == (
            Decimal("0.05"),
            Decimal("0.03"),
        )


@pytest.mark.timeout(60)  # it was leased and given back for ever, and no time passed
async def test_a_lane_that_lacks_both_cap_and_money_waits_for_the_money(
    autojump_clock: MockClock,
) -> None:
    """Some of its steps are refused for the cap, those that are leased for the balance."""
    async with virtual() as world:
        world.store.add_plan("small", 2)
        world.store.set_account(world.acme, plan="small")
        world.store.set_prices(world.acme, email="0.01")
        mail = {"key": "a", "do": "email", "subject": "a", "text": "x"}
        world.campaign(mail, policy={"billing": "per_send"})
        world.enroll("c1", "c2", "c3")
        await world.advance_to("2026-01-05T10:00:00Z")

        assert {row["hold_reason"] for row in world.store.enrollments()} == {"balance"}
        world.store.deposit(world.acme, "1")
        await world.advance_to("2026-01-05T10:00:00Z")
        assert len(world.received()) == 2
        await world.advance_to("2026-01-06T00:00:00Z")
        assert world.ends() == {"completed": 3}


def after_the_toll(
    world: Virtual, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]
) -> None:
    """*do* is done once, between the next refusal of the store and what the daemon makes of it."""
    toll = type(world.store).toll

    async def watched(store: MemoryStore, asks: Sequence[Ask]) -> dict[int, str]:
        refused = await toll(store, asks)
        if refused:
            monkeypatch.setattr(type(world.store), "toll", toll)
            do()
        return refused

    monkeypatch.setattr(type(world.store), "toll", watched)


async def test_a_deposit_that_comes_with_the_refusal_opens_the_lane(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found no lane shut, and the lane was shut behind it until the next deposit."""
    async with virtual() as world:
        texts(world, 1, billing="per_send")
        world.contact("ann", phone="+4930")
        world.store.enroll(world.acme, "welcome", "ann")
        deposit = partial(world.store.deposit, world.acme, "1")
        after_the_toll(world, monkeypatch, deposit)
        await world.advance_to("2026-01-05T10:00:00Z")

        assert world.ends() == {"completed": 1}


async def test_a_quota_that_is_raised_with_the_refusal_opens_the_lane(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane was shut behind it, until the next month."""
    async with virtual() as world:
        world.store.set_quota("unlimited", 0)
        world.campaign({"key": "a", "do": "tag_add", "tag": "a"}, policy={"meter": "actions"})
        world.enroll("ann")
        after_the_toll(world, monkeypatch, partial(world.store.set_quota, "unlimited", 9))
        await world.advance_to("2026-01-06T10:00:00Z")

        assert world.ends() == {"completed": 1}
