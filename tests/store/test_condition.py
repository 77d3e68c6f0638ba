"""Who asks a database that is away, how often, and what is said of it meanwhile."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from dripd.errors import StoreBusy, StoreUnavailable
from dripd.store.condition import CALM_S, PAUSE_MOST_S, WAIT_S, Condition

pytestmark = pytest.mark.trio


class Server:
    """A database that is away until it is not; it notes when it was asked."""

    def __init__(self) -> None:
        self.is_away = True
        self.asked: list[float] = []
        self.at_once = 0

    async def probe(self) -> None:
        assert self.at_once == 0
        self.at_once += 1
        try:
            await trio.sleep(0.01)
        finally:
            self.at_once -= 1
        self.asked.append(trio.current_time())
        if self.is_away:
            raise StoreUnavailable("nobody listens")


def gone(server: Server) -> Condition:
    condition = Condition(server.probe)
    condition.note("look", StoreUnavailable("cut off"))
    return condition


async def test_one_asks_for_all_with_growing_pauses(autojump_clock: MockClock) -> None:
    server = Server()
    condition = gone(server)
    turned_away = 0

    async def stage() -> None:
        nonlocal turned_away
        while True:
            try:
                await condition.until_back()
            except StoreUnavailable:
                turned_away += 1
            else:
                return

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(stage)
        await trio.sleep(60)
        assert 12 * int(60 / WAIT_S) - 12 <= turned_away <= 12 * int(60 / WAIT_S)
        assert 60 / (PAUSE_MOST_S + 0.1) <= len(server.asked) < 120
        server.is_away = False
        asked = trio.current_time()
    assert trio.current_time() - asked <= PAUSE_MOST_S + 0.1
    assert "" == condition.words()


async def test_one_who_is_called_off_hands_the_asking_on(autojump_clock: MockClock) -> None:
    server = Server()
    condition = gone(server)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.01):
            await condition.until_back()
        nursery.start_soon(condition.until_back)
        server.is_away = False
    assert condition.away_ms == 0


async def test_what_goes_away_again_soon_is_asked_less_often(autojump_clock: MockClock) -> None:
    """A disk that is full answers the prober and refuses the next write."""
    server = Server()
    server.is_away = False
    condition = Condition(server.probe)
    condition._lots.seed(1)  # one draw in some thousands is short all the way
    began = trio.current_time()
    for _ in range(20):
        condition.note("record", StoreUnavailable("cut off"))
        await condition.until_back()
    assert trio.current_time() - began > 5

    await trio.sleep(CALM_S + 1)
    condition.note("record", StoreUnavailable("cut off"))
    began = trio.current_time()
    await condition.until_back()
    assert trio.current_time() - began < 0.1


async def test_it_says_what_is_wrong_and_since_when() -> None:
    server = Server()
    condition = gone(server)
    assert condition.words().startswith("cut off, since 20")
    assert {"ok": False} == {k: v for k, v in condition.report().items() if k == "ok"}
    with pytest.raises(StoreUnavailable, match="cut off, since"):
        condition.refuse()


async def test_one_unit_that_fails_for_long_is_trouble_until_it_goes_well() -> None:
    condition = Condition()
    condition.note("record", StoreBusy("the disk is full"))
    assert "" == condition.words()
    since, why = condition.troubles["record"]
    condition.troubles["record"] = (type(since)(since - 60_000), why)
    assert condition.words().startswith("record fails: the disk is full, since ")
    condition.refuse()
    condition.went_well("record")
    assert {"ok": True, "error": None, "since": None} == condition.report()
