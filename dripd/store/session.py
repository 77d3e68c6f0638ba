"""Are sessions ours for as long as we are connected? Behind a pooler of transactions they are not.

There every transaction may go to another session of the server: settings, prepared statements and
locks of a session are somebody else's then. A pooler is known by the process that it names when
one connects, which is none of the server's; that it lends sessions for a transaction only, by
one's own going to others, or to somebody else, while one is connected.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from dripd.errors import StoreRefused
from dripd.store.connect import CONNECT_S, Conn, dialling, translated

ROUNDS: Final = 5
"""Others may come between: they would have to every time."""

HINT: Final = (
    "connect to Postgres itself, or let the pooler lend dripd sessions: pool_mode = session"
)


async def mind_sessions(conn: Conn, dsn: str) -> None:
    """Raises `StoreRefused` `pooled` where *conn*, made by *dsn*, has no session of its own."""
    async with translated():
        if not await is_pooled(conn, dsn):
            return
    raise StoreRefused(
        "a pooler between dripd and Postgres gives every transaction another session",
        code="pooled",
        hint=HINT,
    )


async def is_pooled(conn: Conn, dsn: str) -> bool:
    """Does the session of *conn* change hands between transactions? Asks a second connection
    only where something stands between."""
    try:
        own = await _process(conn)
        if own == conn.get_server_pid():
            return False
        with dialling():
            other = await asyncpg.connect(dsn, timeout=CONNECT_S)
        try:
            for _ in range(ROUNDS):
                if await _process(conn) != own:
                    return True
                async with other.transaction():  # it is given what was free last, or any
                    if await _process(other) == own or await _process(conn) != own:
                        return True
        finally:
            other.terminate()
    except (
        asyncpg.InvalidSQLStatementNameError,
        asyncpg.DuplicatePreparedStatementError,
    ):  # what one session has prepared, another was asked for
        return True
    return False


async def _process(conn: Conn) -> int:
    found: int = await conn.fetchval("SELECT pg_backend_pid()")
    return found
