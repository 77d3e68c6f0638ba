"""Which accounts have no turn now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio
import trio.testing

from dripd.campaigns.parse import parse
from dripd.clock import DAY, Clock, DatabaseClock, Instant
from dripd.engine.lease import Passed, lacking
from dripd.engine.look import learn_all
from dripd.engine.send import queues
from dripd.engine.tuning import Tuning
from dripd.store.protocol import Look
from tests.engine.rig import HELLO, Rig, SlowSink


class Behind:
    """The clock of a daemon that has not heard yet how late it is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.by_ms = 0

    def now(self) -> Instant:
        return Instant(self._clock.now() - self.by_ms)


@pytest.mark.trio
async def test_accounts_of_a_clogged_provider_are_passed_over_once_room_grows_scarce() -> None:
    rig = Rig(Tuning(), SlowSink(), SlowSink(name="slow"))
    free, busy, slow = (
        rig.account(key, provider=provider)
        for key, provider in (("a", "sink"), ("b", "sink"), ("c", "slow"))
    )
    await rig.store.join(rig.pipe.incarnation, "rig", "0")
    await learn_all(rig.pipe)
    queues(rig.pipe, rig.channels)
    rig.pipe.busy = {busy}
    rig.pipe.flow.calling["slow"] = rig.pipe.tuning.in_flight // 2

    def passed() -> set[int]:
        full = {name for name, n in lacking(rig.pipe).items() if not n}
        found = Passed(rig.pipe, full)
        return {account for account in (free, busy, slow) if account in found}

    assert passed() == {busy}
    rig.pipe.unsent = rig.pipe.tuning.in_flight - rig.pipe.tuning.batch
    assert passed() == {busy, slow}
    rig.pipe.flow.calling["slow"] -= 1
    assert passed() == {busy}


@pytest.mark.trio
async def test_a_step_that_passed_to_another_version_is_leased_as_that_one_wants(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It stood in the wheel already: its condition was judged without the tags that it reads."""
    rig = Rig(Tuning(), SlowSink())
    store = rig.store
    account = rig.account("acme", step={**HELLO, "delay": "10s"})
    rig.enroll(account, 1)
    async with rig.running():
        await trio.sleep(5)
        (run,) = store.enrollments()
        store.tag(account, run["contact_id"], "vip")
        step = {**HELLO, "delay": "10s", "when": "'vip' in tags"}
        document = {
            "campaign": "c",
            "account": "acme",
            "name": "c",
            "sender": "s@acme.test",
            "steps": [step],
        }
        cv = store.add_campaign(account, parse(document)).cv_id
        key = (account, run["id"])
        store._tables.due.change(key, cv_id=cv)  # as a publication that migrates does
        store._tables.runs.change(key, cv_id=cv)
        await trio.sleep(10)

    assert 1 == len(rig.sink.came)
    assert {"completed"} == {row["end_reason"] for row in store.enrollments()}


@pytest.mark.trio
@pytest.mark.parametrize("stale", [{"status": "paused"}, {"subscription_active": False}])
async def test_what_sql_leases_is_sent_though_the_account_is_remembered_as_paused(
    autojump_clock: trio.testing.MockClock, stale: dict[str, object]
) -> None:
    """It was read while the account was paused, its lanes once it went on: each step was given
    back and leased again, at the same instant and until somebody told of the account."""
    rig = Rig(Tuning(), SlowSink())
    account = rig.account("acme", step={**HELLO, "delay": "10s"})
    rig.enroll(account, 3)
    async with rig.running():
        await trio.sleep(5)
        known = rig.pipe.directory.accounts[account]
        known.row = replace(known.row, **stale)  # type: ignore[arg-type]  # of its own fields
        await trio.sleep(10)

    assert 3 == len(rig.sink.came)
    assert 3 == rig.pipe.counters.leased


@pytest.mark.trio
async def test_a_delay_counts_from_the_lease_though_the_daemons_clock_was_behind(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon on a host whose clock had stepped back heard the database over a slow link: what
    it sent first was followed up early by as much as the answer had been under way."""
    rig = Rig(Tuning(), SlowSink())
    store, look = rig.store, rig.store.look
    two = {**HELLO, "key": "again", "delay": "10s"}
    account = rig.account("acme", steps=[{**HELLO, "delay": "2s"}, two])
    clock = DatabaseClock(lambda: round(trio.current_time() * 1e9))
    clock._ahead_ms = rig.clock.now() - clock.ticked() - 3_600_000
    rig.pipe.clock = clock

    async def slow(seen: Sequence[int]) -> Look:
        found = await look(seen)
        if not rig.sink.came:
            await trio.sleep(0.8)
        return found

    monkeypatch.setattr(store, "look", slow)
    async with rig.running():
        rig.enroll(account, 1)
        await trio.sleep(20)

    first, second = store.deliveries()
    assert second["leased_at"] - first["leased_at"] >= 10_000 - rig.pipe.tuning.lease_ahead_ms


@pytest.mark.trio
async def test_a_step_passes_no_event_of_the_address_that_its_campaign_maps(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The lease itself looks at the contact's columns alone."""
    rig = Rig(Tuning(), SlowSink())
    store = rig.store
    account = store.add_account("acme")
    store.add_sender(account, "s@acme.test")
    document = {
        "campaign": "c",
        "account": "acme",
        "name": "c",
        "sender": "s@acme.test",
        "field_map": {"email": "attrs.work"},
        "exit_rules": [{"on": "reply"}],
        "steps": [HELLO, {**HELLO, "key": "again", "delay": "10s"}],
    }
    store.add_campaign(account, parse(document))
    contact = store.add_contact(account, attrs={"work": "ann@work.test"})
    store.enroll(account, "c", contact)
    async with rig.running():
        await trio.sleep(5)
        store._tables.locked_inboxes[account] += 1  # another daemon's inbox is at it
        store.event(account, "reply", address="Ann@work.test")
        await trio.sleep(30)
        waited = len(rig.sink.came)
        store._tables.locked_inboxes[account] -= 1
        await trio.sleep(5)

    assert [1, 1] == [waited, len(rig.sink.came)]
    assert {"reply"} == {row["end_reason"] for row in store.enrollments()}


@pytest.mark.trio
async def test_a_database_whose_clock_leapt_ahead_is_not_asked_all_the_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No row of the day that the daemon believes in is today's: it was made anew and asked for
    again at the same instant, until the daemon had heard of the leap."""
    rig = Rig(Tuning(), SlowSink())
    believed = rig.pipe.clock = Behind(rig.clock)
    account = rig.account("acme", step={**HELLO, "delay": "10s"})
    rig.enroll(account, 1)
    async with rig.running():
        await trio.sleep(5)
        rig.clock.leap(2 * DAY)
        believed.by_ms = 2 * DAY
        await trio.sleep(10)
        assert not rig.sink.came
        assert 1 < len([at for at, *_ in rig.store.leases if at > 5]) < 110
        believed.by_ms = 0
        await trio.sleep(1)
        assert 1 == len(rig.sink.came)
