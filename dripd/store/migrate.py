"""Brings a database to the schema of this dripd: forward only, one daemon at a time.

Blocking: it runs before the daemon's loops do, or in a command.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from dripd.errors import SchemaMismatch, StoreError, StoreRefused
from dripd.store.connect import Conn, dialling, translated
from dripd.store.session import mind_sessions
from dripd.store.statements import sql_root

LOCK = 7_234_019_884
"""The advisory lock under which migrations run."""

OLDEST_SERVER: Final = 150_000
"""Of a server, as `server_version_num` has it."""

TRIES = 10
"""How often a migration is begun before a deadlock with those who work meanwhile fails it."""

MOST_NAMED = 3
"""More migrations than these are counted."""

OURS = """
SELECT (SELECT count(*) FROM pg_attribute
    WHERE attrelid = to_regclass('dripd.migration')
        AND attname IN ('number', 'name', 'applied_at') AND NOT attisdropped) = 3 AS is_ours,
    EXISTS (SELECT FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'dripd') AS is_used
"""
"""Whether the schema is dripd's own, and whether there is anything in it at all."""

NUMBERED = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def alone(self) -> bool:
        """May not run inside a transaction (`CREATE INDEX CONCURRENTLY`)."""
        return "-- transaction: none" in self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStatus:
    """`applied` and `newest` are migration numbers; `server` is Postgres's version number."""

    server: int
    applied: int
    newest: int
    pending: tuple[str, ...]

    @property
    def lacks(self) -> str:
        """What is to be applied, in words; empty where it is nothing."""
        if len(self.pending) <= MOST_NAMED:
            return ", ".join(self.pending)
        return f"{len(self.pending)} migrations, from {self.pending[0]} on"


def migrations() -> list[Migration]:
    """Every migration of this dripd, in order."""
    found = [_read(path) for path in sorted((sql_root() / "migrations").glob("*.sql"))]
    return sorted(found, key=lambda migration: migration.number)


def _read(path: Path) -> Migration:
    match = NUMBERED.match(path.name)
    if match is None:
        raise SchemaMismatch(f"{path.name} is no migration: call it NNNN_verb_phrase.sql")
    return Migration(
        number=int(match[1]), name=path.stem, text=path.read_text(encoding="utf-8")
    )


def migrate(dsn: str) -> list[str]:
    """Apply what is missing; returns the names of what was applied.

    Raises `SchemaMismatch` if the server is older than Postgres 15 or the schema is newer
    than this dripd, `StoreUnavailable` if nobody answers.
    """
    return asyncio.run(_migrate(dsn))


def status(dsn: str) -> SchemaStatus:
    """What *dsn* holds, changing nothing. Raises as `migrate`."""
    return asyncio.run(_status(dsn))


async def _connect(dsn: str) -> Conn:
    async with translated():
        with dialling():
            conn = await asyncpg.connect(dsn, timeout=10)
    server = conn.get_server_version()
    if server.major * 10_000 < OLDEST_SERVER:
        await conn.close()
        raise SchemaMismatch(
            f"Postgres {server.major} is too old", hint="dripd needs Postgres 15 or newer"
        )
    encoding = conn.get_settings().server_encoding
    if encoding != "UTF8":
        await conn.close()
        raise SchemaMismatch(
            f"the database is encoded in {encoding}, which cannot hold every name and text",
            hint="CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
        )
    try:
        await mind_sessions(conn, dsn)
    except StoreError:
        conn.terminate()
        raise
    return conn


async def _migrate(dsn: str) -> list[str]:
    conn = await _connect(dsn)
    try:
        if not await _pending(conn):
            return []
        async with _as_owner(conn), translated():
            await conn.execute("SELECT pg_advisory_lock($1)", LOCK)
            await conn.execute(
                "CREATE SCHEMA IF NOT EXISTS dripd;"
                "CREATE TABLE IF NOT EXISTS dripd.migration (number int4 PRIMARY KEY,"
                " name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT statement_timestamp())"
            )
            applied = await _applied(conn)
            _refuse_newer(applied)
            return [await _apply(conn, one) for one in migrations() if one.number > applied]
    finally:
        await conn.close()


async def _pending(conn: Conn) -> bool:
    """Whether anything is to be done; a role that may not migrate can start where nothing is."""
    if not await _is_there(conn):
        return True
    async with translated():
        applied = await _applied(conn)
    _refuse_newer(applied)
    return applied < migrations()[-1].number


async def _is_there(conn: Conn) -> bool:
    """Whether the database has a schema of ours.

    Raises `SchemaMismatch` if its schema of that name is somebody else's.
    """
    async with translated():
        found = await conn.fetchrow(OURS)
    if found["is_used"] and not found["is_ours"]:
        raise SchemaMismatch(
            "the schema dripd of this database holds something else",
            hint="give dripd a database of its own, or rename that schema",
        )
    return bool(found["is_ours"])


@asynccontextmanager
async def _as_owner(conn: Conn) -> AsyncIterator[None]:
    try:
        yield
    except StoreRefused as error:
        role = await conn.fetchval("SELECT current_user")
        why = str(error.__cause__ or error).splitlines()[0]
        raise SchemaMismatch(
            f"the schema lacks migrations, and the role {role} may not make them: {why}",
            hint="dripd db migrate --dsn DSN, as the owner of the database, with CREATEROLE",
        ) from error


async def _applied(conn: Conn) -> int:
    return await conn.fetchval("SELECT coalesce(max(number), 0) FROM dripd.migration") or 0


def _refuse_newer(applied: int) -> None:
    newest = migrations()[-1].number
    if applied > newest:
        raise SchemaMismatch(
            f"the schema is at {applied}, this dripd knows {newest}",
            hint="upgrade dripd on this machine",
        )


async def _apply(conn: Conn, migration: Migration) -> str:
    """Daemons and writers lock tables as they come to them: what met one of them half way has
    left nothing behind, and is done again."""
    if migration.alone:
        await conn.execute(migration.text)
        await _note(conn, migration)
        return migration.name
    for n in range(1, TRIES + 1):
        try:
            async with conn.transaction():
                await conn.execute(migration.text)
                await conn.execute("RESET ROLE")
                await _note(conn, migration)
            break
        except asyncpg.DeadlockDetectedError:
            if n == TRIES:
                raise
    return migration.name


async def _note(conn: Conn, migration: Migration) -> None:
    note = "INSERT INTO dripd.migration (number, name) VALUES ($1, $2)"
    await conn.execute(note, migration.number, migration.name)


async def _status(dsn: str) -> SchemaStatus:
    conn = await _connect(dsn)
    try:
        there = await _is_there(conn)
        async with translated():
            applied = await _applied(conn) if there else 0
    finally:
        await conn.close()
    known = migrations()
    version = conn.get_server_version()
    return SchemaStatus(
        server=version.major * 10_000 + version.minor,
        applied=applied,
        newest=known[-1].number,
        pending=tuple(one.name for one in known if one.number > applied),
    )


def check(dsn: str) -> None:
    """Raise `SchemaMismatch` unless *dsn* is exactly at the schema of this dripd."""
    found = status(dsn)
    _refuse_newer(found.applied)
    if found.pending:
        raise SchemaMismatch(f"the schema lacks {found.lacks}", hint="run `dripd db migrate`")
