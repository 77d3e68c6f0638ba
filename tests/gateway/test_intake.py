"""Many requests, few commits; who was not committed is told so."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.errors import StoreUnavailable
from dripd.gateway import intake as module
from dripd.gateway.intake import Intake
from dripd.store.desk_gateway import Signal
from tests.gateway.world import Kept


def signal(n: int) -> Signal:
    return Signal(account_id=1, kind="open", delivery_id=f"{n}-1")


@pytest.mark.trio
async def test_a_burst_shares_transactions_and_keeps_its_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST", 4)
    kept = Kept()
    intake = Intake(kept)
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as askers:
            for n in range(10):
                askers.start_soon(intake.put, [signal(n)])
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(intake.run)
        nursery.cancel_scope.cancel()

    assert [4, 4, 2] == kept.batches
    assert {f"{n}-1" for n in range(10)} == {one.delivery_id for one in kept.signals}


@pytest.mark.trio
async def test_who_was_not_committed_hears_of_it() -> None:
    kept = Kept()
    kept.away = True
    intake = Intake(kept)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run)
        with pytest.raises(StoreUnavailable):
            await intake.put([signal(1)])
        kept.away = False
        await intake.put([signal(2)])
        nursery.cancel_scope.cancel()

    assert ["2-1"] == [one.delivery_id for one in kept.signals]


@pytest.mark.trio
async def test_beyond_what_may_wait_the_next_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITING_MOST", 2)
    intake = Intake(Kept())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.put, [signal(1), signal(2)])
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StoreUnavailable) as caught:
            await intake.put([signal(3)])
        nursery.cancel_scope.cancel()

    assert "busy" == caught.value.code
