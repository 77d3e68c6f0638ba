"""Requests to runs: pending rows are decided in batches, in their order."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from dripd.clock import Instant
from dripd.engine import tally
from dripd.engine.feed import insert
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy import admission
from dripd.policy.admission_rows import Decision, RequestRow
from dripd.policy.rooms import MissingAccount, MissingVersion
from dripd.store.protocol import Admitted, Decide

log = get("admit")


def decider(pipe: Pipeline) -> Decide:
    """The rules, bound to what this daemon knows of the world."""

    def decide(rows: Sequence[RequestRow], now: Instant) -> list[Decision]:
        return admission.decide(rows, now, pipe.directory)

    return decide


async def admit(pipe: Pipeline) -> None:
    """Decide what comes in, for ever."""
    while True:
        await pipe.wait("admit", 5.0)
        while not pipe.draining:
            done = await admit_once(pipe)
            if done is None or not done.decided:
                break


async def admit_once(pipe: Pipeline) -> Admitted | None:
    """One batch; None when the database is away."""
    done = None
    while done is None:
        try:
            done = await pipe.store.admit(pipe.tuning.admit_batch, decider(pipe))
        except MissingVersion as missing:
            await pipe.directory.load_versions([missing.cv_id])
            if missing.cv_id in pipe.directory.broken:
                log.error("version.unreadable", cv_id=missing.cv_id)
                return None
        except MissingAccount as missing:
            await pipe.directory.refresh([missing.account_id])
        except StoreError as error:
            log.warning("admit.delayed", reason=error.code)
            await trio.sleep(0.2)  # noqa: TID251 - the database is away or busy
            return None
    insert(pipe, done.started)
    tally.admitted(pipe.metrics, done)
    foreign = done.accounts - pipe.owned
    if foreign:
        await pipe.store.nudge(sorted(foreign))
    return done
