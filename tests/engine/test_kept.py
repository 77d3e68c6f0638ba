"""What is known of a step that left is never dropped, whatever the database does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest
import trio
import trio.testing

from dripd.campaigns.enrollment import Change, Leased
from dripd.clock import Instant
from dripd.engine.directory import Directory
from dripd.engine.pipeline import Pipeline
from dripd.engine.record import record, record_once
from dripd.engine.tuning import Tuning
from dripd.errors import StoreError
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


class Slow(Breaks):
    """Writes the first batch last."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.is_sound = True
        self.free = trio.Event()

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        if changes and changes[0].leased.enrollment_id == 1:
            await self.free.wait()
        return await super().record(changes, decide, closed)


@pytest.mark.trio
async def test_of_two_batches_in_flight_neither_closes_the_claim_of_the_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever died then left steps under a claim that was gone: nobody found them again."""
    clock = VirtualClock()
    store = Slow(clock)
    pipe = Pipeline(store, Directory(store), clock, 1, Tuning(batch=1))
    pipe.claims, pipe.unsent = {11: 2}, 2
    pipe.done = [change(1), change(2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(record_once, pipe)
        nursery.start_soon(record_once, pipe)
        await trio.testing.wait_all_tasks_blocked()
        assert [([2], [])] == store.given
        store.free.set()

    assert pipe.claims == {11: 0}
    assert pipe.has_records
    await record_once(pipe)
    assert [([2], []), ([1], []), ([], [11])] == store.given
    assert ({}, 0, False) == (pipe.claims, pipe.unsent, pipe.has_records)


class Refusing(Breaks):
    """Takes nothing of the first run, in whatever form, until it is sound."""

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        if not self.is_sound and any(one.leased.enrollment_id == 1 for one in changes):
            raise StoreError("no room in this page")
        self.is_sound, before = True, self.is_sound
        try:
            return await super().record(changes, decide, closed)
        finally:
            self.is_sound = before


@pytest.mark.trio
async def test_what_cannot_be_written_at_all_keeps_its_claim_and_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was forgotten, and so was its claim with the last of its other steps."""
    clock = VirtualClock()
    store = Refusing(clock)
    pipe = Pipeline(store, Directory(store), clock, 1, Tuning(batch=10))
    pipe.claims, pipe.unsent = {11: 3}, 3
    pipe.done = [change(1), change(2), change(3)]
    await record_once(pipe)
    assert ({11: 1}, 0) == (pipe.claims, pipe.unsent)
    assert [([2, 3], [])] == store.given

    store.is_sound = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(record, pipe)
        await trio.sleep(70)
        nursery.cancel_scope.cancel()
    assert ([1], [11]) == store.given[-1]
    assert ({}, 0) == (pipe.claims, pipe.unsent)
