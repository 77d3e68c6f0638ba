"""Connections are there when much is released at once, and not all the time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.engine.dial import AHEAD_MS
from dripd.engine.tuning import Tuning
from tests.engine.rig import HELLO, Rig, SlowSink

OPENS_S = 300
"""From the rig's noon: at 12:05."""


class DialledSink(SlowSink):
    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[float] = []

    async def dial(self) -> None:
        self.dialled.append(trio.current_time())


@pytest.mark.trio
async def test_connections_are_opened_a_moment_before_a_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sink = DialledSink()
    rig = Rig(Tuning(), sink)
    began = trio.current_time()
    rig.enroll(rig.account("a", send_window={"from": "12:05", "to": "17:00"}), 20)
    async with rig.running():
        await trio.sleep(OPENS_S + 10)
    (dialled_at,) = sink.dialled
    opens_at = began + OPENS_S

    assert (
        opens_at - AHEAD_MS / 1_000 <= dialled_at < opens_at <= min(at for at, _ in sink.came)
    )


@pytest.mark.trio
async def test_what_trickles_opens_what_it_needs_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sink = DialledSink()
    rig = Rig(Tuning(), sink)
    account = rig.account("a")
    async with rig.running():
        for _ in range(20):
            rig.enroll(account, 1)
            await trio.sleep(1)

    assert (20, []) == (sink.count, sink.dialled)


@pytest.mark.trio
async def test_a_start_with_something_due_opens_connections(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sink = DialledSink()
    rig = Rig(Tuning(), sink)
    rig.enroll(rig.account("a", step={**HELLO, "delay": "1h"}), 5)
    async with rig.running():
        await trio.sleep(5)
    assert [] == sink.dialled

    await trio.sleep(3_600)
    rig.pipe.incarnation += 1
    async with rig.running():
        await trio.sleep(5)

    assert (5, 1) == (sink.count, len(sink.dialled))
