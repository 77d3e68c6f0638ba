"""Requests to runs: pending rows are decided in batches, in their order.

A batch that raises is halved until the row that does is alone: it is rejected, the rest goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import trio

from dripd.clock import Instant
from dripd.engine import standstill, tally
from dripd.engine.feed import insert
from dripd.engine.pipeline import Pipeline
from dripd.engine.quarantine import NO_ROW, POISON, UNREADABLE, halve, said
from dripd.log import get
from dripd.policy import admission
from dripd.policy.admission_rows import Decision, RequestRow
from dripd.policy.rooms import MissingAccount, MissingVersion
from dripd.store.protocol import Admitted, Decide

POLL_S = 5.0

SHUT_S = 0.1
"""Until campaigns that were being published or paused are asked for again."""

log = get("admit")


def decider(pipe: Pipeline) -> Decide:
    """The rules, bound to what this daemon knows of the world."""

    def decide(rows: Sequence[RequestRow], now: Instant) -> list[Decision]:
        decisions = admission.decide(rows, now, pipe.directory)
        return standstill.put_behind(pipe, decisions) if pipe.standstills else decisions

    return decide


async def admit(pipe: Pipeline) -> None:
    """Decide what comes in, for ever. Who was silent decides nothing before it is heard: it does
    not know yet what was asked for while nobody was at work."""
    most_s = POLL_S
    while True:
        await pipe.wait("admit", most_s)
        most_s = POLL_S
        with pipe.work:
            while pipe.is_heard and not pipe.draining:
                done = await admit_once(pipe)
                if done is None or not done.decided:
                    most_s = SHUT_S if done is not None and done.shut else POLL_S
                    break


async def admit_once(pipe: Pipeline) -> Admitted | None:
    """One batch; None when the database is away."""
    n = pipe.tuning.admit_batch
    try:
        try:
            done = [await _decide(pipe)]
        except NO_ROW:
            raise
        except POISON:
            log.exception("admit.refused", n=n)
            ids = await pipe.store.pending_requests(n)
            done = await halve(ids, partial(_decide, pipe), partial(_reject, pipe))
    except NO_ROW as error:
        log.warning("admit.delayed", reason=error.code)
        await trio.sleep(0.2)  # noqa: TID251 - the database is away or busy
        return None
    merged = Admitted(
        taken=sum(one.taken for one in done),
        decided=sum(one.decided for one in done),
        started=[key for one in done for key in one.started],
        accounts={account for one in done for account in one.accounts},
        shut=sum(one.shut for one in done),
    )
    insert(pipe, merged.started)
    tally.admitted(pipe.metrics, merged)
    foreign = merged.accounts - pipe.owned
    if foreign:
        await pipe.store.nudge(sorted(foreign))
    return merged


async def _decide(pipe: Pipeline, only: Sequence[int] = ()) -> Admitted:
    """Decide a batch, of *only* these if any are named. Requests for versions that this dripd
    cannot read stay pending: another may be able to."""
    directory = pipe.directory
    while True:
        try:
            return await pipe.store.admit(
                pipe.tuning.admit_batch, decider(pipe), only, tuple(directory.broken)
            )
        except MissingVersion as missing:
            await directory.load_versions([missing.cv_id])
            if missing.cv_id in directory.broken:
                log.error("version.unreadable", cv_id=missing.cv_id)
        except MissingAccount as missing:
            await directory.refresh([missing.account_id])


async def _reject(pipe: Pipeline, alone: Sequence[int], error: BaseException) -> Admitted:
    """A request that nobody can decide."""
    log.error("request.refused", request_id=alone[0], reason=said(error))
    await pipe.store.reject_requests(alone, UNREADABLE)
    return Admitted(taken=1, decided=1, started=[])
