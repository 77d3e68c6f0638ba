"""One form of an address: what the daemon and SQL make of it, and how an older database comes to it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dripd.campaigns.address import address_form
from dripd.store.migrate import migrations
from tests.support.postgres import execute

FORMS = "SELECT dripd.address_form(a) FROM unnest($1::text[]) WITH ORDINALITY AS k (a, o) ORDER BY o"

ANYTHING = [chr(code) for code in range(1, 0x11000) if not 0xD800 <= code < 0xE000]

WRITTEN = st.text(
    st.one_of(
        st.sampled_from("+01239 ()./-@.xÄß\u00a0\u2011\u202a\t\n"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    )
)


def answers(dsn: str, statement: str, *args: object) -> list[Any]:
    async def ask() -> list[Any]:
        conn = await asyncpg.connect(dsn)
        try:
            return [tuple(row) for row in await conn.fetch(statement, *args)]
        finally:
            await conn.close()

    return asyncio.run(ask())


def test_every_character_has_the_same_form_in_sql(pg_dsn: str) -> None:
    written = [f"{before}{one}1" for one in ANYTHING for before in ("", "@")]
    forms = [form for (form,) in answers(pg_dsn, FORMS, written)]

    assert [address_form(one) for one in written] == forms


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(WRITTEN, min_size=20, max_size=200))
def test_addresses_have_the_same_form_in_sql(pg_dsn: str, written: list[str]) -> None:
    forms = [form for (form,) in answers(pg_dsn, FORMS, written)]

    assert [address_form(one) for one in written] == forms


def test_an_erasure_knows_an_address_in_any_letters_and_locale(pg_dsn: str) -> None:
    asked = "SELECT dripd.names(w, ARRAY[$2::text]) FROM unnest($1::text[]) AS w"
    written = [
        "no mailbox JÖRG@MÜLLER.test here",
        "ΆΝΝΑ@x.test",
        "Ann@X.test",
        "jorg@muller.test",
    ]

    def held(address: str) -> list[bool]:
        return [row[0] for row in answers(pg_dsn, asked, written, address_form(address))]

    assert held("jörg@müller.test") == [True, False, False, False]
    assert held("Άννα@x.test") == [False, True, False, False]
    assert held("ann@x.test") == [False, False, True, False]


THE_FORM = "0081_give_addresses_one_form"

BEFORE = """
SET session_replication_role = replica;
INSERT INTO dripd.suppression (address_h, account_id, channel, address, reason, expires_at, created_at)
SELECT hashtextextended(lower(address), 0), account_id, channel, address, reason, until::timestamptz, at::timestamptz
FROM (VALUES
    (0, 'email', 'Ann@x.example', 'as it is', NULL, '2026-01-01'),
    (0, 'sms', '+1 (555) 000-1111', 'no end', NULL, '2026-01-02'),
    (0, 'sms', '+15550001111', 'ends', '2026-05-01', '2026-01-01'),
    (0, 'sms', '+1-555-0001111', 'later', NULL, '2026-01-03'),
    (7, 'sms', '+1 555 0001111', 'of an account', NULL, '2026-01-04'),
    (0, 'sms', '+49 30', 'newer', NULL, '2026-01-02'),
    (0, 'sms', '+4930', 'older', NULL, '2026-01-01'),
    (0, 'sms', '+49/31', 'longer', '2026-06-01', '2026-01-02'),
    (0, 'sms', '+4931', 'shorter', '2026-05-01', '2026-01-01'),
    (0, 'sms', '(-)', 'nobody', NULL, '2026-01-01')
) AS s (account_id, channel, address, reason, until, at);
INSERT INTO dripd.suppression (address_h, account_id, channel, reason, created_at)
VALUES (hashtextextended('gone@x.example', 0), 0, 'email', 'erased', '2026-01-01');
INSERT INTO dripd.event_in (account_id, kind, address) VALUES (7, 'reply', '+1 (555) 000-1111');
SET session_replication_role = origin;
"""

AFTER = """
SELECT s.reason, s.address_h = dripd.address_hash(coalesce(s.address, 'GONE@x.example'))
FROM dripd.suppression AS s ORDER BY s.reason
"""


def test_what_stands_in_other_writings_comes_to_one_form(pg_empty_dsn: str) -> None:
    """The stricter of two stays, of two alike the older."""
    known = {one.name: one for one in migrations()}
    older = [one.text for one in known.values() if one.name < THE_FORM]
    execute(pg_empty_dsn, "CREATE SCHEMA dripd", *older, BEFORE, known[THE_FORM].text)

    assert [
        ("as it is", True),
        ("erased", True),
        ("longer", True),
        ("no end", True),
        ("of an account", True),
        ("older", True),
    ] == answers(pg_empty_dsn, AFTER)
    assert [(True,)] == answers(
        pg_empty_dsn, "SELECT subject = dripd.address_hash('+15550001111') FROM dripd.event_in"
    )
