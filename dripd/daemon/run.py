"""The nursery tree: who does it. Read this first.

`main` chooses the database and brings it to the schema, `serve` wires the stages to it and to
the providers, and waits for signals. Stages are functions over one `Pipeline`; nothing below
knows Postgres or sockets but through what is built here.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import MappingProxyType

import trio

from dripd.admin import catalogue
from dripd.admin.messages import Table
from dripd.admin.roles import Options, Peer
from dripd.admin.server import serve as serve_admin
from dripd.admin.session import Info
from dripd.channels import registry
from dripd.channels.base import Channel, ProviderSettings, Resources
from dripd.channels.guard import Guard
from dripd.clock import (
    Clock,
    DatabaseClock,
    Instant,
    ManualClock,
    Millis,
    SystemClock,
    format_instant,
    parse_instant,
)
from dripd.config import Config
from dripd.daemon import control, family, front, garbage
from dripd.daemon.calls import Calls
from dripd.daemon.failpoint import open_journal, open_store
from dripd.daemon.figures import Figures
from dripd.daemon.gauges import sample, stamp, watch
from dripd.daemon.glance import Glances
from dripd.daemon.health import Health, open_health, serving
from dripd.daemon.journal import sync
from dripd.daemon.judge import DeskJudge
from dripd.daemon.notify import notify
from dripd.daemon.parent import until_orphaned
from dripd.daemon.pulse import mind_place, observe, pulse
from dripd.daemon.refusal import explain
from dripd.daemon.reload import Reloader
from dripd.daemon.signals import Ending, listen
from dripd.daemon.tails import sources
from dripd.daemon.tallies import Tallies
from dripd.daemon.trace import trace
from dripd.engine import stages as stages_of
from dripd.engine.calendars import known_calendars, open_holidays
from dripd.engine.directory import Directory
from dripd.engine.doubt import policy_of
from dripd.engine.individual import fill, send_individual, send_test
from dripd.engine.limit import most_of
from dripd.engine.look import begin
from dripd.engine.pipeline import Pipeline
from dripd.engine.record import record_rest
from dripd.engine.respond import respond
from dripd.engine.settle import move_to
from dripd.engine.standing import standing
from dripd.errors import StoreError
from dripd.gateway import app as gateway
from dripd.gateway.key import load_key
from dripd.log import get
from dripd.policy.admission import Rehearsal, rehearse
from dripd.policy.admission_rows import RequestRow
from dripd.ratelimit.budget import RetryBudget
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

UNHEARD = "the database has not heard of this daemon for [engine] node_timeout: nothing leaves"

VERSION = "0.1.0"

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
    try:
        dsn = open_database(config)
        trio.run(partial(serve, config, dsn, manual_clock=manual_clock, at=at))
    except (OSError, BaseExceptionGroup) as error:
        known = explain(error)
        if known is None:
            raise
        raise known from error
    return 0


class Daemon:
    """What belongs to one running daemon."""

    def __init__(
        self,
        config: Config,
        store: PostgresStore,
        clock: Clock,
        deployment: str,
        channels: Mapping[str, Channel],
        *,
        site: gateway.Site | None,
        health: Health,
        tallies: Tallies,
    ) -> None:
        self.config = config
        self.health = health
        self.tallies = tallies
        self.vitals = health.vitals
        self.store = store
        self.clock = clock
        self.deployment = deployment
        self.site = site
        self.incarnation = int.from_bytes(os.urandom(8), "big") >> 2 | 1
        manual = isinstance(clock, ManualClock)
        tuning = config.engine.without_time() if manual else config.engine
        self.directory = Directory(store)
        self.key = load_key(config.gateway.secret, config.state)
        self.directory.public, self.directory.local = front.links(config, site, self.key)
        self.directory.sinks = front.sinks(config)
        soon = partial(trio.lowlevel.current_trio_token().run_sync_soon, idempotent=True)
        place = config.state / "journal"
        self.journal = open_journal(place, self.incarnation, soon, config.journal_fsync)
        self.pipe = Pipeline(
            store,
            self.directory,
            clock,
            self.incarnation,
            tuning,
            health.metrics,
            self.journal,
        )
        self.channels = {**build_channels(config, store), **channels}
        self.figures = Figures(self.pipe)
        self.pipe.guard = config.guard
        for name, settings in config.providers.items():
            budget = RetryBudget(settings.retry_share, settings.retry_floor)
            self.pipe.flow.add_provider(
                name, rate=settings.rate, domains=settings.domains, budget=budget
            )
            self.pipe.doubts[name] = policy_of(self.channels[name], settings)
        responder = partial(respond, self.pipe, self.channels, deployment)
        self.calls = Calls(config, deployment, SystemClock(), responder)
        self.mover = trio.Lock()
        self.ending = Ending()
        self.reloader = Reloader(config, health.metrics, self.apply)

    def state(self) -> str:
        """`starting running paused draining`; paused: every account is."""
        if self.pipe.draining or self.pipe.drained:
            return "draining"
        if not self.pipe.watch.learnt.is_set():
            return "starting"
        accounts = self.directory.accounts.values()
        paused = bool(accounts) and all(one.row.status == "paused" for one in accounts)
        return "paused" if paused else "running"

    def status(self) -> Mapping[str, object]:
        pipe = self.pipe
        return {
            "state": self.state(),
            "db": self.store.condition.report(),
            "barred": dict(pipe.barred)
            if pipe.is_heard
            else {**pipe.barred, "unheard": UNHEARD},
            "standstills": [
                {"from": format_instant(one.from_at), "until": format_instant(one.until_at)}
                for one in [one for one in pipe.standstills if not one.provider][-3:]
            ],
            "version": VERSION,
            "deployment": self.deployment,
            "gateway": {
                "url": None if self.site is None else self.site.url,
                "public_url": self.config.gateway.public_url or None,
            },
            "metrics": {"url": self.health.url},
            "needs_restart": list(self.reloader.waiting),
            "processes": family.read(),
            "wheel": len(pipe.wheel),
            "ready": len(pipe.ready),
            "unsent": pipe.unsent,
            "accounts": len(pipe.owned),
            "counters": {
                "leased": pipe.counters.leased,
                "accepted": pipe.counters.accepted,
                "recorded": pipe.counters.recorded,
                "late": pipe.counters.late,
                "regret": pipe.counters.regret,
            },
        }

    def at_a_glance(self) -> Mapping[str, object]:
        state, env = self.status()["state"], self.config.daemon.env
        history = list(self.figures.history)
        waiting = list(self.reloader.waiting)
        return {
            "state": state,
            "env": env,
            **self.figures.shown(),
            "history": history,
            "needs_restart": waiting,
            "processes": family.read(),
        }

    def ready(self) -> Mapping[str, object]:
        stamp(self.vitals, self.pipe, self.state())
        self.vitals.journal_error = self.journal.fault()
        self.vitals.copy_error = self.pipe.barred.get("adopt", "")
        self.vitals.db_error = self.store.condition.words()
        return self.vitals.report()

    def apply(self, config: Config) -> None:
        """Let a configuration that was read again rule, as far as it can."""
        self.config = config
        manual = isinstance(self.clock, ManualClock)
        self.pipe.tuning = config.engine.without_time() if manual else config.engine
        self.pipe.guard = config.guard
        self.kick()

    async def listen(self, task_status: trio.TaskStatus[None]) -> None:
        """Obey signals."""
        reload = self.reloader.on_signal
        await listen(self.ending, reload=reload, trace=self.trace, task_status=task_status)

    def identify(self, sock: Options) -> Peer:
        return self.config.roster.identify(sock)

    def trace(self) -> Mapping[str, object]:
        return trace(self.pipe, self.config.daemon.node)

    def kick(self) -> None:
        for stage in ("look", "admit", "feed", "lease"):
            self.pipe.wake(stage)

    async def clock_set(self, to: Instant) -> Mapping[str, object]:
        async with self.mover:
            visited = await move_to(self.pipe, to)
        return {"mode": "manual", "now": format_instant(self.clock.now()), "visited": visited}

    async def judge(self, cv_ids: Sequence[int]) -> DeskJudge:
        await self.directory.refresh()
        await self.directory.load_versions(cv_ids)
        return DeskJudge(self.directory)

    async def rehearse(self, row: RequestRow, now: Instant) -> Rehearsal:
        await self.directory.refresh([row.account_id or 0])
        await self.directory.load_versions([row.cv_id or 0])
        return rehearse(row, now, self.directory, self.margin())

    def margin(self) -> Millis:
        return self.pipe.tuning.window_margin_ms

    def hooks(self, glances: Glances) -> control.Hooks:
        return control.Hooks(
            node=self.config.daemon.node,
            status=self.status,
            ready=self.ready,
            figures=self.at_a_glance,
            kick=self.kick,
            trace=self.trace,
            reload=self.reloader.reload,
            events=sources(self.pipe, self.config.providers)["events"].read,
            fill_individual=partial(fill, self.pipe, self.channels),
            send_individual=partial(send_individual, self.pipe, self.channels, self.deployment),
            send_test=partial(send_test, self.pipe, self.channels, self.deployment),
            stats=self.tallies.read,
            glance=glances.deployment.read,
            campaigns=glances.campaigns.read,
            most_per_s=partial(most_of, self.pipe),
            clock_set=self.clock_set,
            judge=self.judge,
            rehearse=self.rehearse,
            holidays=open_holidays,
            margin=self.margin,
            calendars=known_calendars,
            providers=lambda: frozenset(self.channels),
            scripts=frozenset(self.config.scripts),
            is_linked=self.directory.is_linked,
            standing=partial(standing, self.pipe),
            check_url=Guard(self.config.net_allow).check,
        )


def build_channels(config: Config, store: PostgresStore) -> dict[str, Channel]:
    """One channel a provider of the configuration; `sink` is always there."""
    resources = Resources(clock=SystemClock(), sink_writer=store)
    providers = {"sink": ProviderSettings(name="sink", kind="sink"), **config.providers}
    return {name: registry.build(settings, resources) for name, settings in providers.items()}


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
        desk = Desk(bridge, dsn, condition=store.condition)
        stack.push_async_callback(_shielded, desk.close)
        await desk.open()
        looks = Desk(bridge, dsn, size=1, patience_s=VIEW_PATIENCE_S, condition=store.condition)
        stack.push_async_callback(_shielded, looks.close)
        await looks.open()
        doorman = Desk(bridge, dsn, condition=store.condition)
        stack.push_async_callback(_shielded, doorman.close)
        await doorman.open()
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


async def _shielded(close: object) -> None:
    with trio.CancelScope(shield=True):
        await close()  # type: ignore[operator]  # a coroutine function


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
    await mind_place(daemon)
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
                start_watching(daemon, looks, glances, stages)
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


def tables(hooks: control.Hooks, desk: Desk, looks: Desk) -> tuple[Table, Table]:
    """The admin methods over the one desk and, for views, over the other."""
    methods, views = (control.handlers(one, hooks=hooks) for one in (desk, looks))
    return catalogue.bind(methods), catalogue.bind(views)


def start_watching(daemon: Daemon, looks: Desk, glances: Glances, stages: trio.Nursery) -> None:
    """What is done for those who look on."""
    stages.start_soon(pulse, daemon)
    stages.start_soon(observe, daemon)
    stages.start_soon(watch, daemon.vitals, daemon.pipe, daemon.store, daemon.state)
    stages.start_soon(sample, daemon.pipe, looks)
    stages.start_soon(daemon.tallies.run)
    if daemon.config.journal_fsync != "off":
        stages.start_soon(sync, daemon.journal)
    stages.start_soon(glances.run)


async def know_all(daemon: Daemon) -> None:
    """Wait until every account is known; what is due in those that are leaves meanwhile."""
    await _first_of(daemon.pipe.watch.learnt.wait, daemon.ending.asked.wait)
    await trio.to_thread.run_sync(known_calendars)  # 0.14 s that no send waits for
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
