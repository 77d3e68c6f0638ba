"""Charging changes nothing of what a coroutine does, and counts its own time only."""

from __future__ import annotations

import time

import pytest
import trio

from dripd.admin.charge import charged


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_only_its_own_stretches_are_charged() -> None:
    spent: list[float] = []

    async def work() -> str:
        burn(0.01)
        await trio.sleep(0.02)
        burn(0.01)
        return "done"

    async def main() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            return await charged(work(), spent.append)
        raise AssertionError("a nursery ends with its body")

    async def others() -> None:
        burn(0.05)
        await trio.lowlevel.checkpoint()

    assert trio.run(main) == "done"
    assert 0.02 <= sum(spent) < 0.05


def test_errors_and_cancellation_pass_through() -> None:
    seen: list[str] = []

    async def cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append("cleaned")

    async def broken() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("x")

    async def main() -> None:
        with trio.move_on_after(0.01) as scope:
            await charged(cancelled(), lambda _: None)
        assert scope.cancelled_caught
        with pytest.raises(KeyError):
            await charged(broken(), lambda _: None)

    trio.run(main)
    assert seen == ["cleaned"]
