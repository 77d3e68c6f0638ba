"""The heartbeat says when the database surely heard of the daemon, not when its answer came."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from dripd.admin.mask import mask
from dripd.daemon.pulse import beat, pool
from dripd.engine.look import learn_all
from dripd.engine.tuning import Tuning
from dripd.ratelimit.traffic import Failing
from dripd.store.postgres import Place
from tests.engine.rig import Rig, SlowSink


class Late:
    """A database that hears at once and whose answer takes its time."""

    def __init__(self, store: Any, wait_s: float, *, alive: bool) -> None:
        self._store, self._wait_s, self._alive = store, wait_s, alive
        self.pipe: Any = None
        self.heard_before = True
        self.told: Mapping[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def connections(self) -> dict[tuple[str, str], int]:
        return {("hot", "busy"): 3, ("hot", "idle"): 5}

    async def beat(self, *told: Any) -> bool:
        self.told = told[-1]
        await trio.sleep(self._wait_s)
        return self._alive

    async def note_served(self, silence_ms: int) -> Any:
        self.heard_before = self.pipe.is_heard
        return await self._store.note_served(silence_ms)

    async def place(self) -> Place:
        await trio.lowlevel.checkpoint()
        return Place(at_home=True, behind=False, adoption="a-0")

    def adopted(self, *_: object) -> None:
        """Nobody remembers anything here."""


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
    daemon = _daemon(pipe, Late(rig.store, 8.0, alive=alive))

    assert alive == await beat(daemon)
    assert pipe.watch.beaten_at == (asked if alive else asked - 1)
    assert pipe.is_heard
    await trio.sleep(2.5)
    assert not pipe.is_heard


@pytest.mark.trio
async def test_who_comes_back_knows_when_nobody_was_at_work_before_it_is_heard(
    autojump_clock: MockClock,
) -> None:
    """What came due meanwhile would have left at once, unpaced."""
    rig = Rig(Tuning(), SlowSink())
    pipe, store = rig.pipe, Late(rig.store, 0.0, alive=True)
    pipe.watch.note_beat(trio.current_time(), 10.0)
    await trio.sleep(60)

    assert await beat(_daemon(pipe, store))
    assert (False, True) == (store.heard_before, pipe.is_heard)


@pytest.mark.trio
async def test_a_heartbeat_that_came_late_is_told_with_the_next_and_one_in_time_is_not(
    autojump_clock: MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    daemon = _daemon(rig.pipe, store := Late(rig.store, 0.0, alive=True))
    for wait_s in (0, 2, 6, 2):
        await trio.sleep(wait_s)
        await beat(daemon)

    (late,) = store.told["leases"]
    assert (late["what"], late["said"]) == (
        "heartbeat_late", "heartbeat 6.0 s after the one before; dead at 10 s"
    )  # fmt: skip
    assert mask(late) == late


@pytest.mark.trio
async def test_a_heartbeat_tells_why_nothing_is_leased(autojump_clock: MockClock) -> None:
    rig = Rig(Tuning(), SlowSink())
    daemon = _daemon(rig.pipe, store := Late(rig.store, 0.0, alive=True))
    rig.pipe.barred["journal"] = "no room"
    await beat(daemon)

    assert store.told["barred"] == {"journal": "no room"}


@pytest.mark.trio
async def test_a_heartbeat_names_the_senders_of_which_much_fails(
    autojump_clock: MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    account = rig.account("a")
    await rig.store.join(rig.pipe.incarnation, "rig", "0")
    await learn_all(rig.pipe)
    (sender,) = rig.pipe.directory.accounts[account].row.senders
    rig.pipe.lately.failing = [
        Failing((account, sender.id), 40, 30),
        Failing((account, 99), 9, 9),
    ]
    await beat(_daemon(rig.pipe, store := Late(rig.store, 0.0, alive=True)))

    assert store.told["failing_senders"] == [
        {"account": "a", "sender": "s@a.test", "tried": 40, "failed": 30}
    ]


def _daemon(pipe: Any, store: Late) -> Any:
    store.pipe, pipe.store = pipe, store  # type: ignore[assignment]  # it passes all else on
    return SimpleNamespace(
        pipe=pipe, store=store, incarnation=1001, zones="", witnesses=Path(), vitals=SimpleNamespace(),
        figures=SimpleNamespace(shown=dict), state=lambda: "running",
    )  # fmt: skip


def test_what_a_heartbeat_tells_of_the_pool_is_no_word_that_views_hide() -> None:
    told: Any = pool(cast("Any", Late(None, 0.0, alive=True)))

    assert told == {"used": 3, "size": 8}
    assert mask(told) == told
