"""Done to kept: answers are written in batches, two in flight, under their claims."""

from __future__ import annotations

import math

import trio

from dripd.campaigns.enrollment import Change
from dripd.engine import standstill, tally
from dripd.engine.admit import decider
from dripd.engine.feed import insert, open_lanes, reopen
from dripd.engine.pipeline import Blocked, Pipeline
from dripd.engine.quarantine import NO_ROW, POISON, said, salvage
from dripd.engine.turns import return_turns
from dripd.engine.vigil import watch_first
from dripd.errors import StoreError, StoreLocked
from dripd.log import get
from dripd.policy.rooms import MissingAccount, MissingVersion
from dripd.store.protocol import Recorded

LINGER_S = 0.01
"""How long a batch that is not full waits for more."""

LINGER_BUSY_S = 0.05
"""The same while a batch or more is under way or ready, so that more is certain to come: a write
costs as much as fifty of its rows, and nobody waits for this one."""

BLOCKED_AGAIN_S = 0.5
"""Until answers of an account are tried again of which somebody holds rows."""

LOST_AGAIN_S = 60.0
"""Until what could not be written in any form is tried again."""

log = get("record")


async def record(pipe: Pipeline) -> None:
    """Write what is done, for ever."""
    while True:
        async with pipe.gathering:
            await _gather(pipe)
        _find_lost(pipe)
        if pipe.has_records:
            with pipe.work:
                await record_once(pipe)
        if pipe.blocked:
            with pipe.work:
                await _try_blocked(pipe)


async def record_rest(pipe: Pipeline) -> None:
    """Write what is done, however many batches that takes, and close the claims that leaves."""
    for blocked in pipe.blocked.values():
        pipe.done += _take(pipe, blocked)
    pipe.blocked.clear()
    while pipe.done:
        await record_once(pipe)
    if pipe.has_records:
        await record_once(pipe)


async def _gather(pipe: Pipeline) -> None:
    """Wait for something that is done, and let a batch fill; of those who record, one at a time."""
    if not pipe.done:
        await pipe.wait("done", 0.2)
    if 0 < len(pipe.done) < pipe.tuning.batch and pipe.tuning.lease_ahead_ms:
        is_busy = pipe.unsent + len(pipe.ready) >= pipe.tuning.batch
        pipe.signals.done = trio.Event()  # the old one is set: by the first of the batch
        await pipe.wait("done", LINGER_BUSY_S if is_busy else LINGER_S)


async def record_once(pipe: Pipeline) -> None:
    """One batch, however often it takes: what is known is never dropped.

    Where that breaks, the batch is put back: the other recorder must not close its claims.
    """
    batch = _part(pipe, pipe.take_done())
    try:
        with trio.CancelScope(shield=True):
            await _write(pipe, batch)
    except BaseException:
        pipe.done = batch + pipe.done
        raise


def _part(pipe: Pipeline, batch: list[Change]) -> list[Change]:
    """*batch* without what waits for rows that somebody holds."""
    if not pipe.blocked:
        return batch
    free: list[Change] = []
    for change in batch:
        blocked = pipe.blocked.get(change.leased.account_id)
        if blocked is None:
            free.append(change)
        else:
            _put(pipe, blocked, [change])
    return free


def _put(pipe: Pipeline, blocked: Blocked, changes: list[Change]) -> None:
    """What waits aside takes nobody's place among what may be in flight."""
    blocked.changes += changes
    pipe.unsent -= len(changes)


def _take(pipe: Pipeline, blocked: Blocked) -> list[Change]:
    changes, blocked.changes = blocked.changes, []
    pipe.unsent += len(changes)
    return changes


async def _try_blocked(pipe: Pipeline) -> None:
    """What waits for rows that somebody held, an account at a time, if its time has come."""
    for account, blocked in list(pipe.blocked.items()):
        if blocked.again_at > trio.current_time():
            continue
        batch, blocked.again_at = _take(pipe, blocked), math.inf
        try:
            with trio.CancelScope(shield=True):
                await _write(pipe, batch)
        except BaseException:
            _put(pipe, blocked, batch)
            blocked.again_at = 0.0
            raise
        if blocked.again_at == math.inf:
            pipe.done = _take(pipe, blocked) + pipe.done
            pipe.blocked.pop(account, None)
            pipe.wake("lease")


async def _write_apart(pipe: Pipeline, batch: list[Change]) -> None:
    """Somebody holds rows of *batch*: accounts do not wait for one another, and the one that must
    waits aside."""
    accounts = sorted({change.leased.account_id for change in batch})
    if len(accounts) > 1:
        for account in accounts:
            await _write(pipe, [one for one in batch if one.leased.account_id == account])
        return
    blocked = pipe.blocked.setdefault(accounts[0], Blocked())
    _put(pipe, blocked, batch)
    blocked.again_at = trio.current_time() + BLOCKED_AGAIN_S


async def _write(pipe: Pipeline, batch: list[Change]) -> None:
    try:
        await _keep(pipe, batch)
    except StoreLocked as error:
        log.warning("store.lost", reason=error.code)
        await _write_apart(pipe, batch)
    except POISON as error:
        if not batch:
            raise
        log.exception("record.refused", n=len(batch))
        if len(batch) == 1:
            await _salvage(pipe, batch[0], error)
            return
        half = len(batch) // 2
        await _write(pipe, batch[:half])
        await _write(pipe, batch[half:])


async def _salvage(pipe: Pipeline, change: Change, error: BaseException) -> None:
    """Write what can be written instead of *change*, which nobody can write.

    Where that is nothing, its claim stays open, so that nobody performs it again, and it is
    tried again later: by this daemon, or by whoever reads its journal.
    """
    for instead in salvage(change, said(error), pipe.clock.now()):
        try:
            await _keep(pipe, [instead])
        except StoreLocked:
            await _write_apart(pipe, [instead])
        except POISON:
            continue
        return
    log.error("record.lost", enrollment_id=change.leased.enrollment_id)
    pipe.unsent -= 1
    pipe.lost.append((trio.current_time() + LOST_AGAIN_S, change))


def _find_lost(pipe: Pipeline) -> None:
    """What could not be written is written if it can be by now."""
    while pipe.lost and pipe.lost[0][0] <= trio.current_time():
        _, change = pipe.lost.popleft()
        pipe.unsent += 1
        pipe.settle(change)


async def _ask(pipe: Pipeline, batch: list[Change], closed: list[int]) -> Recorded | None:
    """Write *batch* once; None: what it lacked is known now."""
    try:
        return await pipe.store.record(batch, decider(pipe), closed)
    except MissingVersion as missing:
        await pipe.directory.load_versions([missing.cv_id])
        if missing.cv_id in pipe.directory.broken:
            raise StoreError(f"version {missing.cv_id} cannot be read") from missing
    except MissingAccount as missing:
        await pipe.directory.refresh([missing.account_id])
    return None


async def _keep(pipe: Pipeline, batch: list[Change]) -> None:
    """Write *batch*, however often the database must be asked. Raises `POISON`, and `StoreLocked`
    where somebody holds its rows."""
    done: Recorded | None = None
    closed: list[int] = []
    while done is None:
        closed = pipe.closing(batch)
        try:
            done = await _ask(pipe, batch, closed)
        except NO_ROW as error:
            if batch and not pipe.leaving and isinstance(error, StoreLocked):
                raise
            log.warning("store.lost", reason=error.code)
            if pipe.leaving:
                return  # its claims stay open, and the journal tells what left
            await trio.sleep(0.2)  # noqa: TID251 - the database is away: results are kept and tried again
    pipe.recorded(batch, closed)
    pipe.lately.recorded.extend(batch, len(batch))
    pipe.wake("lease")
    try:
        margin = pipe.tuning.window_margin_ms
        tally.recorded(pipe.metrics, batch, pipe.directory, margin)
        await watch_first(pipe, batch)
        await _go_on(pipe, done)
    except POISON:  # whatever breaks here, the batch is on record: it is not written again
        log.exception("record.unfollowed", n=len(batch))


async def _go_on(pipe: Pipeline, done: Recorded) -> None:
    """What the batch set in motion."""
    pipe.counters.recorded += len(done.moved)
    pipe.counters.late += len(done.late)
    pipe.stopped -= set(done.stopped)
    if done.refunded:
        for account in done.refunded:
            open_lanes(pipe, pipe.lanes.parked_for(account, "cap"))
    keys = done.moved + done.started
    insert(pipe, keys)
    if done.called:
        pipe.wake("outbox")
    if done.told:
        pipe.wake("look")
    try:
        await _pass_on(pipe, {key.account_id for key in keys} - pipe.owned)
    except StoreError as error:
        log.warning("store.lost", reason=error.code)


async def _pass_on(pipe: Pipeline, foreign: set[int]) -> None:
    """Tell SQL what others are to know: turns that are free again, lanes that open, accounts."""
    if pipe.flow.backs:
        await return_turns(pipe)
    if pipe.flow.is_freed:
        pipe.flow.is_freed = False
        try:
            await standstill.note_outages(pipe)
            await reopen(pipe, pipe.flow.shut(pipe.lanes.parks()))
        except StoreError:
            pipe.flow.is_freed = True  # with the next batch
            raise
    if foreign:
        await pipe.store.nudge(sorted(foreign))
