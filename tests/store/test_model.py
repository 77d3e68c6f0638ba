"""Histories that Hypothesis makes up, and makes short: the store in memory and a model agree."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.test_memory import MemoryWorld
from tests.store.twin import ACTS, CAP, Act, play
from tests.store.world import open_scene

NUMBER = st.integers(min_value=0, max_value=99)

HISTORIES = st.lists(
    st.tuples(st.sampled_from(("enroll", "lease", "record", *ACTS)), NUMBER, NUMBER),
    min_size=5,
    max_size=40,
)


@given(acts=HISTORIES)
@settings(deadline=None)
def test_any_history_agrees_with_the_model(acts: list[Act]) -> None:
    async def story() -> None:
        await play(await open_scene(MemoryWorld(), cap=CAP), acts)

    trio.run(story)
