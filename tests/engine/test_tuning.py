"""Every option of `[engine]` rules the stages."""

from __future__ import annotations

from dataclasses import fields

import pytest
import trio
import trio.testing

from dripd.clock import Millis
from dripd.engine.tuning import Tuning
from dripd.options import SECTIONS
from tests.engine.rig import HELLO, Rig, SlowSink


async def run(rig: Rig, seconds: float) -> None:
    async with rig.running():
        await trio.sleep(seconds)


def test_the_options_are_the_fields_and_their_defaults() -> None:
    options = SECTIONS["engine"]
    assert {one.name.removesuffix("_ms") for one in fields(Tuning)} == set(options)
    for one in fields(Tuning):
        assert options[one.name.removesuffix("_ms")].default == one.default


@pytest.mark.trio
async def test_batch_bounds_a_lease(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig(Tuning(batch=7), SlowSink())
    rig.enroll(rig.account("acme"), 30)
    await run(rig, 2)

    assert rig.sink.count == 30
    assert max(keys for _, keys, _ in rig.store.leases) == 7


@pytest.mark.trio
async def test_in_flight_bounds_what_is_leased_and_unanswered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(in_flight=10), SlowSink(60))
    rig.enroll(rig.account("acme"), 30)
    await run(rig, 5)

    assert rig.pipe.counters.leased == rig.pipe.unsent == 10


@pytest.mark.trio
async def test_two_leases_at_once_do_not_exceed_in_flight(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(in_flight=10, batch=8), SlowSink(60))
    for key in ("a", "b", "c", "d"):
        rig.enroll(rig.account(key), 10)
    await run(rig, 5)

    assert rig.pipe.unsent <= 10


@pytest.mark.trio
async def test_lease_ahead_and_coalesce(autojump_clock: trio.testing.MockClock) -> None:
    later = {**HELLO, "delay": "10s"}
    rig = Rig(Tuning(lease_ahead_ms=Millis(300), coalesce_ms=Millis(100)), SlowSink())
    rig.enroll(rig.account("acme", step=later), 1)
    began = trio.current_time()
    await run(rig, 11)

    ((leased_at, _, ahead),) = rig.store.leases
    ((sent_at, _),) = rig.sink.came
    assert ahead == 300
    assert leased_at - began == pytest.approx(9.8, abs=0.05)
    assert sent_at - began == pytest.approx(10.0, abs=0.01)


@pytest.mark.trio
async def test_horizon_bounds_what_is_loaded(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig(Tuning(horizon_ms=Millis(5_000)), SlowSink())
    rig.enroll(rig.account("acme", step={**HELLO, "delay": "20s"}), 3)
    async with rig.running():
        await trio.sleep(10)
        assert len(rig.pipe.wheel) == 0
        await trio.sleep(8)
        assert len(rig.pipe.wheel) == 3
    assert all(to <= rig.clock.now() + 5_000 for _, to in rig.store.loads)


@pytest.mark.trio
async def test_poll_is_how_often_it_looks(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig(Tuning(poll_ms=Millis(500)), SlowSink())
    await run(rig, 5)

    assert 10 <= len(rig.store.looks) <= 12


@pytest.mark.trio
async def test_admit_batch_bounds_a_transaction(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig(Tuning(admit_batch=4), SlowSink())
    rig.enroll(rig.account("acme"), 10)
    await run(rig, 1)

    assert max(rig.store.admits) == 4
    assert rig.pipe.counters.accepted == 10


@pytest.mark.trio
async def test_what_is_not_answered_within_send_timeout_is_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(send_timeout_ms=Millis(3_000)), SlowSink(60))
    rig.enroll(rig.account("acme"), 1)
    async with rig.running():
        await trio.sleep(2)
        assert rig.pipe.counters.unknown == 0
        await trio.sleep(2)
        assert rig.pipe.counters.unknown == 1


def test_under_a_manual_clock_nothing_is_leased_ahead() -> None:
    still = Tuning().without_time()
    assert (still.lease_ahead_ms, still.coalesce_s) == (0, 0)
    assert Tuning(lease_ahead_ms=Millis(10), coalesce_ms=Millis(500)).coalesce_s == 0.005
