"""A daemon that starts is at work before it knows every account."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.clock import HOUR
from dripd.engine import look, stages
from dripd.engine.admit import admit_once
from dripd.engine.directory import Directory
from dripd.engine.look import begin, learn_all, look_once
from dripd.engine.pipeline import Pipeline
from dripd.engine.tuning import Tuning
from dripd.spans import Spans
from dripd.store.protocol import ParkRow
from tests.engine.rig import HELLO, Rig, SlowSink

pytestmark = pytest.mark.trio


def rig_of_many() -> tuple[Rig, int]:
    """Many accounts whose one message is due in days, then one whose message is due now."""
    rig = Rig(Tuning(), SlowSink())
    for n in range(7):
        rig.enroll(rig.account(f"a{n}", step={**HELLO, "delay": "9d"}), 1)
    late = rig.account("late")
    rig.enroll(late, 1)
    return rig, late


async def admit_elsewhere(rig: Rig) -> None:
    """A daemon that is gone since decided every request."""
    before = Pipeline(rig.store, Directory(rig.store), rig.clock, 7, Tuning())
    before.owned.update(range(100))
    while (done := await admit_once(before)) is not None and done.decided:
        pass
    told = (await rig.store.look(Spans())).nudges
    rig.pipe.watch.seen = Spans(nudge for nudge, _ in told)


async def test_what_is_due_leaves_before_every_account_is_read(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "SLICE", 3)
    rig, late = rig_of_many()
    pipe = rig.pipe
    await rig.store.join(pipe.incarnation, "rig", "0")
    await admit_elsewhere(rig)

    await begin(pipe)

    assert {late} == pipe.owned
    assert not pipe.watch.learnt.is_set()
    rig.store.told.clear()
    async with trio.open_nursery() as nursery:
        stages.start(pipe, rig.channels, "test", stages=nursery, recorders=nursery)
        await pipe.watch.learnt.wait()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert rig.sink.count == 1
    assert len(pipe.owned) == 8
    assert len(rig.store.told) == len(set(rig.store.told))


async def test_what_a_dead_daemon_left_is_settled_in_an_account_that_is_not_read_yet(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    rig.enroll(rig.account("acme"), 2)
    rig.store.fail_next("lease", "after")
    async with rig.running():
        await trio.sleep(1)
        rig.pipe.directory.accounts.clear()
        rig.store.age_claims(HOUR)
        await trio.sleep(40)

    assert rig.pipe.unsent == 0


async def test_accounts_that_move_between_daemons_are_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig, _ = rig_of_many()
    pipe = rig.pipe
    await rig.store.join(pipe.incarnation, "rig", "0")
    await learn_all(pipe)
    assert not pipe.lately.leases
    await rig.store.join(7, "other", "0")
    await look_once(pipe)
    n = len(pipe.owned)
    await rig.store.leave(7)
    await look_once(pipe)

    assert [one.what for one in pipe.lately.leases] == 2 * ["accounts_moved"]
    assert [one.said for one in pipe.lately.leases] == [
        f"2 at work, was 1: serves {n} accounts, was 8",
        f"1 at work, was 2: serves 8 accounts, was {n}",
    ]


@pytest.mark.parametrize("reason", ["no_sender", "quota"])
async def test_what_a_dead_daemon_shut_for_settings_of_before_opens(
    autojump_clock: trio.testing.MockClock, reason: str
) -> None:
    """It shut the lane behind whoever mended the settings, and heard of that no more."""
    rig = Rig(Tuning(), SlowSink())
    account = rig.account("acme")
    rig.enroll(account, 1)
    await rig.store.join(rig.pipe.incarnation, "rig", "0")
    await admit_elsewhere(rig)
    (lane,) = await rig.store.read_lanes([account])
    await rig.store.park([ParkRow(account, lane.lane, reason, None)])

    await learn_all(rig.pipe)

    assert await rig.store.read_parks(None) == []
    assert not rig.pipe.lanes.is_parked(account, lane.lane)
