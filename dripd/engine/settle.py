"""Moving the manual clock: every instant at which something comes up is visited in order.

Settled is a state of SQL, so that any number of daemons can share it; one mover at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import trio

from dripd.clock import Instant
from dripd.engine.pipeline import Pipeline, Stage
from dripd.errors import Conflict, TimedOut

PATIENCE_S = 120.0
"""Real time without any progress after which the mover gives up and says what is not settled."""

POLL_S, POLL_MOST_S, SLOWER = 0.01, 0.25, 1.2
"""How often it is asked whether all is settled while this daemon can do nothing about it: another
daemon is to, a row is locked, a dead daemon's claims are not yet taken over. The question, and
the wake-ups with it, need not come a hundred times a second."""

REST_S = 1.0
"""How long this daemon may have something in hand until it is asked all the same."""

WAKES: Final[Mapping[str, tuple[Stage, ...]]] = {
    "requests": ("admit",),
    "events": ("look",),
    "usage": ("look",),
    "claims": ("done",),
    "calls": ("outbox",),
    "parks": ("look", "feed"),
    "due": ("look", "feed", "lease"),
    "nodes": ("look",),
}
"""Who is to be woken for what is not settled; the rest comes by itself, or `_help` does it."""


async def settle(pipe: Pipeline) -> None:
    """Wait until nothing more is due at the present instant. Raises `TimedOut`.

    SQL is asked once this daemon has nothing in hand any more: what its stages do beside SQL,
    or after their last statement, belongs to the instant too.
    """
    began = trio.current_time()
    before: object = None
    done = -1
    pause_s = POLL_S
    pipe.wake("look")
    while True:
        await pipe.rest(REST_S)
        unsettled = await pipe.store.unsettled()
        if not unsettled and pipe.rests:
            return
        progress = pipe.counters.leased + pipe.counters.recorded
        if progress != done:
            done, began = progress, trio.current_time()
        if trio.current_time() - began > PATIENCE_S:
            raise TimedOut(
                f"not settled: {', '.join(unsettled)} wait",
                hint="`dripd status` says what is held; `dripd logs` why nothing moves",
            )
        if before == (unsettled, progress):
            await trio.sleep(pause_s)  # noqa: TID251 - a poll of SQL in real time
            pause_s = min(pause_s * SLOWER, POLL_MOST_S)
        else:
            before, pause_s = (unsettled, progress), POLL_S
        await _help(pipe, unsettled)


async def _help(pipe: Pipeline, unsettled: Sequence[str]) -> None:
    """Do, or have done, what is left to do at this instant."""
    if not {"replies", "reminders"}.isdisjoint(unsettled):
        await pipe.store.remind()
    if "drained" in unsettled:
        await pipe.store.finish_drained()
    for word in unsettled:
        for stage in WAKES.get(word, ()):
            pipe.wake(stage)


async def move_to(pipe: Pipeline, until: Instant) -> int:
    """Visit every instant up to *until*, settling at each. Returns how many were visited.

    Another daemon that moves the clock is waited for. Raises `Conflict` for an earlier instant
    than the present, also where that daemon has gone beyond *until*.
    """
    _see_ahead(pipe, until)
    let_go = await _own(pipe)
    try:
        return await _visit(pipe, until)
    finally:
        with trio.CancelScope(shield=True):
            await let_go()


def _see_ahead(pipe: Pipeline, until: Instant) -> None:
    if until < pipe.clock.now():
        raise Conflict("the manual clock moves only forward", code="clock_back")


async def _own(pipe: Pipeline) -> Callable[[], Awaitable[None]]:
    began = trio.current_time()
    while trio.current_time() - began < PATIENCE_S:
        let_go = await pipe.store.own_clock()
        if let_go is not None:
            return let_go
        await trio.sleep(POLL_MOST_S)  # noqa: TID251 - a poll of SQL in real time
    raise Conflict("somebody else moves the clock", code="clock_busy", hint="wait for them")


async def _visit(pipe: Pipeline, until: Instant) -> int:
    visited = 0
    await pipe.store.move_clock(pipe.clock.now())  # a crash may have taken its last move back
    while True:
        await settle(pipe)
        _see_ahead(pipe, until)
        upcoming = await pipe.store.next_instant()
        target = until if upcoming is None else Instant(min(upcoming, until))
        if target <= pipe.clock.now():
            return visited
        await pipe.store.move_clock(target)
        visited += 1
