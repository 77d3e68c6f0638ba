"""A daemon rests once nothing is in anybody's hand."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.engine.directory import Directory
from dripd.engine.pipeline import Pipeline
from dripd.engine.tuning import Tuning
from dripd.store.memory import MemoryStore
from tests.engine.rig import VirtualClock


@pytest.mark.trio
async def test_all_who_wait_for_its_rest_hear_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    pipe = Pipeline(store, Directory(store), clock, 1, Tuning())
    waited: list[float] = []

    async def wait() -> None:
        await pipe.rest(60)
        waited.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        with pipe.work:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.sleep(1)

    assert [1.0, 1.0] == waited
