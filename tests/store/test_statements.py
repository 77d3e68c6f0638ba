"""Every named statement fits the schema: a missing column fails here, not at three in the morning."""

from __future__ import annotations

import asyncio
import re

import asyncpg

from dripd.campaigns.enrollment import Needs
from dripd.campaigns.version import ALWAYS
from dripd.store.statements import load


def test_every_statement_prepares(pg_dsn: str) -> None:
    async def prepare_all() -> int:
        conn = await asyncpg.connect(pg_dsn)
        try:
            for statement in load().values():
                await conn.prepare(statement.text)
        finally:
            await conn.close()
        return len(load())

    assert asyncio.run(prepare_all()) > 100


def test_no_row_is_compared_with_every_element_of_what_is_asked() -> None:
    """A generic plan hashes no parameter: 20,000 nudges that 20,000 accounts had left took each
    look four seconds of Postgres, for the two minutes that they stay."""
    slow = re.compile(r"(<>|!=)\s*ALL\s*\(\s*\$", re.IGNORECASE)

    assert [name for name, one in load().items() if slow.search(one.text)] == []


def test_a_daemon_may_do_every_statement(pg_dsn: str) -> None:
    """A daemon may run as a role that has dripd_daemon alone."""

    async def refused() -> dict[str, str]:
        conn = await asyncpg.connect(pg_dsn)
        found = {}
        try:
            await conn.execute(
                "SET plan_cache_mode = force_generic_plan; SET ROLE dripd_daemon"
            )
            for name, statement in load().items():
                await conn.execute(f"PREPARE said AS {statement.text}")
                n = await conn.fetchval(
                    "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'said'"
                )
                given = f"({', '.join(['NULL'] * n)})" if n else ""
                try:
                    await conn.execute(f"EXPLAIN EXECUTE said{given}")
                except asyncpg.InsufficientPrivilegeError as error:
                    found[name] = str(error)
                await conn.execute("DEALLOCATE said")
        finally:
            await conn.close()
        return found

    assert asyncio.run(refused()) == {}


def test_bits_in_statements_are_those_of_python() -> None:
    texts = [statement.text for statement in load().values()]
    stops = {
        int(n)
        for name in ("take_stops", "take_events", "pending_events", "refuse_events")
        for n in re.findall(r"kind_bit & (\d+)", load()[name].text)
    }
    needs = {
        int(n) << int(at)
        for text in texts
        for n, at in re.findall(r"(?:needs|mask|\[o\]) & \((\d+) << (\d+)\)", text)
    }

    assert {ALWAYS} == stops
    assert {Needs.EMAIL | Needs.SMS} == needs - set(Needs)
    assert set(Needs) - {Needs.START, Needs.SMS} <= needs
