"""A door for admin units of work, on connections of its own: they never delay a send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from dripd.errors import InDoubt, StoreBusy, StoreUnavailable
from dripd.store.bridge import Bridge
from dripd.store.condition import Condition
from dripd.store.connect import SLOW_HINT, Conn, Overdue, make_pool, transact, translated

P = ParamSpec("P")
T = TypeVar("T")

ACQUIRE_S = 10.0
"""How long a unit of work waits for a connection that others use."""

WIDE_S = 600.0
"""How long a unit of work may take that touches every run of a campaign."""


DOUBT_HINT = "it may have been done: look before you repeat it (dripd audit list)"


class Desk:
    """Runs `unit(conn, ...)` inside one transaction on the bridge thread.

    On these connections timestamptz is `Instant` and jsonb a Python object.
    """

    def __init__(
        self,
        bridge: Bridge,
        dsn: str,
        *,
        size: int = 2,
        patience_s: float = 30.0,
        condition: Condition | None = None,
    ) -> None:
        self._bridge = bridge
        self._dsn = dsn
        self._size = size
        self._patience_s = patience_s
        self._condition = condition or Condition()
        self._pool: Any = None

    async def open(self) -> None:
        self._pool = await self._bridge.run(_open, self._dsn, self._size, self._patience_s)
        self._condition.pools.append(self._pool)

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    async def close(self) -> None:
        if self._pool is not None:
            await self._bridge.run(_close, self._pool)

    async def run(self, unit: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """`await unit(conn, *args, **kwargs)` in a transaction of its own.

        A `DripdError` passes through and rolls back. Raises `StoreError` and its kinds, at
        once where it is known that the database is away.
        """
        return await self._run(self._patience_s, lambda conn: unit(conn, *args, **kwargs))

    async def run_wide(self, unit: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """As `run`, of a unit that touches every run of a campaign: it may take `WIDE_S`."""

        async def patiently(conn: Conn) -> T:
            await conn.execute(f"SET LOCAL statement_timeout = {int(WIDE_S * 1000)}")
            return await unit(conn, *args, **kwargs)

        return await self._run(WIDE_S, patiently)

    async def _run(self, patience_s: float, work: Callable[[Conn], Awaitable[T]]) -> T:
        if self._pool is None:
            raise StoreUnavailable("the desk is not open")
        self._condition.refuse()
        try:
            return await self._bridge.run(self._transact, patience_s, work)
        except StoreBusy:
            raise  # somebody's lock, or a view that costs too much: no trouble of the engine
        except StoreUnavailable as error:
            self._condition.note("desk", error)
            raise

    async def _transact(self, patience_s: float, work: Callable[[Conn], Awaitable[T]]) -> T:
        is_done = False

        async def whole(conn: Conn) -> T:
            nonlocal is_done
            result = await work(conn)
            is_done = True
            return result

        try:
            async with translated(committing=True), self._acquired() as conn:
                try:
                    return await transact(conn, patience_s, whole)
                except Overdue as error:
                    raise StoreBusy(
                        f"a statement took too long: {error}", hint=SLOW_HINT
                    ) from error
        except InDoubt as error:
            if not is_done:
                said = "the connection to the database was lost; nothing was done"
                raise StoreUnavailable(said, hint=error.hint) from error
            raise InDoubt(error.message, hint=DOUBT_HINT) from error

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Conn]:
        try:
            conn = await self._pool.acquire(timeout=ACQUIRE_S)
        except TimeoutError as error:
            if self._pool.get_size() < self._size:
                raise  # none could be made: the database is away
            said = f"others use every connection for {ACQUIRE_S:g} s"
            raise StoreBusy(said, hint=SLOW_HINT) from error
        try:
            yield conn
        finally:
            await self._pool.release(conn)


async def _close(pool: Any) -> None:
    pool.terminate()


async def _open(dsn: str, size: int, patience_s: float) -> Any:
    return await make_pool(dsn, size, desk=True, patience_s=patience_s)
