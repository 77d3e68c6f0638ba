"""Done to kept: answers are written in batches, two in flight, under their claims."""

from __future__ import annotations

import trio

from dripd.campaigns.enrollment import Change
from dripd.engine import tally
from dripd.engine.admit import decider
from dripd.engine.feed import insert, open_lanes, reopen
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError, StoreUnavailable
from dripd.log import get
from dripd.policy.rooms import MissingAccount, MissingVersion
from dripd.store.protocol import Recorded

LINGER_S = 0.01
"""How long a batch that is not full waits for more."""

log = get("record")


async def record(pipe: Pipeline) -> None:
    """Write what is done, for ever."""
    while True:
        if len(pipe.done) < pipe.tuning.batch:
            await pipe.wait("done", 0.2)
            if pipe.done and pipe.tuning.lease_ahead_ms:
                await trio.sleep(LINGER_S)  # noqa: TID251 - lets a batch fill
        while pipe.done:
            await record_once(pipe)


async def record_once(pipe: Pipeline) -> None:
    """One batch, however often it takes: what is known is never dropped."""
    batch, closed = pipe.take_done()
    with trio.CancelScope(shield=True):
        await _write(pipe, batch, closed)


async def _write(pipe: Pipeline, batch: list[Change], closed: list[int]) -> None:
    done = None
    while done is None:
        try:
            done = await pipe.store.record(batch, decider(pipe), closed)
        except MissingVersion as missing:
            await pipe.directory.load_versions([missing.cv_id])
        except MissingAccount as missing:
            await pipe.directory.refresh([missing.account_id])
        except StoreUnavailable as error:
            log.warning("store.lost", reason=error.code)
            await trio.sleep(0.2)  # noqa: TID251 - the database is away: results are kept and tried again
        except StoreError:
            log.exception("record.refused", n=len(batch))
            if len(batch) == 1:
                _forget(pipe, batch, closed)
                return
            half = len(batch) // 2
            await _write(pipe, batch[:half], [])
            await _write(pipe, batch[half:], closed)
            return
    _forget(pipe, batch, closed)
    tally.recorded(pipe.metrics, batch, pipe.directory)
    await _go_on(pipe, done)


def _forget(pipe: Pipeline, batch: list[Change], closed: list[int]) -> None:
    pipe.unsent -= len(batch)
    pipe.lately.recorded.extend(batch, len(batch))
    for claim in closed:
        pipe.claims.pop(claim, None)
    pipe.wake("lease")


async def _go_on(pipe: Pipeline, done: Recorded) -> None:
    """What the batch set in motion."""
    pipe.counters.recorded += len(done.moved)
    pipe.counters.late += len(done.late)
    pipe.stopped -= set(done.stopped)
    if done.refunded:
        for account in done.refunded:
            open_lanes(pipe, pipe.lanes.parked_for(account, "cap"))
    if pipe.flow.is_freed:
        pipe.flow.is_freed = False
        await reopen(pipe, pipe.flow.shut(pipe.lanes.parks()))
    keys = done.moved + done.started
    insert(pipe, keys)
    foreign = {key.account_id for key in keys} - pipe.owned
    if foreign:
        await pipe.store.nudge(sorted(foreign))
    if done.called:
        pipe.wake("outbox")
    if done.told:
        pipe.wake("look")
