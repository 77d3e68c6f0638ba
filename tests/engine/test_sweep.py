"""What cannot be read does not stop the sweep."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import pytest
import trio
import trio.testing

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import Accepted
from dripd.clock import HOUR, Millis
from dripd.engine.intent import NoJournal, Past, Testimony
from dripd.engine.sweep import NEVER, find_killers, sweep_once
from dripd.engine.tuning import Tuning
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
