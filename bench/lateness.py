"""How late is a step? 200 steps a second at random instants for 30 s: performed - due.

The channel notes, for each message that it is handed, how long ago it was due.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial

import trio

from bench.engine import ACCOUNTS, DEFINITION, SEED, _execute
from dripd.channels.base import Message, ProviderSettings, Settle
from dripd.channels.sink import SinkChannel
from dripd.config import Config
from dripd.daemon.run import serve
from dripd.policy.perform import Ready

PER_S = 200
SECONDS = 30
LEAD_S = 8

SPREAD = """
UPDATE dripd.due_step SET due_at = dripd.now() + interval '{lead} s' + random() * interval '{seconds} s'
"""


class Stopwatch(SinkChannel):
    """The counting sink, with a watch."""

    def __init__(self) -> None:
        super().__init__("counting", None)
        self.late_ms: list[float] = []

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        now = time.time() * 1000
        for message in messages:
            if isinstance(message.ref, Ready):
                self.late_ms.append(now - message.ref.leased.due_at)
        await super().send(messages, settle)


def run(config: Config, dsn: str, n: int | None) -> dict[str, object]:
    """*n* steps (default 6,000) on the fresh database of *dsn*."""
    wanted = n or PER_S * SECONDS
    definition = json.dumps(DEFINITION)
    asyncio.run(_execute(dsn, SEED.format(accounts=ACCOUNTS, n=wanted, definition=definition)))
    asyncio.run(_execute(dsn, "VACUUM ANALYZE"))
    asyncio.run(_execute(dsn, SPREAD.format(lead=LEAD_S, seconds=wanted / PER_S)))
    return trio.run(partial(_measure, config, dsn, wanted))


async def _measure(config: Config, dsn: str, n: int) -> dict[str, object]:
    config.providers["counting"] = ProviderSettings(  # type: ignore[index]  # made for this run
        name="counting", kind="sink", options={"record": False}
    )
    watch = Stopwatch()
    began, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        daemon = await nursery.start(
            partial(
                serve, config, dsn, manual_clock=False, at=None, channels={"counting": watch}
            )
        )
        with trio.fail_after(300):
            while daemon.pipe.counters.accepted < n or daemon.pipe.unsent:  # noqa: ASYNC110 - it looks from outside
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    late = sorted(watch.late_ms)
    if len(late) != n or late[0] < -1:
        raise AssertionError(
            f"{len(late)} of {n} steps were sent, the earliest {late[0]} ms late"
        )
    return {
        "n": n,
        "seconds": round(time.perf_counter() - began, 3),
        "per_s": PER_S,
        "p50_ms": round(late[n // 2], 2),
        "p99_ms": round(late[n * 99 // 100], 2),
        "max_ms": round(late[-1], 2),
        "cpu_us_daemon": round((time.process_time() - cpu) / n * 1e6, 1),
    }
