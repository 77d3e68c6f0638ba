"""One message outside of every run, and a database that is away when its answer comes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
import trio.testing

from dripd.campaigns.event import Accepted, Unknown
from dripd.channels.base import Message, Settle
from dripd.engine.individual import Wish, fill, send_individual
from dripd.engine.intent import NoJournal, Past, Testimony
from dripd.engine.sweep import sweep_once
from dripd.engine.tuning import Tuning
from dripd.errors import BadRequest, Conflict, StoreUnavailable
from dripd.store.memory import Loss
from tests.engine.rig import Rig, SlowSink

pytestmark = pytest.mark.trio


class KeepingSink(SlowSink):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        self.messages += messages
        await super().send(messages, settle)


class NotingJournal(NoJournal):
    """Notes which messages it need not keep any more."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []

    def keep(self, number: int) -> None:
        self.kept.append(number)


class WholeJournal(NoJournal):
    """Silence of it proves that nothing left."""

    def past(self, incarnations: Collection[int]) -> Past:
        return {one: Testimony(whole=True) for one in incarnations}


async def wanted(rig: Rig) -> Wish:
    account = rig.account("a")
    await rig.store.join(rig.pipe.incarnation, "rig", "0")
    return Wish(
        account_id=account,
        contact_id=rig.store.add_contact(account, email="p@x.test"),
        channel="email",
        sender="",
        subject="hello",
        text="hello",
        html="",
        requested_by="ann",
    )


@pytest.mark.parametrize("loss", ["before", "after"])
async def test_an_answer_that_no_database_took_is_told_and_written_by_the_sweep(
    autojump_clock: trio.testing.MockClock, loss: Loss
) -> None:
    rig = Rig(Tuning(), SlowSink())
    pipe, store = rig.pipe, rig.store
    pipe.journal = journal = NotingJournal()
    wish = await wanted(rig)
    store.fail_next("end_individual", loss)

    name, outcome = await send_individual(pipe, rig.channels, "test", wish)

    assert isinstance(outcome, Accepted)
    assert 1 == len(rig.sink.came)
    assert [] == journal.kept

    await sweep_once(pipe, "test")

    assert ["accepted"] == [row["state"] for row in store.deliveries()]
    assert [name] == [f"i-{number}" for number in journal.kept]
    assert not pipe.untold


async def test_one_that_the_database_took_unheard_is_not_under_way_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It stood as leased until its daemon ended, and kept a manual clock from settling."""
    rig = Rig(Tuning(), SlowSink())
    rig.pipe.journal = WholeJournal()
    wish = await wanted(rig)
    rig.store.fail_next("start_individual", "after")
    with pytest.raises(StoreUnavailable):
        await send_individual(rig.pipe, rig.channels, "test", wish)
    assert ["leased"] == [row["state"] for row in rig.store.deliveries()]

    await sweep_once(rig.pipe, "test")

    assert [] == rig.sink.came
    (row,) = rig.store.deliveries()
    assert ("failed", "store_lost", None) == (row["state"], row["reason"], row["sent_at"])


async def test_one_that_is_under_way_is_left_alone_by_the_sweep(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink(wait_s=5))
    wish = await wanted(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_individual, rig.pipe, rig.channels, "test", wish)
        await trio.sleep(1)
        await sweep_once(rig.pipe, "test")
        assert ["leased"] == [row["state"] for row in rig.store.deliveries()]

    assert ["accepted"] == [row["state"] for row in rig.store.deliveries()]


async def test_whoever_asked_may_go_away_meanwhile(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink(wait_s=5))
    wish = await wanted(rig)
    with trio.move_on_after(1):
        await send_individual(rig.pipe, rig.channels, "test", wish)

    assert ["accepted"] == [row["state"] for row in rig.store.deliveries()]
    assert not rig.pipe.alone.in_hand


class BrokenSink(SlowSink):
    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        raise RuntimeError("a fault of the adapter")


async def test_a_channel_that_breaks_leaves_it_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), BrokenSink())
    _, outcome = await send_individual(rig.pipe, rig.channels, "test", await wanted(rig))

    assert Unknown(reason="channel_failed") == outcome
    assert ["unknown"] == [row["state"] for row in rig.store.deliveries()]


async def test_a_message_by_hand_is_filled_or_refused_but_never_leaves_raw(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sink = KeepingSink()
    rig = Rig(Tuning(), sink)
    account = rig.account("a")
    contact = rig.store.add_contact(account, email="p@x.test", attrs={"first_name": "<Ann>"})
    wish = Wish(
        account_id=account,
        contact_id=contact,
        channel="email",
        sender="",
        subject="Hi {First Name}",
        text="Dear {FirstName}, {tier|friend} {email}",
        html="<p>{first_name}</p>",
        requested_by="ann",
    )

    filled = await fill(rig.pipe, rig.channels, wish)

    assert filled.subject == "Hi <Ann>"
    assert filled.text == "Dear <Ann>, friend p@x.test"
    assert filled.html == "<p>&lt;Ann&gt;</p>"
    for text, code in (
        ("{Tier}", "missing_tag:Tier"),
        ("", "bad_request"),
        ("{{x}}", "bad_request"),
    ):
        with pytest.raises((Conflict, BadRequest)) as refused:
            await fill(rig.pipe, rig.channels, replace(wish, text=text, html=""))
        assert (refused.value.code, refused.value.path) == (code, "text")
    assert sink.messages == []
