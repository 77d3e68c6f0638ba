"""How a connection is made ready: codecs, planner settings, errors translated at the rim."""

from __future__ import annotations

import json
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson
from asyncpg.exceptions import (
    InternalClientError,
    TargetServerAttributeNotMatched,
)

from dripd.clock import FAR_FUTURE, Instant
from dripd.errors import (
    InDoubt,
    SchemaMismatch,
    StoreBusy,
    StoreError,
    StoreLocked,
    StoreRefused,
    StoreUnavailable,
)
from dripd.store.bridge import Deadline

PATIENCE_S = 15.0
"""How long a statement may take unless `[postgres] patience` says otherwise."""

CONNECT_S = 10.0

PROBE_S = 5.0
"""How long the prober waits for a server that may not be there."""

PG_EPOCH_MS = 946_684_800_000
"""2000-01-01 in milliseconds since 1970: where Postgres counts from."""

INFINITY_US = 1 << 62

IDLE = "10s"
"""How long a transaction may stand still: of a daemon that is frozen no lock outlives its heartbeat."""

HOT_SETTINGS = {
    # unpinned, the planner makes the same lease thirty times dearer
    "join_collapse_limit": "1",
    "from_collapse_limit": "1",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "enable_hashjoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": IDLE,
    "synchronous_commit": "on",
    "timezone": "UTC",
}

DESK_SETTINGS = {
    "jit": "off",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": IDLE,
    "timezone": "UTC",
}

CONFIGURE = """
SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)
"""

T = TypeVar("T")

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


def read_object(text: str | None) -> dict[str, object]:
    """A JSON object, or {} for anything else; numbers that orjson refuses are read by json.

    Raises `ValueError` for what jsonb holds and Python cannot: nested too deep, too many digits.
    """
    if not text:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deep") from error
    return value if isinstance(value, dict) else {}


def parse_object(text: str | None) -> dict[str, object]:
    """As `read_object`; what cannot be read is {}: no batch fails for one row."""
    try:
        return read_object(text)
    except ValueError:
        return {}


async def configure(conn: Conn, settings: Mapping[str, str]) -> None:
    """Let *settings* hold for the session of *conn*: asked for as it begins, poolers refuse them."""
    await conn.execute(CONFIGURE, list(settings), list(settings.values()))


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
    patience_s: float = PATIENCE_S,
    mind: Callable[[Conn], Awaitable[None]] | None = None,
) -> Any:
    """A pool of *size* held connections to the database of *dsn*.

    The server ends a statement after *patience_s*; `deadline` cuts those of which no answer
    comes at all. Only a desk may be connected to a server that takes no writes. *mind* looks at
    each connection before it is used.
    """
    settings = {
        **(DESK_SETTINGS if desk else HOT_SETTINGS),
        "statement_timeout": str(int(patience_s * 1000)),
    }

    async def init(conn: Conn) -> None:
        await configure(conn, settings)
        await (prepare_desk if desk else prepare)(conn)
        if mind is not None:
            await mind(conn)

    with_rim = translated()
    async with with_rim:
        with dialling():
            return await asyncpg.create_pool(
                dsn,
                min_size=size,
                max_size=size,
                init=init,
                reset=_keep,
                timeout=CONNECT_S,
                target_session_attrs="any" if desk else "read-write",
                server_settings={"application_name": "dripd"},
                max_inactive_connection_lifetime=0,
            )


async def copy_rows(
    conn: Conn, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert *rows* into a table of dripd, by COPY: as arrays of a statement each value costs
    the driver three times as much, and Postgres a half more.

    Raises `StoreError` for a value that no row can hold.
    """
    try:
        await conn.copy_records_to_table(
            table, schema_name="dripd", columns=columns, records=rows
        )
    except (OverflowError, TypeError, UnicodeError) as error:  # as the driver finds it
        raise StoreError(f"a value does not fit: {error}", code="bad_value") from error


def deadline(conn: Conn, patience_s: float) -> Deadline:
    """Cut *conn* if a unit of work has no end when the server itself should have ended it."""

    def cut() -> None:
        with suppress(asyncpg.InterfaceError):  # it has been given back: it serves others
            conn.terminate()

    return Deadline(1.25 * patience_s, cut)


async def transact(
    conn: Conn, patience_s: float, unit: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
) -> T:
    """*unit* in a transaction; no end of it, and no commit, is waited for too long.

    Raises `Overdue` where the unit had no end in its time: nothing of it was committed.
    """
    whole, work, is_done = deadline(conn, patience_s), deadline(conn, patience_s), False
    try:
        with whole:
            async with conn.transaction():
                with work:
                    result = await unit(conn, *args, **kwargs)
                is_done = True
            return result
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        if not is_done and (whole.has_passed or work.has_passed):
            raise Overdue(f"broken off after {1.25 * patience_s:g} s") from error
        raise


class Overdue(TimeoutError):
    """A unit of work had no end in its time, and its connection was cut."""


async def probe(
    dsn: str, pools: Sequence[Any], mind: Callable[[Conn], Awaitable[None]]
) -> None:
    """Meet a server that takes writes, on a connection of its own; *pools* then connect anew.

    *mind* looks at that connection first. Raises `StoreUnavailable` and its kinds.
    """
    async with translated():
        try:
            conn = await _meet(dsn, "read-write")
        except OSError as error:
            # of several hosts: what became of one tells nothing of the rest
            if await _is_standby_there(dsn):
                raise TargetServerAttributeNotMatched("a standby answers") from error
            raise
        try:
            await mind(conn)
        finally:
            await conn.close(timeout=PROBE_S)
        for pool in pools:
            await pool.expire_connections()


@contextmanager
def dialling() -> Iterator[None]:
    """A DSN that cannot be read is refused; nothing of it is quoted, it may hold a password."""
    try:
        yield
    except asyncpg.InterfaceError:
        raise
    except ValueError:
        raise StoreRefused(
            "the DSN cannot be read: a host, port or option in it is none", hint=DSN_HINT
        ) from None


async def _meet(dsn: str, attrs: str) -> Conn:
    return await asyncpg.connect(
        dsn, timeout=PROBE_S, command_timeout=PROBE_S, target_session_attrs=attrs
    )


async def _is_standby_there(dsn: str) -> bool:
    """Does one of the hosts answer, although none takes writes?"""
    try:
        conn = await _meet(dsn, "standby")
    except (OSError, asyncpg.PostgresError, InternalClientError, asyncpg.InterfaceError):
        return False
    await conn.close(timeout=PROBE_S)
    return True


@asynccontextmanager
async def translated(*, committing: bool = False) -> AsyncIterator[None]:
    """The rim: asyncpg's errors become ours. *committing*: a loss leaves it in doubt."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translate(error, committing=committing) from error
    except asyncpg.ClientConfigurationError as error:
        raise StoreRefused(f"the DSN cannot be used: {error}", hint=DSN_HINT) from error
    except TargetServerAttributeNotMatched as error:
        raise StoreUnavailable("the database is read-only", hint=READ_ONLY) from error
    except (OSError, asyncpg.InterfaceError, InternalClientError, TimeoutError) as error:
        if isinstance(error, ValueError):  # the driver cannot write a value: nothing was asked
            raise StoreError(f"a value does not fit: {error}", code="bad_value") from error
        lost = InDoubt if committing else StoreUnavailable
        said = getattr(error, "strerror", None) or error or type(error).__name__
        raise lost(
            f"the database does not answer: {said}",
            hint="is the server running, and is the DSN its own? `dripd db url` shows it",
        ) from error


SLOW_HINT = "the machine is busy: it is worth asking again, or for less (a filter, --limit)"

DSN_HINT = "postgresql://USER@HOST:PORT/DATABASE"

AWAY = ("08", "57P", "53300", "25006", "25P03", "26000", "42P05")
"""SQLSTATEs of a server that is not there for us: it ends, starts, is full, takes no writes, or
answers in another's session."""

BUSY = ("40", "53", "57014")
"""SQLSTATEs of a server that is there and cannot do this now: nothing was done."""

READ_ONLY = "a standby after a failover, or default_transaction_read_only"

OTHERS = "another session answers than was asked"

WORDS = {
    "25006": f"the database is read-only ({READ_ONLY})",
    "26000": OTHERS,
    "42P05": OTHERS,
    "53100": "the database's disk is full",
    "53200": "the database is out of memory",
    "53300": "the database takes no more connections",
    "55P03": "somebody holds a lock for long",
    "57014": "a statement took too long",
    "57P01": "the database was shut down, or ended our connection",
    "57P02": "the database crashed",
    "57P03": "the database is starting, or shutting down",
}
"""What SQLSTATEs mean for an operator."""


def _translate(error: asyncpg.PostgresError, *, committing: bool) -> StoreError:
    state = error.sqlstate or ""
    if state in {"42P01", "3F000", "42883", "42703"}:
        return SchemaMismatch(
            f"the schema does not fit: {error}", hint="run `dripd db migrate`"
        )
    if state in {"3D000", "28000", "28P01", "42501"}:
        hint = "check the DSN and the role"
        if state == "42501":
            hint += ": is it a member of dripd_daemon?"
        return StoreRefused(f"the database refuses us: {error}", hint=hint)
    if state.startswith(AWAY):
        doubtful = committing and state.startswith(("08", "57P"))
        why = str(error).partition("\n")[0]  # the driver adds advice
        said = f"{WORDS.get(state, 'the database is away')}: {why}"
        return (InDoubt if doubtful else StoreUnavailable)(said)
    if state == "23514" and not getattr(error, "constraint_name", None):
        # no CHECK of a table, but of a partition: a month of its own was made for rows on their
        # way into the default partition. The same statement finds it now.
        return StoreBusy(f"a partition was made meanwhile: {error}")
    if state == "55P03":
        return StoreLocked(f"{WORDS[state]}: {error}")
    if state.startswith(BUSY):
        hint = SLOW_HINT if state == "57014" else ""
        return StoreBusy(f"{WORDS.get(state, 'the database is busy')}: {error}", hint=hint)
    return StoreError(f"the database refused a statement: {error} [{state}]")
