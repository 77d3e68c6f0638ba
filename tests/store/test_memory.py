"""`MemoryStore` does what every store does, and plays what others do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any, Literal

import pytest
import trio
import trio.testing
from pytest_trio import trio_fixture

from dripd.campaigns.definition import Content, Definition
from dripd.campaigns.enrollment import Needs
from dripd.campaigns.migration import Migration
from dripd.clock import HOUR, Instant, ManualClock
from dripd.errors import InDoubt, StoreError, StoreUnavailable
from dripd.policy.admission_rows import Quote
from dripd.spans import Spans
from dripd.store.memory import LOCK_TIMEOUT_S, MemoryStore
from dripd.store.memory_doors import Published
from dripd.store.memory_table import Table
from tests.store.conformance import Conformance
from tests.store.world import MAIL, T0, Row, Scene, World, open_scene, start_all


class MemoryWorld(World):
    """The doors and views of `MemoryStore` itself."""

    store: MemoryStore

    def __init__(self) -> None:
        self.clock = ManualClock(T0)
        self.store = MemoryStore(self.clock, manual=True)

    async def set_now(self, at: Instant) -> None:
        self.clock.set(at)

    async def pause(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    async def spoil_contact(self, account: int, contact: int) -> None:
        self.store.spoil_contact(account, contact)

    async def add_plan(self, key: str, cap: int | None) -> None:
        self.store.add_plan(key, cap)

    async def add_account(self, key: str, *, plan: str = "unlimited") -> int:
        return self.store.add_account(key, plan=plan)

    async def set_account(self, account: int, **columns: object) -> None:
        self.store.set_account(account, **columns)

    async def add_sender(self, account: int, address: str) -> int:
        return self.store.add_sender(account, address)

    async def add_operator(self, account: int, name: str, role: str) -> None:
        self.store.add_operator(account, name, role=role)

    async def add_connector(self, account: int, key: str, url: str, secret: str) -> None:
        self.store.add_connector(account, key, url, secret)

    async def set_template(self, account: int, key: str, content: Content) -> None:
        self.store.set_template(account, key, content)

    async def declare_field(self, account: int, key: str, of_type: str) -> None:
        self.store.declare_field(account, key, of_type)

    async def attach(self, account: int, data: bytes) -> str:
        return self.store.attach(account, data)

    async def add_company(self, account: int, attrs: Row) -> int:
        return self.store.add_company(account, attrs)

    async def add_contact(self, account: int, **columns: Any) -> int:
        return self.store.add_contact(account, **columns)

    async def set_company(self, account: int, company: int, **attrs: object) -> None:
        self.store.set_company(account, company, **attrs)

    async def set_attrs(self, account: int, contact: int, **attrs: object) -> None:
        self.store.set_attrs(account, contact, **attrs)

    async def set_email(self, account: int, contact: int, email: str) -> None:
        self.store.set_contact(account, contact, email=email)

    async def set_employer(self, account: int, contact: int, company: int) -> None:
        self.store.set_contact(account, contact, company_id=company)

    async def erase_contact(self, account: int, contact: int) -> None:
        self.store.erase_contact(account, contact)

    async def tag(self, account: int, contact: int, tag: str) -> None:
        self.store.tag(account, contact, tag)

    async def untag(self, account: int, contact: int, tag: str) -> None:
        self.store.untag(account, contact, tag)

    async def list_add(self, account: int, contact: int, key: str) -> None:
        self.store.list_add(account, contact, key)

    async def list_remove(self, account: int, contact: int, key: str) -> None:
        self.store.list_remove(account, contact, key)

    async def suppress(
        self, account: int, channel: str, address: str, *, expires_at: Instant | None = None
    ) -> None:
        self.store.suppress(account, channel, address, expires_at=expires_at)

    async def add_campaign(self, account: int, definition: Definition) -> tuple[int, int]:
        return self.store.add_campaign(account, definition)

    async def set_sender(
        self, account: int, sender: int, status: str, *, probes: int = 0
    ) -> None:
        self.store.set_sender(account, sender, status=status, probes=probes)

    async def set_campaign(self, account: int, campaign: int, status: str) -> None:
        self.store.set_campaign(account, campaign, status=status)

    async def enroll(
        self,
        account: int | str | None,
        campaign: str,
        contact: int | str | None,
        **columns: Any,
    ) -> int:
        return self.store.enroll(account, campaign, contact, **columns)

    async def event(self, account: int | None, kind: str | None, **columns: Any) -> int:
        return self.store.event(account, kind, **columns)

    async def record_usage(self, account_key: str, source: str, n: int) -> None:
        self.store.record_usage(account_key, source, n)

    async def add_quote(self, account: int, quote_id: str, quote: Quote) -> None:
        self.store.add_quote(account, quote_id, quote)

    async def deposit(self, account: int, amount: str) -> None:
        self.store.deposit(account, amount)

    async def sink_rule(
        self, like: str, answer: str, *, times: int | None = None, account_id: int = 0
    ) -> None:
        self.store.sink_rule(like, answer, times=times, account_id=account_id)

    async def close_task(self, account: int, task: int, state: str) -> None:
        self.store.close_task(account, task, state)

    async def snooze_task(
        self, account: int, task: int, until: Instant | None, by: str
    ) -> None:
        self.store.snooze_task(account, task, until, by)

    async def publish(
        self,
        account: int,
        definition: Definition,
        *,
        terminate: bool = False,
        migration: Migration | None = None,
    ) -> int:
        made = self.store.add_campaign(
            account, definition, terminate=terminate, migration=migration
        )
        if migration is None:
            return 0
        return self.store.migrate_rest(account, made, migration)

    async def migrate_rest(self, account: int, campaign: int, migration: Migration) -> int:
        live = self.store._tables.campaigns[account, campaign].live_cv_id or 0
        return self.store.migrate_rest(account, Published(campaign, live), migration)

    async def stop(self, account: int, enrollments: Sequence[int]) -> None:
        self.store.stop_runs(account, enrollments)

    async def enrollments(self) -> list[Row]:
        return self.store.enrollments()

    async def deliveries(self) -> list[Row]:
        return self.store.deliveries()

    async def step_runs(self) -> list[Row]:
        return self.store.step_runs()

    async def journal(self) -> list[Row]:
        return self.store.journal()

    async def cap_usage(self) -> list[Row]:
        return self.store.cap_usage()

    async def requests(self) -> list[Row]:
        return self.store.requests()

    async def event_log(self) -> list[Row]:
        return self.store.event_log()

    async def event_queue(self) -> list[Row]:
        return self.store.event_queue()

    async def tasks(self) -> list[Row]:
        return self.store.task_rows()

    async def notifications(self) -> list[Row]:
        return self.store.notifications()

    async def sink_messages(self) -> list[Row]:
        return self.store.sink_messages

    async def due_steps(self) -> list[Row]:
        return self.store.due_steps()

    async def kept_messages(self) -> list[Row]:
        return [asdict(one) for one in self.store._tables.kept]

    async def late_evidence(self) -> list[Row]:
        return self.store.late_evidence()

    async def meters(self) -> list[Row]:
        return self.store.meters

    async def ledger(self) -> list[Row]:
        return self.store.ledger

    @asynccontextmanager
    async def lock_rows(self, enrollments: Sequence[int]) -> AsyncIterator[None]:
        with self.store.lock_rows(enrollments):
            yield

    @asynccontextmanager
    async def lock_days(self, accounts: Sequence[int]) -> AsyncIterator[None]:
        with self.store.lock_days(accounts):
            yield

    @asynccontextmanager
    async def lock_inbox(self, account: int) -> AsyncIterator[None]:
        with self.store.lock_inbox([account]):
            yield

    def fail_next(self, unit: str, loss: Literal["before", "after"]) -> None:
        self.store.fail_next(unit, loss)

    async def silence(self, incarnation: int) -> None:
        self.store.silence(incarnation, HOUR)

    async def drain(self, incarnation: int) -> None:
        self.store.drain(incarnation)

    async def age_claims(self) -> None:
        self.store.age_claims(HOUR)


@trio_fixture
async def world() -> MemoryWorld:
    return MemoryWorld()


class TestMemoryStore(Conformance):
    """The suite itself."""


async def scene_of(world: MemoryWorld) -> Scene:
    return await open_scene(world)


@pytest.mark.trio
async def test_a_database_that_is_away_has_no_effect(world: MemoryWorld) -> None:
    scene = await scene_of(world)
    await world.enroll("acme", "c", await scene.contact())
    world.store.away = True
    with pytest.raises(StoreUnavailable):
        await scene.admit()
    with pytest.raises(StoreUnavailable):
        await world.store.look(Spans())
    world.store.away = False

    assert len((await scene.admit()).started) == 1


@pytest.mark.trio
@pytest.mark.parametrize("loss", ["before", "after"])
async def test_any_unit_can_lose_its_acknowledgement(
    world: MemoryWorld, loss: Literal["before", "after"]
) -> None:
    scene = await scene_of(world)
    await world.enroll("acme", "c", await scene.contact())
    world.store.fail_next("admit", loss)
    with pytest.raises(InDoubt):
        await scene.admit()

    assert len(await world.enrollments()) == (loss == "after")
    assert len((await scene.admit()).started) == (loss == "before")
    assert len(await world.due_steps()) == 1


@pytest.mark.trio
async def test_rules_of_the_sink_count_down_to_nothing(world: MemoryWorld) -> None:
    await trio.lowlevel.checkpoint()

    with pytest.raises(StoreError):
        world.store.sink_rule("%", "permanent", times=-1)


@pytest.mark.trio
async def test_an_event_of_a_list_without_end_is_an_event_of_none(world: MemoryWorld) -> None:
    account = await world.add_account("acme")
    contact = world.store.add_contact(account, external_id="ann")
    world.store.event(
        account, "list_added", contact_id=contact, payload={"list_id": float("inf")}
    )
    done = await world.store.digest(account, 10, lambda *_: [], -1)

    assert done is not None
    assert 2 == done.taken


@pytest.mark.trio
async def test_a_unit_gives_up_on_a_lock_that_is_not_released(
    world: MemoryWorld, autojump_clock: trio.testing.MockClock
) -> None:
    scene = await scene_of(world)
    leased = (await scene.take())[0]
    with world.store.lock_rows([leased.enrollment_id]), pytest.raises(StoreUnavailable):
        await scene.record(scene.goes_on(leased))

    assert trio.current_time() >= LOCK_TIMEOUT_S
    assert (await scene.run())["status"] == "executing"


@pytest.mark.trio
async def test_a_record_with_a_refund_waits_for_the_day(world: MemoryWorld) -> None:
    scene = await scene_of(world)
    leased = (await scene.take())[0]
    async with trio.open_nursery() as nursery:
        with world.store.lock_days([scene.account]):
            nursery.start_soon(scene.record, scene.tries_again(leased))
            await world.pause()
            assert await scene.used() == 1

    assert await scene.used() == 0


@pytest.mark.trio
async def test_a_cancelled_unit_is_delivered_or_did_not_happen(world: MemoryWorld) -> None:
    scene = await scene_of(world)
    await world.enroll("acme", "c", await scene.contact())
    with trio.CancelScope() as before:
        before.cancel()
        await scene.admit()
    assert await world.enrollments() == []

    done = None
    with trio.CancelScope() as during:

        def decide(rows: Any, now: Instant) -> Any:
            during.cancel()
            return start_all(scene.lane)(rows, now)

        done = await scene.admit(decide)

    assert done is not None
    assert len(done.started) == len(await world.enrollments()) == 1


@pytest.mark.trio
async def test_units_take_effect_at_one_point(world: MemoryWorld) -> None:
    """Two daemons ask for the same steps at the same moment: each step has one holder."""
    scene = await scene_of(world)
    keys = await scene.enroll(20)
    await world.store.join(2002, "other", "0")
    granted: list[int] = []

    async def take(incarnation: int) -> None:
        result = await scene.lease(keys, incarnation=incarnation)
        granted.extend(leased.enrollment_id for leased in result.granted)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, 1001)
        nursery.start_soon(take, 2002)

    assert sorted(granted) == [key.enrollment_id for key in keys]


@pytest.mark.trio
async def test_what_a_contact_was_sent_is_found_without_a_look_at_others(
    world: MemoryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation of 2,000 runs with a frequency spent two thirds of its time there."""
    scene = await open_scene(world)
    first, *_ = await scene.take(3)
    later = replace(scene.goes_on(first).next, due_at=T0)
    moved = (await scene.record(scene.goes_on(first, next=later))).moved
    tables = world.store._tables
    large = {id(table) for table in (tables.runs, tables.step_log, tables.due)}
    walk = Table.__iter__

    def once_each(table: Table[Any, Any]) -> Any:
        assert id(table) not in large, "the whole of it is read"
        return walk(table)

    monkeypatch.setattr(Table, "__iter__", once_each)
    (again,) = (await scene.lease(moved, mask=MAIL | Needs.SENT)).granted

    assert [(first.enrollment_id, first.seq, T0)] == list(again.sent)
