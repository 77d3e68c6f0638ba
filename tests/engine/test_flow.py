"""What one provider does not answer costs the others nothing."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.engine.tuning import Tuning
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
