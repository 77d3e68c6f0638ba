"""A pass costs by what comes up, and nothing that comes up is missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from dripd.campaigns.enrollment import DueKey
from dripd.clock import Instant, Millis
from dripd.engine.tuning import Tuning
from dripd.store.protocol import LeaseResult
from tests.engine.rig import HELLO, T0, Rig, SlowSink

pytestmark = pytest.mark.trio


async def test_lanes_that_are_not_near_are_not_loaded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    for n in range(300):
        rig.enroll(rig.account(f"a{n}", step={**HELLO, "delay": "9d"}), 1)
    near = rig.account("near", step={**HELLO, "delay": "10s"})
    rig.enroll(near, 3)
    async with rig.running():
        await trio.sleep(60)

    assert rig.sink.count == 3
    assert {account for lanes, _ in rig.store.loads for account, _ in lanes} == {near}


async def test_a_lane_is_loaded_in_parts_and_none_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(keys=1_000, in_flight=50, batch=50), SlowSink())
    accounts = [rig.account(f"a{n}") for n in range(4)]
    for account in accounts:
        rig.enroll(account, 700)
    most = 0
    async with rig.running():
        while rig.sink.count < 2_800:
            most = max(most, len(rig.pipe.ready) + len(rig.pipe.wheel))
            await trio.sleep(0.01)
            assert trio.current_time() < 600

    assert len({enrollment for _, enrollment in rig.sink.came}) == 2_800
    assert most <= 2_000


async def test_every_account_is_read_anew_within_a_round(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(relearn_ms=Millis(10_000)), SlowSink())
    accounts = [rig.account(f"a{n}") for n in range(500)]
    async with rig.running():
        assert set(rig.pipe.directory.accounts) == set(accounts)
        rig.store.told.clear()
        await trio.sleep(16)

    assert set(rig.store.told) == set(accounts)
    assert max(rig.store.told_at_once) == 200


async def test_a_step_that_nobody_told_of_is_found_by_the_round(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(relearn_ms=Millis(10_000)), SlowSink())
    account = rig.account("acme")
    rig.enroll(account, 1)
    async with rig.running():
        await trio.sleep(5.52)  # between two looks
        rig.enroll(account, 1)
        await rig.admit_unheard()
        await trio.sleep(1)
        assert rig.sink.count == 1
        await trio.sleep(11)
        assert rig.sink.count == 2


async def test_a_load_that_takes_long_keeps_nothing_from_its_instant(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    load = rig.store.load

    async def slow(
        lanes: Sequence[tuple[int, int, Instant, int, int]], horizon: Instant
    ) -> list[DueKey]:
        await trio.sleep(0 if rig.clock.now() < T0 + 17_000 else 5)
        return await load(lanes, horizon)

    rig.store.load = slow  # type: ignore[method-assign]  # the database is slow from then on
    first, second = rig.account("first"), rig.account("second")
    for account, due_s in ((first, 20), (first, 24), (second, 36)):
        contact = rig.store.add_contact(account, email=f"p{due_s}@x.test")
        rig.store.enroll(account, "c", contact, start_at=Instant(T0 + due_s * 1_000))
    async with rig.running():
        began = trio.current_time()
        await trio.sleep(40)
    sent = [at - began for at, _ in rig.sink.came]

    assert sent == [pytest.approx(due_s, abs=0.1) for due_s in (20, 24, 36)]


async def test_what_another_daemon_adds_to_a_busy_lane_follows_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The lane has been loaded, and its head is in hand: the head does not tell of the rest."""
    rig = Rig(Tuning(relearn_ms=Millis(600_000), in_flight=10, batch=10), SlowSink(wait_s=0.5))
    account = rig.account("acme")
    rig.enroll(account, 100)
    async with rig.running():
        await trio.sleep(0.3)
        assert rig.pipe.ready.count(account, 0)
        rig.enroll(account, 20)
        await rig.admit_unheard()
        await rig.store.nudge([account])
        while rig.sink.count < 120:
            await trio.sleep(0.1)
            assert trio.current_time() < 60

    assert len({enrollment for _, enrollment in rig.sink.came}) == 120


async def test_a_locked_day_lets_nothing_later_go_before_what_was_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A turn takes 25 keys; those that came behind them had the places of the cap."""
    rig = Rig(Tuning(batch=25), SlowSink())
    rig.store.add_plan("thirty", 30)
    account = rig.account("a", plan="thirty")
    rig.enroll(account, 60)
    ask, asked = rig.store.lease, []

    async def lease(*args: Any) -> LeaseResult:
        """The first time somebody else's transaction holds the day."""
        asked.append(args)
        if len(asked) > 1:
            return await ask(*args)
        with rig.store.lock_days([account]):
            return await ask(*args)

    rig.store.lease = lease  # type: ignore[method-assign]
    async with rig.running():
        await trio.sleep(5)

    runs = sorted(row["id"] for row in rig.store.enrollments())
    assert len(asked) > 2
    assert [run for _, run in rig.sink.came] == runs[:30]
