"""Long answers come out as if made at once, and others run meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from dripd.admin.mask import mask
from dripd.admin.slices import ROWS, in_slices
from dripd.admin.wire import portable

KEYS = st.sampled_from(["items", "next", "to_address", "payload", "definition", "rows", "id"])
LEAVES = st.none() | st.integers() | st.text(max_size=5) | st.just("ann@acme.test")
ROW = st.dictionaries(KEYS, LEAVES, max_size=3)
ANSWERS = LEAVES | st.dictionaries(KEYS, LEAVES | st.lists(ROW | LEAVES, max_size=3 * ROWS))


@given(ANSWERS)
def test_slices_come_to_the_same(answer: Any) -> None:
    def work(value: object) -> object:
        return portable(mask(value))

    assert work(answer) == trio.run(in_slices, answer, work)


@pytest.mark.trio
async def test_others_run_between_slices() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await in_slices({"items": [{"id": n} for n in range(20 * ROWS)]}, portable)
        nursery.cancel_scope.cancel()

    assert turns >= 19
