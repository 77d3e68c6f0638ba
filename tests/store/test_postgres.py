"""`PostgresStore` does what every store does: the suite on a real server.

The doors are plain SQL, as other systems write it; locks are other connections' transactions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal, TypeVar

import asyncpg
import pytest
import trio
from pytest_trio import trio_fixture

from dripd.campaigns.definition import Content, Definition
from dripd.campaigns.enrollment import DueKey, RunStatus
from dripd.campaigns.migration import Migration
from dripd.clock import Instant
from dripd.errors import Conflict, InDoubt, StoreError, StoreUnavailable
from dripd.policy.admission_rows import Quote
from dripd.spans import Spans
from dripd.store import unit_lease
from dripd.store.bridge import Bridge
from dripd.store.connect import copy_rows, prepare_desk
from dripd.store.desk_file import end_all
from dripd.store.desk_migrate import migrate_runs
from dripd.store.desk_run import stop_rows
from dripd.store.postgres import PostgresStore
from dripd.store.protocol import LeaseGroup, LeaseKey
from dripd.store.statements import sql
from dripd.store.unit_record import LOG_COLUMNS
from tests.store.conformance import Conformance
from tests.store.suite_admit import queue_all
from tests.store.world import (
    MAIL,
    NODE,
    T0,
    TODAY,
    Row,
    Scene,
    World,
    campaign,
    ends,
    open_scene,
    start_all,
)

T = TypeVar("T")

pytestmark = pytest.mark.slow  # a database and ten connections for each


class LossyBridge(Bridge):
    """A bridge that loses the answer of the next crossing, before its commit or after."""

    loss: Literal["before", "after"] | None = None

    async def run(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        loss, self.loss = self.loss, None
        if loss == "before":
            raise InDoubt("the connection was lost before the commit")
        result = await super().run(fn, *args)
        if loss == "after":
            raise InDoubt("the connection was lost after the commit")
        return result


class PostgresWorld(World):
    """Doors and views in SQL, on a connection of the tests' own."""

    store: PostgresStore

    def __init__(self, bridge: LossyBridge, dsn: str) -> None:
        self.bridge = bridge
        self.dsn = dsn
        self.store = PostgresStore(bridge, dsn)
        self.conn: Any = None

    async def open(self) -> None:
        self.conn = await self.bridge.run(self._connect)
        await self.run("INSERT INTO dripd.clock (at) VALUES ($1)", T0)
        await self.store.open()

    async def close(self) -> None:
        await self.store.close()
        await self.bridge.run(self.conn.close)

    async def _connect(self) -> Any:
        conn = await asyncpg.connect(self.dsn)
        await prepare_desk(conn)
        return conn

    async def run(self, statement: str, *args: Any) -> list[Row]:
        rows = await self.bridge.run(self.conn.fetch, statement, *args)
        return [dict(row) for row in rows]

    async def one(self, statement: str, *args: Any) -> Any:
        return await self.bridge.run(self.conn.fetchval, statement, *args)

    async def insert(self, table: str, columns: Row) -> Any:
        """Insert one row with these columns; returns its id."""
        names = ", ".join(columns)
        places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
        statement = f"INSERT INTO dripd.{table} ({names}) VALUES ({places}) RETURNING id"
        return await self.one(statement, *columns.values())

    async def set_now(self, at: Instant) -> None:
        await self.run("UPDATE dripd.clock SET at = $1", at)

    async def pause(self) -> None:
        await trio.sleep(0.1)

    async def spoil_contact(self, account: int, contact: int) -> None:
        deep = f'{{"a": {"[" * 3_000}{"]" * 3_000}}}'
        await self.run(
            "UPDATE dripd.contact SET attrs = $3::text::jsonb WHERE account_id = $1 AND id = $2",
            *(account, contact, deep),
        )

    async def add_plan(self, key: str, cap: int | None) -> None:
        await self.run(
            "INSERT INTO dripd.plan (key, daily_email_cap) VALUES ($1, $2)", key, cap
        )

    async def add_account(self, key: str, *, plan: str = "unlimited") -> int:
        return int(await self.insert("account", {"key": key, "plan": plan}))

    async def set_account(self, account: int, **columns: object) -> None:
        for name, value in columns.items():
            await self.run(
                f"UPDATE dripd.account SET {name} = $2 WHERE id = $1", account, value
            )

    async def add_sender(self, account: int, address: str) -> int:
        return int(await self.insert("sender", {"account_id": account, "address": address}))

    async def add_operator(self, account: int, name: str, role: str) -> None:
        await self.run("INSERT INTO dripd.operator VALUES ($1, $2, $3)", account, name, role)

    async def add_connector(self, account: int, key: str, url: str, secret: str) -> None:
        await self.run(
            "INSERT INTO dripd.connector VALUES ($1, $2, $3, $4)", account, key, url, secret
        )

    async def set_template(self, account: int, key: str, content: Content) -> None:
        await self.run(
            "INSERT INTO dripd.template (account_id, key, subject, text, html)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id, key) DO UPDATE"
            " SET subject = excluded.subject, text = excluded.text, html = excluded.html",
            account,
            key,
            *content.as_raw().values(),
        )

    async def declare_field(self, account: int, key: str, of_type: str) -> None:
        scope, dot, name = key.partition(".")
        await self.run(
            "INSERT INTO dripd.field (account_id, key, type, target) VALUES ($1, $2, $3, $4)",
            account,
            name if dot else key,
            of_type,
            scope if dot else "contact",
        )

    async def attach(self, account: int, data: bytes) -> str:
        name = sha256(data).hexdigest()
        for part in range(0, len(data), 4):
            await self.run(
                "INSERT INTO dripd.attachment VALUES ($1, $2, $3, $4, $5)",
                *(account, name, part, len(data), data[part : part + 4]),
            )
        return name

    async def add_company(self, account: int, attrs: Row) -> int:
        return int(await self.insert("company", {"account_id": account, "attrs": attrs}))

    async def add_contact(self, account: int, **columns: Any) -> int:
        return int(await self.insert("contact", {"account_id": account, **columns}))

    async def set_company(self, account: int, company: int, **attrs: object) -> None:
        await self.run(
            "UPDATE dripd.company SET attrs = attrs || $3 WHERE account_id = $1 AND id = $2",
            account,
            company,
            attrs,
        )

    async def set_attrs(self, account: int, contact: int, **attrs: object) -> None:
        await self.run(
            "UPDATE dripd.contact SET attrs = attrs || $3 WHERE account_id = $1 AND id = $2",
            account,
            contact,
            attrs,
        )

    async def set_employer(self, account: int, contact: int, company: int) -> None:
        await self.run(
            "UPDATE dripd.contact SET company_id = $3 WHERE account_id = $1 AND id = $2",
            account,
            contact,
            company,
        )

    async def set_email(self, account: int, contact: int, email: str) -> None:
        await self.run(
            "UPDATE dripd.contact SET email = $3 WHERE account_id = $1 AND id = $2",
            account,
            contact,
            email,
        )

    async def erase_contact(self, account: int, contact: int) -> None:
        await self.run("SELECT dripd.erase_contact($1)", contact)

    async def tag(self, account: int, contact: int, tag: str) -> None:
        await self.run(
            "INSERT INTO dripd.contact_tag (account_id, contact_id, tag) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING",
            account,
            contact,
            tag,
        )

    async def untag(self, account: int, contact: int, tag: str) -> None:
        await self.run(
            "DELETE FROM dripd.contact_tag"
            " WHERE account_id = $1 AND contact_id = $2 AND tag = $3",
            account,
            contact,
            tag,
        )

    async def list_add(self, account: int, contact: int, key: str) -> None:
        await self.run(
            "INSERT INTO dripd.contact_list (account_id, key) VALUES ($1, $2)"
            " ON CONFLICT DO NOTHING",
            account,
            key,
        )
        await self.run(
            "INSERT INTO dripd.list_member (account_id, list_id, contact_id)"
            " SELECT account_id, id, $3 FROM dripd.contact_list"
            " WHERE account_id = $1 AND key = $2 ON CONFLICT DO NOTHING",
            account,
            key,
            contact,
        )

    async def list_remove(self, account: int, contact: int, key: str) -> None:
        await self.run(
            "DELETE FROM dripd.list_member AS m USING dripd.contact_list AS l"
            " WHERE l.account_id = $1 AND l.key = $2 AND m.account_id = $1"
            " AND m.list_id = l.id AND m.contact_id = $3",
            account,
            key,
            contact,
        )

    async def suppress(
        self, account: int, channel: str, address: str, *, expires_at: Instant | None = None
    ) -> None:
        await self.run(
            "INSERT INTO dripd.suppression (account_id, channel, address, expires_at)"
            " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            account,
            channel,
            address,
            expires_at,
        )

    async def add_campaign(self, account: int, definition: Definition) -> tuple[int, int]:
        key = definition.campaign
        number = await self.insert(
            "campaign",
            {"account_id": account, "key": key, "name": key, "status": "active"},
        )
        return number, await self._add_version(account, number, definition, 1)

    async def _add_version(
        self, account: int, number: int, definition: Definition, version: int
    ) -> int:
        cv: int = await self.insert(
            "campaign_version",
            {
                "account_id": account,
                "campaign_id": number,
                "campaign_key": definition.campaign,
                "version": version,
                "definition": dict(definition.raw),
                "shared": {key: one.as_raw() for key, one in definition.shared.items()},
            },
        )
        for at, step in enumerate(definition.steps):
            await self.run(
                "INSERT INTO dripd.version_step (account_id, cv_id, step_no, key, kind)"
                " VALUES ($1, $2, $3, $4, $5)",
                account,
                cv,
                at,
                step.key,
                step.kind,
            )
        await self.run("UPDATE dripd.campaign SET live_cv_id = $2 WHERE id = $1", number, cv)
        return cv

    async def set_sender(
        self, account: int, sender: int, status: str, *, probes: int = 0
    ) -> None:
        await self.run(
            "UPDATE dripd.sender SET status = $2, probes = $3 WHERE id = $1",
            *(sender, status, probes),
        )

    async def set_campaign(self, account: int, campaign: int, status: str) -> None:
        await self.run("UPDATE dripd.campaign SET status = $2 WHERE id = $1", campaign, status)

    async def enroll(
        self,
        account: int | str | None,
        campaign: str,
        contact: int | str | None,
        **columns: Any,
    ) -> int:
        named: Row = {"campaign_key": campaign, **columns}
        named["account_key" if isinstance(account, str) else "account_id"] = account
        named["external_id" if isinstance(contact, str) else "contact_id"] = contact
        return int(await self.insert("enroll_request", named))

    async def event(self, account: int | None, kind: str | None, **columns: Any) -> int:
        return int(
            await self.insert("event_in", {"account_id": account, "kind": kind, **columns})
        )

    async def record_usage(self, account_key: str, source: str, n: int) -> None:
        await self.insert("usage_in", {"account_key": account_key, "source": source, "n": n})

    async def add_quote(self, account: int, quote_id: str, quote: Quote) -> None:
        columns = {"account_id": account, "id": quote_id, **quote._asdict()}
        await self.run(
            "INSERT INTO dripd.quote (account_id, id, campaign_id, contact_id, total) "
            "VALUES ($1, $2, $3, $4, $5)",
            *columns.values(),
        )

    async def deposit(self, account: int, amount: str) -> None:
        columns = {"account_id": account, "kind": "deposit", "amount": Decimal(amount)}
        await self.insert("ledger", columns)

    async def sink_rule(
        self, like: str, answer: str, *, times: int | None = None, account_id: int = 0
    ) -> None:
        columns = {
            "recipient_like": like, "answer": answer, "times": times, "account_id": account_id
        }  # fmt: skip
        await self.insert("sink_rule", columns)

    async def close_task(self, account: int, task: int, state: str) -> None:
        where = f"account_id = {account} AND id = {task}"
        await self.run(f"UPDATE dripd.task SET state = '{state}' WHERE {where}")

    async def snooze_task(
        self, account: int, task: int, until: Instant | None, by: str
    ) -> None:
        await self.run(sql("snooze_task"), account, task, until, by)

    async def publish(
        self,
        account: int,
        definition: Definition,
        *,
        terminate: bool = False,
        migration: Migration | None = None,
    ) -> int:
        row = await self._campaign(account, definition.campaign)
        in_flight = 0
        await self.run("BEGIN")
        try:
            cv = await self._add_version(account, row["id"], definition, 2)
            if terminate:
                await self.bridge.run(
                    end_all, self.conn, row, RunStatus.TERMINATED, "edited", "ann"
                )
            if migration is not None:
                in_flight = await self.bridge.run(migrate_runs, self.conn, row, cv, migration)
        except Conflict:
            await self.run("ROLLBACK")
            raise
        await self.run("COMMIT")
        return in_flight

    async def migrate_rest(self, account: int, campaign: int, migration: Migration) -> int:
        row = await self._campaign(account, migration.definition.campaign)
        return await self.bridge.run(migrate_runs, self.conn, row, row["live_cv_id"], migration)

    async def _campaign(self, account: int, key: str) -> Row:
        (row,) = await self.run(
            "SELECT * FROM dripd.campaign WHERE account_id = $1 AND key = $2", account, key
        )
        return row

    async def stop(self, account: int, enrollments: Sequence[int]) -> None:
        rows = await self.run(
            "SELECT account_id, id, campaign_id, contact_id, status FROM dripd.run"
            " WHERE account_id = $1 AND id = ANY ($2::int8[])",
            *(account, list(enrollments)),
        )
        await self.bridge.run(
            stop_rows, self.conn, rows, RunStatus.TERMINATED, "stopped", "ann"
        )

    async def enrollments(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.enrollment ORDER BY id")

    async def deliveries(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.delivery ORDER BY id")

    async def step_runs(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.step_run ORDER BY enrollment_id, seq")

    async def journal(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.journal")

    async def cap_usage(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.cap_usage ORDER BY account_id, local_date")

    async def requests(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.enroll_request ORDER BY id")

    async def event_log(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.event_log ORDER BY id")

    async def event_queue(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.event_in ORDER BY id")

    async def tasks(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.task ORDER BY id")

    async def notifications(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.notification ORDER BY id")

    async def sink_messages(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.sink_message ORDER BY id")

    async def due_steps(self) -> list[Row]:
        return await self.run(
            "SELECT *, claim_id IS NOT NULL AS leased FROM dripd.due_step ORDER BY enrollment_id"
        )

    async def meters(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.meter ORDER BY account_id, kind, period")

    async def ledger(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.ledger ORDER BY id")

    async def kept_messages(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.kept_message ORDER BY enrollment_id")

    async def late_evidence(self) -> list[Row]:
        return await self.run("SELECT * FROM dripd.late_evidence ORDER BY id")

    @asynccontextmanager
    async def others(self, statement: str, *args: Any) -> AsyncIterator[None]:
        """Somebody's transaction that has run *statement* and is not over."""
        other = await self.bridge.run(self._connect)
        try:
            await self.bridge.run(other.execute, "BEGIN")
            await self.bridge.run(other.fetch, statement, *args)
            yield
            await self.bridge.run(other.execute, "ROLLBACK")
        finally:
            with trio.CancelScope(shield=True):
                await self.bridge.run(other.close)

    def lock_rows(self, enrollments: Sequence[int]) -> Any:
        return self.others(
            "SELECT FROM dripd.due_step WHERE enrollment_id = ANY ($1::int8[]) FOR UPDATE",
            list(enrollments),
        )

    def lock_days(self, accounts: Sequence[int]) -> Any:
        return self.others(
            "SELECT FROM dripd.account_day WHERE account_id = ANY ($1::int4[]) FOR UPDATE",
            list(accounts),
        )

    def lock_inbox(self, account: int) -> Any:
        return self.others("SELECT pg_advisory_xact_lock(7235, $1)", account)

    def fail_next(self, unit: str, loss: Literal["before", "after"]) -> None:
        assert hasattr(self.store, unit)
        self.bridge.loss = loss

    async def silence(self, incarnation: int) -> None:
        await self.run(
            "UPDATE dripd.node SET beat_at = beat_at - interval '1 hour' WHERE incarnation = $1",
            incarnation,
        )

    async def drain(self, incarnation: int) -> None:
        await self.run("UPDATE dripd.node SET drain = true WHERE incarnation = $1", incarnation)

    async def age_claims(self) -> None:
        await self.run("UPDATE dripd.claim SET claimed_at = claimed_at - interval '1 hour'")


@trio_fixture
async def world(pg_dsn: str) -> AsyncIterator[PostgresWorld]:
    bridge = LossyBridge()
    async with bridge:
        made = PostgresWorld(bridge, pg_dsn)
        await made.open()
        yield made
        await made.close()


class TestPostgresStore(Conformance):
    """The suite itself."""


@pytest.mark.trio
async def test_a_lease_that_commits_late_dies_of_its_tombstone(world: PostgresWorld) -> None:
    """Nobody would own its claim, and nobody would ever look."""
    scene = await open_scene(world)
    key = (await scene.enroll(1))[0]
    claim = 4711
    await world.run(sql("settle_claim"), claim, NODE)
    group = LeaseGroup(
        scene.account, TODAY, [LeaseKey(key.lane, key.due_at, key.enrollment_id, MAIL)]
    )
    with pytest.raises(asyncpg.UniqueViolationError):
        await world.bridge.run(unit_lease.lease, world.conn, claim, NODE, [group], 0)

    assert await scene.used() == 0
    assert [row["leased"] for row in await world.due_steps()] == [False]
    await world.age_claims()
    assert await world.store.orphans(NODE, [], []) == []
    assert await world.run("SELECT FROM dripd.claim") == []


@pytest.mark.trio
async def test_a_move_of_a_locked_row_gives_up_in_time(world: PostgresWorld) -> None:
    """`lock_timeout` bounds the wait: the caller hears that the database is away."""
    scene = await open_scene(world)
    leased = (await scene.take())[0]
    async with world.lock_rows([leased.enrollment_id]):
        with pytest.raises(StoreUnavailable):
            await scene.record(scene.goes_on(leased))

    assert (await scene.run())["status"] == "executing"


@pytest.mark.trio
async def test_who_is_leased_while_the_others_pass_to_a_version_is_asked_again(
    world: PostgresWorld,
) -> None:
    scene = await open_scene(world)
    await scene.enroll()
    definition = campaign("c", ("one", "email"), ("three", "email"))
    plan = Migration(definition=definition, map={}, lane=lambda *_: scene.lane)
    left: list[int] = []

    async def publish() -> None:
        left.append(await world.publish(scene.account, definition, migration=plan))

    other = await world.bridge.run(world._connect)
    await world.bridge.run(other.execute, "BEGIN")
    await world.bridge.run(other.execute, "UPDATE dripd.due_step SET claim_id = 4711")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        await trio.sleep(0.3)
        await world.bridge.run(other.execute, "COMMIT")
    await world.bridge.run(other.close)

    assert left == [1]
    assert (await scene.run())["version"] == 1


async def waiting(world: PostgresWorld) -> tuple[Scene, DueKey]:
    """Who runs exclusively, and a request of the same contact."""
    scene = await open_scene(world)
    await world.enroll("acme", "c", await scene.contact())
    [key] = (await scene.admit(start_all(scene.lane, exclusive="account"))).started
    await scene.clear_events()
    await world.enroll("acme", "c", scene.contacts[0])
    return scene, key


@pytest.mark.trio
async def test_nobody_waits_for_a_run_that_is_about_to_end(world: PostgresWorld) -> None:
    scene, key = await waiting(world)
    await world.run("BEGIN")
    await world.run(sql("end_runs"), [key.account_id], [key.enrollment_id], [2], ["completed"])
    await scene.admit(queue_all("account"))
    await world.run("COMMIT")

    assert (await world.store.look(Spans())).requests


@pytest.mark.trio
async def test_the_end_of_a_run_finds_who_comes_to_wait_for_it(world: PostgresWorld) -> None:
    scene, key = await waiting(world)
    leased = (await scene.lease([key])).granted[0]
    asked = (await world.requests())[-1]["id"]
    ended = trio.Event()

    async def end() -> None:
        await scene.record(ends(leased))
        ended.set()

    await world.run("BEGIN")
    await world.run(
        sql("queue_requests"), [asked], [scene.account], [scene.contacts[0]], ["account"]
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        await trio.sleep(0.3)
        waits = not ended.is_set()
        await world.run("COMMIT")

    assert waits
    assert (await world.store.look(Spans())).requests


@pytest.mark.trio
async def test_an_admission_waits_for_the_version_that_is_being_published(
    world: PostgresWorld,
) -> None:
    """A run must not slip in on the version that has just been replaced; who asks for another
    campaign is not kept waiting: a publication may last, and who carries it out may be frozen."""
    scene = await open_scene(world)
    _, other = await world.add_campaign(scene.account, campaign("d", ("one", "email")))
    late = await scene.contact("late")
    await world.enroll(scene.account, "c", late)
    await world.enroll(scene.account, "d", late)
    new = await world.one(
        "INSERT INTO dripd.campaign_version (account_id, campaign_id, campaign_key, version, definition)"
        " SELECT account_id, campaign_id, campaign_key, 2, definition FROM dripd.campaign_version"
        " WHERE campaign_key = 'c' RETURNING id"
    )
    async with world.others("SELECT FROM dripd.campaign WHERE key = 'c' FOR UPDATE"):
        with trio.fail_after(3):
            meanwhile = await scene.admit()
    await world.run("UPDATE dripd.campaign SET live_cv_id = $1 WHERE key = 'c'", new)
    afterwards = await scene.admit()

    assert (2, 1, 1) == (meanwhile.taken, meanwhile.decided, meanwhile.shut)
    assert (1, 1, 0) == (afterwards.taken, afterwards.decided, afterwards.shut)
    assert [{"cv_id": other}, {"cv_id": new}] == await world.run(
        "SELECT cv_id FROM dripd.run ORDER BY id"
    )


@pytest.mark.trio
async def test_publishing_waits_for_an_open_admission(world: PostgresWorld) -> None:
    """Else it would end the live runs before the one that the admission begins is there."""
    scene = await open_scene(world)
    statement, campaign = sql("lock_campaign"), (scene.account, scene.campaign)
    await world.run("SET lock_timeout = 100")
    async with world.others(sql("share_campaigns"), [scene.account], ["c"]):
        with pytest.raises(asyncpg.LockNotAvailableError):
            await world.run(statement, *campaign)

    assert 1 == len(await world.run(statement, *campaign))


@pytest.mark.trio
async def test_whoever_reads_the_history_for_long_holds_up_no_sweep(
    world: PostgresWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup: what else a sweep does is done, and partitions are dropped after it."""
    months = "SELECT count(*) FROM pg_class WHERE relname = 'step_log_2000_01'"
    await world.run(
        "CREATE TABLE dripd.step_log_2000_01 PARTITION OF dripd.step_log"
        " FOR VALUES FROM ('2000-01-01') TO ('2000-02-01')"
    )
    await world.run("ALTER TABLE dripd.step_log_2000_01 OWNER TO dripd_owner")
    async with world.others("SELECT FROM dripd.step_log LIMIT 1"):
        await world.store.sweep(30)
    await world.store.sweep(30)
    rests = await world.one(months)
    monkeypatch.setattr(world.store, "_tends_from", 0.0)
    await world.store.sweep(30)

    assert (1, 0) == (rests, await world.one(months))


@pytest.mark.trio
async def test_a_log_row_that_cannot_be_written_is_told_as_a_bad_value(
    world: PostgresWorld,
) -> None:
    """What the driver itself cannot write it raises as Python does."""
    good = (1, 1, 1, T0, T0, T0, 1, 1, 1, 0, 1, 1, 1, 1, None, "a@x.test", "Hi", "p", None)
    for place, bad in ((16, "half \ud800"), (9, 70_000)):
        row = (*good[:place], bad, *good[place + 1 :])

        with pytest.raises(StoreError, match="does not fit") as caught:
            await world.bridge.run(copy_rows, world.conn, "step_log", LOG_COLUMNS, [good, row])

        assert caught.value.code == "bad_value"
        assert await world.one("SELECT count(*) FROM dripd.step_log") == 0
