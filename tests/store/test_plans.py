"""The plans of the hot statements, on empty tables and on full ones.

A daemon keeps its connections for weeks, so the plan that it makes while the tables are empty
must still be right when they are full; and nobody may find a better one by a scan.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from dripd.store.connect import HOT_SETTINGS
from dripd.store.statements import sql

KEYS = {
    "due_step_pkey": ("account_id", "lane", "due_at", "enrollment_id"),
    "one_due_step_per_run": ("account_id", "enrollment_id"),
}
"""The unique indexes of `due_step`: either names one row."""

BY_KEY = ("lease", "refusals", "move_steps", "end_steps")
"""Statements that hold full keys of due steps, and must reach each row by one probe."""

BY_LANE = ("load", "heads", "next_heads")
"""Statements that read a lane from one place on."""

BY_HOLD = ("pick_held",)
"""Statements that read what is held by itself, whatever else there is."""

BY_ACCOUNT = ("take_stops", "take_events", "read_events", "log_events")
"""Statements that read the queue of one account, however much the others have in it."""

HOT = (
    *BY_KEY, *BY_LANE, *BY_HOLD, "refund_caps", *BY_ACCOUNT, "look", "odd_days", "end_runs",
    "end_alike", "lost_individuals",
)  # fmt: skip

SMALL = {"clock", "node", "nudge", "usage_in"}
"""Tables of a handful of rows, which no index makes cheaper."""

FILL = """
SET session_replication_role = replica;
INSERT INTO dripd.account (key) SELECT 'a' || n FROM generate_series(1, 200) AS n;
INSERT INTO dripd.contact (account_id, id, external_id, email)
SELECT 1 + n % 200, n, 'c' || n, 'c' || n || '@x.test' FROM generate_series(1, 40000) AS n;
INSERT INTO dripd.lane (account_id, lane, campaign_id, class, channel, calendar, zone)
SELECT a, l, l, 1, 'email', '', 'account' FROM generate_series(1, 200) AS a, generate_series(0, 2) AS l;
INSERT INTO dripd.due_step (account_id, lane, due_at, enrollment_id, contact_id, cv_id)
SELECT 1 + n % 200, n % 3, dripd.now() + n * interval '1 second', n, n, 1 + n % 3
FROM generate_series(1, 40000) AS n;
INSERT INTO dripd.account_day (account_id, local_date, cap, starts_at, ends_at)
SELECT a, current_date, 300, dripd.now() - interval '1 hour', dripd.now() + interval '1 day'
FROM generate_series(1, 200) AS a;
INSERT INTO dripd.event_in (account_id, contact_id, kind)
SELECT 1 + n % 200, n, 'list_added' FROM generate_series(1, 40000) AS n;
INSERT INTO dripd.suppression (address_h, account_id, channel, address)
SELECT n, 0, 'email', 's' || n || '@x.test' FROM generate_series(1, 20000) AS n;
INSERT INTO dripd.individual_send (account_id, contact_id, incarnation, sender_id, channel, state)
SELECT 1 + n % 200, n, 1, 1, 'email', 'accepted' FROM generate_series(1, 40000) AS n;
SET session_replication_role = origin;
ANALYZE;
"""


async def explained(dsn: str, fill: str) -> dict[str, Any]:
    """The generic plan of every hot statement, as a daemon's session makes it."""
    filler = await asyncpg.connect(dsn)
    await filler.execute(fill)
    await filler.close()
    conn = await asyncpg.connect(dsn, server_settings=HOT_SETTINGS)
    try:
        found = {}
        for name in HOT:
            text = sql(name)
            n_args = max((int(n) for n in re.findall(r"\$(\d+)", text)), default=0)
            args = f"({', '.join(['NULL'] * n_args)})" if n_args else ""
            await conn.execute(f"PREPARE {name} AS {text}")
            plan = await conn.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}{args}")
            found[name] = json.loads(plan)[0]["Plan"]
        return found
    finally:
        await conn.close()


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.fixture(scope="module", params=["empty", "full"])
def plans(request: pytest.FixtureRequest, pg_databases: Any) -> Iterator[dict[str, Any]]:
    with pg_databases.fresh() as dsn:
        yield asyncio.run(explained(dsn, FILL if request.param == "full" else "SELECT 1"))


@pytest.mark.parametrize("name", HOT)
def test_hot_statement_scans_no_table(plans: dict[str, Any], name: str) -> None:
    scanned = {
        node["Relation Name"]
        for node in nodes(plans[name])
        if node["Node Type"] in {"Seq Scan", "Bitmap Heap Scan"}
    }

    assert set() == scanned - SMALL


@pytest.mark.parametrize("name", HOT)
def test_hot_statement_joins_by_probes_alone(plans: dict[str, Any], name: str) -> None:
    kinds = {node["Node Type"] for node in nodes(plans[name])}

    assert set() == kinds & {"Hash Join", "Merge Join"}


@pytest.mark.parametrize("name", BY_KEY)
def test_due_step_is_reached_by_a_whole_unique_key(plans: dict[str, Any], name: str) -> None:
    probes = [
        node
        for node in nodes(plans[name])
        if node.get("Relation Name") == "due_step" and node["Node Type"].startswith("Index")
    ]

    assert probes
    for probe in probes:
        columns = KEYS[probe["Index Name"]]
        assert all(f"{column} = " in probe["Index Cond"] for column in columns)


@pytest.mark.parametrize("name", BY_LANE)
def test_a_lane_is_read_in_order_without_a_sort(plans: dict[str, Any], name: str) -> None:
    found = list(nodes(plans[name]))
    reads = [node for node in found if node.get("Relation Name") == "due_step"]

    assert ["due_step_pkey"] == [node["Index Name"] for node in reads]
    assert all(f"{column} = " in reads[0]["Index Cond"] for column in ("account_id", "lane"))
    assert "Sort" not in {node["Node Type"] for node in found}


@pytest.mark.parametrize("name", BY_HOLD)
def test_what_is_held_is_read_in_order_by_its_index(plans: dict[str, Any], name: str) -> None:
    found = list(nodes(plans[name]))
    reads = [node for node in found if node.get("Relation Name") == "run"]

    assert ["run_held"] == [node["Index Name"] for node in reads]
    assert "Sort" not in {node["Node Type"] for node in found}


def test_lease_probes_events_and_suppressions_by_their_hash(plans: dict[str, Any]) -> None:
    probes = {
        (node["Relation Name"], node["Index Name"]): node.get("Index Cond", "")
        for node in nodes(plans["lease"])
        if "Index Name" in node
    }

    assert {name for table, name in probes if table == "event_in"} == {"event_in_subject"}
    assert "subject = ANY" in " ".join(probes["event_in", "event_in_subject"].split())
    assert "address_h = " in probes["suppression", "suppression_pkey"]
    [contact] = [cond for (table, _), cond in probes.items() if table == "contact"]
    assert "id = " in contact


@pytest.mark.parametrize("name", BY_ACCOUNT)
def test_the_queue_is_read_by_account(plans: dict[str, Any], name: str) -> None:
    probes = [
        node for node in nodes(plans[name]) if node.get("Relation Name") == "event_in"
        and node["Node Type"].startswith("Index")
    ]  # fmt: skip

    assert probes
    assert all("account_id" in node.get("Index Cond", "") for node in probes)


def test_whom_an_address_concerns_is_found_by_its_form(plans: dict[str, Any]) -> None:
    by_form = {"contact_email", "contact_phone", "contact_address_pkey"}
    probes = {
        node["Index Name"]: node["Index Cond"]
        for node in nodes(plans["read_events"])
        if node.get("Index Name") in by_form
    }

    assert by_form == probes.keys()
    assert all("NULLIF" in one for one in probes.values())


def test_a_message_under_way_is_found_by_an_index_of_its_own(plans: dict[str, Any]) -> None:
    """Messages outside of runs are kept for ever; every sweep asks which are under way."""
    reads = {
        node["Index Name"]
        for node in nodes(plans["lost_individuals"])
        if node.get("Relation Name") == "individual_send"
    }

    assert {"individual_send_leased"} == reads


def test_lease_never_joins_one_cte_to_another(plans: dict[str, Any]) -> None:
    for node in nodes(plans["lease"]):
        inner = [
            child["Node Type"]
            for child in node.get("Plans", ())
            if child.get("Parent Relationship") == "Inner"
        ]
        assert "CTE Scan" not in inner


RUN = """
INSERT INTO dripd.run (account_id, campaign_id, id, contact_id, started_at, cv_id, run_no, reentry, conversation_ref)
VALUES (1, 1, 1, 1, dripd.now(), 1, 1, 1, 'thread');
"""

HOT_UPDATES = "SELECT pg_stat_get_xact_tuples_hot_updated('dripd.run'::regclass)"


ENDS: dict[str, tuple[Any, ...]] = {
    "end_runs": ([1], [1], [2], ["completed"]),
    "end_alike": ([1], [1], 2, "completed"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_run_ends_without_a_write_to_any_index(pg_databases: Any, name: str) -> None:
    async def in_place(dsn: str) -> int:
        conn = await asyncpg.connect(dsn)
        try:
            async with conn.transaction():
                await conn.execute(RUN)
                await conn.execute(sql(name), *ENDS[name])
                updated: int = await conn.fetchval(HOT_UPDATES)
        finally:
            await conn.close()
        return updated

    with pg_databases.fresh() as dsn:
        assert 1 == asyncio.run(in_place(dsn))


MANY = 5_000

CHANGED_AT_ONCE = {
    "contact": "UPDATE dripd.contact SET attrs = attrs || '{\"n\": 1}' WHERE attrs @> $1::jsonb",
    "company": "UPDATE dripd.company SET attrs = attrs || '{\"n\": 1}' WHERE attrs @> $1::jsonb",
}


@pytest.mark.parametrize("door", CHANGED_AT_ONCE)
def test_many_rows_are_changed_at_once_after_one(pg_databases: Any, door: str) -> None:
    """A trigger is planned once a session: a plan made for one row took 13 s for 4,000."""

    async def changed(dsn: str) -> int:
        conn = await asyncpg.connect(dsn)
        try:
            await conn.execute("INSERT INTO dripd.account (id, key) VALUES (1, 'a')")
            await conn.execute(
                f"INSERT INTO dripd.{door} (account_id, external_id, attrs)"
                " SELECT 1, n, jsonb_build_object('few', n = 1)"
                f" FROM generate_series(1, {MANY}) AS n"
            )
            await conn.execute("TRUNCATE dripd.event_in")
            await conn.execute(CHANGED_AT_ONCE[door], '{"few": true}')
            await conn.execute("SET statement_timeout = '10s'")
            await conn.execute(CHANGED_AT_ONCE[door], '{"few": false}')
            told: int = await conn.fetchval("SELECT count(*) FROM dripd.event_in")
        finally:
            await conn.close()
        return told

    with pg_databases.fresh() as dsn:
        assert MANY == asyncio.run(changed(dsn))


@pytest.mark.parametrize(
    ("view", "table"),
    [
        ("enrollment", "run"),
        ("journal", "journal_log"),
        ("delivery", "step_log WHERE channel > 0 AND state BETWEEN 1 AND 4"),
        ("step_run", "step_log WHERE state > 0"),
    ],
)
def test_a_view_is_thought_to_have_the_rows_of_its_table(
    pg_dsn: str, view: str, table: str
) -> None:
    """Too few expected, and whoever joins it gets every row compared with every other."""

    async def expected() -> list[int]:
        conn = await asyncpg.connect(pg_dsn)
        try:
            plans = [
                await conn.fetchval(f"EXPLAIN (FORMAT JSON) SELECT FROM dripd.{of}")
                for of in (view, table)
            ]
        finally:
            await conn.close()
        return [json.loads(plan)[0]["Plan"]["Plan Rows"] for plan in plans]

    of_view, of_table = asyncio.run(expected())

    assert of_view >= of_table


YOUNG = """
SET session_replication_role = replica;
INSERT INTO dripd.campaign (account_id, id, key, name, live_cv_id) SELECT 1, n, 'c' || n, 'C', n FROM generate_series(1, 2) AS n;
INSERT INTO dripd.campaign_version (account_id, id, campaign_id, campaign_key, version, definition)
SELECT 1, n, n, 'c' || n, 1, '{}' FROM generate_series(1, 2) AS n;
INSERT INTO dripd.version_step (account_id, cv_id, step_no, key, kind)
SELECT 1, v, s, 's' || s, 'email' FROM generate_series(1, 2) AS v, generate_series(0, 2) AS s;
INSERT INTO dripd.run (account_id, id, campaign_id, contact_id, cv_id, run_no, started_at)
SELECT 1, n, 1 + n % 2, n, 1 + n % 2, 1, dripd.now() FROM generate_series(1, 5000) AS n;
INSERT INTO dripd.step_log (account_id, enrollment_id, cv_id, run_no, seq, step_no, channel, state, at, leased_at, attempt, claim_id)
SELECT 1, n, 1 + n % 2, 1, s, s, 1, 1, dripd.now(), dripd.now(), 1, 1 FROM generate_series(1, 5000) AS n, generate_series(0, 1) AS s;
INSERT INTO dripd.due_step (account_id, lane, due_at, enrollment_id, contact_id, cv_id, seq, step_no)
SELECT 1, 0, dripd.now(), n, n, 1 + n % 2, 2, 2 FROM generate_series(1, 5000) AS n;
SET session_replication_role = origin;
"""

OF_ONE_CAMPAIGN = """
SELECT count(*) FROM dripd.delivery AS d
JOIN dripd.enrollment AS e ON e.account_id = d.account_id AND e.id = d.enrollment_id
WHERE e.campaign_key = 'c1'
"""


@pytest.mark.parametrize("step", ["", "AND d.step_key = 's0'"])
def test_deliveries_of_a_campaign_find_their_enrollments_in_one_pass(
    pg_databases: Any, step: str
) -> None:
    """Before anything is analysed; 5,000 runs and their deliveries took over a minute."""

    async def found(dsn: str) -> int:
        conn = await asyncpg.connect(dsn)
        try:
            await conn.execute(YOUNG)
            await conn.execute("SET statement_timeout = '10s'")
            n: int = await conn.fetchval(OF_ONE_CAMPAIGN + step)
        finally:
            await conn.close()
        return n

    with pg_databases.fresh() as dsn:
        assert (2_500 if step else 5_000) == asyncio.run(found(dsn))
