"""What other systems rely on: the names of relations, columns and functions, and who may write what."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import execute

DOORS = {
    "account": "key name plan timezone send_window rate subscription_active status postal_address writer",
    "plan": "key daily_email_cap features action_quota",
    "contact": "account_id external_id email phone timezone owner service_owner company_id attrs",
    "company": "account_id external_id attrs",
    "contact_list": "account_id key kind is_static",
    "list_member": "account_id list_id contact_id",
    "contact_tag": "account_id contact_id tag",
    "enroll_request": "account_id account_key campaign_key contact_id external_id source "
    "idempotency_key requested_by conversation_ref vars start_at quote_id",
    "event_in": "account_id contact_id delivery_id conversation_ref address kind dedup_key "
    "occurred_at payload",
    "suppression": "account_id channel address reason expires_at",
    "field": "account_id key type target",
    "template": "account_id key subject text html",
    "sink_rule": "account_id recipient_like answer times",
}
"""Columns that `dripd_writer` may insert."""

SHOWN = {
    "account": "id",
    "contact": "id",
    "company": "id",
    "contact_list": "id",
    "list_member": "added_at",
    "contact_tag": "added_at",
    "enroll_request": "id status reject_reason enrollment_id decided_at inserted_at",
    "event_log": "account_id contact_id delivery_id conversation_ref address kind dedup_key "
    "occurred_at payload processed_at refused_reason",
    "enrollment": "id account_id campaign_key version contact_id run_no status end_reason "
    "step_key due_at hold_reason release_at started_at ended_at reset_at owner conversation_ref",
    "step_run": "account_id enrollment_id seq step_key kind outcome reason started_at finished_at",
    "delivery": "id account_id enrollment_id step_key run_no channel sender_id to_address "
    "idempotency_key state attempt provider provider_id segments subject leased_at sent_at "
    "accepted_at reason",
    "task": "id account_id enrollment_id step_key kind title assignee due_at state payload "
    "closed_by closed_at campaign_key category reminder_at snoozed_until snoozed_by",
    "notification": "id kind recipient enrollment_id task_id payload created_at read_at",
    "ledger": "account_id kind amount enrollment_id step_key at delivery_id",
    "meter": "account_id kind period n",
    "cap_usage": "account_id local_date source n",
    "campaign": "account_id key name goal_text status live_version has_draft owner board created_at",
    "campaign_version": "account_id campaign_key version definition published_at published_by",
    "campaign_trigger": "account_id campaign_key kind match created_at created_by",
    "campaign_stats": "account_id campaign_key status enrolled active completed removed "
    "terminated goal sent",
    "contact_active": "account_id contact_id campaign_key next_send_at",
    "journal": "at actor account_id enrollment_id kind detail",
    "sink_message": "account_id received_at channel sender recipient subject body headers "
    "idempotency_key enrollment_id step_key",
    "sender": "id account_id address channel provider owner shared rate daily_limit status",
    "operator": "account_id name role boards",
}
"""Columns that `dripd_reader` may select, beside those of the doors."""

CHANGED = {
    "contact": "external_id email phone timezone owner service_owner company_id attrs",
    "company": "external_id attrs",
    "task": "state",
    "template": "subject text html",
}
"""Columns that `dripd_writer` may update."""

FUNCTIONS = {
    "now": "",
    "upsert_contact": "account_key text, external_id text, email text, phone text, "
    "attrs jsonb, tags text[]",
    "enroll": "account_key text, campaign_key text, external_id text, idempotency_key text",
    "record_usage": "account_key text, source text, n integer",
    "may_send": "contact_id bigint, channel text, OUT ok boolean, OUT campaign_key text, "
    "OUT next_send_at timestamp with time zone",
    "erase_contact": "contact_id bigint",
}

MAY = "SELECT has_column_privilege($1::text, $2::text, $3::text, $4::text)"

ARGUMENTS = """
SELECT pg_get_function_arguments(oid) FROM pg_proc
WHERE pronamespace = 'dripd'::regnamespace AND proname = $1::text
"""


def ask(dsn: str, questions: list[tuple[Any, ...]], statement: str = MAY) -> list[Any]:
    """The answer to each of *questions*, on one connection."""

    async def run() -> list[Any]:
        conn = await asyncpg.connect(dsn)
        try:
            return [await conn.fetchval(statement, *one) for one in questions]
        finally:
            await conn.close()

    return asyncio.run(run())


def refused(dsn: str, role: str, tables: dict[str, str], verb: str) -> list[str]:
    """What *role* may not do of all that it should."""
    names = [(table, column) for table, text in tables.items() for column in text.split()]
    answers = ask(dsn, [(role, f"dripd.{t}", column, verb) for t, column in names])
    return [f"{t}.{c}" for (t, c), may in zip(names, answers, strict=True) if not may]


def test_writers_may_insert_what_the_doors_take(pg_dsn: str) -> None:
    assert [] == refused(pg_dsn, "dripd_writer", DOORS, "INSERT")


def test_writers_may_change_what_the_doors_let_change(pg_dsn: str) -> None:
    assert [] == refused(pg_dsn, "dripd_writer", CHANGED, "UPDATE")


@pytest.mark.parametrize("role", ["dripd_reader", "dripd_writer"])
def test_readers_see_what_is_shown(role: str, pg_dsn: str) -> None:
    assert [] == refused(pg_dsn, role, SHOWN, "SELECT")
    assert [] == refused(pg_dsn, role, DOORS, "SELECT")


AS_A_WRITER = """
SET ROLE dripd_writer;
SET application_name = 'dripd';
INSERT INTO dripd.event_in (account_id, kind, contact_id) VALUES (1, 'reset', 1);
RESET ROLE
"""


def test_an_event_of_a_writer_is_never_told_by_dripd_itself(pg_dsn: str) -> None:
    execute(pg_dsn, AS_A_WRITER)

    assert [False] == ask(
        pg_dsn, [()], "SELECT internal FROM dripd.event_in WHERE kind = 'reset'"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        execute(
            pg_dsn, AS_A_WRITER.replace("kind,", "internal, kind,").replace("(1,", "(1, true,")
        )


def test_an_event_of_a_superuser_is_dripds_own_only_where_it_says_so(pg_dsn: str) -> None:
    """Whoever is a superuser, or owns the schema, is a member of the daemon's role too."""
    as_one = AS_A_WRITER.replace("SET ROLE dripd_writer;", "").replace("RESET ROLE", "")
    execute(
        pg_dsn, as_one, as_one.replace("kind,", "internal, kind,").replace("(1,", "(1, true,")
    )

    kept = "SELECT array_agg(internal ORDER BY id) FROM dripd.event_in WHERE kind = 'reset'"
    assert [[False, True]] == ask(pg_dsn, [()], kept)


def test_writers_may_delete_places_and_tags_and_nothing_else(pg_dsn: str) -> None:
    tables = ask(
        pg_dsn,
        [()],
        "SELECT array_agg(c.relname ORDER BY c.relname) FROM pg_class AS c "
        "WHERE c.relnamespace = 'dripd'::regnamespace AND c.relkind IN ('r', 'p', 'v') "
        "AND has_table_privilege('dripd_writer', c.oid, 'DELETE')",
    )

    assert {"list_member", "contact_tag"} <= set(tables[0]) <= {
        "list_member", "contact_tag", "diary",
    }  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_takes_what_callers_give(name: str, pg_dsn: str) -> None:
    [found] = ask(pg_dsn, [(name,)], ARGUMENTS)

    without_defaults = ", ".join(part.split(" DEFAULT ")[0] for part in found.split(", "))
    assert FUNCTIONS[name] == without_defaults


def test_the_two_queues_refuse_no_row_for_what_it_holds(pg_dsn: str) -> None:
    """No CHECK, NOT NULL, foreign, primary or unique key that a row of a bulk statement could fail."""
    found = ask(
        pg_dsn,
        [()],
        "SELECT array_agg(conname::text) FROM pg_constraint WHERE conrelid IN "
        "('dripd.enroll_request'::regclass, 'dripd.event_in'::regclass)",
    )
    unique = ask(
        pg_dsn,
        [()],
        "SELECT count(*) FROM pg_index WHERE indisunique AND indrelid IN "
        "('dripd.enroll_request'::regclass, 'dripd.event_in'::regclass)",
    )
    strict = ask(
        pg_dsn,
        [()],
        "SELECT array_agg(attname::text) FROM pg_attribute WHERE attnum > 0 AND attnotnull "
        "AND attidentity = '' AND attrelid IN "
        "('dripd.enroll_request'::regclass, 'dripd.event_in'::regclass)",
    )

    assert ([0], [None]) == (unique, strict)
    assert all(name.endswith("_not_null") for name in found[0] or ())  # an identity's own


def test_every_key_of_an_account_s_row_holds_the_account(pg_dsn: str) -> None:
    """So that the schema can be distributed by account unchanged."""
    [odd] = ask(
        pg_dsn,
        [()],
        """
        SELECT array_agg(c.relname::text || '.' || k.relname::text)
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'account_id' AND a.attnotnull
        JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisunique
        JOIN pg_class AS k ON k.oid = i.indexrelid
        WHERE c.relnamespace = 'dripd'::regnamespace AND NOT a.attnum = ANY (i.indkey)
        """,
    )

    assert odd is None


GRANTED = """
SELECT array_agg(c.relname || '.' || a.attname || ' ' || v.verb ORDER BY 1) FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'REFERENCES']) AS v (verb)
WHERE c.relnamespace = 'dripd'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
    AND has_column_privilege($1::text, c.oid, a.attnum, v.verb)
"""

CALLED = """
SELECT array_agg(proname::text ORDER BY 1) FROM pg_proc
WHERE pronamespace = 'dripd'::regnamespace AND prosecdef AND prorettype <> 'trigger'::regtype
    AND has_function_privilege($1::text, oid, 'EXECUTE')
"""
"""Functions that act with their owner's rights; a trigger's cannot be called."""


def test_writers_write_the_doors_and_nothing_else(pg_dsn: str) -> None:
    [found] = ask(pg_dsn, [("dripd_writer",)], GRANTED)
    doors = {
        **DOORS,
        "diary": "account_id person busy",
        "sink_rule": "id account_id recipient_like answer times",
    }
    meant = {f"{t}.{c} INSERT" for t, text in doors.items() for c in text.split()}
    meant |= {f"{t}.{c} UPDATE" for t, text in CHANGED.items() for c in text.split()}
    meant |= {f"{t}.account_id UPDATE" for t in ("contact", "company")}

    assert set(found) == meant


def test_readers_write_nothing(pg_dsn: str) -> None:
    assert ask(pg_dsn, [("dripd_reader",)], GRANTED) == [None]


@pytest.mark.parametrize(
    ("role", "more"),
    [
        ("dripd_reader", set()),
        ("dripd_writer", {"upsert_contact", "enroll", "record_usage", "erase_contact"}),
    ],
)
def test_who_may_only_read_calls_nothing_that_writes(
    role: str, more: set[str], pg_dsn: str
) -> None:
    [found] = ask(pg_dsn, [(role,)], CALLED)

    told = {"last_contact_id", "last_event_id", "may_send", "may_write"}
    assert set(found) == told | {"may_read", "reads_all", "sees_all"} | more


def test_what_acts_with_its_owners_rights_looks_names_up_where_it_should(pg_dsn: str) -> None:
    [loose] = ask(
        pg_dsn,
        [()],
        "SELECT array_agg(proname::text) FROM pg_proc "
        "WHERE pronamespace = 'dripd'::regnamespace AND prosecdef "
        "AND NOT coalesce(array_to_string(proconfig, ' '), '') ~ "
        "'search_path=(dripd|pg_catalog), pg_temp'",
    )

    assert loose is None


def test_the_helper_warns_of_a_day_without_its_time(pg_dsn: str) -> None:
    async def put(*values: str) -> list[str]:
        conn = await asyncpg.connect(pg_dsn)
        heard: list[str] = []
        conn.add_log_listener(lambda _conn, message: heard.append(str(message)))
        await conn.execute(
            "INSERT INTO dripd.account (key) VALUES ('acme');"
            "INSERT INTO dripd.field (account_id, key, type) SELECT id, 'appt', 'datetime' FROM dripd.account"
        )
        for value in values:
            await conn.fetchval(
                "SELECT dripd.upsert_contact('acme', 'c1', attrs => jsonb_build_object('appt', $1::text))",
                value,
            )
        await conn.close()
        return heard

    [warning] = asyncio.run(put("2026-03-01T10:00Z", "2026-03-01"))

    assert "appt without a time of day" in warning


@pytest.mark.feature("Q8")
def test_the_helper_takes_no_tag_for_none_and_says_what_attrs_are(pg_dsn: str) -> None:
    async def put() -> tuple[list[str], str]:
        conn = await asyncpg.connect(pg_dsn)
        await conn.execute("INSERT INTO dripd.account (key) VALUES ('acme')")
        for tags in ("NULL", "ARRAY['new', NULL, '']", "ARRAY[NULL]::text[]"):
            await conn.fetchval(
                f"SELECT dripd.upsert_contact('acme', 'c1', NULL, NULL, 'null', {tags})"
            )
        with pytest.raises(asyncpg.InvalidParameterValueError) as refused:
            await conn.fetchval(
                "SELECT dripd.upsert_contact('acme', 'c1', attrs => '[1]'::jsonb)"
            )
        tagged = await conn.fetch("SELECT tag FROM dripd.contact_tag")
        await conn.close()
        return [row["tag"] for row in tagged], str(refused.value)

    assert asyncio.run(put()) == (["new"], "attrs are a JSON object, not: array")


async def _tried(dsn: str, *statements: str) -> list[str]:
    conn = await asyncpg.connect(dsn)
    said = []
    for statement in statements:
        try:
            said.append(await conn.execute(statement))
        except asyncpg.PostgresError as error:
            said.append(type(error).__name__)
    await conn.close()
    return said


def test_contacts_stay_in_their_account_and_rules_of_the_sink_end(pg_dsn: str) -> None:
    found = asyncio.run(
        _tried(
            pg_dsn,
            "INSERT INTO dripd.account (id, key) VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO dripd.contact (account_id, external_id) VALUES (1, 'c')",
            "INSERT INTO dripd.company (account_id, external_id) VALUES (1, 'c')",
            "UPDATE dripd.contact SET account_id = 1, email = 'c@x.test'",
            "UPDATE dripd.contact SET account_id = 2",
            "UPDATE dripd.company SET account_id = 2",
            "INSERT INTO dripd.sink_rule (recipient_like, answer, times) VALUES ('%', 'permanent', -1)",
        )
    )

    refused = "IntegrityConstraintViolationError"
    assert found[3:] == ["UPDATE 1", refused, refused, "CheckViolationError"]


def test_the_owner_of_everything_cannot_log_in_and_strangers_reach_nothing(pg_dsn: str) -> None:
    found = ask(
        pg_dsn,
        [()],
        "SELECT array_agg(rolname::text) FROM pg_roles "
        "WHERE rolname LIKE 'dripd\\_%' AND NOT rolcanlogin AND NOT rolsuper AND NOT rolbypassrls",
    )
    tried = asyncio.run(
        _tried(
            pg_dsn,
            "CREATE ROLE stranger",
            "SET ROLE stranger",
            "SELECT dripd.may_send(1, 'email')",
            "SELECT id FROM dripd.contact",
            "RESET ROLE",
            "DROP ROLE stranger",
        )
    )

    assert {"dripd_daemon", "dripd_owner", "dripd_reader", "dripd_writer"} == set(found[0])
    assert ["InsufficientPrivilegeError"] * 2 == tried[2:4]


@pytest.mark.parametrize("table", ["journal_log", "admin_audit", "ledger"])
def test_history_takes_no_change(table: str, pg_dsn: str) -> None:
    rows = {
        "journal_log": "(account_id, kind) VALUES (1, 'noop')",
        "admin_audit": "(node, \"user\", role, method, result) VALUES ('n', 'u', 'admin', 'm', 'changed')",
        "ledger": "(account_id, kind, amount) VALUES (1, 'deposit', 1)",
    }
    tried = asyncio.run(
        _tried(
            pg_dsn,
            "INSERT INTO dripd.account (id, key) VALUES (1, 'a') ON CONFLICT DO NOTHING",
            f"INSERT INTO dripd.{table} {rows[table]}",
            f"UPDATE dripd.{table} SET account_id = 2",
            f"DELETE FROM dripd.{table}",
        )
    )
    may = ask(pg_dsn, [(verb,) for verb in ("UPDATE", "DELETE")],
              f"SELECT has_table_privilege('dripd_daemon', 'dripd.{table}', $1::text)")  # fmt: skip

    assert tried[1] == "INSERT 0 1"
    assert not any(one.startswith(("UPDATE", "DELETE")) for one in tried[2:]), tried
    assert [False, False] == may


@pytest.mark.feature("M2")
@pytest.mark.parametrize("role", ["dripd_daemon", "dripd_writer", "dripd_owner", "none"])
def test_the_journal_is_denied_to_whoever_would_change_it(role: str, pg_dsn: str) -> None:
    tried = asyncio.run(
        _tried(
            pg_dsn,
            "INSERT INTO dripd.account (id, key) VALUES (1, 'a') ON CONFLICT DO NOTHING",
            "INSERT INTO dripd.journal_log (account_id, kind) VALUES (1, 'noop')",
            f"SET ROLE {role}",
            "UPDATE dripd.journal SET kind = 'x'",
            "DELETE FROM dripd.journal",
            "RESET ROLE",
        )
    )

    assert tried[3:5] == ["InsufficientPrivilegeError"] * 2


TENANTS = """
CREATE ROLE tenant_a IN ROLE dripd_writer;
CREATE ROLE tenant_b IN ROLE dripd_writer;
INSERT INTO dripd.account (id, key, writer) VALUES (9001, 'tenant-a', 'tenant_a'), (9002, 'tenant-b', 'tenant_b');
INSERT INTO dripd.contact (id, account_id, external_id, email)
SELECT n, n, 'c', 'c' || n || '@x.test' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.contact_list (id, account_id, key) SELECT n, n, 'l' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.list_member (account_id, list_id, contact_id) SELECT n, n, n FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.contact_tag (account_id, contact_id, tag) SELECT n, n, 't' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.company (account_id, external_id) SELECT n, 'c' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.enroll_request (account_id, campaign_key) SELECT n, 'k' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.enroll_request (account_key, campaign_key) VALUES ('tenant-a', 'k'), ('tenant-b', 'k');
INSERT INTO dripd.event_log (id, account_id, kind) SELECT n, n, 'reply' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.suppression (account_id, channel, address)
SELECT n, 'email', n || '@x.test' FROM unnest(ARRAY[0, 9001, 9002]) AS n;
INSERT INTO dripd.task (account_id, kind) SELECT n, 'general' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.notification (account_id, kind) SELECT n, 'ended' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.ledger (account_id, kind, amount) SELECT n, 'deposit', 1 FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.meter (account_id, kind, period, n) SELECT n, 'automation_action', '2026-01', 1 FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.sender (account_id, address) SELECT n, n || '@s.test' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.operator (account_id, name) SELECT n, 'ann' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.connector (account_id, key, url) SELECT n, 'c', 'https://x.test' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.field (account_id, key) SELECT n, 'f' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.template (account_id, key) SELECT n, 't' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.campaign (id, account_id, key, name) SELECT n, n, 'k', 'K' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.campaign_version (id, account_id, campaign_id, campaign_key, version, definition)
SELECT n, n, n, 'k', 1, '{}' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.campaign_trigger (account_id, campaign_id, campaign_key, kind) SELECT n, n, 'k', 'form' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.diary (account_id, person, busy) SELECT n, 'p', '[2026-01-01,2026-01-02)' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.sink_message (account_id, channel) SELECT n, 'email' FROM generate_series(9001, 9002) AS n;
INSERT INTO dripd.sink_rule (account_id, recipient_like, answer) SELECT n, '%', 'permanent' FROM unnest(ARRAY[0, 9001, 9002]) AS n;
SET LOCAL ROLE tenant_a;
"""

WRITES = (
    "INSERT INTO dripd.contact (account_id, external_id) VALUES ({n}, 'new')",
    "INSERT INTO dripd.company (account_id, external_id) VALUES ({n}, 'new')",
    "INSERT INTO dripd.contact_list (account_id, key) VALUES ({n}, 'new')",
    "INSERT INTO dripd.contact_tag (account_id, contact_id, tag) VALUES ({n}, {n}, 'new')",
    "INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id) VALUES ({n}, 'k', {n})",
    "INSERT INTO dripd.enroll_request (account_key, campaign_key) VALUES ('tenant-{x}', 'k')",
    "INSERT INTO dripd.event_in (account_id, kind, contact_id) VALUES ({n}, 'reply', {n})",
    "INSERT INTO dripd.suppression (account_id, channel, address) VALUES ({n}, 'email', 'z@x.test')",
    "INSERT INTO dripd.field (account_id, key) VALUES ({n}, 'new')",
    "INSERT INTO dripd.template (account_id, key) VALUES ({n}, 'new')",
    "INSERT INTO dripd.diary (account_id, person, busy) VALUES ({n}, 'p', '[2026-01-01,2026-01-02)')",
    "INSERT INTO dripd.sink_rule (account_id, recipient_like, answer) VALUES ({n}, '%', 'permanent')",
    "SELECT dripd.upsert_contact('tenant-{x}', 'c', 'c@x.test', NULL, '{{}}', '{{}}')",
    "SELECT dripd.enroll('tenant-{x}', 'k', 'c', 'key')",
    "SELECT dripd.record_usage('tenant-{x}', 'bulk', 1)",
    "SELECT dripd.erase_contact({n})",
)

CHANGES = (
    "UPDATE dripd.contact SET email = 'y@x.test' WHERE account_id = {n}",
    "DELETE FROM dripd.list_member WHERE account_id = {n}",
    "DELETE FROM dripd.contact_tag WHERE account_id = {n}",
)
"""These pass over what is not theirs."""

STOLEN = (
    "UPDATE dripd.contact SET account_id = 9002, external_id = 'stolen' WHERE account_id = 9001"
)
EVERYWHERE = "INSERT INTO dripd.suppression (account_id, channel, address) VALUES (0, 'email', 'z@x.test')"


def test_who_writes_for_one_account_changes_nothing_of_another(pg_dsn: str) -> None:
    async def run() -> dict[str, str]:
        conn = await asyncpg.connect(pg_dsn)
        told = {}
        try:
            whole = conn.transaction()
            await whole.start()
            await conn.execute(TENANTS)
            for statement in (*WRITES, *CHANGES, STOLEN, EVERYWHERE):
                for n, x in ((9001, "a"), (9002, "b")):
                    asked = statement.format(n=n, x=x)
                    one = conn.transaction()
                    await one.start()
                    try:
                        told[asked] = await conn.execute(asked)
                    except asyncpg.InsufficientPrivilegeError:
                        told[asked] = "refused"
                    except asyncpg.IntegrityConstraintViolationError as error:
                        told[asked] = type(error).__name__
                    await one.rollback()
            await whole.rollback()
        finally:
            await conn.close()
        return told

    told = asyncio.run(run())
    for statement in WRITES:
        assert told[statement.format(n=9001, x="a")] != "refused", statement
        assert told[statement.format(n=9002, x="b")] == "refused", statement
    for statement in CHANGES:
        assert told[statement.format(n=9001, x="a")].endswith(" 1"), statement
        assert told[statement.format(n=9002, x="b")].endswith(" 0"), statement
    assert told[EVERYWHERE] == "refused"
    assert told[STOLEN] == "IntegrityConstraintViolationError"  # whoever does it


SELECTED = """
SELECT c.relname::text AS name, c.relkind = 'v' AS is_view, EXISTS (
    SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'account_id') AS has_account
FROM pg_class AS c
WHERE c.relnamespace = 'dripd'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
    AND has_any_column_privilege('dripd_writer', c.oid, 'SELECT')
ORDER BY 1
"""

OF_ALL = {"plan", "clock"}
"""Tables that hold nothing of an account."""

LATER = (
    ("reader", "GRANT dripd_reader TO tenant_a"),
    ("all", "UPDATE dripd.account SET writer = NULL"),
)


def test_who_writes_for_one_account_reads_nothing_of_another(pg_dsn: str) -> None:
    """Every table and view that a writer may read at all, so that a new one is asked for too."""

    async def reads(conn: asyncpg.Connection, name: str, *, has_account: bool) -> Any:
        column = "account_id" if has_account else "id"
        key = ", account_key" if name == "enroll_request" else ""
        one = conn.transaction()
        await one.start()
        try:
            rows = await conn.fetch(f"SELECT {column} AS a{key} FROM dripd.{name}")
            named = [
                9000 + "-ab".index(row["account_key"][-1]) for row in rows if row["a"] is None
            ]
            return {row["a"] for row in rows if row["a"] is not None}.union(named)
        except asyncpg.InsufficientPrivilegeError:
            return "refused"
        finally:
            await one.rollback()

    async def run() -> dict[str, dict[str, Any]]:
        conn = await asyncpg.connect(pg_dsn)
        told: dict[str, dict[str, Any]] = {}
        try:
            shown = [row for row in await conn.fetch(SELECTED) if row["name"] not in OF_ALL]
            whole = conn.transaction()
            await whole.start()
            await conn.execute("DELETE FROM dripd.event_in; DELETE FROM dripd.nudge")
            await conn.execute(TENANTS)
            for who, change in (("one", ""), *LATER):
                await conn.execute(f"RESET ROLE; {change}; SET LOCAL ROLE tenant_a")
                told[who] = {
                    row["name"]: await reads(conn, row["name"], has_account=row["has_account"])
                    for row in shown
                }
                sends = "SELECT ok FROM dripd.may_send($1, 'email')"
                told[who]["may_send"] = [await conn.fetchval(sends, n) for n in (9001, 9002)]
                await conn.execute("RESET ROLE; REVOKE dripd_reader FROM tenant_a")
            views = {row["name"] for row in shown if row["is_view"]}
            told["views"] = dict.fromkeys(views)
            await whole.rollback()
        finally:
            await conn.close()
        return told

    told = asyncio.run(run())
    assert [True, False] == told["one"].pop("may_send")
    for name, seen in told["one"].items():
        assert seen == ("refused" if name in told["views"] else {9001}), name
    for who in ("reader", "all"):
        assert [True, True] == told[who].pop("may_send")
        for name, seen in told[who].items():
            assert seen != "refused", (who, name)
            assert name in told["views"] or {9001, 9002} <= seen, (who, name)
