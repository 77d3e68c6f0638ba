"""What do all handlers share? The desk, the daemon's hooks, and one way through each.

A reading handler runs a unit and hands its answer on; a changing one runs it audited, ends a
dry run, and wakes the daemon. Values that the database cannot hold are refused before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, TypeVar

import trio

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.admin.tail import Shown
from dripd.campaigns.event import Outcome
from dripd.clock import Instant, Millis
from dripd.engine.individual import Wish
from dripd.errors import StoreError
from dripd.policy.admission import Rehearsal
from dripd.policy.admission_rows import RequestRow
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, DryRun, Result, Unit, perform, refuse_unfit
from dripd.store.desk_role import Forbidden, note_forbidden
from dripd.store.desk_run import Judge

T = TypeVar("T")

ROWS = (p.Import, p.EnrollImport, p.CampaignDocuments, p.CampaignPlan)
"""Arguments whose rows and texts are judged one by one, with a fault for each."""

KEYS = ("account", "campaign", "key")
"""Arguments beside them that are looked up as they are."""


class Door(Protocol):
    """Runs a unit of work in a transaction of its own: `dripd.store.desk.Desk`."""

    async def run(self, unit: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T: ...

    async def run_wide(self, unit: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """One that touches every run of a campaign, and takes its time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the handlers ask of the daemon itself."""

    node: str
    status: Callable[[], Mapping[str, object]]
    ready: Callable[[], Mapping[str, object]]
    """What it knows without the database, as `status` is."""
    figures: Callable[[], Mapping[str, object]]
    """How it is doing, with `state`, `env` and `history`."""
    kick: Callable[[], None]
    """Wakes its stages after a change."""
    trace: Callable[[], Mapping[str, object]]
    reload: Callable[[], Mapping[str, object]]
    events: Callable[[int, int, Mapping[str, object]], tuple[list[Shown], int, int]]
    fill_individual: Callable[[Wish], Awaitable[Wish]]
    """Fills in one message, or refuses it."""
    send_individual: Callable[[Wish], Awaitable[tuple[str, Outcome]]]
    """Sends it; answers with its delivery and the outcome."""
    send_test: Callable[..., Awaitable[Mapping[str, object]]]
    """Tries a sender."""
    stats: Callable[..., Awaitable[Mapping[str, object]]]
    """`campaign.stats`, over a desk."""
    glance: Callable[[], Awaitable[tuple[Mapping[str, object], StoreError | None]]]
    """What SQL knows for the overview, and why there is nothing newer."""
    campaigns: Callable[[], Awaitable[tuple[Mapping[str, object], StoreError | None]]]
    """The same of how campaigns go, about."""
    clock_set: Callable[[Instant], Awaitable[Mapping[str, object]]]
    """Takes the manual clock to an instant, settling on the way."""
    judge: Callable[[Sequence[int]], Awaitable[Judge]]
    """One that knows these versions."""
    rehearse: Callable[[RequestRow, Instant], Awaitable[Rehearsal]]
    """Plays a request through."""
    holidays: Callable[[str], Container[date]]
    """Opens a calendar by its name; raises `KeyError` for an unknown one."""
    margin: Callable[[], Millis] = lambda: Millis(0)
    """How long a window must stay open after a message."""
    calendars: Callable[[], frozenset[str] | None] = lambda: None
    """The names of holiday calendars; None = any."""
    providers: Callable[[], frozenset[str] | None] = lambda: None
    """The names of providers; None = any."""
    scripts: frozenset[str] = frozenset()
    """Those of the configuration."""
    is_linked: Callable[[str], bool] = lambda _provider: True
    """Can recipients of a provider's mail follow our links?"""
    most_per_s: Callable[[int], float | None] = lambda _account: None
    """How much may leave of an account a second by its rates; None if nothing bounds it, or
    another daemon serves it."""
    standing: Callable[[int, int], Mapping[str, object] | None] = lambda _account, _sender: None
    """What this daemon keeps of a sender; None where another serves its account."""
    server_of: Callable[[int], int | None] = lambda _account: None
    """The incarnation of the daemon that serves an account."""
    sender_most: Callable[[Mapping[str, Any]], float | None] = lambda _row: None
    """How much may leave from a sender a second by its rates; None if nothing bounds it."""
    acted: Callable[[Call, Deed], None] = lambda _call, _deed: None
    """Tells those who look on of a change by hand."""
    check_url: Callable[[str], None] = lambda _url: None
    """Raises `ValueError` for an address that tenants may not reach."""


class Room:
    """Makes handlers of units; see the module."""

    def __init__(self, desk: Door, hooks: Hooks) -> None:
        self.desk = desk
        self.hooks = hooks

    def reading(self, unit: Callable[..., Awaitable[object]]) -> Handler:
        """A handler that answers what `unit(conn, args)` does."""

        async def handle(_call: Call, args: Any) -> object:
            return await self.desk.run(unit, args)

        return handle

    def reading_as(self, unit: Callable[..., Awaitable[object]]) -> Handler:
        """A handler that answers what `unit(conn, call, args)` does, to who may know it."""

        async def handle(call: Call, args: Any) -> object:
            return await self.permitted(call, unit, call, args)

        return handle

    async def permitted(
        self, call: Call, unit: Callable[..., Awaitable[T]], *args: object, wide: bool = False
    ) -> T:
        """What `unit(conn, *args)` does; what it forbids is told to the journal."""
        run = self.desk.run_wide if wide else self.desk.run
        try:
            return await run(unit, *args)
        except Forbidden as error:
            await self.desk.run(note_forbidden, call, error)
            raise

    def changing(self, unit: Unit, *, wide: bool = False) -> Handler:
        """A handler that performs `unit(conn, call, args)`, audited; *wide*: `Door.run_wide`."""

        async def handle(call: Call, args: Any) -> object:
            return await self.perform(unit, call, args, wide=wide)

        return handle

    def guarded(self, handler: Handler) -> Handler:
        """*handler* for arguments that the database can hold. Raises `BadRequest`."""

        async def handle(call: Call, args: Any) -> object:
            whole = not isinstance(args, ROWS)
            refuse_unfit(args if whole else [getattr(args, name, None) for name in KEYS])
            refuse_unfit((call.reason, call.request_id, call.as_name))
            return await handler(call, args)

        return handle

    async def perform(
        self, unit: Unit, call: Call, *args: object, wide: bool = False
    ) -> Result:
        """Perform a changing unit and wake the daemon; a dry run only says what would be."""
        deeds: list[Deed] = []

        async def done(conn: Conn, call: Call, *args: object) -> Deed:
            deeds.append(await unit(conn, call, *args))
            return deeds[-1]

        doing = (self.hooks.node, done, call, *args)
        try:
            result = await self.permitted(call, perform, *doing, wide=wide)
        except DryRun as dry:
            return dry.result
        self.hooks.kick()
        if deeds[-1].noted:
            self.hooks.acted(call, deeds[-1])
        return result


async def away(work: Callable[..., T], *args: object) -> T:
    """Run what takes long and needs nobody in a thread, so that no step waits for it."""
    return await trio.to_thread.run_sync(work, *args)
