"""The only door between trio and asyncpg: a uvloop thread, awaited from trio.

A whole unit of work crosses once. `run` never abandons a statement: a trio cancellation
cancels the asyncio task and waits for it, so a lease is either delivered or rolled back;
callers shield what must be delivered. If the thread dies, every waiter fails.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import outcome
import trio
from uvloop import new_event_loop

from dripd.errors import StoreUnavailable

T = TypeVar("T")


CANCEL_S = 1.0
"""How long a statement that was cancelled may take to end."""


class Deadline:
    """Calls *cut* if the block, on the asyncio thread, has not ended after *seconds*.

    What waits for a peer that is frozen or out of reach cannot be cancelled: the driver waits
    for an answer to the cancellation too. So a block that is left by one has its connection
    cut soon after, unless it has been given back by then.
    """

    __slots__ = ("_cut", "_seconds", "_timer", "has_passed")

    def __init__(self, seconds: float, cut: Callable[[], object]) -> None:
        self._seconds = seconds
        self._cut = cut
        self.has_passed = False
        """Whether it came to that."""

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._pass)

    def _pass(self) -> None:
        self.has_passed = True
        self._cut()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            asyncio.get_running_loop().call_later(CANCEL_S, self._pass)


class BridgeClosed(StoreUnavailable):
    """The database thread is gone."""


class Bridge:
    """Runs coroutines of the asyncio world for tasks of the trio world."""

    async def __aenter__(self) -> Bridge:
        self._token = trio.lowlevel.current_trio_token()
        self._died = trio.Event()
        self._waiting: set[trio.lowlevel.Task] = set()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._main, args=(ready,), name="dripd-db", daemon=True
        )
        self._thread.start()
        await trio.to_thread.run_sync(ready.wait)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            if not self._died.is_set():
                with trio.move_on_after(5):
                    await self.run(self._drain)
                self._soon(self._loop.stop)
            await self._died.wait()
            await trio.to_thread.run_sync(self._thread.join)

    def to_trio(self, fn: Callable[..., object], *args: object) -> None:
        """From the asyncio thread: call *fn* in trio soon; after trio has ended, drop it."""
        try:
            self._token.run_sync_soon(fn, *args)
        except trio.RunFinishedError:
            return  # nobody is left to hear of it

    async def run(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await `fn(*args)` on the asyncio thread.

        Raises what it raises; `BridgeClosed` if the thread is or gets lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._died.is_set():
            raise BridgeClosed("database bridge is closed")
        crossing = _Crossing(self, trio.lowlevel.current_task())
        self._waiting.add(crossing.task)
        self._soon(crossing.start, fn, args)
        try:
            result: T = await trio.lowlevel.wait_task_rescheduled(crossing.abort)
        except (asyncio.CancelledError, TimeoutError, OSError):
            crossing.raise_if_cancelled()
            raise
        return result

    def _main(self, ready: threading.Event) -> None:
        self._loop = new_event_loop()
        self._loop.call_soon(ready.set)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
            self.to_trio(self._on_death)

    async def _drain(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def _soon(self, fn: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            return  # the loop is closed: _on_death wakes everyone

    def wake(self, task: trio.lowlevel.Task, result: outcome.Outcome[Any]) -> None:
        if task in self._waiting:
            self._waiting.discard(task)
            trio.lowlevel.reschedule(task, result)

    def _on_death(self) -> None:
        self._died.set()
        for task in list(self._waiting):
            self.wake(task, outcome.Error(BridgeClosed("database thread died")))


class _Crossing:
    """One call on its way over and back."""

    def __init__(self, bridge: Bridge, task: trio.lowlevel.Task) -> None:
        self.bridge = bridge
        self.task = task
        self._aio: asyncio.Task[Any] | None = None
        self._raise_cancel: Callable[[], object] | None = None

    def start(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        self._aio = asyncio.get_event_loop().create_task(self._call(fn, args))
        self._aio.add_done_callback(self._finish)

    @staticmethod
    async def _call(fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        return await fn(*args)  # inside the task: a synchronous raise cannot hang the caller

    def _finish(self, done: asyncio.Task[Any]) -> None:
        result: outcome.Outcome[Any]
        if done.cancelled():
            result = outcome.Error(asyncio.CancelledError())
        elif error := done.exception():
            result = outcome.Error(error)
        else:
            result = outcome.Value(done.result())
        self.bridge.to_trio(self.bridge.wake, self.task, result)

    def abort(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        self._raise_cancel = raise_cancel
        self.bridge._soon(self._cancel)  # start() always ran before this
        return trio.lowlevel.Abort.FAILED

    def _cancel(self) -> None:
        if self._aio is not None:
            self._aio.cancel()

    def raise_if_cancelled(self) -> None:
        if self._raise_cancel is not None:
            self._raise_cancel()
