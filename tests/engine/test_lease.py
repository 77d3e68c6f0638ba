"""Which accounts have no turn now."""

from __future__ import annotations

import pytest

from dripd.engine.lease import Passed, lacking
from dripd.engine.look import learn_all
from dripd.engine.send import queues
from dripd.engine.tuning import Tuning
from tests.engine.rig import Rig, SlowSink


@pytest.mark.trio
async def test_accounts_of_a_clogged_provider_are_passed_over_once_room_grows_scarce() -> None:
    rig = Rig(Tuning(), SlowSink(), SlowSink(name="slow"))
    free, busy, slow = (
        rig.account(key, provider=provider)
        for key, provider in (("a", "sink"), ("b", "sink"), ("c", "slow"))
    )
    await rig.store.join(rig.pipe.incarnation, "rig", "0")
    await learn_all(rig.pipe)
    queues(rig.pipe, rig.channels)
    rig.pipe.busy = {busy}
    rig.pipe.flow.calling["slow"] = rig.pipe.tuning.in_flight // 2

    def passed() -> set[int]:
        full = {name for name, n in lacking(rig.pipe).items() if not n}
        found = Passed(rig.pipe, full)
        return {account for account in (free, busy, slow) if account in found}

    assert passed() == {busy}
    rig.pipe.unsent = rig.pipe.tuning.in_flight - rig.pipe.tuning.batch
    assert passed() == {busy, slow}
    rig.pipe.flow.calling["slow"] -= 1
    assert passed() == {busy}
