"""Everything that runs for ever in one engine, over whatever store, clock and channels it has.

The daemon starts it on Postgres and the wall clock; forecast and stories start the same stages
on a `MemoryStore` in virtual time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio

from dripd.channels.base import Channel
from dripd.engine.admit import admit
from dripd.engine.dial import dial, is_due
from dripd.engine.feed import feed, load
from dripd.engine.lease import lease
from dripd.engine.look import look
from dripd.engine.outbox import Caller, outbox, takes_all
from dripd.engine.pipeline import Pipeline
from dripd.engine.record import record
from dripd.engine.send import queues, send
from dripd.engine.sweep import sweep
from dripd.errors import StoreError
from dripd.log import get

AWAY_S = 0.2
"""Real seconds until a stage whose database failed it tries again."""

IN_FLIGHT = 2
"""Leases, and records, in flight at a time: the next is made while one is in the database."""

log = get("stages")


def start(
    pipe: Pipeline,
    channels: Mapping[str, Channel],
    deployment: str,
    *,
    stages: trio.Nursery,
    recorders: trio.Nursery,
    caller: Caller = takes_all,
) -> None:
    """Start every stage in *stages*; what they make is written by *recorders*, which outlive them.

    *caller* makes the calls to outside servers.
    """
    queues(pipe, channels)
    stages.start_soon(outbox, pipe, caller)
    for stage in (look, admit, feed, load):
        stages.start_soon(keep, stage, pipe)
    stages.start_soon(sweep, pipe, deployment)
    for _ in range(IN_FLIGHT):
        stages.start_soon(keep, lease, pipe)
        recorders.start_soon(keep, record, pipe)
    for channel in channels.values():
        pipe.metrics["dripd_send_slots"].set(channel.concurrency, channel.name)
        for _ in range(channel.concurrency):
            stages.start_soon(partial(send, pipe, channel, deployment))
    stages.start_soon(partial(dial, pipe, tuple(channels.values()), at_once=is_due(pipe)))


async def keep(stage: Callable[[Pipeline], Awaitable[None]], pipe: Pipeline) -> None:
    """Run *stage* for ever: a database that goes away stops no stage, it only waits.

    What a stage had in hand it has put back before the error reaches this place.
    """
    while True:
        try:
            await stage(pipe)
        except StoreError as error:
            log.warning("store.lost", reason=error.code, of=stage.__name__)
            await trio.sleep(AWAY_S)  # noqa: TID251 - the database is away: do not spin
