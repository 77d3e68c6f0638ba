"""What is done is written soon, and where much is under way in batches."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from dripd.campaigns.enrollment import Change
from dripd.engine import record as record_module
from dripd.engine import standstill
from dripd.engine.pipeline import Pipeline
from dripd.engine.record import LINGER_BUSY_S, LINGER_S, record_rest
from dripd.engine.tuning import Tuning
from dripd.errors import InDoubt, StoreBusy, StoreUnavailable
from dripd.policy.rooms import MissingVersion
from dripd.store.protocol import Recorded
from tests.engine.rig import Rig, SlowSink


@pytest.mark.trio
async def test_answers_that_trickle_in_under_load_are_written_in_batches(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sink = SlowSink(0.004, batch=1, concurrency=4)
    rig = Rig(Tuning(in_flight=600, batch=200), sink)
    for key in ("a", "b", "c"):
        rig.enroll(rig.account(key), 200)
    async with rig.running():
        await trio.sleep(5)
    first = [n for _, n in rig.store.records[:7]]

    assert 600 == sink.count == sum(n for _, n in rig.store.records)
    assert min(first) >= 4 * LINGER_BUSY_S / 0.004 - 4


@pytest.mark.trio
async def test_a_lone_answer_is_written_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), SlowSink())
    account = rig.account("a")
    async with rig.running():
        await trio.sleep(1)
        rig.enroll(account, 1)
        await trio.sleep(5)
    (written_at, n), (came_at, _) = rig.store.records[0], rig.sink.came[0]

    assert 1 == n
    assert written_at - came_at <= LINGER_S + 0.001


@pytest.mark.trio
async def test_an_account_whose_rows_somebody_holds_keeps_no_other_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Many of its runs are stopped, and whoever does that takes a minute, or is frozen; all that
    may be in flight is that account's."""
    rig = Rig(Tuning(in_flight=40, batch=20), SlowSink(0.05, batch=1, concurrency=8))
    held, other = rig.account("a"), rig.account("b")
    rig.enroll(held, 200)
    async with rig.running():
        await trio.sleep(0.5)
        with rig.store.lock_rows([row["enrollment_id"] for row in rig.store.due_steps()]):
            await trio.sleep(15)
            rig.enroll(other, 5)
            await trio.sleep(12)
            meanwhile = ended_of(rig, other)
            before = ended_of(rig, held)
            await trio.sleep(33)
        await trio.sleep(12)
        assert (0, {}) == (rig.pipe.unsent, rig.pipe.blocked)

    assert before < 200
    assert (5, 200, 5) == (meanwhile, ended_of(rig, held), ended_of(rig, other))
    assert 205 == rig.sink.count
    assert {} == {claim: n for claim, n in rig.pipe.claims.items() if n}


@pytest.mark.trio
async def test_a_disk_that_is_full_is_asked_again_for_all_accounts_at_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(Tuning(batch=50), SlowSink())
    n_asked, write = 0, rig.store.record

    async def record(*args: Any) -> Recorded:
        nonlocal n_asked
        n_asked += 1
        if trio.current_time() < 10:
            raise StoreBusy("the database's disk is full")
        return await write(*args)

    monkeypatch.setattr(rig.store, "record", record)
    for n in range(40):
        rig.enroll(rig.account(f"a{n}"), 1)
    async with rig.running():
        await trio.sleep(9)
        meanwhile = n_asked
        await trio.sleep(10)

    assert meanwhile <= 2 * 9 / 0.2 + 2, "two recorders, each every 0.2 s"
    assert 40 == rig.sink.count == sum(n for _, n in rig.store.records)


@pytest.mark.trio
async def test_no_step_is_to_blame_where_a_version_that_it_leads_to_cannot_be_read(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between two questions that the same step asks."""
    rig = Rig(Tuning(), SlowSink())
    rig.enroll(rig.account("a"), 1)
    asked: list[str] = []
    write, load = rig.store.record, rig.pipe.directory.load_versions

    async def record(batch: list[Change], *rest: Any) -> Recorded:
        if batch and not asked:
            asked.append("record")
            raise MissingVersion(batch[0].leased.cv_id)
        return await write(batch, *rest)

    async def load_versions(ids: Any) -> None:
        if asked == ["record"]:
            asked.append("versions")
            raise InDoubt("it went away")
        await load(ids)

    async def salvage(*_: object) -> None:
        asked.append("salvage")

    monkeypatch.setattr(record_module, "_salvage", salvage)
    monkeypatch.setattr(rig.store, "record", record)
    monkeypatch.setattr(rig.pipe.directory, "load_versions", load_versions)
    async with rig.running():
        await trio.sleep(10)

    assert ["record", "versions"] == asked
    assert 1 == rig.sink.count
    assert {"completed"} == {row["end_reason"] for row in rig.store.enrollments()}


def ended_of(rig: Rig, account: int) -> int:
    rows = rig.store.enrollments()
    return sum(row["account_id"] == account and row["ended_at"] is not None for row in rows)


@pytest.mark.trio
@pytest.mark.parametrize(
    "error", [StoreUnavailable("it went away after the commit"), LookupError("of our own")]
)
async def test_what_is_on_record_is_not_written_again_for_what_follows_from_it(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    async def lose(_pipe: object) -> None:
        raise error

    monkeypatch.setattr(standstill, "note_outages", lose)
    rig = Rig(Tuning(), SlowSink())
    rig.enroll(rig.account("a"), 3)
    rig.pipe.flow.is_freed = True
    async with rig.running():
        await trio.sleep(5)
        assert rig.pipe.unsent == 0

    assert 3 == rig.sink.count == sum(n for _, n in rig.store.records)
    assert rig.pipe.counters.late == 0


@pytest.mark.trio
@pytest.mark.interpreted
async def test_a_claim_whose_steps_are_all_on_record_is_closed_at_the_end(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(Tuning(), SlowSink())
    rig.enroll(rig.account("a"), 3)
    with monkeypatch.context() as patch:  # as where two batches have the last of its steps
        patch.setattr(Pipeline, "closing", lambda _pipe, _batch: [])
        patch.setattr(Pipeline, "has_records", property(lambda pipe: bool(pipe.done)))
        async with rig.running():
            await trio.sleep(5)
    assert [0] == list(rig.pipe.claims.values())

    await record_rest(rig.pipe)

    assert rig.pipe.claims == {}
    assert not list(rig.store._tables.claims)
