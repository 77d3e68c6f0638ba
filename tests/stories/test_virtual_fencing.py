"""Who wakes after others have taken over changes nothing, and what it knows is kept.

All daemons here bear one name, as copies of one container do.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from dripd.clock import DAY, HOUR
from dripd.proof.provider import Provider
from dripd.proof.story import History, Story, Tenant
from dripd.proof.troubled import Daemon, Troubled
from dripd.proof.virtual import MONDAY

pytestmark = pytest.mark.trio


@asynccontextmanager
async def deployment(contacts: int) -> AsyncIterator[tuple[Troubled, Provider]]:
    """One account whose provider takes one message a call, and a second for each."""
    async with trio.open_nursery() as nursery:
        dice = random.Random(1)
        world = Troubled(nursery, MONDAY, dice)
        provider = world.providers["p0"]
        provider.batch, provider.latency_s = 1, 1.0
        account = world.store.add_account("t0")
        world.store.add_sender(account, "sales@t0.test", provider="p0")
        tenant = Tenant(account, "t0", "UTC", None, "p0", delays_ms=(HOUR, DAY))
        Story(world, dice, History(1)).publish(tenant, "Hello")
        for n in range(contacts):
            world.store.add_contact(account, external_id=f"c{n}", email=f"c{n}@x.test")
            world.store.enroll(account, "welcome", f"c{n}")
        yield world, provider
        world.is_over = True  # nobody is started again
        nursery.cancel_scope.cancel()


async def daemon(world: Troubled) -> Daemon:
    return cast("Daemon", await world.start())


def states(world: Troubled) -> list[tuple[str, str | None]]:
    return [(row["state"], row["reason"]) for row in world.store.deliveries()]


async def test_an_answer_that_a_zombie_heard_settles_what_was_unknown(
    autojump_clock: MockClock,
) -> None:
    async with deployment(1) as (world, provider):
        first = await daemon(world)
        await world.wait_until(lambda: len(provider.log) == 1)
        first.machine.freeze()  # the message is with the provider, its answer on the way
        await daemon(world)
        await world.wait_until(lambda: ("unknown", "daemon_died") in states(world))

        first.machine.thaw()
        await world.wait_until(lambda: ("accepted", None) in states(world))

        assert 1 == len(provider.log)
        assert 1 == len(world.store.late_evidence())
        await world.wait_until(lambda: world.store.enrollments()[0]["step_key"] == "two")
        await world.wait_until(first.gone.is_set)  # it has learnt that it was called dead


async def test_a_zombie_sends_nothing_of_what_others_have_taken_over(
    autojump_clock: MockClock,
) -> None:
    async with deployment(8) as (world, provider):
        first = await daemon(world)
        await world.wait_until(lambda: len(provider.log) == 2)  # one by each of its senders
        first.machine.freeze()
        second = await daemon(world)
        await world.wait_until(lambda: second.pipe.unsent > 0)
        first.machine.thaw()
        await world.wait_until(lambda: len(world.store.deliveries()) == 8)
        await world.pass_by(20)

        sent = sorted(one.recipient for one in provider.log)
        assert sorted(f"c{n}@x.test" for n in range(8)) == sent
        assert {("accepted", None)} == set(states(world))
        assert first.gone.is_set()


async def test_a_cancelled_daemon_sends_nothing_more_of_its_queue(
    autojump_clock: MockClock,
) -> None:
    """Simulation seed 271: it went on, chunk after chunk, until its queue was empty."""
    async with deployment(8) as (world, provider):
        only = await daemon(world)
        await world.wait_until(lambda: len(provider.log) == 2)
        await only.cut()

        assert 2 == len(provider.log)
