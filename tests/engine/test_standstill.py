"""What came due while nobody was at work goes out paced, and nothing else waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from dripd.campaigns.event import Retryable
from dripd.channels.base import Message, Settle
from dripd.clock import HOUR, MINUTE, Instant, Millis, format_instant
from dripd.engine.admit import admit
from dripd.engine.look import learn_all
from dripd.engine.pipeline import Pipeline, Watch
from dripd.engine.tuning import Tuning
from dripd.proof.virtual import MONDAY, Virtual, virtual
from dripd.store.protocol import Standstill
from tests.engine.rig import HELLO, T0, Rig, SlowSink

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


async def crowd(world: Virtual, n: int = 200, **top: Any) -> int:
    """A campaign of whose runs the first message is due in an hour; its id."""
    world.campaign({**ONE, "delay": "1h"}, **top)
    world.campaign(ONE, campaign="now")
    world.enroll(*(f"late{i}" for i in range(n)))
    await world.pass_by(1)
    (row,) = await world.store.read_accounts([world.acme])
    return next(one.id for one in row.campaigns if one.key == "welcome")


async def assert_catches_up(world: Virtual, back: Instant) -> None:
    """What came due meanwhile goes paced, and nothing else waits for it."""
    await world.pass_by(5)
    assert [back] * BURST == sent_at(world, "late")
    held = [row for row in world.store.enrollments() if row["status"] == "held"]
    assert {"catching_up"} == {row["hold_reason"] for row in held}
    world.enroll(*(f"now{n}" for n in range(50)), campaign="now")
    await world.advance_to(format_instant(Instant(back + 10 * MINUTE)))
    assert {back} == set(sent_at(world, "now"))
    assert 200 == len(sent_at(world, "late"))
    assert_paced(sent_at(world, "late"))


@pytest.mark.trio
@pytest.mark.parametrize(
    "what", ["campaign", "deactivated", "account", "subscription", "sender"]
)
async def test_what_came_due_in_a_pause_goes_out_paced(
    autojump_clock: MockClock, what: str
) -> None:
    async with virtual() as world:
        campaign = await crowd(world)
        (row,) = await world.store.read_accounts([world.acme])
        turns: dict[str, Callable[[bool], None]] = {
            "campaign": lambda on: world.store.set_campaign(
                world.acme, campaign, status="active" if on else "paused"
            ),
            "deactivated": lambda on: world.store.set_campaign(
                world.acme, campaign, status="active" if on else "inactive"
            ),
            "account": lambda on: world.store.set_account(
                world.acme, status="active" if on else "paused"
            ),
            "subscription": lambda on: world.store.set_account(
                world.acme, subscription_active=on
            ),
            "sender": lambda on: world.store.set_sender(
                world.acme, row.senders[0].id, status="active" if on else "paused"
            ),
        }
        turns[what](False)
        await world.advance_to("2026-01-05T15:00:00Z")
        assert [] == sent_at(world, "late")
        turns[what](True)

        await assert_catches_up(world, Instant(MONDAY + 6 * HOUR))


@pytest.mark.trio
async def test_a_backlog_from_before_the_pause_goes_on_as_before(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        campaign = await crowd(world)
        await world.store.move_clock(Instant(MONDAY + HOUR + MINUTE))
        world.store.set_campaign(world.acme, campaign, status="paused")
        await world.advance_to("2026-01-05T15:00:00Z")
        world.store.set_campaign(world.acme, campaign, status="active")
        await world.pass_by(5)

        assert 200 == len(sent_at(world, "late"))


@pytest.mark.trio
async def test_a_pause_of_another_campaign_or_one_of_several_senders_delays_nobody(
    autojump_clock: MockClock,
) -> None:
    async with virtual() as world:
        other = world.store.add_sender(world.acme, "other@acme.test")
        await crowd(world, sender=["sales@acme.test", "other@acme.test"])
        world.campaign(ONE, campaign="other")
        (row,) = await world.store.read_accounts([world.acme])
        second = next(one.id for one in row.campaigns if one.key == "other")
        world.store.set_campaign(world.acme, second, status="paused")
        world.store.set_sender(world.acme, other, status="paused")
        await world.store.move_clock(Instant(MONDAY + 2 * HOUR))
        world.store.set_campaign(world.acme, second, status="active")
        world.store.set_sender(world.acme, other, status="active")
        await world.pass_by(5)

        assert 200 == len(sent_at(world, "late"))


@pytest.mark.trio
@pytest.mark.parametrize("resumed", ["both", "one"])
async def test_what_came_due_while_all_of_a_pool_were_paused_goes_out_paced(
    autojump_clock: MockClock, resumed: str
) -> None:
    """Each of the pauses was one of several senders."""
    async with virtual() as world:
        other = world.store.add_sender(world.acme, "other@acme.test")
        await crowd(world, sender=["sales@acme.test", "other@acme.test"])
        (row,) = await world.store.read_accounts([world.acme])
        first = next(one.id for one in row.senders if one.address == "sales@acme.test")
        for at, sender, status in (
            ("09:05", first, "paused"),
            ("09:30", other, "paused"),
            ("15:00", other, "active" if resumed == "both" else "paused"),
            ("15:00", first, "active"),
        ):
            await world.advance_to(f"2026-01-05T{at}:00Z")
            world.store.set_sender(world.acme, sender, status=status)

        await assert_catches_up(world, Instant(MONDAY + 6 * HOUR))


@pytest.mark.trio
async def test_a_clock_that_leapt_ahead_and_came_back_paces_nobody(
    autojump_clock: MockClock,
) -> None:
    """It had noted a standstill of a day to come, in which all was paced that was on time."""
    async with virtual() as world:
        world.engines[0].pipe.standstills = [
            Standstill(MONDAY, Instant(MONDAY + 24 * HOUR)),
        ]
        await crowd(world)
        await world.advance_to("2026-01-05T10:00:00Z")

        assert [MONDAY + HOUR] * 200 == sent_at(world, "late")


class FailingSink(SlowSink):
    """A provider that is out of order while `is_down`."""

    is_down = False

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        if not self.is_down:
            return await super().send(messages, settle)
        await trio.sleep(0.01)
        for message in messages:
            settle(message, Retryable(reason="refused"))
        return None


@pytest.mark.trio
async def test_what_came_due_while_its_provider_failed_goes_out_paced(
    autojump_clock: MockClock,
) -> None:
    sink = FailingSink(batch=32)
    rig = Rig(Tuning(catchup_after_ms=Millis(60_000), poll_ms=Millis(1_000)), sink)
    account = rig.account("a", step={**HELLO, "delay": "1m"})
    async with rig.running():
        sink.is_down = True
        rig.enroll(account, 50)
        await trio.sleep(30)
        rig.enroll(account, 100)
        await trio.sleep(170)
        assert rig.pipe.flow.providers["sink"].breaker.is_open
        sink.is_down = False
        await trio.sleep(150)

    assert 150 == len({run for _, run in sink.came})
    outages = rig.pipe.flow.outages
    assert ["sink"] == [one.provider for one in outages if one.provider]
    told = await rig.store.note_served(10**12)
    assert [("sink", outages[0].from_at)] == [(one.provider, one.from_at) for one in told]
    late = {row["id"] for row in rig.store.enrollments() if row["started_at"] > T0 + 15_000}
    assert 100 == len(late)
    assert_paced([round(1_000 * second) for second, run in sink.came if run in late])


@pytest.mark.trio
async def test_a_provider_is_tried_before_its_time_where_somebody_wants_it(
    autojump_clock: MockClock,
) -> None:
    """By one account's sender for all that go by the provider."""
    sink = FailingSink(batch=32)
    rig = Rig(Tuning(poll_ms=Millis(1_000)), sink)
    accounts = [rig.account(key, step=HELLO) for key in ("a", "b")]
    async with rig.running():
        sink.is_down = True
        for account in accounts:
            rig.enroll(account, 50)
        await trio.sleep(100)
        next_at = rig.pipe.flow.providers["sink"].breaker.next_at(rig.clock.now())
        assert next_at is not None
        assert next_at > rig.clock.now() + 60_000
        sink.is_down = False
        await trio.sleep(5)
        assert sink.came == []
        (sender,) = rig.pipe.directory.account(accounts[0]).row.senders
        rig.store.set_sender(accounts[0], sender.id, probes=1)
        await trio.sleep(20)

    assert len({run for _, run in sink.came}) == 100
    assert rig.pipe.directory.asked == set()


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
        opens, shuts = MONDAY + HOUR, MONDAY + (closes - 9) * HOUR
        missed = {f"late{n}@x.test" for n, due in enumerate(dues)
                  if max(MONDAY + due * MINUTE, opens) < min(back, shuts)}  # fmt: skip
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


def test_a_suspended_machine_was_silent() -> None:
    """Its monotonic clock stood still meanwhile."""
    slept = 100.0
    watch = Watch(lambda: slept)
    watch.note_beat(5.0, 10.0)
    assert watch.is_heard(6.0, 10.0)
    slept += 3_600

    assert not watch.is_heard(6.0, 10.0)
    watch.note_beat(6.0, 10.0)
    assert watch.is_heard(16.0, 10.0)


@pytest.mark.trio
async def test_who_was_silent_for_long_sends_nothing_of_its_queue_before_it_is_heard(
    autojump_clock: MockClock,
) -> None:
    """Who was cut off went on with what it had leased, while others took that over."""
    sink = SlowSink(wait_s=3, batch=1, concurrency=1)
    rig = Rig(Tuning(), sink)
    pipe = rig.pipe
    rig.enroll(rig.account("a"), 8)
    async with rig.running():
        began = trio.current_time()
        pipe.watch.note_beat(began, 10.0)
        await trio.sleep(30)
        assert all(second <= began + 10 for second, _ in sink.came)
        assert 0 < len(sink.came) < 8

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_beat, pipe)
            await trio.sleep(40)
            nursery.cancel_scope.cancel()
        assert 8 == len({run for _, run in sink.came}) == len(sink.came)


async def _beat(pipe: Pipeline) -> None:
    while True:
        pipe.watch.note_beat(trio.current_time(), 10.0)
        await trio.sleep(1)
