"""The heartbeat says when the database surely heard of the daemon, not when its answer came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from dripd.daemon.pulse import beat
from dripd.engine.tuning import Tuning
from tests.engine.rig import Rig, SlowSink


class Late:
    """A database that hears at once and whose answer takes its time."""

    def __init__(self, store: Any, wait_s: float, *, alive: bool) -> None:
        self._store, self._wait_s, self._alive = store, wait_s, alive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def beat(self, *_: object) -> bool:
        await trio.sleep(self._wait_s)
        return self._alive

    async def is_at_home(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True


@pytest.mark.trio
@pytest.mark.parametrize("alive", [True, False])
async def test_a_heartbeat_counts_from_when_it_was_asked_for(
    autojump_clock: MockClock, *, alive: bool
) -> None:
    """Counted from its answer, a daemon went on sending that others had declared dead."""
    rig = Rig(Tuning(), SlowSink())
    pipe = rig.pipe
    pipe.watch.note_beat(trio.current_time(), 10.0)
    await trio.sleep(1)
    asked = trio.current_time()
    daemon = SimpleNamespace(
        pipe=pipe, store=Late(rig.store, 8.0, alive=alive), incarnation=1001, vitals=SimpleNamespace(),
        figures=SimpleNamespace(shown=dict), state=lambda: "running",
    )  # fmt: skip

    assert alive == await beat(cast("Any", daemon))
    assert pipe.watch.beaten_at == (asked if alive else asked - 1)
    assert pipe.is_heard
    await trio.sleep(2.5)
    assert not pipe.is_heard
