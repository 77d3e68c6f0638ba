"""The nursery tree: who does it. Read this first.

`main` chooses the database and brings it to the schema, `serve` wires the stages to it and to
the providers, and waits for signals. Stages are functions over one `Pipeline`; nothing below
knows Postgres or sockets but through what is built here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import MappingProxyType
from typing import Any

import trio

from dripd.admin import catalogue
from dripd.admin.messages import Table
from dripd.admin.server import serve as serve_admin
from dripd.admin.session import Info
from dripd.channels.base import Channel
from dripd.clock import (
    Clock,
    DatabaseClock,
    Instant,
    ManualClock,
    parse_instant,
)
from dripd.config import Config
from dripd.daemon import control, front, garbage
from dripd.daemon.control_room import Hooks
from dripd.daemon.daemon import VERSION, Daemon
from dripd.daemon.failpoint import open_store
from dripd.daemon.gauges import sample, watch
from dripd.daemon.glance import Glances
from dripd.daemon.health import open_health, serving
from dripd.daemon.journal import sync
from dripd.daemon.notify import notify
from dripd.daemon.parent import until_orphaned
from dripd.daemon.passing import pass_on
from dripd.daemon.pulse import meet, observe, pulse
from dripd.daemon.refusal import explain
from dripd.daemon.tails import sources
from dripd.daemon.tallies import Tallies
from dripd.daemon.traffic import tell
from dripd.daemon.zones import digest, pin
from dripd.engine import stages as stages_of
from dripd.engine.calendars import known_calendars
from dripd.engine.look import begin
from dripd.engine.record import record_rest
from dripd.errors import StoreError
from dripd.gateway import app as gateway
from dripd.log import get
from dripd.store import embedded, migrate
from dripd.store.bridge import Bridge
from dripd.store.desk import Desk
from dripd.store.postgres import PostgresStore

FIRST_INSTANT = parse_instant("2026-01-01T00:00:00Z")
"""Where a manual clock starts unless it is told otherwise."""

VIEW_PATIENCE_S = 2.0
"""How long the database may take for a view: what takes longer must be asked for once."""

COUNT_PATIENCE_S = 600.0
"""How long the count of one large campaign may take, beside everything else."""

CALENDARS_S = 60.0
"""A daemon that never rests reads the holiday calendars so long after its start."""

log = get("daemon")


def choose_database(config: Config) -> str:
    """The DSN in force: flag, environment or configuration, else the embedded Postgres.

    Raises `StoreError` if there is none to be had.
    """
    return config.dsn.reveal() if config.dsn is not None else embedded.up(config.state)


def open_database(config: Config) -> str:
    """The DSN in force, with a database behind it that has the schema. Raises `DripdError`."""
    dsn = choose_database(config)
    migrate.migrate(dsn)
    return dsn


def main(config: Config, *, manual_clock: bool, at: Instant | None) -> int:
    """Run the daemon in the foreground until it is told to stop. Returns the exit code.

    Raises `DripdError` where it cannot start.
    """
    pin()
    try:
        dsn = open_database(config)
        trio.run(partial(serve, config, dsn, manual_clock=manual_clock, at=at))
    except (OSError, BaseExceptionGroup) as error:
        known = explain(error)
        if known is None:
            raise
        raise known from error
    return 0


async def serve(
    config: Config,
    dsn: str,
    *,
    manual_clock: bool,
    at: Instant | None,
    channels: Mapping[str, Channel] = MappingProxyType({}),
    task_status: trio.TaskStatus[Daemon] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until SIGTERM or SIGINT; `started` hands out the daemon once it is ready.

    *channels* stand in for, or beside, those of the configuration.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(garbage.seldom())
        health = open_health(config, VERSION)
        stack.enter_context(serving(health.server))
        bridge = await stack.enter_async_context(Bridge())
        patience_s = config.patience_ms / 1000
        store = open_store(bridge, dsn, health.metrics, patience_s)
        stack.push_async_callback(_shielded, store.close)
        await store.open()
        open_desk = partial(_open_desk, stack, bridge, dsn, store)
        desk, doorman = await open_desk(), await open_desk()
        looks = await open_desk(size=1, patience_s=VIEW_PATIENCE_S)
        counters = Desk(
            bridge, dsn, size=1, patience_s=COUNT_PATIENCE_S, condition=store.condition
        )
        stack.push_async_callback(_shielded, counters.close)
        clock = await start_clock(store, manual_clock=manual_clock, at=at)
        deployment, _, _ = await store.clock_mode()
        site = gateway.open_site(config.gateway.listen)
        if site is not None:
            stack.callback(site.close)
        daemon = Daemon(
            config, store, clock, deployment, channels,
            site=site, health=health, tallies=Tallies(counters),
        )  # fmt: skip
        await _live(daemon, desk, looks, doorman, task_status)


async def _open_desk(
    stack: AsyncExitStack, bridge: Bridge, dsn: str, store: PostgresStore, **wants: Any
) -> Desk:
    """One that is closed when *stack* is, whatever is cancelled then."""
    desk = Desk(bridge, dsn, condition=store.condition, **wants)
    stack.push_async_callback(_shielded, desk.close)
    await desk.open()
    return desk


async def _shielded(close: Callable[[], Awaitable[None]]) -> None:
    with trio.CancelScope(shield=True):
        await close()


async def start_clock(store: PostgresStore, *, manual_clock: bool, at: Instant | None) -> Clock:
    """The deployment's clock. Raises `SchemaMismatch` if it was started on the other."""
    if not manual_clock:
        await store.choose_clock("real", None)
        return DatabaseClock()
    await store.choose_clock("manual", at if at is not None else FIRST_INSTANT)
    _, _, stored = await store.clock_mode()
    return ManualClock(stored if stored is not None else FIRST_INSTANT)


async def _live(
    daemon: Daemon,
    desk: Desk,
    looks: Desk,
    doorman: Desk,
    task_status: trio.TaskStatus[Daemon],
) -> None:
    pipe, store, config = daemon.pipe, daemon.store, daemon.config
    await meet(daemon)
    await store.join(daemon.incarnation, config.daemon.node, VERSION)
    await begin(pipe)
    glances = Glances(looks)
    methods, views = tables(daemon.hooks(glances), desk, looks)
    info = Info(server=VERSION, env=config.daemon.env, node=config.daemon.node)
    try:
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as stages:
                await outer.start(daemon.listen)
                await outer.start(
                    partial(
                        serve_admin,
                        config.socket,
                        methods,
                        identity=daemon.identify,
                        info=info,
                        views=views,
                        sources=sources(pipe, config.providers),
                        metrics=pipe.metrics,
                    )
                )
                stages_of.start(
                    pipe,
                    daemon.channels,
                    daemon.deployment,
                    stages=stages,
                    recorders=outer,
                    caller=daemon.calls,
                )
                start_beside(daemon, desk, looks, glances, stages)
                await know_all(daemon)
                await front.open_front(daemon, doorman, outer)
                task_status.started(daemon)
                log.info("daemon.started", incarnation=daemon.incarnation)
                notify("READY=1", f"STATUS=serving {len(pipe.owned)} accounts")
                await wait_for_the_end(daemon)
                log.info("daemon.draining", unsent=pipe.unsent)
                notify("STOPPING=1", f"STATUS=draining {pipe.unsent} steps")
                await drain(daemon)
                stages.cancel_scope.cancel()
            outer.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(10):
            await _leave(daemon)
        log.info("daemon.stopped", accepted=pipe.counters.accepted)


def tables(hooks: Hooks, desk: Desk, looks: Desk) -> tuple[Table, Table]:
    """The admin methods over the one desk and, for views, over the other."""
    methods, views = (control.handlers(one, hooks=hooks) for one in (desk, looks))
    return catalogue.bind(methods), catalogue.bind(views)


def start_beside(
    daemon: Daemon, desk: Desk, looks: Desk, glances: Glances, stages: trio.Nursery
) -> None:
    """What is done beside steps: for those who look on, and for versions that are published."""
    stages.start_soon(pass_on, daemon.directory, desk)
    stages.start_soon(pulse, daemon)
    stages.start_soon(observe, daemon)
    stages.start_soon(watch, daemon.vitals, daemon.pipe, daemon.store, daemon.state)
    stages.start_soon(sample, daemon.pipe, looks)
    stages.start_soon(tell, daemon.pipe, looks)
    stages.start_soon(daemon.tallies.run)
    if daemon.config.journal_fsync != "off":
        stages.start_soon(sync, daemon.journal)
    stages.start_soon(glances.run)
    stages.start_soon(open_calendars, daemon)


async def know_all(daemon: Daemon) -> None:
    """Wait until every account is known; what is due in those that are leaves meanwhile."""
    await _first_of(daemon.pipe.watch.learnt.wait, daemon.ending.asked.wait)
    garbage.set_aside()


async def open_calendars(daemon: Daemon) -> None:
    """Read the list of holiday calendars, and every shift of every zone, once nothing is under
    way: a tenth of a second, and three."""
    await daemon.pipe.watch.learnt.wait()
    await daemon.pipe.rest(CALENDARS_S)
    await trio.to_thread.run_sync(known_calendars)
    daemon.zones = await trio.to_thread.run_sync(digest)
    garbage.set_aside()


async def wait_for_the_end(daemon: Daemon) -> None:
    """Until it is asked to end, others have declared it dead, or its parent is gone."""
    await _first_of(daemon.ending.asked.wait, daemon.pipe.buried.wait, until_orphaned)


async def _first_of(*waits: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        for wait in waits:
            nursery.start_soon(_until, wait, nursery.cancel_scope)


async def _until(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


async def drain(daemon: Daemon) -> None:
    """No new leases; what is in flight ends and is recorded, within the grace time.

    Told to hurry, its connections are cut: what they carried is unknown, and recorded so.
    """
    pipe, hurried = daemon.pipe, daemon.ending.hurried
    pipe.draining = True
    with trio.move_on_after(daemon.config.daemon.drain_timeout_ms / 1000):
        while pipe.unsent > 0 and not hurried.is_set():
            pipe.wake("done")
            await trio.sleep(0.02)  # noqa: TID251 - waits for senders that poll their provider
    pipe.leaving = daemon.store.condition.is_left = True
    if hurried.is_set():
        log.warning("daemon.hurried", unsent=pipe.unsent)
        for channel in daemon.channels.values():
            await channel.aclose()


async def _leave(daemon: Daemon) -> None:
    """Give back what never left, and say goodbye."""
    await record_rest(daemon.pipe)
    for channel in daemon.channels.values():
        await channel.aclose()
    await daemon.calls.aclose()
    try:
        await daemon.store.leave(daemon.incarnation)
    except StoreError as error:
        log.warning("store.lost", reason=error.code)
    daemon.journal.close(daemon.pipe.claims)
