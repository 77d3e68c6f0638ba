"""How a connection is made ready: codecs, planner settings, errors translated at the rim."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
import orjson
from asyncpg.exceptions import InternalClientError

from dripd.clock import FAR_FUTURE, Instant
from dripd.errors import InDoubt, SchemaMismatch, StoreError, StoreRefused, StoreUnavailable

PG_EPOCH_MS = 946_684_800_000
"""2000-01-01 in milliseconds since 1970: where Postgres counts from."""

INFINITY_US = 1 << 62

HOT_SETTINGS = {
    # LEASE.md problem 5: unpinned, the planner makes the same lease thirty times dearer
    "join_collapse_limit": "1",
    "from_collapse_limit": "1",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "enable_hashjoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "synchronous_commit": "on",
    "timezone": "UTC",
}

DESK_SETTINGS = {
    "jit": "off",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "timezone": "UTC",
}

Conn: TypeAlias = Any  # asyncpg's connection or pool proxy: it ships no type that covers both


def encode_instant(at: Instant) -> tuple[int]:
    return ((at - PG_EPOCH_MS) * 1000,)


def decode_instant(moment: tuple[int]) -> Instant:
    """Microseconds to `Instant`; plus infinity reads as the far future, minus as the epoch."""
    us = moment[0]
    if us >= INFINITY_US:
        return FAR_FUTURE
    if us <= -INFINITY_US:
        return Instant(0)
    return Instant(us // 1000 + PG_EPOCH_MS)


def parse_object(text: str | None) -> dict[str, object]:
    """A JSON object, or {} for anything else; numbers that orjson refuses are read by json."""
    if not text:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = json.loads(text)
    return value if isinstance(value, dict) else {}


async def prepare(conn: Conn) -> None:
    """Give *conn* the codecs that every dripd connection has."""
    await conn.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=encode_instant,
        decoder=decode_instant,
        format="tuple",
    )


async def prepare_desk(conn: Conn) -> None:
    """As `prepare`, and jsonb as Python objects."""
    await prepare(conn)
    await conn.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode(),
        decoder=_any_json,
    )


def _any_json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


async def _keep(_conn: Conn) -> None:
    """No reset on release: one more round trip, and nothing here leaves state behind."""


async def make_pool(
    dsn: str,
    size: int,
    *,
    desk: bool = False,
    command_timeout_s: float = 30,
    statement_timeout: str = "30s",
) -> Any:
    """A pool of *size* held connections to the database of *dsn*."""
    with_rim = translated()
    async with with_rim:
        return await asyncpg.create_pool(
            dsn,
            min_size=size,
            max_size=size,
            init=prepare_desk if desk else prepare,
            reset=_keep,
            command_timeout=command_timeout_s,
            timeout=10,
            server_settings={
                "application_name": "dripd",
                **(DESK_SETTINGS if desk else HOT_SETTINGS),
                "statement_timeout": statement_timeout,
            },
            max_inactive_connection_lifetime=0,
        )


@asynccontextmanager
async def translated(*, committing: bool = False) -> AsyncIterator[None]:
    """The rim: asyncpg's errors become ours. *committing*: a loss leaves it in doubt."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translate(error, committing=committing) from error
    except asyncpg.ClientConfigurationError as error:
        raise StoreRefused(
            f"the DSN cannot be used: {error}", hint="postgresql://USER@HOST:PORT/DATABASE"
        ) from error
    except (OSError, asyncpg.InterfaceError, InternalClientError, TimeoutError) as error:
        lost = InDoubt if committing else StoreUnavailable
        raise lost(
            f"the database does not answer: {error or type(error).__name__}",
            hint="is the server running, and is the DSN its own? `dripd db url` shows it",
        ) from error


AWAY = ("08", "57", "53", "25006", "40", "55P03")
"""SQLSTATEs after which asking again is right."""


def _translate(error: asyncpg.PostgresError, *, committing: bool) -> StoreError:
    state = error.sqlstate or ""
    if state in {"42P01", "3F000", "42883", "42703"}:
        return SchemaMismatch(
            f"the schema does not fit: {error}", hint="run `dripd db migrate`"
        )
    if state in {"3D000", "28000", "28P01", "42501"}:
        return StoreRefused(
            f"the database refuses us: {error}", hint="check the DSN and the role"
        )
    if state.startswith(AWAY):
        doubtful = committing and state.startswith(("08", "57"))
        return (InDoubt if doubtful else StoreUnavailable)(f"the database is away: {error}")
    return StoreError(f"the database refused a statement: {error} [{state}]")
