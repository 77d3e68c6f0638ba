"""How much may wait for a provider."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.engine.headway import LEAST, UNTRIED_PER_S, WAIT_S, Headway
from dripd.engine.tuning import Tuning
from tests.engine.rig import Rig, SlowSink


def taking(headway: Headway, per_s: int, *, is_dry: bool, seconds: float = 10.0) -> Headway:
    """*headway* after a provider has taken *per_s* for some *seconds*."""
    n = round(per_s * seconds)
    for i in range(n):
        headway.took(1, 100 + i / per_s, is_dry=is_dry)
    return headway


@pytest.mark.parametrize("per_s", [200, 2_000, 20_000])
def test_what_may_wait_is_what_is_taken_within_a_moment_and_two_leases(per_s: int) -> None:
    headway = taking(Headway(1), per_s, is_dry=False)

    assert headway.most(0) == pytest.approx(per_s * WAIT_S, rel=0.05)
    assert headway.most(0.1) == pytest.approx(per_s * (WAIT_S + 0.2), rel=0.05)


def test_a_slow_provider_has_what_its_senders_pull_at_once() -> None:
    assert taking(Headway(1), 4, is_dry=False).most(0) == LEAST
    assert taking(Headway(500), 4, is_dry=False).most(0) == 500


def test_where_little_is_to_be_sent_nothing_is_learnt_of_what_could_be() -> None:
    assert taking(Headway(1), 10, is_dry=True).most(0) == round(UNTRIED_PER_S * WAIT_S)


def test_where_a_queue_ran_dry_at_speed_more_may_wait() -> None:
    assert taking(Headway(1), 8_000, is_dry=True).most(0) == pytest.approx(600, rel=0.05)


def test_after_a_rest_nothing_is_forgotten() -> None:
    headway = taking(Headway(1), 8_000, is_dry=False)
    for second in (110, 10_000, 20_000):
        headway.took(1, second, is_dry=True)

    assert headway.most(0) == pytest.approx(600, rel=0.05)


@pytest.mark.trio
async def test_a_single_message_does_not_wait_for_a_backlog_of_a_slow_provider(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink(0.1, batch=1, concurrency=4))
    crowd, alone = rig.account("crowd"), rig.account("alone")
    rig.enroll(crowd, 3_000)
    async with rig.running():
        await trio.sleep(20)
        taken = rig.sink.count
        rig.enroll(alone, 1)
        await trio.sleep(2)

    assert 3_000 + 1 in {enrollment for _, enrollment in rig.sink.came}
    assert taken == pytest.approx(20 * 40, rel=0.02)
