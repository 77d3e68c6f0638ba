"""What keeps a sender back, for those who look on."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from dripd.campaigns.event import Retryable
from dripd.clock import format_instant
from dripd.engine.look import learn_all
from dripd.engine.standing import open_breakers, standing
from dripd.engine.tuning import Tuning
from tests.engine.rig import Rig, SlowSink

pytestmark = pytest.mark.trio


async def learnt() -> tuple[Rig, int]:
    rig = Rig(Tuning(), SlowSink())
    rig.pipe.flow.add_provider("sink")
    account = rig.account("a", timezone="Asia/Tokyo")
    await rig.store.join(rig.pipe.incarnation, "rig", "0")
    await learn_all(rig.pipe)
    return rig, account


async def test_what_fails_a_sender_and_its_provider_has_opened_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig, account = await learnt()
    (sender,) = rig.pipe.directory.accounts[account].row.senders
    now = rig.clock.now()
    for _ in range(20):
        rig.pipe.flow.failed("sink", account, sender.id, Retryable(reason="http_503"), now)
    found: Any = standing(rig.pipe, account, sender.id)

    assert found["trips_today"] == 1
    since = format_instant(now)
    assert [(one["of"], one["since"]) for one in found["breakers"]] == [
        ("sender", since), ("provider sink", since),
    ]  # fmt: skip
    assert [one["since"] for one in open_breakers(rig.pipe)] == [since]


async def test_trips_are_those_of_the_accounts_own_day(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig, account = await learnt()  # 21:00 in Tokyo
    (sender,) = rig.pipe.directory.accounts[account].row.senders
    breaker = rig.pipe.flow.providers["sink"].breaker
    breaker.trip(rig.clock.now())
    await trio.sleep(2.9 * 3600)
    at_eleven: Any = standing(rig.pipe, account, sender.id)
    await trio.sleep(0.2 * 3600)
    at_midnight: Any = standing(rig.pipe, account, sender.id)

    assert (at_eleven["trips_today"], at_midnight["trips_today"]) == (1, 0)
