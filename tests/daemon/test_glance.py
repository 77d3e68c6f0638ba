"""What SQL knows of the overview: served at once, read anew meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from dripd.daemon.glance import AGAIN_S, GLANCE_S, OLD_S, SHARE, Glance
from dripd.errors import StoreUnavailable

pytestmark = pytest.mark.trio


class SlowDoor:
    """Every reading takes its time, and is numbered; `fails` is what it meets instead."""

    def __init__(self, took_s: float = 1.0) -> None:
        self.n = 0
        self.took_s = took_s
        self.fails: StoreUnavailable | None = None

    async def run(self, unit: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        await trio.sleep(self.took_s)
        if self.fails is not None:
            raise self.fails
        self.n += 1
        return {"n": self.n}


@asynccontextmanager
async def open_glance(door: SlowDoor) -> AsyncIterator[Glance]:
    async with trio.open_nursery() as nursery:
        glance = Glance(door)
        nursery.start_soon(glance.run)
        yield glance
        nursery.cancel_scope.cancel()


async def test_the_first_who_looks_waits_and_the_next_never(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_glance(SlowDoor()) as glance:
        assert await glance.read() == ({"n": 1}, None)
        await trio.sleep(SHARE * 1.0)
        began = trio.current_time()
        assert await glance.read() == ({"n": 1}, None)
        assert trio.current_time() == began
        await trio.sleep(1.5)

        assert await glance.read() == ({"n": 2}, None)


async def test_it_is_read_no_more_often_than_a_twentieth_of_the_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quick, slow = SlowDoor(0.01), SlowDoor(2.0)
    for door in (quick, slow):
        async with open_glance(door) as glance:
            for _ in range(600):
                await glance.read()
                await trio.sleep(0.1)

    assert quick.n <= 60 / GLANCE_S + 1
    assert slow.n == 2


async def test_history_is_not_served(autojump_clock: trio.testing.MockClock) -> None:
    async with open_glance(SlowDoor()) as glance:
        await glance.read()
        await trio.sleep(OLD_S)

        assert await glance.read() == ({"n": 2}, None)


async def test_the_last_glance_stays_while_the_database_is_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    door = SlowDoor()
    async with open_glance(door) as glance:
        await glance.read()
        door.fails = StoreUnavailable("no answer")
        await trio.sleep(SHARE * 1.0)
        await glance.read()
        await trio.sleep(1.5)
        assert await glance.read() == ({"n": 1}, door.fails)
        door.fails = None
        await trio.sleep(AGAIN_S)
        await glance.read()
        await trio.sleep(1.5)

        assert await glance.read() == ({"n": 2}, None)
