"""What is known of a step that left is never dropped, whatever the database does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from dripd.campaigns.enrollment import Change, Leased
from dripd.clock import Instant
from dripd.engine.directory import Directory
from dripd.engine.pipeline import Pipeline
from dripd.engine.record import record_once
from dripd.engine.tuning import Tuning
from dripd.store.memory import MemoryStore
from dripd.store.protocol import Decide, Recorded
from tests.engine.rig import VirtualClock


class Breaks(MemoryStore):
    """Breaks at the first record in a way that nobody foresaw; then notes what it is given."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.is_sound = False
        self.given: list[tuple[list[int], list[int]]] = []

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        del decide
        if not self.is_sound:
            raise RuntimeError("a driver that lost its head")
        self.given.append(([one.leased.enrollment_id for one in changes], list(closed)))
        return Recorded(moved=[])


def change(enrollment_id: int) -> Change:
    leased = Leased(
        account_id=1, lane=0, due_at=Instant(0), enrollment_id=enrollment_id, contact_id=1,
        cv_id=1, seq=1, step_no=0, run_no=1, attempt=0, flags=0, claim_id=11,
        leased_at=Instant(0), counted=True, local_date=date(2026, 1, 5), email="a@x.test",
        phone=None, timezone=None, attrs={},
    )  # fmt: skip
    return Change(leased=leased, log=[])


@pytest.mark.trio
async def test_a_batch_that_broke_is_kept_and_its_claim_stays_open() -> None:
    """The other recorder closed the claim, and with it went what a provider had accepted."""
    clock = VirtualClock()
    store = Breaks(clock)
    pipe = Pipeline(store, Directory(store), clock, 1, Tuning(batch=1))
    pipe.claims, pipe.unsent = {11: 2}, 2
    pipe.done = [change(1), change(2)]
    with pytest.raises(RuntimeError):
        await record_once(pipe)
    assert ({11: 2}, 2) == (pipe.claims, pipe.unsent)

    store.is_sound = True
    await record_once(pipe)
    await record_once(pipe)

    assert [([1], []), ([2], [11])] == store.given
    assert ({}, 0) == (pipe.claims, pipe.unsent)
