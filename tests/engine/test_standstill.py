"""What came due while nobody was at work goes out paced, and nothing else waits for it."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from dripd.clock import HOUR, MINUTE, Instant, format_instant
from dripd.engine.admit import admit
from dripd.engine.look import learn_all
from dripd.engine.pipeline import Watch
from dripd.engine.tuning import Tuning
from dripd.proof.virtual import MONDAY, Virtual, virtual
from tests.engine.rig import Rig, SlowSink

ONE: dict[str, object] = {"key": "one", "do": "email", "subject": "Hi", "text": "Hello"}
RATE, BURST = 2, 20
"""`[engine] catchup_rate`, as it is unless configured."""


def assert_paced(at: list[int]) -> None:
    """In no interval more than the burst and what the rate allows."""
    at = sorted(at)
    for i, first in enumerate(at):
        for n, last in enumerate(at[i:], start=1):
            assert n <= BURST + RATE * (last - first) / 1_000


async def stand_still(world: Virtual, hours: float) -> Instant:
    """Every daemon is gone for so long; then one begins."""
    for engine in world.engines:
        await engine.cut()
    until = Instant(world.clock.now() + round(hours * HOUR))
    await world.store.move_clock(until)
    world.clock.set(until)
    await world.start()
    return until


def sent_at(world: Virtual, prefix: str) -> list[int]:
    rows = world.store.deliveries()
    return [row["accepted_at"] for row in rows if row["to_address"].startswith(prefix)]


@pytest.mark.trio
async def test_a_backlog_of_six_hours_goes_out_paced_and_what_is_due_now_at_once(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign({**ONE, "delay": "1h"})
        world.campaign(ONE, campaign="now")
        world.enroll(*(f"late{n}" for n in range(200)))
        await world.pass_by(1)
        back = await stand_still(world, 6)
        await world.pass_by(5)

        held = [row for row in world.store.enrollments() if row["status"] == "held"]
        assert (200 - BURST) == len(held)
        assert {("catching_up", back + 10_000)} == {
            (row["hold_reason"], row["release_at"]) for row in held
        }
        world.enroll(*(f"now{n}" for n in range(50)), campaign="now")
        await world.advance_to(format_instant(Instant(back + 30_000)))
        assert {back} == set(sent_at(world, "now"))
        assert 80 == len(sent_at(world, "late"))

        await world.advance_to(format_instant(Instant(back + 10 * MINUTE)))
        assert 200 == len(set(sent_at(world, "late"))) * BURST
        assert_paced(sent_at(world, "late"))
        assert {"completed": 250} == world.ends()


@pytest.mark.trio
async def test_a_lease_that_fails_uses_up_nothing_of_the_pace(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign({**ONE, "delay": "1h"})
        world.enroll(*(f"late{n}" for n in range(200)))
        await world.pass_by(1)
        world.store.fail_next("lease", "before")
        back = await stand_still(world, 6)
        await world.pass_by(5)

        assert [back] * BURST == sent_at(world, "late")


@pytest.mark.trio
async def test_what_follows_a_late_internal_step_is_no_burst_either(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign({"key": "tag", "do": "tag_add", "tag": "t", "delay": "1h"}, ONE)
        world.enroll(*(f"late{n}" for n in range(100)))
        await world.pass_by(1)
        back = await stand_still(world, 6)
        await world.advance_to(format_instant(Instant(back + 10 * MINUTE)))

        assert 100 == len(sent_at(world, "late"))
        assert_paced(sent_at(world, "late"))


@pytest.mark.trio
async def test_runs_asked_for_while_nobody_was_at_work_begin_paced(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        world.campaign(ONE)
        world.enroll("before")
        await world.pass_by(1)
        await world.engines[0].cut()
        await world.store.move_clock(Instant(MONDAY + HOUR))
        world.enroll(*(f"late{n}" for n in range(100)))
        await world.store.move_clock(Instant(MONDAY + 2 * HOUR))
        await world.start()
        world.enroll(*(f"now{n}" for n in range(50)))
        back = Instant(MONDAY + 2 * HOUR)
        await world.advance_to(format_instant(Instant(back + 10 * MINUTE)))

        assert {back} == set(sent_at(world, "now"))
        assert 100 == len(sent_at(world, "late"))
        assert_paced(sent_at(world, "late"))


@pytest.mark.trio
async def test_what_its_window_would_have_held_anyway_is_not_late(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        window = {"days": ["mon", "tue"], "from": "09:00", "to": "10:00"}
        world.campaign({**ONE, "delay": "2h"}, window=window)
        world.enroll(*(f"next{n}" for n in range(100)))
        await world.pass_by(1)
        await stand_still(world, 6)
        await world.advance_to("2026-01-06T09:00:00Z")

        assert {MONDAY + 24 * HOUR} == set(sent_at(world, "next"))


@pytest.mark.trio
async def test_a_short_silence_is_no_standstill(autojump_clock: MockClock) -> None:
    async with virtual() as world:
        world.campaign({**ONE, "delay": "5m"})
        world.enroll(*(f"late{n}" for n in range(100)))
        await world.pass_by(1)
        back = await stand_still(world, 0.15)
        await world.pass_by(5)

        assert [back] * 100 == sent_at(world, "late")


@given(
    dues=st.lists(st.integers(0, 9 * 60), min_size=1, max_size=40),
    hours=st.floats(0.5, 8),
    closes=st.integers(15, 23),
)
@settings(max_examples=5, deadline=None)
def test_any_backlog_is_paced_whole_and_inside_its_window(
    dues: list[int], hours: float, closes: int
) -> None:
    trio.run(partial(_play, dues, hours, closes), clock=MockClock(autojump_threshold=0))


async def _play(dues: list[int], hours: float, closes: int) -> None:
    async with virtual() as world:
        window = {"days": ["mon", "tue", "wed"], "from": "10:00", "to": f"{closes}:00"}
        for due in set(dues):
            world.campaign({**ONE, "delay": f"{due}m"}, campaign=f"c{due}", window=window)
        for n, due in enumerate(dues):
            world.enroll(f"late{n}", campaign=f"c{due}")
        await world.pass_by(1)
        back = await stand_still(world, hours)
        await world.advance_to("2026-01-07T09:00:00Z")

        at = sent_at(world, "late")
        assert len(dues) == len(at)
        assert all(10 <= one // HOUR % 24 < closes for one in at)
        opens = MONDAY + HOUR
        missed = {f"late{n}@x.test" for n, due in enumerate(dues)
                  if max(MONDAY + due * MINUTE, opens) < back}  # fmt: skip
        rows = [row for row in world.store.deliveries() if row["to_address"] in missed]
        assert_paced([row["accepted_at"] for row in rows if row["accepted_at"] >= back])


@pytest.mark.trio
async def test_who_was_silent_for_long_admits_nobody_before_it_is_heard(
    autojump_clock: MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    pipe = rig.pipe
    rig.enroll(rig.account("a"), 1)
    await learn_all(pipe)
    pipe.watch.note_beat(trio.current_time(), 10.0)
    await trio.sleep(11)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(admit, pipe)
        await trio.sleep(11)

        assert not pipe.wheel
        assert ["pending"] == [row["status"] for row in rig.store.requests()]

        pipe.watch.note_beat(trio.current_time(), 10.0)
        await trio.sleep(6)

        assert ["accepted"] == [row["status"] for row in rig.store.requests()]
        nursery.cancel_scope.cancel()


def test_who_was_silent_for_long_leases_nothing_before_it_is_heard() -> None:
    watch = Watch()
    assert watch.is_heard(0.0, 10.0)
    watch.note_beat(5.0, 10.0)

    assert watch.is_heard(15.0, 10.0)
    assert not watch.is_heard(15.1, 10.0)
