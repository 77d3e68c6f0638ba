"""How many may leave in an account's local day: the plan's cap, what counts, what waits."""

from __future__ import annotations

import pytest

from tests.stories.crowd import contacts, enroll_all, more_daemons
from tests.stories.world import World

ONE_MAIL = """
campaign: welcome
account: {account}
name: Welcome
sender: hello@{account}.test
steps:
  - {{key: hello, do: email, subject: Hi, text: Hello}}
"""

IN_HOURS = """
campaign: welcome
account: pro
name: Welcome
sender: hello@pro.test
window: {from: "09:00", to: "17:00"}
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
"""

PLANS = {"pro": "professional", "acc": "accelerator", "ent": "enterprise"}


def sent_on(world: World, account: str) -> dict[str, int]:
    """UTC date -> mails that the provider got for *account*; no address twice."""
    rows = world.sql(
        """SELECT (received_at AT TIME ZONE 'UTC')::date::text, count(*), count(DISTINCT recipient)
           FROM dripd.sink_message AS m JOIN dripd.account AS a ON a.id = m.account_id
           WHERE a.key = $1 GROUP BY 1""",
        account,
    )
    assert all(row[1] == row[2] for row in rows)
    return {row[0]: row[1] for row in rows}


def used(world: World, account: str, day: str) -> dict[str, int]:
    """source -> messages counted for *account* on its local *day*, the only one with any."""
    rows = world.sql(
        """SELECT u.source, u.n, u.local_date::text FROM dripd.cap_usage AS u
           JOIN dripd.account AS a ON a.id = u.account_id WHERE a.key = $1""",
        account,
    )
    assert {row[2] for row in rows} == {day}
    return {row[0]: row[1] for row in rows}


def fill(world: World, n: int) -> None:
    """*n* contacts of each of three accounts, one a plan, all asked for."""
    for account, plan in PLANS.items():
        world.account(account, plan=plan)
        contacts(world, n, account)
        world.apply(ONE_MAIL.format(account=account), account)


def check_one_day(world: World) -> None:
    for account in PLANS:
        enroll_all(world, "welcome", account)
    world.at("2026-01-05T23:59:59Z")
    assert {account: sent_on(world, account) for account in PLANS} == {
        "pro": {"2026-01-05": 300},
        "acc": {"2026-01-05": 400},
        "ent": {"2026-01-05": 1000},
    }
    held = world.sql(
        """SELECT a.key, e.hold_reason, count(*) FROM dripd.enrollment AS e
           JOIN dripd.account AS a ON a.id = e.account_id
           WHERE e.status = 'held' GROUP BY 1, 2 ORDER BY 1"""
    )
    assert [tuple(row) for row in held] == [
        ("acc", "cap", 800),
        ("ent", "cap", 200),
        ("pro", "cap", 900),
    ]


@pytest.mark.feature("C49")
def test_each_plan_sends_its_cap_in_a_day_and_never_more(world: World) -> None:
    fill(world, 1200)
    check_one_day(world)


@pytest.mark.slow
@pytest.mark.feature("C49")
def test_four_daemons_send_no_more_than_one(world: World) -> None:
    fill(world, 1200)
    with more_daemons(world, 3):
        check_one_day(world)
        world.at("2026-01-06T12:00:00Z")
        assert sent_on(world, "pro") == {"2026-01-05": 300, "2026-01-06": 300}


@pytest.mark.feature("C49")
def test_a_day_is_that_of_the_account_s_zone(world: World) -> None:
    world.account("pro", plan="professional", zone="America/New_York")
    contacts(world, 650, "pro")
    world.apply(ONE_MAIL.format(account="pro"), "pro")
    enroll_all(world, "welcome", "pro")
    world.at("2026-01-07T12:00:00Z")
    times = world.sql(
        "SELECT to_char(received_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI'), count(*) "
        "FROM dripd.sink_message GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in times] == [
        ("01-05 09:00", 300),
        ("01-06 05:00", 300),
        ("01-07 05:00", 50),
    ]


@pytest.mark.feature("C50")
def test_bulk_mail_of_other_systems_counts_too(world: World) -> None:
    world.account("pro", plan="professional")
    contacts(world, 400, "pro")
    world.apply(ONE_MAIL.format(account="pro"), "pro")
    world.sql("SELECT dripd.record_usage('pro', 'bulk', 150)")
    enroll_all(world, "welcome", "pro")
    world.tick()
    assert sent_on(world, "pro") == {"2026-01-05": 150}
    world.sql("SELECT dripd.record_usage('pro', 'bulk', 200)")
    world.at("2026-01-05T23:00:00Z")
    assert sent_on(world, "pro") == {"2026-01-05": 150}
    assert used(world, "pro", "2026-01-05") == {"program": 150, "bulk": 350}
    assert world.one("SELECT count(*) FROM dripd.journal WHERE kind = 'over_cap'") == 1


@pytest.mark.feature("C51")
def test_an_individual_mail_leaves_over_the_cap_and_is_not_counted(world: World) -> None:
    world.account("pro", plan="professional")
    contacts(world, 301, "pro")
    world.apply(ONE_MAIL.format(account="pro"), "pro")
    enroll_all(world, "welcome", "pro")
    world.tick()
    assert used(world, "pro", "2026-01-05")["program"] == 300
    answer = world.call(
        "contact.send", contact="c301", account="pro", subject="Just you", text="Hello"
    )
    state = world.one("SELECT state FROM dripd.delivery WHERE id = $1", answer["delivery_id"])
    assert state == "accepted"
    mail = world.sql("SELECT recipient FROM dripd.sink_message WHERE subject = 'Just you'")
    assert [row[0] for row in mail] == ["c301@pro.x.test"]
    world.tick()
    assert used(world, "pro", "2026-01-05")["program"] == 300
    assert sent_on(world, "pro") == {"2026-01-05": 301}


@pytest.mark.feature("C52")
def test_what_is_over_the_cap_leaves_the_next_day_oldest_due_first(world: World) -> None:
    world.account("pro", plan="professional")
    contacts(world, 450, "pro")
    world.apply(IN_HOURS, "pro")
    world.sql(
        """INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, start_at)
           SELECT 'pro', 'welcome', 'c' || i,
               timestamptz '2026-01-06T09:00:00Z' - (i % 3) * interval '1 minute'
           FROM generate_series(1, 450) AS i"""
    )
    world.at("2026-01-06T16:59:59Z")
    assert sent_on(world, "pro") == {"2026-01-06": 300}
    held = world.sql(
        """SELECT e.status, e.hold_reason, k.external_id FROM dripd.enrollment AS e
           JOIN dripd.contact AS k ON k.id = e.contact_id WHERE e.ended_at IS NULL"""
    )
    assert {(row[0], row[1]) for row in held} == {("held", "cap")}
    assert {row[2] for row in held} == {f"c{i}" for i in range(1, 451) if i % 3 == 0}
    world.at("2026-01-10T00:00:00Z")
    assert sent_on(world, "pro") == {"2026-01-06": 300, "2026-01-07": 150}
    times = world.sql(
        """SELECT to_char(received_at AT TIME ZONE 'UTC', 'DD HH24:MI'), count(*)
           FROM dripd.sink_message GROUP BY 1 ORDER BY 1"""
    )
    assert [tuple(row) for row in times] == [("06 09:00", 300), ("07 09:00", 150)]
