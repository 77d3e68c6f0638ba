"""What one provider does not answer costs the others nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from dripd.campaigns.event import Rejected
from dripd.channels.base import Message, Settle
from dripd.clock import HOUR, SystemClock
from dripd.engine.tuning import Tuning
from dripd.ratelimit.traffic import Told, total
from tests.engine.rig import Rig, SlowSink


@pytest.mark.trio
async def test_a_provider_that_hangs_leaves_room_for_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hung, quick = SlowSink(3_600, batch=10), SlowSink(name="quick")
    rig = Rig(Tuning(in_flight=80, batch=20), hung, quick)
    for key in ("a", "b", "c"):
        rig.enroll(rig.account(key), 100)
    async with rig.running():
        await trio.sleep(5)
        assert len(hung.came) == 20
        rig.enroll(rig.account("z", provider="quick"), 50)
        began = trio.current_time()
        await trio.sleep(10)

    assert quick.count == 50
    assert max(at for at, _ in quick.came) - began < 5


def never_faster(came: list[tuple[float, int]], n: int, per_s: float) -> bool:
    """No more than *n* at once, and *per_s* a second from there on."""
    times = sorted(at for at, _ in came)
    return all(
        len([at for at in times if start <= at <= end]) <= n + per_s * (end - start) + 1e-6
        for i, start in enumerate(times)
        for end in times[i:]
    )


@pytest.mark.trio
async def test_a_provider_is_sent_to_at_its_rate_by_all_accounts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sink = SlowSink()
    rig = Rig(Tuning(), sink)
    rig.pipe.flow.add_provider("sink", rate="2/s burst 3")
    for key in ("a", "b"):
        rig.enroll(rig.account(key), 10)
    async with rig.running():
        await trio.sleep(20)

    assert sink.count == 20
    assert never_faster(sink.came, 3, 2)


@pytest.mark.trio
async def test_a_domain_is_sent_to_at_its_rate_and_holds_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sink = SlowSink()
    rig = Rig(Tuning(), sink)
    rig.pipe.flow.add_provider("sink", domains={"x.test": "1/s", "*": "50/s"})
    account = rig.account("a")
    rig.enroll(account, 8)
    other = rig.store.add_contact(account, email="someone@y.test")
    rig.store.enroll(account, "c", other)
    async with rig.running():
        await trio.sleep(3)
        at_first = len(sink.came)
        last = max(run for _, run in sink.came)
        await trio.sleep(60)

    assert 2 <= at_first <= 5
    assert rig.pipe.counters.leased <= 9 + 8  # put off once, not at every token
    assert sink.count == 9
    slow = [one for one in sink.came if one[1] != last]
    assert never_faster(slow, 1, 1)


class Picky(SlowSink):
    """Refuses every fourth message."""

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        for message in messages:
            if (message.enrollment_id or 0) % 4 == 0:
                settle(message, Rejected(reason="smtp_550"))
        await super().send(messages, settle)


@pytest.mark.trio
async def test_what_left_is_counted_for_its_sender(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), Picky(0.25))
    accounts = [rig.account("a"), rig.account("b")]
    for account, n in zip(accounts, (40, 4), strict=True):
        rig.enroll(account, n)
    async with rig.running():
        await trio.sleep(5)
    found = rig.pipe.lately.traffic.lately(HOUR, SystemClock().now())

    by_account = {place[0]: figures for place, figures in found}
    told = {one: total([Told(by_account[one], 0)], SystemClock().now()) for one in accounts}
    assert [(told[one]["tried_1h"], told[one]["failed_1h"]) for one in accounts] == [
        (40, 10), (4, 1)
    ]  # fmt: skip
    assert told[accounts[0]]["last_error"]["reason"] == "smtp_550"  # type: ignore[index]  # a mapping
    assert 200 < int(str(told[accounts[0]]["p95_ms"])) <= 300
