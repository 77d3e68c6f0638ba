"""What is new? One statement many times a second wakes the stages that have something to do."""

from __future__ import annotations

import trio

from dripd.clock import Instant, ManualClock
from dripd.engine.feed import learn, reset
from dripd.engine.inbox import inbox
from dripd.engine.ownership import owner_of
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.store.protocol import Look

RELEARN_S = 30.0
"""The poll behind every nudge: whatever was missed is found by then."""

NUDGES_KEPT = 20_000

log = get("look")


class Watch:
    """What the last looks have seen."""

    def __init__(self) -> None:
        self.seen: dict[int, None] = {}
        self.alive: frozenset[int] = frozenset()
        self.learnt_at = -1e9


async def look(pipe: Pipeline) -> None:
    """Look, for ever."""
    watch = Watch()
    while True:
        try:
            await look_once(pipe, watch)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
            await trio.sleep(0.5)  # noqa: TID251 - the database is away
        await pipe.wait("look", pipe.tuning.poll_ms / 1000)


async def look_once(pipe: Pipeline, watch: Watch) -> None:
    """One look, and what follows from it."""
    seen = await pipe.store.look(list(watch.seen))
    await _mind_nodes(pipe, seen, watch)
    if trio.current_time() - watch.learnt_at > RELEARN_S:
        watch.learnt_at = trio.current_time()
        await pipe.directory.refresh()
        own(pipe, watch)
        await make_days(pipe, None)
        await learn(pipe, None)
    await _mind_nudges(pipe, seen, watch)
    if seen.usage:
        await _fold(pipe)
    if seen.requests:
        pipe.wake("admit")
    if seen.events:
        await inbox(pipe, seen.events)
    clock = pipe.clock
    if seen.manual and isinstance(clock, ManualClock) and seen.now > clock.now():
        clock.set(seen.now)
        await make_days(pipe, None)
        pipe.wake("feed")
    if seen.manual:
        await pipe.store.remind()
        await pipe.store.acknowledge_clock(pipe.incarnation, clock.now())


async def _mind_nodes(pipe: Pipeline, seen: Look, watch: Watch) -> None:
    """Live daemons divide the accounts among themselves."""
    alive = frozenset(node for node, is_alive in seen.nodes if is_alive) | {pipe.incarnation}
    if alive == watch.alive:
        return
    watch.alive = alive
    watch.learnt_at = -1e9


async def _mind_nudges(pipe: Pipeline, seen: Look, watch: Watch) -> None:
    accounts = {account for _, account in seen.nudges} | pipe.asked_accounts
    for nudge, _ in seen.nudges:
        watch.seen[nudge] = None
    while len(watch.seen) > NUDGES_KEPT:
        del watch.seen[next(iter(watch.seen))]
    pipe.asked_accounts = set()
    if accounts:
        await pipe.directory.refresh(sorted(accounts))
        await make_days(pipe, sorted(accounts))
    own(pipe, watch)
    if accounts:
        await learn(pipe, sorted(accounts))


def own(pipe: Pipeline, watch: Watch) -> None:
    """The accounts that are this daemon's to serve, as the live daemons stand now.

    What is gained is told anew by SQL: keys that fired while it was somebody else's were
    dropped. What is lost is dropped.
    """
    alive = sorted(watch.alive)
    owned = {
        account
        for account in pipe.directory.accounts
        if len(alive) < 2 or owner_of(account, alive) == pipe.incarnation
    }
    for account in pipe.owned - owned:
        pipe.ready.drop_account(account)
    gained = owned - pipe.owned
    pipe.owned = owned
    for (account, _), state in pipe.lanes.items() if gained else ():
        if account in gained:
            reset(state, Instant(0))


async def make_days(pipe: Pipeline, accounts: list[int] | None) -> None:
    """Day rows for today and the days ahead."""
    now = pipe.clock.now()
    chosen = (
        pipe.directory.accounts
        if accounts is None
        else [a for a in accounts if a in pipe.directory.accounts]
    )
    days = [day for a in chosen for day in pipe.directory.accounts[a].days(now)]
    for at in range(0, len(days), 3000):
        await pipe.store.make_days(days[at : at + 3000])


async def _fold(pipe: Pipeline) -> None:
    while await pipe.store.fold_usage():
        pass
