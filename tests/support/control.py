"""The control side as a client sees it, on a real database, without a socket or an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from dripd.admin.catalogue import bind
from dripd.admin.messages import Call, Table, decode, split
from dripd.admin.roles import Role
from dripd.campaigns.enrollment import (
    Change,
    LaneKey,
    Leased,
    LogRow,
    LogState,
    Next,
)
from dripd.campaigns.event import Accepted, Outcome
from dripd.clock import Instant, Millis, format_instant
from dripd.daemon.control import handlers
from dripd.daemon.control_room import Hooks
from dripd.engine.individual import Wish
from dripd.policy.admission import Rehearsal
from dripd.policy.admission_rows import RequestRow
from dripd.store.bridge import Bridge
from dripd.store.desk import Desk
from dripd.store.desk_console import read_glance
from dripd.store.desk_estimate import read_campaigns
from dripd.store.desk_tally import read_statistics

LANE = LaneKey(1, 1, "email", "", "account")

WELCOME = """
campaign: welcome
account: acme
name: Welcome
sender: sales@acme.test
triggers:
  - {on: list_added, list: new-leads}
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
  - {key: nudge, do: email, delay: 3d, subject: Still there, text: Well}
"""


class PlainJudge:
    """Every step comes up an hour after the one before it, in one lane; none ends a run."""

    def skipped(self, leased: Leased, now: Instant) -> Change:
        log = LogRow(
            seq=leased.seq,
            step_no=leased.step_no,
            state=LogState.SKIPPED,
            at=now,
            reason="cancelled",
        )
        following = Next(
            due_at=Instant(now + 3_600_000),
            lane=LANE,
            step_no=leased.step_no + 1,
            seq=leased.seq + 1,
        )
        return Change(leased=leased, log=[log], next=following)

    def lane(self, leased: Leased) -> LaneKey:
        return LANE


@dataclass
class Control:
    """Calls methods as a client does; `seen` holds what the hooks were asked."""

    table: Table
    desk: Desk
    bridge: Bridge
    seen: dict[str, list[Any]] = field(default_factory=dict)

    async def do(self, method: str, /, **params: Any) -> Any:
        """Call *method*; `user` and `role_` say as whom. A `_` behind a name is dropped."""
        user, role = params.pop("user", "root"), params.pop("role_", Role.ADMIN)
        promise = params.pop("promise", None)
        envelope, own = split({key.removesuffix("_"): v for key, v in params.items()})
        found = self.table[method]
        call = Call(
            method=method, uid=0, pid=1, user=user, role=role, why="a test",
            as_name=envelope.as_name, request_id=envelope.request_id, reason=envelope.reason,
            dry_run=envelope.dry_run, yes=envelope.yes, expect=envelope.expect,
            promise=promise,
        )  # fmt: skip
        return await found.handler(call, decode(found.spec.params, own))

    async def one(self, query: str, *args: object) -> Any:
        """One value from the database."""
        return await self.desk.run(lambda conn: conn.fetchval(query, *args))

    async def rows(self, query: str, *args: object) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = await self.desk.run(
            lambda conn: conn.fetch(query, *args)
        )
        return found

    async def hold(
        self, query: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """A transaction of somebody else's that has done *query*, and commits a moment later."""

        def started() -> None:
            task_status.started()

        async def unit(conn: Any) -> None:
            await conn.execute(query)
            self.bridge.to_trio(started)
            await conn.execute("SELECT pg_sleep(0.1)")

        await self.desk.run(unit)

    async def apply(self, text: str = WELCOME, **more: Any) -> Any:
        documents = [{"filename": "a.yaml", "text": text}]
        return await self.do("campaign.apply", documents=documents, **more)

    async def furnish(self, *contacts: str) -> None:
        """Account acme with a sender, a list, contacts, and campaign welcome, active."""
        await self.do("account.set", key="acme")
        await self.do("sender.set", address="sales@acme.test")
        await self.do("list.set", key="new-leads")
        for contact in contacts:
            await self.do("contact.add", external_id=contact, email=f"{contact}@x.test")
        await self.apply()
        await self.do("campaign.activate", key="welcome")

    async def start(self, contact: str, campaign: str = "welcome", **more: Any) -> int:
        """A live run as admit makes it, waiting at its first step; its id."""
        columns = {"lane": 0, "due_in": "1 hour", "hold": None, "claim": None} | more
        return int(await self.one(START, contact, campaign, *columns.values()))


START = """
WITH started AS (
    INSERT INTO dripd.run (account_id, campaign_id, contact_id, cv_id, run_no, started_at,
        reentry, hold_reason)
    SELECT c.account_id, c.id, k.id, c.live_cv_id,
        1 + (SELECT count(*) FROM dripd.run AS o
            WHERE o.contact_id = k.id AND o.campaign_id = c.id),
        dripd.now(), 1, $5::text
    FROM dripd.campaign AS c
    JOIN dripd.contact AS k ON k.account_id = c.account_id AND k.external_id = $1::text
    WHERE c.key = $2::text
    RETURNING account_id, id, contact_id, cv_id, run_no
)
INSERT INTO dripd.due_step (account_id, lane, due_at, enrollment_id, contact_id, cv_id, run_no,
    claim_id)
SELECT account_id, $3::int2, dripd.now() + $4::text::interval, id, contact_id, cv_id, run_no,
    $6::int8
FROM started
RETURNING enrollment_id
"""


@asynccontextmanager
async def open_control(dsn: str, **more: Any) -> AsyncIterator[Control]:
    """Every method on the database of *dsn*, with hooks that only note what they are asked, and
    *more* of them."""
    seen: dict[str, list[Any]] = {"kick": [], "sent": [], "clock": [], "acted": []}

    async def fill(wish: Wish) -> Wish:
        return replace(wish, text=wish.text.replace("{First Name}", "Ann"))

    async def send(wish: Wish) -> tuple[str, Outcome]:
        seen["sent"].append(wish)
        return "i-1", Accepted()

    async def test_send(**wish: Any) -> Mapping[str, object]:
        seen["sent"].append(wish)
        return {"state": "accepted", "provider_id": None, "reason": None}

    async def set_clock(to: Instant) -> Mapping[str, object]:
        seen["clock"].append(to)
        return {"mode": "manual", "now": format_instant(to), "visited": 0}

    async def tell_stats(desk: Desk, _call: Call, args: Any) -> Mapping[str, object]:
        return (await desk.run(read_statistics, args)).result

    async def rehearse(_row: RequestRow, _now: Instant) -> Rehearsal:
        return Rehearsal(None, [])

    async def judge(_cv_ids: Sequence[int]) -> PlainJudge:
        return PlainJudge()

    async def glance() -> tuple[Mapping[str, object], None]:
        return await desk.run(read_glance), None

    async def campaigns() -> tuple[Mapping[str, object], None]:
        return await desk.run(read_campaigns), None

    hooks = Hooks(
        node="here",
        status=lambda: {"state": "running", "version": "0"},
        ready=lambda: {"ready": True, "checks": []},
        events=lambda _after, _limit, _wanted: ([], 0, 0),
        reload=lambda: {"changed": False},
        trace=lambda: {"tasks": []},
        figures=lambda: {"state": "running", "env": "test", "sent_per_s": 1.5, "history": []},
        kick=lambda: seen["kick"].append(True),
        fill_individual=fill,
        send_individual=send,
        send_test=test_send,
        stats=tell_stats,
        glance=glance,
        campaigns=campaigns,
        clock_set=set_clock,
        judge=judge,
        rehearse=rehearse,
        holidays=lambda _name: frozenset(),
        calendars=lambda: frozenset({"DE", "DE-BE"}),
        margin=lambda: Millis(2_000),
        acted=lambda call, deed: seen["acted"].append((call.method, deed.target, call.actor)),
        **more,
    )
    async with Bridge() as bridge:
        desk = Desk(bridge, dsn)
        await desk.open()
        try:
            yield Control(bind(handlers(desk, hooks=hooks)), desk, bridge, seen)
        finally:
            await desk.close()
