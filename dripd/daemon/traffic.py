"""What has left through senders lately, told to all daemons: each tells of those that it tried.

An account is served by one daemon at a time, and whoever is asked may be another. What daemons
before it counted, and those that are no more, adds up to the sender's hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final

import trio

from dripd.clock import SystemClock
from dripd.engine.pipeline import Pipeline
from dripd.engine.standing import standing
from dripd.errors import StoreError
from dripd.log import get
from dripd.store.desk import Desk
from dripd.store.desk_traffic import put_traffic, sweep_traffic

TELL_S, TELL_MOST_S, SHARE = 5.0, 10.0, 20
"""Between two times, as many times as long as the last one took, and at most: what is fifteen
seconds old says nothing of how fast a sender goes."""

TOLD_MS: Final = 30_000
"""Senders that were tried within so long are told of: after ten seconds their rate is nothing."""

AT_ONCE: Final = 50
"""Senders of one statement; between two of them sends go on."""

FAILING_MOST: Final = 5
"""Senders of which much fails that a heartbeat tells of."""

SWEEP_EVERY: Final = 120
"""Rounds from one to the next in which what is a day old goes."""

log = get("traffic")


async def tell(pipe: Pipeline, desk: Desk) -> None:
    """Every five seconds, for ever; every ten at most where there is much to tell."""
    n = 0
    while True:
        began = trio.current_time()
        try:
            await tell_once(pipe, desk)
            if n % SWEEP_EVERY == 0:
                await desk.run(sweep_traffic)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
        n += 1
        took = trio.current_time() - began
        await trio.sleep(min(TELL_MOST_S, max(TELL_S, SHARE * took)))  # noqa: TID251 - what is told of is real time


def failing(pipe: Pipeline) -> list[Mapping[str, object]]:
    """The senders of which most fails, by name, as every heartbeat tells them."""
    accounts = pipe.directory.accounts
    return [
        {
            "account": account.row.key,
            "sender": row.address,
            "tried": one.tried,
            "failed": one.failed,
        }
        for one in pipe.lately.failing[:FAILING_MOST]
        if (account := accounts.get(one.place[0])) is not None
        for row in account.row.senders
        if row.id == one.place[1]
    ]


async def tell_once(pipe: Pipeline, desk: Desk) -> None:
    """What this daemon knows of the senders that it tried lately."""
    traffic, now = pipe.lately.traffic, SystemClock().now()
    found = iter(traffic.lately(TOLD_MS, now))
    pipe.lately.failing = traffic.failing(now)
    while some := list(islice(found, AT_ONCE)):
        rows = {
            place: {**figures, "standing": standing(pipe, *place)} for place, figures in some
        }
        await desk.run(put_traffic, pipe.incarnation, rows)
