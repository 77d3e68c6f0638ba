"""What does the doctor ask of a database? The server, then the deployment if it has a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from dripd.errors import SchemaMismatch
from dripd.store.bridge import Bridge
from dripd.store.connect import CONNECT_S, Conn, dialling, translated
from dripd.store.desk import Desk
from dripd.store.session import mind_sessions
from dripd.store.statements import sql

Facts = Mapping[str, Any]


async def examine(dsn: str) -> tuple[Facts, Facts | None]:
    """How the server of *dsn* is set, and what the deployment holds; None without a schema.

    None too where the schema is too old to be asked. Changes nothing. Raises `StoreError`.
    """
    async with Bridge() as bridge:
        await bridge.run(_meet, dsn)
        desk = Desk(bridge, dsn, size=1)
        await desk.open()
        try:
            server = await desk.run(_examine, "examine_server")
            if not server["migrated"]:
                return server, None
            try:
                return server, await desk.run(_examine_deployment)
            except SchemaMismatch:
                return server, None
        finally:
            await desk.close()


async def _meet(dsn: str) -> None:
    """What is asked of sessions that are not ours, nobody knows who answers."""
    async with translated():
        with dialling():
            conn = await asyncpg.connect(dsn, timeout=CONNECT_S)
        try:
            await mind_sessions(conn, dsn)
        finally:
            await conn.close(timeout=CONNECT_S)


async def _examine_deployment(conn: Conn) -> Facts:
    found = await _examine(conn, "examine_deployment")
    offsets = await conn.fetch(sql("zone_offsets"), found["zones"])
    queues = await conn.fetch(sql("read_queues"))
    return {**found, "offsets": [tuple(row) for row in offsets], "queues": queues}


async def _examine(conn: Conn, name: str) -> Facts:
    return dict(await conn.fetchrow(sql(name)))
