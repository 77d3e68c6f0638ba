"""What belongs to one running daemon? Built once, by `run.serve`, and asked by the admin methods."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

from dripd.admin.roles import Options, Peer
from dripd.channels import registry
from dripd.channels.base import Channel, Resources
from dripd.channels.reach import Reach
from dripd.clock import (
    Clock,
    Instant,
    ManualClock,
    Millis,
    SystemClock,
    format_instant,
)
from dripd.config import Config
from dripd.daemon import family, front
from dripd.daemon.asides import tell_deed
from dripd.daemon.calls import Calls
from dripd.daemon.control_room import Hooks
from dripd.daemon.failpoint import open_journal
from dripd.daemon.figures import Figures
from dripd.daemon.gauges import stamp
from dripd.daemon.glance import Glances
from dripd.daemon.health import Health
from dripd.daemon.judge import DeskJudge
from dripd.daemon.reload import Reloader
from dripd.daemon.signals import Ending, listen
from dripd.daemon.tails import sources
from dripd.daemon.tallies import Tallies
from dripd.daemon.trace import trace
from dripd.engine.calendars import known_calendars, open_holidays
from dripd.engine.directory import Directory
from dripd.engine.doubt import policy_of
from dripd.engine.individual import fill, send_individual, send_test
from dripd.engine.limit import most_of, sender_most
from dripd.engine.ownership import server_of
from dripd.engine.pipeline import Pipeline
from dripd.engine.respond import respond
from dripd.engine.settle import move_to
from dripd.engine.standing import standing
from dripd.engine.tuning import Tuning
from dripd.gateway import app as gateway
from dripd.gateway.key import load_key
from dripd.policy.admission import Rehearsal, rehearse
from dripd.policy.admission_rows import RequestRow
from dripd.ratelimit.budget import RetryBudget
from dripd.store.postgres import PostgresStore

UNHEARD = "the database has not heard of this daemon for [engine] node_timeout: nothing leaves"


VERSION = "0.1.0"


class Daemon:
    """What belongs to one running daemon."""

    zones = ""
    """A word for the rules of zones here, once it is known."""

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
            self.tuning(),
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

    def tuning(self) -> Tuning:
        """That of the configuration; no time passes under a manual clock."""
        manual = isinstance(self.clock, ManualClock)
        return self.config.engine.without_time() if manual else self.config.engine

    @property
    def witnesses(self) -> Path:
        """Where it remembers what was committed."""
        return self.config.state / "witness"

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
            "barred": pipe.barred | ({} if pipe.is_heard else {"unheard": UNHEARD}),
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
        return {
            "state": self.state(),
            "env": self.config.daemon.env,
            **self.figures.shown(),
            "history": list(self.figures.history),
            "needs_restart": list(self.reloader.waiting),
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
        self.pipe.tuning = self.tuning()
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

    def server_of(self, account_id: int) -> int:
        """The incarnation of the daemon that serves an account, as the live ones stand."""
        pipe = self.pipe
        return server_of(account_id, pipe.watch.alive, self.incarnation, drained=pipe.drained)

    def margin(self) -> Millis:
        return self.pipe.tuning.window_margin_ms

    def hooks(self, glances: Glances) -> Hooks:
        return Hooks(
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
            sender_most=partial(sender_most, self.pipe),
            server_of=self.server_of,
            acted=partial(tell_deed, self.pipe),
            check_url=Reach(self.config.net_allow).check,
        )


def build_channels(config: Config, store: PostgresStore) -> dict[str, Channel]:
    """One channel a provider of the configuration."""
    lent = Resources(clock=SystemClock(), sink_writer=store)
    return {name: registry.build(one, lent) for name, one in config.providers.items()}
