"""What came back, on its way into `event_in`: many requests share one transaction.

A request waits until its rows are committed. The writer takes all that has gathered while
the transaction before was under way, so that a burst of opens costs a few commits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from dripd.errors import StoreError, StoreUnavailable
from dripd.store.desk_gateway import Signal

MOST = 500
"""Events of one transaction."""

WAITING_MOST = 5_000
"""Events that may wait: beyond them the sender is told to come again."""

Keep = Callable[[Sequence[Signal]], Awaitable[None]]


@dataclass(slots=True)
class _Waiting:
    signals: Sequence[Signal]
    done: trio.Event = field(default_factory=trio.Event)
    error: StoreError | None = None


class Intake:
    """Gathers events; `run` writes them with *keep*, which commits or raises."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._waiting: list[_Waiting] = []
        self._n = 0
        self._arrived = trio.Event()

    async def put(self, signals: Sequence[Signal]) -> None:
        """Returns once *signals* are committed. Raises `StoreError` if they are not."""
        if self._n + len(signals) > WAITING_MOST:
            raise StoreUnavailable("too many events are waiting", code="busy")
        mine = _Waiting(signals)
        self._waiting.append(mine)
        self._n += len(signals)
        self._arrived.set()
        await mine.done.wait()
        if mine.error is not None:
            raise mine.error

    async def run(self) -> None:
        """Write what has gathered, for ever."""
        while True:
            await self._arrived.wait()
            batch = self._take()
            await self._write(batch)
            if not self._waiting:
                self._arrived = trio.Event()

    def _take(self) -> list[_Waiting]:
        n = taken = 0
        for one in self._waiting:
            if n and n + len(one.signals) > MOST:
                break
            n += len(one.signals)
            taken += 1
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._n -= n
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        error = None
        try:
            with trio.CancelScope(shield=True):
                await self._keep([signal for one in batch for signal in one.signals])
        except StoreError as lost:
            error = lost
        for one in batch:
            one.error = error
            one.done.set()
