"""What is new? One statement many times a second wakes the stages that have something to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import trio

from dripd.clock import DatabaseClock, ManualClock, Millis
from dripd.engine import standstill
from dripd.engine.directory import DAYS_AHEAD
from dripd.engine.feed import ask_behind, learn, reopen
from dripd.engine.inbox import inbox
from dripd.engine.ownership import owner_of
from dripd.engine.pipeline import NOBODY, Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.scheduler.calendar import Today
from dripd.store.protocol import DayRow, Look

SLICE = 200
"""Accounts read anew at a time: some 10 ms of work, between which sends go on."""

SOUGHT = 2_000
"""Accounts in which one statement looks for what is due: an index probe a lane."""

EASED = ("no_sender", "quota")
"""Why lanes are shut until the settings of their account change."""

QUEUED, QUEUED_S = 500, 1.0
"""Contacts who are asked, so often, whether they are busy still: some 3 ms of Postgres."""

DAYS_A_CALL = 1_000 * (DAYS_AHEAD + 1)
"""Day rows of one call, those of an account together."""

log = get("look")


async def look(pipe: Pipeline) -> None:
    """Look, for ever; without a pause until every account has been read once."""
    while True:
        with pipe.work:
            try:
                await look_once(pipe)
            except StoreError as error:
                log.warning("store.lost", reason=error.code)
                await trio.sleep(0.5)  # noqa: TID251 - the database is away
        if pipe.watch.learnt.is_set():
            await pipe.wait("look", pipe.tuning.poll_ms / 1000)


async def begin(pipe: Pipeline) -> None:
    """What a daemon must know before it leases: when nobody was at work, and the other daemons."""
    await standstill.note(pipe)
    await look_once(pipe)


async def learn_all(pipe: Pipeline) -> None:
    """Begin, and read every account."""
    await begin(pipe)
    while not pipe.watch.learnt.is_set():
        await _learn_slice(pipe)


async def look_once(pipe: Pipeline) -> None:
    """One look, and what follows from it."""
    clock = pipe.clock
    asked = clock.ticked() if isinstance(clock, DatabaseClock) else Millis(0)
    seen = await pipe.store.look(pipe.watch.seen)
    if isinstance(clock, DatabaseClock):
        if seen.now - clock.now() > pipe.tuning.catchup_after_ms:
            await standstill.note(pipe)  # its clock has leapt: before anything is due by it
        clock.hear(seen.now, asked)
    _mind_nodes(pipe, seen)
    _mind_nudges(pipe, seen)
    await _learn_asked(pipe)
    if not pipe.watch.learnt.is_set() or trio.current_time() > pipe.watch.next_slice_at:
        await _learn_slice(pipe)
    if seen.usage:
        await _fold(pipe)
    if seen.requests:
        pipe.wake("admit")
    if trio.current_time() > pipe.watch.queued[1]:
        await _wake_queued(pipe)
    if seen.events:
        await inbox(pipe, seen.events)
    if seen.manual and isinstance(clock, ManualClock) and seen.now != pipe.watch.told_at:
        clock.set(seen.now)
        await make_days(pipe, list(pipe.directory.accounts))
        pipe.wake("feed")
        await pipe.store.acknowledge_clock(pipe.incarnation, seen.now)
        pipe.watch.told_at = seen.now


async def _learn_slice(pipe: Pipeline) -> None:
    """Go on with the round in which every account is read anew, at the pace of the round.

    In the first one those in which something is due come first, as quickly as can be.
    """
    watch = pipe.watch
    if await _learn_urgent(pipe):
        return
    ids = await pipe.store.account_ids(watch.learnt_to, SLICE)
    is_first = not watch.learnt.is_set()
    await _learn_anew(pipe, [one for one in ids if not (is_first and one in pipe.owned)])
    watch.learnt_to = ids[-1] if len(ids) == SLICE else 0
    if not watch.learnt_to:
        watch.learnt.set()
    slices = max(1, len(pipe.directory.accounts) // SLICE)
    watch.next_slice_at = trio.current_time() + pipe.tuning.relearn_ms / 1000 / slices


async def _learn_urgent(pipe: Pipeline) -> bool:
    """Some of the accounts in which something is due; False once all of them are known."""
    watch = pipe.watch
    while not watch.urgent and watch.sought_to is not None:
        ids = await pipe.store.account_ids(watch.sought_to, SOUGHT)
        heads = await pipe.store.heads(ids)
        soon = pipe.clock.now() + pipe.tuning.horizon_ms
        watch.urgent = sorted({head.account_id for head in heads if head.due_at <= soon})
        watch.sought_to = ids[-1] if len(ids) == SOUGHT else None
    some, watch.urgent = watch.urgent[:SLICE], watch.urgent[SLICE:]
    if some:
        await _learn_anew(pipe, some)
    return bool(some)


async def _learn_anew(pipe: Pipeline, accounts: Sequence[int], *, told: bool = False) -> None:
    """Read accounts again, with their days, lanes, parks and heads; *told*: for a reason."""
    await pipe.directory.refresh(accounts)
    before = pipe.owned.intersection(accounts)
    own(pipe, accounts, pipe.watch.alive)
    await make_days(pipe, accounts)
    await learn(pipe, accounts, told=told)
    # whoever shut their lanes may have died before he heard that the settings had changed
    gained = pipe.owned.intersection(accounts) - before
    pipe.directory.eased |= {(one, reason) for one in gained for reason in EASED}
    if pipe.directory.eased:
        await _reopen_eased(pipe)
    if pipe.directory.asked:
        await _try_anew(pipe)


async def _reopen_eased(pipe: Pipeline) -> None:
    """A lane that was shut by senders or a quota of before, after somebody had opened it, opens."""
    eased, pipe.directory.eased = pipe.directory.eased, set()
    some = {(account, reason) for account, reason in eased if account in pipe.owned}
    try:
        await reopen(pipe, [place for one in some for place in pipe.lanes.parked_for(*one)])
    except StoreError:
        pipe.directory.eased |= some
        raise


async def _try_anew(pipe: Pipeline) -> None:
    """Ask providers before their time, for somebody wants it, and let go what rests for them."""
    asked = frozenset(pipe.directory.asked)
    pipe.flow.hasten(asked)
    await reopen(pipe, pipe.flow.shut(pipe.lanes.parks()))
    pipe.directory.asked -= asked


def _mind_nodes(pipe: Pipeline, seen: Look) -> None:
    """Daemons that are alive and not drained divide the accounts; what is gained is read anew."""
    if pipe.drained != (pipe.incarnation in seen.drained):
        pipe.drained = not pipe.drained
        log.info("daemon.drained" if pipe.drained else "daemon.undrained", unsent=pipe.unsent)
        pipe.wake("lease")
    at_work = {node for node, is_alive in seen.nodes if is_alive} - seen.drained
    alive = frozenset(at_work | {pipe.incarnation})
    if alive != pipe.watch.alive:
        before, pipe.watch.alive = pipe.watch.alive, alive
        n_owned = len(pipe.owned)
        pipe.watch.asked.update(own(pipe, list(pipe.directory.accounts), alive))
        if before:
            pipe.lately.befell(
                "accounts_moved",
                f"{len(alive)} at work, was {len(before)}: serves {len(pipe.owned)} accounts, "
                f"was {n_owned}",
            )


def _mind_nudges(pipe: Pipeline, seen: Look) -> None:
    known = pipe.watch.seen
    for nudge, account in seen.nudges:
        known.add(nudge)
        pipe.watch.asked.add(account)


async def _learn_asked(pipe: Pipeline) -> None:
    ask_behind(pipe)
    asked = sorted(pipe.watch.asked)
    for at in range(0, len(asked), SLICE):
        some = asked[at : at + SLICE]
        pipe.watch.asked.difference_update(some)  # asked for meanwhile: once more
        try:
            await _learn_anew(pipe, some, told=True)
        except StoreError:
            pipe.watch.asked.update(some)
            raise


def own(pipe: Pipeline, accounts: Iterable[int], alive: Set[int]) -> list[int]:
    """Which of *accounts* are this daemon's to serve, as the live daemons stand; returns those gained.

    What is gained is told anew by SQL: keys that fired while it was somebody else's were
    dropped. What is lost is dropped.
    """
    nodes = sorted(alive)
    gained = []
    for account in accounts:
        is_ours = len(nodes) < 2 or owner_of(account, nodes) == pipe.incarnation
        if is_ours == (account in pipe.owned) or account not in pipe.directory.accounts:
            continue
        if is_ours:
            pipe.owned.add(account)
            pipe.lanes.reset_account(account, None)
            pipe.directory.accounts[account].forget_days()
            gained.append(account)
        else:
            pipe.owned.discard(account)
            pipe.ready.drop_account(account)
    return gained


async def make_days(pipe: Pipeline, accounts: Sequence[int]) -> None:
    """Day rows for today and the days ahead, of the accounts whose days are not made yet."""
    dates = Today(pipe.clock.now())
    days: list[DayRow] = []
    for account in accounts:
        found = pipe.directory.accounts.get(account)
        wanted = [] if found is None else found.days(dates)
        if wanted and pipe.watch.days.get(account) != wanted[0]:
            days += wanted
    for at in range(0, len(days), DAYS_A_CALL):
        some = days[at : at + DAYS_A_CALL]
        await pipe.store.make_days(some)
        for day in reversed(some):
            pipe.watch.days[day.account_id] = (
                day  # the first of an account stands for the others
            )


async def _wake_queued(pipe: Pipeline) -> None:
    """What waits for contacts who are busy no more, and was passed over when they became free."""
    last, _ = pipe.watch.queued
    last = await pipe.store.wake_queued(last, QUEUED) or NOBODY
    pipe.watch.queued = (last, trio.current_time() + QUEUED_S)


async def _fold(pipe: Pipeline) -> None:
    while await pipe.store.fold_usage():
        pass
