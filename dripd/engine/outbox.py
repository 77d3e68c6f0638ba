"""The outbox to outside servers: calls are made apart from all steps, so none holds any up.

A few for each target at a time; what fails is tried again with a growing wait, at most
`TRIES_MOST` times, always under the same idempotency key. Who dies over a call loses it to
the next daemon that knows, who is slow after `PATIENCE_MS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, assert_never

import trio

from dripd.campaigns.event import Done, Rejected, Retryable, Skipped
from dripd.clock import MINUTE, Instant, Millis
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.scheduler.backoff import delay_ms, exhausted
from dripd.store.protocol import CallEnd, CallRow

UNDER_WAY_MOST = 32
"""Calls of one daemon at a time."""

OF_A_TARGET = 4
"""Calls of one target at a time, of all daemons: a slow server gets no more of us."""

TRIES_MOST = 6
"""With a first wait of a minute, doubled each time: half an hour in all."""

PATIENCE_MS = Millis(2 * MINUTE)
"""Longer than any call's deadline."""

POLL_S = 1.0

SLOW = "slow"
"""Why a call that never came back is made again: nobody knows what became of it."""

CallAnswer: TypeAlias = Done | Skipped | Retryable | Rejected
"""How a call came out. It raises nothing: what went wrong is one of these."""

Caller: TypeAlias = Callable[[CallRow], Awaitable[CallAnswer]]

log = get("outbox")


async def takes_all(call: CallRow) -> CallAnswer:
    """The outside server of forecasts and stories: it takes every call."""
    await trio.lowlevel.checkpoint()
    return Done()


async def outbox(pipe: Pipeline, caller: Caller) -> None:
    """Make calls, for ever."""
    under_way: set[tuple[int, int]] = set()
    async with trio.open_nursery() as nursery:
        while True:
            n = UNDER_WAY_MOST - len(under_way)
            with pipe.work:
                calls = (
                    await _take(pipe, n) if n > 0 and not (pipe.draining or pipe.barred) else ()
                )
            for call in calls:
                under_way.add((call.account_id, call.id))
                nursery.start_soon(_make, pipe, caller, call, under_way)
            await pipe.wait("outbox", POLL_S)


async def _take(pipe: Pipeline, n: int) -> list[CallRow]:
    try:
        return await pipe.store.take_calls(pipe.incarnation, n, OF_A_TARGET, PATIENCE_MS)
    except StoreError as error:
        log.warning("store.lost", reason=error.code)
        return []


async def _make(
    pipe: Pipeline, caller: Caller, call: CallRow, under_way: set[tuple[int, int]]
) -> None:
    try:
        answer: CallAnswer = Retryable(reason=SLOW)
        with trio.move_on_after(PATIENCE_MS / 2000):
            answer = await caller(call)
        end = end_of(call, answer, pipe.clock.now())
        if end.state in {"failed", "open"}:
            log.info("call.failed", kind=call.kind, enrollment_id=call.enrollment_id,
                     attempt=call.attempt, reason=end.reason, again=end.state == "open")  # fmt: skip
        with trio.CancelScope(shield=True):
            await pipe.store.end_calls([end])
        pipe.wake("look")
    except StoreError as error:  # somebody takes it again, under the same key
        log.warning("store.lost", reason=error.code)
    finally:
        under_way.discard((call.account_id, call.id))
        pipe.wake("outbox")


def end_of(call: CallRow, answer: CallAnswer, now: Instant) -> CallEnd:
    """What is written about *call* after *answer* at *now*."""
    match answer:
        case Done():
            return CallEnd(call.account_id, call.id, call.attempt, "done")
        case Skipped(reason=reason):
            return CallEnd(call.account_id, call.id, call.attempt, "skipped", reason)
        case Rejected(reason=reason):
            return CallEnd(call.account_id, call.id, call.attempt, "failed", reason)
        case Retryable(reason=reason, after_ms=after_ms):
            if exhausted(call.attempt, most=TRIES_MOST):
                return CallEnd(call.account_id, call.id, call.attempt, "failed", reason)
            key = f"{call.enrollment_id}:{call.seq}"
            wait = max(delay_ms(call.attempt, key), after_ms or 0)
            return CallEnd(
                call.account_id, call.id, call.attempt, "open", reason, Instant(now + wait)
            )
        case _:
            assert_never(answer)
