"""Is the daemon alive? Its heartbeat in SQL and for systemd, and its own figures."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from dripd.clock import ManualClock, SystemClock, asleep_s, format_instant
from dripd.daemon.figures import Figures
from dripd.daemon.notify import notify
from dripd.daemon.traffic import failing
from dripd.daemon.vitals import TURN_S, Vitals
from dripd.engine import standstill
from dripd.engine.pipeline import Pipeline
from dripd.engine.standing import open_breakers
from dripd.errors import StoreUnavailable
from dripd.log import get
from dripd.store.postgres import PostgresStore

BEAT_S: Final = 2.0
SECOND_S: Final = 1.0

log = get("daemon")


class Living(Protocol):
    """The daemon, as its heartbeat needs it."""

    pipe: Pipeline
    store: PostgresStore
    figures: Figures
    vitals: Vitals
    incarnation: int
    zones: str

    @property
    def witnesses(self) -> Path: ...

    def state(self) -> str: ...


BEHIND: Final = "the database lacks what it had committed: some of what was sent is not in it"
COPY: Final = "this is a copy of a database, made elsewhere: what was sent since is not in it"


async def meet(daemon: Living) -> None:
    """The database, before anything is asked of it: is it ours, and whole? Raises `StoreError`."""
    daemon.store.on_behind = partial(bar, daemon.pipe, BEHIND)
    await daemon.store.keep_witness(daemon.witnesses, daemon.incarnation)
    await mind_place(daemon)


async def mind_place(daemon: Living) -> None:
    """A copy of a database, or one that lacks what it had committed, sends nothing until somebody
    adopts it. Raises `StoreError`."""
    place = await daemon.store.place()
    if place.at_home and not place.behind:
        daemon.store.adopted(place, daemon.witnesses, daemon.incarnation)
        daemon.pipe.barred.pop("adopt", None)
        return
    bar(daemon.pipe, BEHIND if place.behind else COPY)


def bar(pipe: Pipeline, why: str) -> None:
    """Nothing is leased, and nothing leaves that was, until somebody adopts the database."""
    if "adopt" not in pipe.barred:
        log.error("daemon.barred", reason="adopt", error=why)
    pipe.barred["adopt"] = why


async def pulse(daemon: Living) -> None:
    """The heartbeat in real time, and one line of log a minute of work."""
    before = 0
    while True:
        alive = await beat(daemon)
        tell_manager(daemon)
        if not alive:
            log.error("daemon.buried", incarnation=daemon.incarnation)
            daemon.pipe.buried.set()
            return
        accepted = daemon.pipe.counters.accepted
        if accepted != before:
            log.info("pulse", accepted=accepted, unsent=daemon.pipe.unsent)
            before = accepted
        await trio.sleep(min(BEAT_S, daemon.pipe.tuning.node_timeout_ms / 5_000))  # noqa: TID251 - the heartbeat


async def beat(daemon: Living) -> bool:
    """One heartbeat; False: others have declared this daemon dead."""
    try:
        figures = {
            **daemon.figures.shown(),
            "failing": open_breakers(daemon.pipe),
            "failing_senders": failing(daemon.pipe),
            "pool": pool(daemon.store),
            "host_ms": SystemClock().now(),
            "zones": daemon.zones,
            "barred": dict(daemon.pipe.barred),
            "leases": [
                {"at": format_instant(one.at), "what": one.what, "said": one.said}
                for one in daemon.pipe.lately.leases
            ],
        }
        owned = len(daemon.pipe.owned)
        asked, slept = trio.current_time(), asleep_s()
        alive = await daemon.store.beat(daemon.incarnation, owned, daemon.state(), figures)
        if not isinstance(daemon.pipe.clock, ManualClock):
            await standstill.note(daemon.pipe)  # before anything is leased again
        if alive:
            limit_s = daemon.pipe.tuning.node_timeout_ms / 1000
            _mind_gap(daemon.pipe, asked, limit_s)
            daemon.pipe.watch.note_beat(asked, limit_s, slept)
        await mind_place(daemon)
    except StoreUnavailable as error:
        log.warning("store.lost", reason=error.code)
        return True
    daemon.vitals.beaten_at = time.monotonic()
    return alive


def _mind_gap(pipe: Pipeline, asked: float, limit_s: float) -> None:
    """A heartbeat that came late is told: at twice as late others take over."""
    before = pipe.watch.beaten_at
    if before is not None and (gap := asked - before) > limit_s / 2:
        pipe.lately.befell(
            "heartbeat_late",
            f"heartbeat {gap:.1f} s after the one before; dead at {limit_s:g} s",
        )


def pool(store: PostgresStore) -> dict[str, int]:
    """How many of the connections that steps go by are `used`, of how many in all, `size`."""
    found = store.connections()
    busy = found.get(("hot", "busy"), 0)
    return {"used": busy, "size": busy + found.get(("hot", "idle"), 0)}


def tell_manager(daemon: Living) -> None:
    """Feed systemd's watchdog: a heartbeat was tried, and the wheel has turned lately.

    A database that is away does not stop it: a new daemon would not reach it either.
    """
    counters = daemon.pipe.counters
    lag = daemon.figures.shown()["lag_ms"]
    if trio.current_time() - counters.turned_at < TURN_S:
        status = f"STATUS={daemon.state()}, {counters.accepted} sent, {lag} ms late"
        notify("WATCHDOG=1", status)


async def observe(daemon: Living) -> None:
    """The daemon's own figures, once a second of real time."""
    while True:
        daemon.figures.sample()
        await trio.sleep(SECOND_S)  # noqa: TID251 - a rate is something a second
