"""What cannot be read does not stop the sweep."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date

import pytest
import trio
import trio.testing

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import Accepted, Retryable
from dripd.clock import HOUR, Millis
from dripd.engine.admit import decider
from dripd.engine.intent import NoJournal, Past, Testimony
from dripd.engine.look import learn_all
from dripd.engine.sweep import NEVER, find_killers, sweep_once
from dripd.engine.tuning import Tuning
from dripd.errors import StoreError
from dripd.store.protocol import LeaseGroup, LeaseKey
from tests.engine.rig import T0, Rig, SlowSink


@pytest.mark.trio
async def test_a_step_of_a_version_that_cannot_be_read_is_held_when_it_is_taken_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It ended the daemon, and the one after it."""
    rig = Rig(Tuning(), SlowSink())
    rig.enroll(rig.account("acme"), 2)
    rig.store.fail_next("lease", "after")
    async with rig.running():
        await trio.sleep(1)
        for version in rig.store._tables.versions:
            version.definition = {}
        rig.pipe.directory.versions.clear()
        rig.store.age_claims(HOUR)
        await trio.sleep(10)

    held = [row["hold_reason"] for row in rig.store.enrollments()]
    assert ["quarantined", "quarantined"] == held
    assert (0, 0) == (rig.sink.count, rig.pipe.unsent)


@pytest.mark.trio
async def test_nobody_is_declared_dead_for_an_outage_that_silenced_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whoever came back first after a restart of Postgres declared all others dead."""
    rig = Rig(Tuning(node_timeout_ms=Millis(1_000)), SlowSink())
    watch, asked = rig.pipe.watch, []

    async def reap(_incarnation: int, timeout_ms: int, _gone: object) -> list[int]:
        asked.append(timeout_ms)
        return []

    async def beat(seconds: float) -> None:
        for _ in range(round(seconds * 5)):
            watch.note_beat(trio.current_time(), 1)
            await trio.sleep(0.2)

    rig.store.reap = reap  # type: ignore[method-assign,assignment]  # notes what it is asked
    await beat(1.2)
    await sweep_once(rig.pipe, "test")
    await trio.sleep(3)  # the database is away
    await sweep_once(rig.pipe, "test")
    await beat(0.4)
    await sweep_once(rig.pipe, "test")
    await beat(1)
    await sweep_once(rig.pipe, "test")

    assert [1_000, NEVER, NEVER, 1_000] == asked


class Copies(NoJournal):
    """Copies of the journals of these incarnations lie here."""

    def __init__(self, *incarnations: int) -> None:
        self.left = set(incarnations)

    def unattended(self) -> list[int]:
        return sorted(self.left)

    def past(self, incarnations: Collection[int]) -> Past:
        testimony = Testimony(whole=False)
        testimony.answer(1, 1, Accepted(provider_id="p"))
        return dict.fromkeys(incarnations, testimony)

    def forget(self, incarnations: Collection[int]) -> None:
        self.left -= set(incarnations)


@pytest.mark.trio
async def test_copies_of_journals_are_thrown_away_once_their_daemons_are_at_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """They lay there for ever."""
    rig = Rig(Tuning(), SlowSink())
    await rig.store.join(7, "lives", "0")
    await rig.store.join(8, "died", "0")
    await rig.store.reap(7, HOUR, [8])
    rig.pipe.journal = copies = Copies(7, 8, 9)
    await sweep_once(rig.pipe, "test")

    assert {7} == copies.left


@pytest.mark.trio
@pytest.mark.parametrize(
    ("journal", "deaths"), [("lost", 1), ("elsewhere", 1), ("in its midst", 4)]
)
async def test_a_step_is_blamed_for_deaths_in_its_midst_alone(
    autojump_clock: trio.testing.MockClock, journal: str, deaths: int
) -> None:
    """Three deaths from outside without a journal, as of a container that is killed for its
    memory, quarantined whatever was in hand."""
    pipe = Rig(Tuning(), SlowSink()).pipe
    flags, found = 0, {}
    for death in range(1, 5):
        leased = Leased(
            account_id=1, lane=0, due_at=T0, enrollment_id=7, contact_id=1, cv_id=1, seq=1,
            step_no=0, run_no=1, attempt=0, flags=flags, claim_id=death, leased_at=T0,
            counted=False, local_date=date(2026, 1, 5), email=None, phone=None, timezone=None,
            attrs={}, holders=(death, pipe.incarnation),
        )  # fmt: skip
        testimony = Testimony(whole=True)
        testimony.tried = (7, 1) if journal == "in its midst" else (8, 1)
        past = {} if journal == "lost" else {death: testimony}
        found |= await find_killers(pipe, [leased], past)
        flags = leased.flags

    assert {7: deaths} == found


class Read(NoJournal):
    """Daemon 8 is gone; of the first of its steps its journal says that it was refused for now."""

    def __init__(self, enrollment_id: int) -> None:
        self._said = Testimony(whole=True)
        self._said.intend(enrollment_id, 1)
        self._said.answer(enrollment_id, 1, Retryable(reason="http_503"))

    def abandoned(self) -> list[int]:
        return [8]

    def past(self, incarnations: Collection[int]) -> Past:
        return dict.fromkeys(incarnations, self._said)


@pytest.mark.trio
async def test_a_death_is_counted_once_however_often_the_database_cuts_the_sweep_short(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Three such sweeps made a step that nobody had died over one that kills daemons."""
    rig = Rig(Tuning(), SlowSink())
    pipe, store = rig.pipe, rig.store
    account = rig.account("acme")
    rig.enroll(account, 2)
    for incarnation in (pipe.incarnation, 8):
        await store.join(incarnation, f"node-{incarnation}", "0")
    await learn_all(pipe)
    await pipe.directory.load_versions([version.id for version in store._tables.versions])
    keys = (await store.admit(10, decider(pipe))).started
    asked = [
        LeaseKey(key.lane, key.due_at, key.enrollment_id, pipe.directory.version(key.cv_id).mask("email"))
        for key in keys
    ]  # fmt: skip
    leased = await store.lease(8, [LeaseGroup(account, date(2026, 1, 5), asked)], 0)
    assert 2 == len(leased.granted)
    pipe.journal = Read(keys[0].enrollment_id)
    counted: list[int] = []

    async def count(steps: Sequence[tuple[int, int, int]], within_ms: int) -> dict[int, int]:
        del within_ms
        counted.extend(enrollment for _, enrollment, _ in steps)
        return {}

    store.count_recoveries = count  # type: ignore[method-assign]
    add_facts, fails = store.add_facts, [StoreError("away"), StoreError("away")]

    async def sometimes(steps: Sequence[Leased]) -> None:
        if fails:
            raise fails.pop()
        await add_facts(steps)

    store.add_facts = sometimes  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(StoreError):
            await sweep_once(pipe, "test")
    assert 2 == await sweep_once(pipe, "test")

    assert [keys[1].enrollment_id] == counted
    assert [(one.what, one.said) for one in pipe.lately.leases] == [
        ("claims_swept", "took over 2 steps that dead daemons held")
    ]
