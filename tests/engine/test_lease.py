"""Which accounts have no turn now."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dripd.campaigns.parse import parse
from dripd.engine.lease import Passed, lacking
from dripd.engine.look import learn_all
from dripd.engine.send import queues
from dripd.engine.tuning import Tuning
from tests.engine.rig import HELLO, Rig, SlowSink


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
