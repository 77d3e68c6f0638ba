"""What the inbox knows when it decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from dripd.campaigns.parse import parse
from dripd.engine.inbox import REST_MOST_S, inbox
from dripd.engine.look import learn_all
from dripd.engine.tuning import Tuning
from dripd.store.protocol import Digest, Digested
from tests.engine.rig import HELLO, NotingStore, Rig, SlowSink

KINDS = ("reply", "open", "click", "form", "interaction")


class RacingStore(NotingStore):
    """Somebody attaches triggers, and an event of each kind comes, just before the first digest."""

    contact = 0

    async def digest(
        self,
        account_id: int,
        n: int,
        digest: Digest,
        interest: int,
        listens: str | None = None,
        only: Sequence[int] = (),
        *,
        bare: bool = False,
        after: tuple[int, int] = (0, 0),
    ) -> Digested | None:
        contact, self.contact = self.contact, 0
        if contact:
            for kind in KINDS:
                document = {
                    "campaign": kind,
                    "account": "acme",
                    "name": kind,
                    "sender": "s@acme.test",
                    "triggers": [{"on": kind}],
                    "steps": [HELLO],
                }
                self.add_campaign(account_id, parse(document))
            for kind in KINDS:
                self.event(account_id, kind, contact_id=contact)
        return await super().digest(
            account_id, n, digest, interest, listens, only, bare=bare, after=after
        )


@pytest.mark.trio
async def test_a_trigger_attached_just_before_an_event_fires_on_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    store = RacingStore(rig.clock)
    rig.store = rig.pipe.store = rig.pipe.directory._store = store
    account = rig.account("acme")
    store.contact = store.add_contact(account, email="ann@x.test")
    store.event(account, "status_changed", contact_id=store.contact)
    async with rig.running():
        await trio.sleep(5)
    asked = sorted(run["campaign_key"] for run in store.enrollments())

    assert asked == sorted(KINDS)


@pytest.mark.trio
async def test_only_stops_of_what_is_on_its_way_are_remembered_and_no_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Every run that was ever stopped was, as long as its daemon lived."""
    rig = Rig(Tuning(), SlowSink(wait_s=5))
    store, pipe = rig.store, rig.pipe
    later = rig.account("later", step={**HELLO, "delay": "1h"})
    now = rig.account("now")
    for account in (later, now):
        rig.enroll(account, 2)
    async with rig.running():
        await trio.sleep(2)
        for run in store.enrollments():
            store.event(run["account_id"], "reply", contact_id=run["contact_id"])
        await trio.sleep(1)
        under_way = {one["id"] for one in store.enrollments() if one["account_id"] == now}
        assert {"reply"} == {one["end_reason"] for one in store.enrollments()}
        assert under_way == pipe.stopped

        await trio.sleep(10)
        assert (set(), 0) == (pipe.stopped, pipe.unsent)


async def replied(*, live: int, waiting: int) -> tuple[Rig, int, Sequence[int], Sequence[int]]:
    """An account with so many *live* runs, and contacts *waiting* for a decision who have replied;
    they, and their replies."""
    rig = Rig(Tuning(), SlowSink())
    store, account = rig.store, rig.account("a")
    rig.enroll(account, live)
    await learn_all(rig.pipe)
    await rig.pipe.directory.load_versions([row.id for row in store._tables.versions])
    await rig.admit_unheard()
    asked = [store.add_contact(account, email=f"q{n}@x.test") for n in range(waiting)]
    for contact in asked:
        store.enroll(account, "c", contact)
    replies = [store.event(account, "reply", contact_id=contact) for contact in asked]
    return rig, account, asked, replies


@pytest.mark.trio
async def test_events_that_wait_for_requests_are_in_nobody_s_way(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reply that came before its contact's request was decided held up the account's inbox."""
    monkeypatch.setattr("dripd.engine.inbox.INBOX_BATCH", 2)
    rig, account, asked, replies = await replied(live=1, waiting=3)
    store = rig.store
    later = store.event(account, "open", contact_id=asked[0])
    (run,) = store.enrollments()
    store.event(account, "reply", contact_id=run["contact_id"])
    store.event(account, "open", contact_id=run["contact_id"])
    await inbox(rig.pipe, [account])

    assert ["reply"] == [one["end_reason"] for one in store.enrollments()]
    assert [*replies, later] == [one["id"] for one in store.event_queue()]


@pytest.mark.trio
async def test_many_events_that_wait_are_passed_over_once_a_round(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thousand were digested anew with every look, and nothing behind them ever."""
    monkeypatch.setattr("dripd.engine.inbox.INBOX_BATCH", 2)
    monkeypatch.setattr("dripd.engine.inbox.LEFT_MOST", 2)
    rig, account, _, replies = await replied(live=2, waiting=5)
    store = rig.store
    first, second = store.enrollments()
    store.event(account, "reply", contact_id=first["contact_id"])
    digested = []
    digest = store.digest

    async def slow(*args: Any, **keys: Any) -> Any:
        done = await digest(*args, **keys)
        digested.append(0 if done is None else len(done.left))
        await trio.sleep(0.1)
        return done

    monkeypatch.setattr(store, "digest", slow)
    for _ in range(3):
        await inbox(rig.pipe, [account])
    assert ["reply", None] == [one["end_reason"] for one in store.enrollments()]
    assert replies == [one["id"] for one in store.event_queue()]
    assert 5 == sum(digested)

    store.event(account, "reply", contact_id=second["contact_id"])
    await inbox(rig.pipe, [account])
    assert ["reply", "reply"] == [one["end_reason"] for one in store.enrollments()]
    assert 5 == sum(digested)
    await rig.admit_unheard()
    await inbox(rig.pipe, [account])
    assert 5 == len(store.event_queue()), "they rest"
    await trio.sleep(REST_MOST_S)
    for _ in range(3):
        await inbox(rig.pipe, [account])
    assert [] == store.event_queue()
    assert {"reply"} == {one["end_reason"] for one in store.enrollments()}
