"""Moving the manual clock: every instant at which something comes up is visited in order.

Settled is a state of SQL, so that any number of daemons can share it; one mover at a time.
"""

from __future__ import annotations

import trio

from dripd.clock import Instant
from dripd.engine.pipeline import Pipeline
from dripd.errors import Conflict, TimedOut

PATIENCE_S = 120.0
"""Real time without any progress after which the mover gives up and says what is not settled."""

POLL_S, POLL_MOST_S, SLOWER = 0.01, 0.25, 1.2
"""How often it is asked whether all is settled. Where nothing moves (a row is locked, a dead
daemon's claims are not yet taken over) the question itself, and the wake-ups with it, need not
come a hundred times a second."""


async def settle(pipe: Pipeline) -> None:
    """Wait until nothing more is due at the present instant. Raises `TimedOut`."""
    calm = 0
    began = trio.current_time()
    before = -1
    pause_s = POLL_S
    while calm < 2:
        for stage in ("look", "admit", "feed", "lease", "done", "outbox"):
            pipe.wake(stage)
        unsettled = await pipe.store.unsettled()
        calm = 0 if unsettled else calm + 1
        progress = pipe.counters.leased + pipe.counters.recorded
        if progress != before:
            before, began = progress, trio.current_time()
            pause_s = POLL_S
        if trio.current_time() - began > PATIENCE_S:
            raise TimedOut(
                f"not settled: {', '.join(unsettled)} wait",
                hint="`dripd status` says what is held; `dripd logs` why nothing moves",
            )
        if unsettled:
            await trio.sleep(pause_s)  # noqa: TID251 - a poll of SQL in real time
            pause_s = min(pause_s * SLOWER, POLL_MOST_S)


async def move_to(pipe: Pipeline, until: Instant) -> int:
    """Visit every instant up to *until*, settling at each. Returns how many were visited.

    Raises `Conflict` for an earlier instant than the present.
    """
    if until < pipe.clock.now():
        raise Conflict("the manual clock moves only forward", code="clock_back")
    let_go = await pipe.store.own_clock()
    if let_go is None:
        raise Conflict("somebody else moves the clock", code="clock_busy", hint="wait for them")
    try:
        return await _visit(pipe, until)
    finally:
        with trio.CancelScope(shield=True):
            await let_go()


async def _visit(pipe: Pipeline, until: Instant) -> int:
    visited = 0
    while True:
        await settle(pipe)
        upcoming = await pipe.store.next_instant()
        target = until if upcoming is None else Instant(min(upcoming, until))
        if target > pipe.clock.now():
            await pipe.store.move_clock(target)
            visited += 1
        elif target >= until:
            return visited
        else:
            await pipe.store.move_clock(Instant(pipe.clock.now()))
        if target >= until:
            await settle(pipe)
            again = await pipe.store.next_instant()
            if again is None or again > until:
                return visited
