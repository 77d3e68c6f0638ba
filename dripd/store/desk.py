"""A door for admin units of work, on connections of its own: they never delay a send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from dripd.errors import StoreUnavailable
from dripd.store.bridge import Bridge
from dripd.store.connect import make_pool, translated

P = ParamSpec("P")
T = TypeVar("T")


class Desk:
    """Runs `unit(conn, ...)` inside one transaction on the bridge thread.

    On these connections timestamptz is `Instant` and jsonb a Python object.
    """

    def __init__(
        self, bridge: Bridge, dsn: str, *, size: int = 2, statement_timeout: str = "30s"
    ) -> None:
        self._bridge = bridge
        self._dsn = dsn
        self._size = size
        self._patience = statement_timeout
        self._pool: Any = None

    async def open(self) -> None:
        self._pool = await self._bridge.run(_open, self._dsn, self._size, self._patience)

    async def close(self) -> None:
        if self._pool is not None:
            await self._bridge.run(self._pool.close)

    async def run(self, unit: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """`await unit(conn, *args, **kwargs)` in a transaction of its own.

        A `DripdError` passes through and rolls back. Raises `StoreError` and its kinds.
        """
        if self._pool is None:
            raise StoreUnavailable("the desk is not open")
        return await self._bridge.run(self._transact, unit, args, kwargs)

    async def _transact(
        self, unit: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        async with (
            translated(committing=True),
            self._pool.acquire(timeout=10) as conn,
            conn.transaction(),
        ):
            return await unit(conn, *args, **kwargs)


async def _open(dsn: str, size: int, patience: str) -> Any:
    return await make_pool(dsn, size, desk=True, statement_timeout=patience)
