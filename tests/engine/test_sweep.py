"""What cannot be read does not stop the sweep."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.clock import HOUR
from dripd.engine.tuning import Tuning
from tests.engine.rig import Rig, SlowSink


@pytest.mark.trio
async def test_a_step_of_a_version_that_cannot_be_read_is_held_when_it_is_taken_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It ended the daemon, and the one after it."""
    rig = Rig(Tuning(), SlowSink())
    rig.enroll(rig.account("acme"), 2)
    rig.store.fail_next("lease", "after")
    async with rig.running():
        await trio.sleep(1)
        for version in rig.store._tables.versions:
            version.definition = {}
        rig.pipe.directory.versions.clear()
        rig.store.age_claims(HOUR)
        await trio.sleep(10)

    held = [row["hold_reason"] for row in rig.store.enrollments()]
    assert ["quarantined", "quarantined"] == held
    assert (0, 0) == (rig.sink.count, rig.pipe.unsent)
