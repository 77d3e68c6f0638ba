"""Which leased message goes next."""

from __future__ import annotations

from collections import deque

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.enrollment import Leased
from dripd.clock import Instant
from dripd.engine.outgoing import line_up
from dripd.engine.tuning import Tuning
from tests.engine.rig import T0, Rig, SlowSink
from tests.engine.test_tuning import run
from tests.support.rooms import leased

NOW = Instant(1_000)

batches = st.lists(st.lists(st.integers(990, 1_020), min_size=1, max_size=6), max_size=5)


@given(batches)
def test_what_is_due_keeps_its_place_and_the_rest_goes_by_its_instant(
    batches: list[list[int]],
) -> None:
    queue: deque[Leased] = deque()
    came = 0
    for batch in batches:
        fresh = []
        for due in batch:
            fresh.append(leased(due_at=Instant(due), enrollment_id=came))
            came += 1
        line_up(queue, fresh, NOW)
    turns = [(max(one.due_at, NOW), one.enrollment_id) for one in queue]

    assert sorted(turns) == turns
    assert came == len(turns)


@pytest.mark.trio
async def test_no_message_waits_behind_one_that_is_due_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A lease answers by account; here the account that comes first is due last."""
    rig = Rig(Tuning(), SlowSink())
    dues: list[float] = []
    for n in range(40):
        account = rig.account(f"a{n:02}")
        contact = rig.store.add_contact(account, email=f"p{n}@x.test")
        due = Instant(T0 + 1_000 - 3 * n)
        rig.store.enroll(account, "c", contact, start_at=due)
        dues.append((due - T0) / 1000)
    began = trio.current_time()
    await run(rig, 2)
    late = [at - began - due for (at, _), due in zip(rig.sink.came, sorted(dues), strict=True)]

    assert max(late) < 0.002
    assert min(late) >= 0
