"""What the conformance suite needs beside a `Store`: doors, views, plays - for either store.

`Scene` is one account with a campaign on which most stories are played.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from dripd.campaigns.action import CallOut, Effect, MakeTask
from dripd.campaigns.definition import Content, Definition, Match, Step
from dripd.campaigns.enrollment import (
    FLAG_WAITING,
    Change,
    DueKey,
    End,
    LaneClass,
    LaneKey,
    Leased,
    LogRow,
    LogState,
    Needs,
    Next,
    RunStatus,
)
from dripd.campaigns.migration import Migration
from dripd.clock import DAY, HOUR, Instant, parse_instant
from dripd.policy.admission_rows import Accept, Decision, Quote, Reject, RequestRow
from dripd.store.protocol import (
    Admitted,
    DayRow,
    Decide,
    LeaseGroup,
    LeaseKey,
    LeaseResult,
    Recorded,
    Store,
)

Row = dict[str, Any]

T0 = parse_instant("2026-01-05T12:00:00Z")
TODAY = date(2026, 1, 5)
TOMORROW = date(2026, 1, 6)

NODE = 1001
"""The daemon that acts unless a test says otherwise."""

REPLY, BOUNCE, INTERACTION, TAG_ADDED, LIST_ADDED = 1, 8, 64, 512, 2048
EVERY_KIND = (1 << 16) - 1

MAIL = REPLY | Needs.EMAIL | Needs.COUNTED
"""The mask of an email under the plan's cap, in a campaign that ends on reply."""


class World(ABC):
    """A store and everything around it that is not the store's."""

    store: Store

    @abstractmethod
    async def set_now(self, at: Instant) -> None: ...
    @abstractmethod
    async def pause(self) -> None:
        """Long enough for a unit that waits for nobody to be done."""

    # doors
    @abstractmethod
    async def add_plan(self, key: str, cap: int | None) -> None: ...
    @abstractmethod
    async def add_account(self, key: str, *, plan: str = "unlimited") -> int: ...
    @abstractmethod
    async def set_account(self, account: int, **columns: object) -> None: ...
    @abstractmethod
    async def add_sender(self, account: int, address: str) -> int: ...
    @abstractmethod
    async def add_operator(self, account: int, name: str, role: str) -> None: ...
    @abstractmethod
    async def add_connector(self, account: int, key: str, url: str, secret: str) -> None: ...
    @abstractmethod
    async def set_template(self, account: int, key: str, content: Content) -> None: ...
    @abstractmethod
    async def declare_field(self, account: int, key: str, of_type: str) -> None: ...
    @abstractmethod
    async def attach(self, account: int, data: bytes) -> str: ...
    @abstractmethod
    async def add_company(self, account: int, attrs: Row) -> int: ...
    @abstractmethod
    async def set_company(self, account: int, company: int, **attrs: object) -> None: ...
    @abstractmethod
    async def add_contact(self, account: int, **columns: Any) -> int: ...
    @abstractmethod
    async def set_attrs(self, account: int, contact: int, **attrs: object) -> None: ...
    @abstractmethod
    async def spoil_contact(self, account: int, contact: int) -> None:
        """Its attrs are what the database holds and nobody can read."""

    @abstractmethod
    async def set_email(self, account: int, contact: int, email: str) -> None: ...
    @abstractmethod
    async def set_employer(self, account: int, contact: int, company: int) -> None: ...
    @abstractmethod
    async def erase_contact(self, account: int, contact: int) -> None: ...
    @abstractmethod
    async def tag(self, account: int, contact: int, tag: str) -> None: ...
    @abstractmethod
    async def untag(self, account: int, contact: int, tag: str) -> None: ...
    @abstractmethod
    async def list_add(self, account: int, contact: int, key: str) -> None: ...
    @abstractmethod
    async def list_remove(self, account: int, contact: int, key: str) -> None: ...
    @abstractmethod
    async def suppress(
        self, account: int, channel: str, address: str, *, expires_at: Instant | None = None
    ) -> None: ...
    @abstractmethod
    async def add_campaign(self, account: int, definition: Definition) -> tuple[int, int]: ...
    @abstractmethod
    async def set_sender(
        self, account: int, sender: int, status: str, *, probes: int = 0
    ) -> None: ...
    @abstractmethod
    async def set_campaign(self, account: int, campaign: int, status: str) -> None: ...
    @abstractmethod
    async def enroll(
        self,
        account: int | str | None,
        campaign: str,
        contact: int | str | None,
        **columns: Any,
    ) -> int: ...
    @abstractmethod
    async def event(self, account: int | None, kind: str | None, **columns: Any) -> int: ...
    @abstractmethod
    async def record_usage(self, account_key: str, source: str, n: int) -> None: ...
    @abstractmethod
    async def deposit(self, account: int, amount: str) -> None: ...
    @abstractmethod
    async def add_quote(self, account: int, quote_id: str, quote: Quote) -> None: ...
    @abstractmethod
    async def sink_rule(
        self, like: str, answer: str, *, times: int | None = None, account_id: int = 0
    ) -> None: ...

    @abstractmethod
    async def close_task(self, account: int, task: int, state: str) -> None: ...
    @abstractmethod
    async def snooze_task(
        self, account: int, task: int, until: Instant | None, by: str
    ) -> None: ...

    # the desk
    @abstractmethod
    async def publish(
        self,
        account: int,
        definition: Definition,
        *,
        terminate: bool = False,
        migration: Migration | None = None,
    ) -> int:
        """The next version of a campaign that is there; how many runs are in flight."""

    @abstractmethod
    async def migrate_rest(self, account: int, campaign: int, migration: Migration) -> int: ...
    @abstractmethod
    async def stop(self, account: int, enrollments: Sequence[int]) -> None: ...

    # views
    @abstractmethod
    async def enrollments(self) -> list[Row]: ...
    @abstractmethod
    async def deliveries(self) -> list[Row]: ...
    @abstractmethod
    async def step_runs(self) -> list[Row]: ...
    @abstractmethod
    async def journal(self) -> list[Row]: ...
    @abstractmethod
    async def cap_usage(self) -> list[Row]: ...
    @abstractmethod
    async def requests(self) -> list[Row]: ...
    @abstractmethod
    async def event_log(self) -> list[Row]: ...
    @abstractmethod
    async def event_queue(self) -> list[Row]: ...
    @abstractmethod
    async def tasks(self) -> list[Row]: ...
    @abstractmethod
    async def notifications(self) -> list[Row]: ...
    @abstractmethod
    async def sink_messages(self) -> list[Row]: ...
    @abstractmethod
    async def due_steps(self) -> list[Row]: ...
    @abstractmethod
    async def late_evidence(self) -> list[Row]: ...

    @abstractmethod
    async def kept_messages(self) -> list[Row]: ...

    @abstractmethod
    async def ledger(self) -> list[Row]: ...
    @abstractmethod
    async def meters(self) -> list[Row]: ...

    # plays
    @abstractmethod
    def lock_rows(self, enrollments: Sequence[int]) -> AbstractAsyncContextManager[None]: ...
    @abstractmethod
    def lock_days(self, accounts: Sequence[int]) -> AbstractAsyncContextManager[None]: ...
    @abstractmethod
    def lock_inbox(self, account: int) -> AbstractAsyncContextManager[None]: ...
    @abstractmethod
    def fail_next(self, unit: str, loss: Literal["before", "after"]) -> None: ...
    @abstractmethod
    async def silence(self, incarnation: int) -> None:
        """Its last heartbeat was an hour ago."""

    @abstractmethod
    async def drain(self, incarnation: int) -> None:
        """An operator drains it."""

    @abstractmethod
    async def age_claims(self) -> None:
        """Every claim was made an hour ago."""


def never(_rows: Sequence[RequestRow], _now: Instant) -> list[Decision]:
    """A decision for records without moves: nobody may ask for one."""
    raise AssertionError("nothing had to be decided")


def campaign(key: str, *steps: tuple[str, str], triggers: tuple[Match, ...] = ()) -> Definition:
    """A definition of steps (key, kind); one email if none are given."""
    made = [Step(key=name, kind=kind) for name, kind in steps or (("hello", "email"),)]
    raw = {"campaign": key, "steps": [{"key": step.key, "kind": step.kind} for step in made]}
    return Definition(
        campaign=key, account="acme", name=key, steps=tuple(made), triggers=triggers, raw=raw
    )


def start_all(lane: LaneKey, due_at: Instant = T0, **columns: Any) -> Decide:
    """Accept every request whose contact and campaign are known."""

    def decide(rows: Sequence[RequestRow], now: Instant) -> list[Decision]:
        return [_start(row, lane, due_at, now, columns) for row in rows]

    return decide


def _start(
    row: RequestRow, lane: LaneKey, due_at: Instant, now: Instant, columns: Row
) -> Decision:
    if row.cv_id is None or row.contact_id is None:
        return Reject(row, "unknown_contact" if row.cv_id else "unknown_campaign")
    given = {"reentry": None, "started_at": now, **columns}
    return Accept(request=row, cv_id=row.cv_id, due_at=due_at, lane=lane, **given)


def reject_all(reason: str) -> Decide:
    return lambda rows, _now: [Reject(row, reason) for row in rows]


@dataclass(slots=True)
class Scene:
    """An account `acme` with a campaign `c` of three emails, a day, and a daemon."""

    world: World
    account: int
    campaign: int
    cv: int
    runs: list[int] = field(default_factory=list)
    contacts: list[int] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.world.store

    @property
    def lane(self) -> LaneKey:
        return LaneKey(self.campaign, LaneClass.FIRST, "email", "", "account")

    @property
    def next_lane(self) -> LaneKey:
        return LaneKey(self.campaign, LaneClass.FOLLOW_UP, "email", "", "account")

    async def contact(self, name: str = "ann") -> int:
        contact = await self.world.add_contact(
            self.account, external_id=name, email=f"{name}@x.example", attrs={"first": name}
        )
        self.contacts.append(contact)
        return contact

    async def admit(self, decide: Decide | None = None, n: int = 100) -> Admitted:
        return await self.store.admit(n, decide or start_all(self.lane))

    async def enroll(self, n: int = 1, *, due_at: Instant = T0, **columns: Any) -> list[DueKey]:
        """*n* new contacts run; their events and requests are out of the way."""
        for _ in range(n):
            contact = await self.contact(f"p{len(self.contacts)}")
            await self.world.enroll(self.account, "c", contact, **columns)
        started = (await self.admit(start_all(self.lane, due_at))).started
        started.sort(key=lambda key: key.enrollment_id)
        self.runs += [key.enrollment_id for key in started]
        await self.clear_events()
        return started

    async def keys(self) -> list[DueKey]:
        """The due steps as they stand."""
        return [
            DueKey(row["account_id"], row["lane"], row["due_at"], row["enrollment_id"], self.cv)
            for row in await self.world.due_steps()
        ]

    async def clear_events(self) -> None:
        while (await self.digest()).taken:
            pass

    async def digest(self, *effects: Any, interest: int = EVERY_KIND) -> Any:
        return await self.store.digest(self.account, 100, lambda *_: list(effects), interest)

    async def lease(
        self,
        keys: Sequence[DueKey],
        *,
        mask: int = MAIL,
        day: date = TODAY,
        ahead_ms: int = 0,
        incarnation: int = NODE,
    ) -> LeaseResult:
        """Ask for *keys*, all of this account, with one mask."""
        wanted = [LeaseKey(key.lane, key.due_at, key.enrollment_id, mask) for key in keys]
        group = LeaseGroup(self.account, day, wanted)
        return await self.store.lease(incarnation, [group], ahead_ms)

    async def take(self, n: int = 1, **how: Any) -> list[Leased]:
        """Enroll *n* contacts and lease their first steps."""
        granted = (await self.lease(await self.enroll(n), **how)).granted
        granted.sort(key=lambda leased: leased.enrollment_id)

        assert len(granted) == n
        return granted

    async def record(
        self, *changes: Change, decide: Decide = never, closed: Sequence[int] = ()
    ) -> Recorded:
        return await self.store.record(changes, decide, closed)

    async def used(self, day: date = TODAY) -> int:
        """What the account's day row says of the cap."""
        rows = await self.world.cap_usage()
        return sum(
            row["n"]
            for row in rows
            if (row["account_id"], row["local_date"], row["source"])
            == (self.account, day, "program")
        )

    async def run(self, at: int = 0) -> Row:
        """The enrollment of the run that stands at *at* in `runs`."""
        rows = {row["id"]: row for row in await self.world.enrollments()}
        found: Row = rows[self.runs[at]]
        return found

    def goes_on(self, leased: Leased, **columns: Any) -> Change:
        """Its message was accepted; the next step comes up tomorrow."""
        step = Next(
            due_at=Instant(T0 + DAY),
            lane=self.next_lane,
            step_no=leased.step_no + 1,
            seq=leased.seq + 1,
        )
        return Change(leased=leased, log=[sent(leased)], **{"next": step, **columns})

    def tries_again(self, leased: Leased) -> Change:
        """It provably did not leave; an hour later again."""
        again = Next(
            due_at=Instant(T0 + HOUR),
            lane=self.lane,
            step_no=leased.step_no,
            seq=leased.seq,
            attempt=leased.attempt + 1,
        )
        log = sent(leased, LogState.AGAIN, reason="busy", provider_id=None)
        return Change(leased=leased, log=[log], next=again, refund=True)

    def waits(
        self, leased: Leased, task: MakeTask | CallOut | None = None, **columns: Any
    ) -> Change:
        """It waits by itself for a task to be closed, or tomorrow in its lane for no answer."""
        step = Next(
            due_at=Instant(T0 + DAY),
            lane=None if task is not None else self.lane,
            step_no=leased.step_no,
            seq=leased.seq,
            flags=FLAG_WAITING,
            hold_reason="task" if isinstance(task, MakeTask) else None,
        )
        effects: list[Effect] = [] if task is None else [task]
        return Change(leased=leased, log=[], effects=effects, **{"next": step, **columns})


def sent(leased: Leased, state: LogState = LogState.ACCEPTED, **columns: Any) -> LogRow:
    """The row of one attempt by email."""
    given = {"provider_id": f"m{leased.enrollment_id}", **columns}
    return LogRow(
        seq=leased.seq,
        step_no=leased.step_no,
        state=state,
        at=T0,
        attempt=leased.attempt + 1,
        channel=1,
        sent_at=T0,
        to_address=leased.email,
        subject="Hello",
        **given,
    )


def ends(leased: Leased, **columns: Any) -> Change:
    """Its last message was accepted."""
    end = End(RunStatus.COMPLETED, "completed")
    return Change(leased=leased, log=[sent(leased)], **{"end": end, **columns})


def day_row(account: int, **columns: Any) -> DayRow:
    """The UTC day of `T0`."""
    start = T0 - 12 * HOUR
    given = {
        "local_date": TODAY,
        "cap": 2_147_483_647,
        "starts_at": Instant(start),
        "ends_at": Instant(start + DAY),
        **columns,
    }
    return DayRow(account_id=account, **given)


async def open_scene(world: World, *, cap: int = 2_147_483_647) -> Scene:
    """One account with three emails, its day with *cap*, and a daemon."""
    account = await world.add_account("acme")
    number, cv = await world.add_campaign(
        account, campaign("c", ("one", "email"), ("two", "email"), ("three", "email"))
    )
    await world.store.join(NODE, "node", "0")
    await world.store.make_days([day_row(account, cap=cap)])
    return Scene(world, account, number, cv)
