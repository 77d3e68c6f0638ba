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

pytestmark = [pytest.mark.trio, pytest.mark.interpreted]


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
        Story(world, dice, History(1)).publish(tenant, "welcome", tenant.mails)
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


def play_fates(provider: Provider, *fates: str) -> None:
    """What befalls the first requests, in this order; nothing befalls the rest."""
    left = list(fates)
    provider.draw = lambda: left.pop(0) if left else ""  # type: ignore[method-assign]  # as told


def rename(world: Troubled) -> None:
    (run,) = world.store.enrollments()
    world.store.set_attrs(run["account_id"], run["contact_id"], first_name="Someone else")


async def die_with_an_answer(world: Troubled, provider: Provider) -> None:
    """A daemon hears what its provider says, writes it down, and dies before the record."""
    first = await daemon(world)
    await world.wait_until(lambda: len(provider.log) == 1)
    world.store.away = True
    await world.pass_by(1.2)
    await world.kill(first)
    world.store.away = False


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("fate", ["temporary", "throttle", "lost_answer"])
async def test_what_only_a_dead_daemon_knew_is_sent_again_as_it_was(
    autojump_clock: MockClock, fate: str, keyed: bool
) -> None:
    """What its journal called refused was rendered anew for the next attempt."""
    async with deployment(1) as (world, provider):
        provider.keyed = keyed
        play_fates(provider, fate)
        await die_with_an_answer(world, provider)
        await daemon(world)
        await world.wait_until(lambda: bool(world.store._tables.kept))
        rename(world)
        await world.advance_to("2026-01-05T09:30:00Z")

        n = 1 if fate == "lost_answer" and not keyed else 2
        assert n == len(provider.log)
        assert 1 == len({one.body for one in provider.log})
        assert 1 == len({one.key for one in provider.log})
        assert 1 == sum(one.accepted for one in provider.log)


async def test_what_cannot_be_said_again_waits_for_somebody(autojump_clock: MockClock) -> None:
    """Its contact was renamed before anybody could read the journal of its daemon."""
    async with deployment(1) as (world, provider):
        play_fates(provider, "temporary")
        await die_with_an_answer(world, provider)
        rename(world)
        await daemon(world)
        await world.wait_until(lambda: world.store.enrollments()[0]["status"] == "held")
        await world.advance_to("2026-01-06T09:00:00Z")

        (run,) = world.store.enrollments()
        assert "step_failed" == run["hold_reason"]
        (step,) = [row for row in world.store.step_runs() if row["step_key"] == "one"]
        assert ("failed", "words_lost") == (step["outcome"], step["reason"])
        assert 1 == len(provider.log)


async def test_the_words_of_a_second_attempt_that_killed_its_daemon_are_kept(
    autojump_clock: MockClock,
) -> None:
    """They were lost, and the life of its key began anew."""
    async with deployment(1) as (world, provider):
        provider.keyed = True
        play_fates(provider, "temporary")
        first = await daemon(world)
        await world.wait_until(lambda: bool(world.store._tables.kept))
        (before,) = world.store._tables.kept
        rename(world)
        provider.latency_s = 60.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.advance_to, "2026-01-05T09:30:00Z")
            await world.wait_until(lambda: len(provider.log) == 2)
            nursery.cancel_scope.cancel()
        await world.kill(first)
        provider.latency_s = 0.0
        world.disk.clear()
        await daemon(world)
        await world.wait_until(lambda: ("unknown", "daemon_died") in states(world))
        (after,) = world.store._tables.kept

        assert (before.since, before.message) == (after.since, after.message)
        await world.advance_to("2026-01-05T12:00:00Z")
        assert [("accepted", None)] == states(world)[:1]
        bodies = [one.body for one in provider.log if one.step_key == "one"]
        assert ["Hi there\nHello 1 one"] * 3 == bodies


async def test_a_cancelled_daemon_sends_nothing_more_of_its_queue(
    autojump_clock: MockClock,
) -> None:
    """Simulation seed 271: it went on, chunk after chunk, until its queue was empty."""
    async with deployment(8) as (world, provider):
        only = await daemon(world)
        await world.wait_until(lambda: len(provider.log) == 2)
        await only.cut()

        assert 2 == len(provider.log)
