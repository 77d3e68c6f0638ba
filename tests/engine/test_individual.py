"""One message outside of every run, and a database that is away when its answer comes."""

from __future__ import annotations

import pytest
import trio.testing

from dripd.campaigns.event import Accepted
from dripd.engine.individual import Wish, send_individual
from dripd.engine.intent import NoJournal
from dripd.engine.sweep import sweep_once
from dripd.engine.tuning import Tuning
from dripd.store.memory import Loss
from tests.engine.rig import Rig, SlowSink

pytestmark = pytest.mark.trio


class NotingJournal(NoJournal):
    """Notes which messages it need not keep any more."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []

    def keep(self, number: int) -> None:
        self.kept.append(number)


@pytest.mark.parametrize("loss", ["before", "after"])
async def test_an_answer_that_no_database_took_is_told_and_written_by_the_sweep(
    autojump_clock: trio.testing.MockClock, loss: Loss
) -> None:
    rig = Rig(Tuning(), SlowSink())
    pipe, store = rig.pipe, rig.store
    pipe.journal = journal = NotingJournal()
    account = rig.account("a")
    wish = Wish(
        account_id=account,
        contact_id=store.add_contact(account, email="p@x.test"),
        channel="email",
        sender="",
        subject="hello",
        text="hello",
        html="",
        requested_by="ann",
    )
    await store.join(pipe.incarnation, "rig", "0")
    store.fail_next("end_individual", loss)

    name, outcome = await send_individual(pipe, rig.channels, "test", wish)

    assert isinstance(outcome, Accepted)
    assert 1 == len(rig.sink.came)
    assert [] == journal.kept

    await sweep_once(pipe)

    assert ["accepted"] == [row["state"] for row in store.deliveries()]
    assert [name] == [f"i-{number}" for number in journal.kept]
    assert not pipe.untold
