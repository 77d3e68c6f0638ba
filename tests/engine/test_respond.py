"""A mail in answer to a form: what surely has not left goes again, what may have left never."""

from __future__ import annotations

from functools import partial

import pytest
import trio.testing

from dripd.campaigns.event import Done, Rejected, Retryable
from dripd.campaigns.parse import parse
from dripd.clock import Millis
from dripd.engine.inbox import inbox
from dripd.engine.look import learn_all
from dripd.engine.outbox import CallAnswer, outbox
from dripd.engine.respond import respond
from dripd.engine.sweep import sweep_once
from dripd.engine.tuning import Tuning
from dripd.errors import StoreUnavailable
from dripd.store.memory import Loss
from dripd.store.protocol import CallRow
from tests.engine.rig import HELLO, Rig, SlowSink
from tests.engine.test_individual import WholeJournal

pytestmark = pytest.mark.trio


async def asked(rig: Rig) -> None:
    """Somebody has sent the form that is answered by mail."""
    account = rig.account("a")
    answer = {"form": "f", "do": "email", "subject": "Thanks", "text": "We call you."}
    document = {
        "campaign": "forms", "account": "a", "name": "forms", "sender": "s@a.test",
        "steps": [HELLO], "on_form": [answer],
    }  # fmt: skip
    rig.store.add_campaign(account, parse(document))
    contact = rig.store.add_contact(account, email="p@x.test")
    rig.store.enroll(account, "forms", contact)
    await rig.store.join(rig.pipe.incarnation, "rig", "0")
    await learn_all(rig.pipe)
    rig.store.event(account, "form", contact_id=contact, payload={"form": "f"})
    await inbox(rig.pipe, [account])


async def take(rig: Rig) -> CallRow:
    await trio.sleep(1)
    (call,) = await rig.store.take_calls(rig.pipe.incarnation, 10, 4, Millis(-1))
    return call


async def attempt(rig: Rig) -> CallAnswer:
    return await respond(rig.pipe, rig.channels, "test", await take(rig))


@pytest.mark.parametrize("loss", ["before", "after"])
async def test_what_the_database_lost_before_it_left_goes_again(
    autojump_clock: trio.testing.MockClock, loss: Loss
) -> None:
    """It was called in doubt, and never sent."""
    rig = Rig(Tuning(), SlowSink())
    rig.pipe.journal = WholeJournal()
    await asked(rig)
    rig.store.fail_next("start_individual", loss)
    with pytest.raises(StoreUnavailable):
        await attempt(rig)

    assert [] == rig.sink.came
    if loss == "after":  # it may be under way, for all that SQL knows
        assert Retryable(reason="slow") == await attempt(rig)
        await sweep_once(rig.pipe, "test")
    assert Done() == await attempt(rig)
    assert 1 == len(rig.sink.came)
    states = sorted(row["state"] for row in rig.store.deliveries())
    assert states == (["accepted"] if loss == "before" else ["accepted", "failed"])
    assert Done() == await attempt(rig)
    assert 1 == len(rig.sink.came)


async def test_what_may_have_left_is_in_doubt_and_never_sent_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(send_timeout_ms=Millis(1_000)), SlowSink(wait_s=60))
    await asked(rig)
    await attempt(rig)

    assert ["unknown"] == [row["state"] for row in rig.store.deliveries()]
    assert Rejected(reason="in_doubt") == await attempt(rig)
    assert 1 == len(rig.sink.came)


async def test_who_was_late_for_its_own_call_sends_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Another daemon has taken it over, and may be sending it."""
    rig = Rig(Tuning(), SlowSink())
    await asked(rig)
    mine = await take(rig)
    his = await take(rig)

    assert Retryable(reason="fenced") == await respond(rig.pipe, rig.channels, "test", mine)
    assert [] == rig.sink.came
    assert Done() == await respond(rig.pipe, rig.channels, "test", his)


async def test_a_daemon_that_ends_lets_what_is_under_way_arrive(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink(wait_s=3))
    await asked(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox, rig.pipe, partial(respond, rig.pipe, rig.channels, "test"))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert ["accepted"] == [row["state"] for row in rig.store.deliveries()]
