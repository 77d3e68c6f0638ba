"""Stories of a person who is to be forgotten: the address stands nowhere any more."""

from __future__ import annotations

from tests.stories.world import World

MARK = "unmistakable.person"
EMAIL = f"{MARK}@x.test"
PHONE = "+49309998887776"

CAMPAIGN = """
campaign: everything
account: acme
name: Everything
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: "For {Email}", text: "Dear {Email}, {Phone}"}
  - {key: call, do: call_task, title: "Call {Email}"}
  - {key: tell, do: notify_email, to: hello@acme.test, subject: "It is {Email}", text: "{Email}"}
  - {key: draft, do: email, subject: "{Email}", text: "Dear {Email}", require_approval: true}
"""

COLUMNS = """
SELECT format('%I', c.relname) AS relation, format('%I', a.attname) AS name, a.atttypid = 'bytea'::regtype AS binary
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE c.relnamespace = 'dripd'::regnamespace AND c.relkind IN ('r', 'm') AND (t.typcategory IN ('S', 'A')
    OR t.oid IN ('json'::regtype, 'jsonb'::regtype, 'bytea'::regtype))
"""
"""Every column of a table, part of a partitioned one too, that could hold words."""


def standing(world: World) -> set[str]:
    """The columns in which the mark or the number stands, whatever its case."""
    found = set()
    for relation, name, binary in world.sql(COLUMNS):
        text = f"encode({name}, 'escape')" if binary else f"{name}::text"
        if world.one(
            f"SELECT EXISTS (SELECT FROM dripd.{relation} WHERE strpos(lower({text}), $1) > 0 "
            f"OR strpos({text}, $2) > 0)",
            *(MARK, PHONE),
        ):
            found.add(f"{relation}.{name}".replace("_default", ""))
    return found


def files(world: World) -> list[str]:
    """The files of the daemon, its log and its journals among them, that hold either."""
    words = (MARK.encode(), PHONE.encode())
    return [
        one.name
        for one in world.state.rglob("*")
        if one.is_file() and any(word in one.read_bytes().lower() for word in words)
    ]


def leave_traces(world: World, account: int, contact: int) -> None:
    """Let the address come to stand wherever the surface lets it."""
    world.apply(CAMPAIGN)
    world.sql(
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, vars, "
        "idempotency_key, conversation_ref) VALUES ('acme', 'everything', $1, $2, $1, $1)",
        *(EMAIL, f'{{"to": "{EMAIL}"}}'),
    )
    world.tick()
    world.call(
        "contact.send", contact=EMAIL, account="acme", channel="email", sender="hello@acme.test",
        subject=EMAIL, text=EMAIL,
    )  # fmt: skip
    world.sql(
        "INSERT INTO dripd.event_in (account_id, address, kind, dedup_key, payload) "
        "VALUES ($1, $2, 'interaction', $2, $3), ($1, $2 || '.other', 'interaction', NULL, '{}')",
        *(account, EMAIL.upper(), f'{{"from": "{EMAIL}"}}'),
    )
    world.call("suppress.add", addresses=[EMAIL, PHONE], account="acme")
    world.tick()
    world.sql(
        "INSERT INTO dripd.notification (account_id, kind, payload) VALUES ($1, 'opened', $2)",
        *(account, f'{{"who": "{EMAIL}"}}'),
    )
    world.sql(
        "INSERT INTO dripd.late_evidence (account_id, enrollment_id, claim_id, seq, state, provider_id, reason) "
        "SELECT account_id, id, 1, 1, 1, $2, $2 FROM dripd.run WHERE contact_id = $1",
        *(contact, f"<1.{EMAIL}>"),
    )
    world.sql(
        "UPDATE dripd.step_log SET provider_id = $1, reason = $1 WHERE to_address IS NOT NULL",
        f"<1.{EMAIL}>",
    )
    world.sql(
        "INSERT INTO dripd.event_parked (provider, event_key, told) "
        "VALUES ('p', '1', $1), ('p', $2, $3)",
        *(
            f'{{"kind": "open", "id": "1", "address": "{EMAIL}"}}',
            EMAIL,
            '{"kind": "open", "id": "2"}',
        ),
    )


def forget(world: World, account: int, contact: int) -> None:
    """Erase, with events and requests that name the person and wait in the same instant."""
    world.sql(
        f"""
        DO $$ BEGIN
            INSERT INTO dripd.event_in (account_id, contact_id, address, kind, dedup_key, payload)
            VALUES ({account}, {contact}, '{EMAIL}', 'interaction', '2.{EMAIL}', '{{"a": "{EMAIL}"}}'),
                ({account}, NULL, '{EMAIL}', 'reply', NULL, '{{}}'),
                ({account}, NULL, NULL, 'reply', NULL, '{{"a": "{PHONE}"}}');
            INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id)
            VALUES ('acme', 'everything', '{EMAIL}');
            PERFORM dripd.erase_contact({contact});
        END $$
        """
    )


def test_an_erased_address_stands_in_no_table_log_or_journal(world: World) -> None:
    account = world.one("SELECT id FROM dripd.account WHERE key = 'acme'")
    attrs = f'{{"first_name": "{MARK}"}}'
    contact = world.contact(EMAIL, email=EMAIL, phone=PHONE, attrs=attrs)
    leave_traces(world, account, contact)
    before = standing(world)

    assert {
        "contact.email", "event_parked.told", "event_parked.event_key", "sink_message.recipient",
        "sink_message.body", "suppression.address", "individual_send.to_address", "run.vars",
        "run.conversation_ref", "late_evidence.provider_id", "notification.payload", "task.title",
    } <= before  # fmt: skip
    forget(world, account, contact)

    assert standing(world) == set()
    world.tick()
    world.advance("2d")

    assert standing(world) == set()
    assert files(world) == []
    for address in (EMAIL, PHONE):
        check = world.call("suppress.check", address=address, account="acme")
        assert check["suppressed"], address
    ends = world.column("SELECT end_reason FROM dripd.run WHERE contact_id = $1", contact)
    assert ends == ["reply"]  # which had waited, and still came first


def test_an_address_that_another_contact_has_too_stays_that_ones(world: World) -> None:
    one = world.contact("one", email=EMAIL, phone=None)
    world.contact("two", email=EMAIL.upper(), phone=None)
    world.call("suppress.add", addresses=[EMAIL], account="acme")
    world.sql("SELECT dripd.erase_contact($1)", one)

    assert standing(world) == {"contact.email", "suppression.address"}
