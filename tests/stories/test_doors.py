"""What stands at the doors of SQL: what they refuse, what they keep, what a change there does at once.

One daemon serves every test here; each has accounts of its own.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from dripd.errors import DripdError
from tests.stories.world import World

ONE_MAIL = """
campaign: hello
account: {account}
name: Hello
sender: hello@{account}.test
steps:
  - {{key: hello, do: email, subject: "Hi {{First Name}}", text: Hello}}
"""


def begin(house: World, account: str, *, zone: str = "UTC", plan: str = "unlimited") -> None:
    """An account with a campaign of one mail and a contact, ann."""
    house.account(account, zone=zone, plan=plan)
    house.contact("ann", account)
    house.apply(ONE_MAIL.format(account=account), account)


def stands(house: World, account: str) -> tuple[Any, ...]:
    """Status, hold reason and release of the account's only run."""
    [row] = house.sql(
        "SELECT e.status, e.hold_reason, e.release_at FROM dripd.enrollment AS e "
        "JOIN dripd.account AS a ON a.id = e.account_id WHERE a.key = $1",
        account,
    )
    return tuple(row)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("send_window", '{"days": ["someday"]}'),
        ("send_window", '{"days": []}'),
        ("send_window", '{"from": "9am"}'),
        ("send_window", '{"from": "09:00", "to": "9:00"}'),
        ("send_window", '{"form": "09:00"}'),
        ("send_window", '{"holidays": [5]}'),
        ("send_window", "[]"),
        ("send_window", '"on"'),
        ("rate", "fast"),
        ("rate", "0/s"),
        ("rate", "5/s burst 0"),
        ("timezone", "Mars/Base"),
    ],
)
def test_an_account_with_limits_that_nobody_can_read_is_refused(
    house: World, column: str, value: str
) -> None:
    with pytest.raises((asyncpg.CheckViolationError, asyncpg.InvalidParameterValueError)):
        house.sql(
            f"INSERT INTO dripd.account (key, {column}) VALUES ('unread', $1::text::"
            f"{'jsonb' if column == 'send_window' else 'text'})",
            value,
        )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("send_window", '{"days": ["mon"], "from": "9:00", "to": "17:00"}'),
        (
            "send_window",
            '{"from": "22:00", "to": "06:00", "holidays": ["DE-BE", "2026-12-24"]}',
        ),
        ("send_window", '{"holidays": "DE"}'),
        ("send_window", '{"to": "24:00"}'),
        ("send_window", '"off"'),
        ("send_window", "null"),
        ("rate", "20/s"),
        ("rate", "100/min burst 10"),
        ("rate", "1000/d"),
    ],
)
def test_whatever_a_campaign_file_may_say_an_account_may_say(
    house: World, column: str, value: str
) -> None:
    house.sql(
        f"UPDATE dripd.account SET {column} = $1::text::"
        f"{'jsonb' if column == 'send_window' else 'text'} WHERE key = 'acme'",
        value,
    )
    house.sql("UPDATE dripd.account SET send_window = NULL, rate = NULL WHERE key = 'acme'")


def test_a_zone_that_only_postgres_knows_sends_nothing_until_it_is_put_right(
    house: World,
) -> None:
    begin(house, "lower", zone="europe/berlin")
    house.enroll("hello", "ann", account="lower")
    house.tick()

    assert stands(house, "lower") == ("held", "window", None)

    house.sql("UPDATE dripd.account SET timezone = 'Europe/Berlin' WHERE key = 'lower'")
    house.tick()

    assert stands(house, "lower") == ("completed", None, None)


def test_a_window_that_is_changed_opens_at_once(house: World) -> None:
    begin(house, "shut")
    tuesday = '{"days": ["tue"], "from": "09:00", "to": "17:00"}'
    house.sql(
        "UPDATE dripd.account SET send_window = $1::text::jsonb WHERE key = 'shut'", tuesday
    )
    house.enroll("hello", "ann", account="shut")
    house.tick()

    assert stands(house, "shut")[:2] == ("held", "window")
    next_send_at = house.one(
        "SELECT m.next_send_at FROM dripd.contact AS c, dripd.may_send(c.id, 'email') AS m "
        "WHERE c.account_id = (SELECT id FROM dripd.account WHERE key = 'shut')"
    )
    assert next_send_at == stands(house, "shut")[2]

    house.sql("UPDATE dripd.account SET send_window = NULL WHERE key = 'shut'")
    house.tick()

    assert stands(house, "shut") == ("completed", None, None)


def test_usage_is_shown_of_days_that_have_begun(house: World) -> None:
    begin(house, "usage")
    house.enroll("hello", "ann", account="usage")
    house.tick()

    assert [("program", 1)] == [
        tuple(row)
        for row in house.sql(
            "SELECT source, n FROM dripd.cap_usage AS u "
            "JOIN dripd.account AS a ON a.id = u.account_id WHERE a.key = 'usage'"
        )
    ]


def test_nobody_may_write_to_a_contact_that_is_not_there(house: World) -> None:
    assert tuple(house.sql("SELECT * FROM dripd.may_send(987654321, 'email')")[0]) == (
        False, None, None,
    )  # fmt: skip


def test_an_event_keeps_whom_it_names_though_nothing_listens(house: World) -> None:
    begin(house, "told")
    house.enroll("hello", "ann", account="told")
    house.tick()
    ann, run = house.sql(
        "SELECT e.contact_id, e.id FROM dripd.enrollment AS e "
        "JOIN dripd.account AS a ON a.id = e.account_id WHERE a.key = 'told'"
    )[0]
    house.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind) "
        "SELECT id, $1, 'open' FROM dripd.account WHERE key = 'told'",
        f"{run}-1",
    )
    house.sql(
        "INSERT INTO dripd.event_in (account_id, contact_id, kind) VALUES (9999, 5, 'reply')"
    )
    house.tick()

    logged = house.sql(
        "SELECT e.kind, e.contact_id, e.refused_reason FROM dripd.event_log AS e "
        "WHERE e.contact_id = $1 OR e.account_id = 9999 ORDER BY e.id",
        ann,
    )
    assert [tuple(row) for row in logged] == [
        ("contact_created", ann, None),
        ("open", ann, None),
        ("reply", 5, "unknown_account"),
    ]
    kinds = [one["detail"].get("event") for one in house.call(
        "contact.timeline", contact=f"#{ann}")["items"]]  # fmt: skip
    assert [kind for kind in kinds if kind] == ["contact_created", "open"]


def test_what_happened_at_one_instant_is_told_in_its_order(house: World) -> None:
    begin(house, "order")
    for n in range(12):
        house.sql(
            "INSERT INTO dripd.contact_tag (account_id, contact_id, tag) "
            "SELECT account_id, id, $1 FROM dripd.contact WHERE external_id = 'ann' "
            "AND account_id = (SELECT id FROM dripd.account WHERE key = 'order')",
            f"t{n}",
        )
        house.sql(
            "UPDATE dripd.contact SET attrs = attrs || jsonb_build_object('n', $1::int) "
            "WHERE external_id = 'ann' "
            "AND account_id = (SELECT id FROM dripd.account WHERE key = 'order')",
            n,
        )
    house.tick()

    items = house.call("contact.timeline", contact="ann", account="order")["items"]
    ids = [one["detail"]["id"] for one in items if one["kind"] == "event"]
    assert len(ids) > 20
    assert ids == sorted(ids)


def test_new_text_of_a_draft_does_not_leave_the_old_html(house: World) -> None:
    house.account("draft")
    house.contact("ann", "draft")
    house.apply(
        ONE_MAIL.format(account="draft").replace(
            "text: Hello", "text: Hello, html: <p>Hello</p>, require_approval: true"
        ),
        "draft",
    )
    house.enroll("hello", "ann", account="draft")
    house.tick()
    [task] = house.call("task.list", account="draft")["items"]
    house.call("task.edit", id=task["id"], text="Good day")
    house.call("task.approve", id=task["id"])
    house.tick()

    [mail] = [one for one in house.sent() if one["sender"] == "hello@draft.test"]
    assert mail["body"] == "Good day"


@pytest.mark.feature("C53")
def test_a_number_is_suppressed_however_it_is_written(house: World) -> None:
    house.account("spelt")
    house.contact("ann", "spelt", phone="+1 (555) 000-1111")
    house.apply(
        """
campaign: text
account: spelt
name: Text
steps:
  - {key: a, do: sms, text: Hello}
""",
        "spelt",
    )
    house.sql(  # as what a carrier hears of a STOP
        "INSERT INTO dripd.event_in (account_id, kind, address) "
        "SELECT id, 'unsubscribe', '+15550001111' FROM dripd.account WHERE key = 'spelt'"
    )
    house.tick()
    house.enroll("text", "ann", account="spelt")
    house.tick()

    [asked] = house.sql(
        "SELECT status, reject_reason FROM dripd.enroll_request WHERE account_key = 'spelt'"
    )
    assert ("rejected", "suppressed") == tuple(asked)
    with pytest.raises(DripdError, match="suppressed"):
        house.call("contact.send", contact="ann", account="spelt", channel="sms", text="Hello")
    found = house.call("suppress.check", address="+1 (555) 000-1111", account="spelt")
    assert found["suppressed"]


@pytest.mark.feature("M28")
def test_a_hard_bounce_that_names_only_the_contact_suppresses_its_address(house: World) -> None:
    begin(house, "bounced")
    house.sql("UPDATE dripd.contact SET email = 'only@b.test' WHERE account_id = "
              "(SELECT id FROM dripd.account WHERE key = 'bounced')")  # fmt: skip
    house.sql(
        "INSERT INTO dripd.event_in (account_id, contact_id, kind, payload) "
        "SELECT account_id, id, 'bounce', '{\"type\": \"hard\"}' FROM dripd.contact "
        "WHERE email = 'only@b.test'"
    )
    house.tick()

    found = house.call("suppress.check", address="ONLY@b.test", account="bounced")
    assert found["entries"][0]["created_by"] == "event"
    assert [("bounced", "email", "bounce")] == [
        (one["scope"], one["channel"], one["reason"]) for one in found["entries"]
    ]


def test_a_closed_task_stays_closed(house: World) -> None:
    task = house.one(
        "INSERT INTO dripd.task (account_id, kind) "
        "SELECT id, 'general' FROM dripd.account WHERE key = 'acme' RETURNING id"
    )
    house.sql("UPDATE dripd.task SET state = 'done' WHERE id = $1", task)

    with pytest.raises(asyncpg.CheckViolationError, match="stays closed"):
        house.sql("UPDATE dripd.task SET state = 'open' WHERE id = $1", task)
