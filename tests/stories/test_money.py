"""What a run costs: quoted before, charged at the acceptance, given back where it ends early."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from dripd.errors import DripdError
from tests.stories.world import World

PAID = """
campaign: {key}
account: acme
name: Paid
preset: smarter_contact
policy: {{min_gap: 0s{policy}}}
steps:
{steps}
"""

LONG = "x" * 200
"""Two segments."""


def paid(key: str, *texts: str, policy: str = "", every: int = 3) -> str:
    """A campaign of texts, one every *every* days, charged when a contact enters."""
    steps = "\n".join(
        f'  - {{key: m{n}, do: sms, day: {n * every}, text: "{text}"}}'
        for n, text in enumerate(texts)
    )
    return PAID.format(key=key, steps=steps, policy=policy)


def money(world: World, kind: str, contact: str | None = None) -> Decimal:
    """The sum of the ledger's rows of a kind, of one contact or of all."""
    found: Decimal = world.one(
        """SELECT coalesce(sum(l.amount), 0) FROM dripd.ledger AS l
           LEFT JOIN dripd.enrollment AS e ON e.account_id = l.account_id AND e.id = l.enrollment_id
           LEFT JOIN dripd.contact AS c ON c.account_id = e.account_id AND c.id = e.contact_id
           WHERE l.kind = $1 AND ($2::text IS NULL OR c.external_id = $2)""",
        *(kind, contact),
    )
    return found


def balance(world: World) -> str:
    found: str = world.call("account.show", key="acme")["balance"]
    return found


@pytest.fixture
def shop(world: World) -> Iterator[World]:
    """Account acme with a price of 0.01 a segment and 10 in its purse; money adds up at the end."""
    world.call("account.set", key="acme", prices={"sms": "0.01"})
    world.call("account.deposit", key="acme", amount="10")
    yield world
    assert [dict(row) for row in world.sql("SELECT * FROM dripd.ledger_fault")] == []


@pytest.mark.feature("S4")
@pytest.mark.feature("S5")
@pytest.mark.feature("S21")
def test_a_quote_says_what_the_acceptance_charges(shop: World) -> None:
    shop.apply(paid("three", "Hi {First Name}", LONG, "Bye"))
    shop.contact("ann")
    quote = shop.call("campaign.quote", key="three", account="acme", contact="ann")

    assert quote["total"] == "0.04"
    assert [(m["segments"], m["price"], m["at"]) for m in quote["messages"]] == [
        (1, "0.01", "2026-01-05T09:00:00Z"),
        (2, "0.02", "2026-01-08T09:00:00Z"),
        (1, "0.01", "2026-01-11T09:00:00Z"),
    ]
    assert quote["ends_at"] == "2026-01-11T09:00:00Z"
    shop.sql(
        """INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, quote_id)
           VALUES ('acme', 'three', 'ann', $1)""",
        quote["quote_id"],
    )
    shop.tick()
    run = shop.run("ann", "three")
    rows = shop.sql(
        "SELECT kind, amount, enrollment_id, at FROM dripd.ledger WHERE kind <> 'deposit'"
    )

    assert [tuple(row) for row in rows] == [
        ("charge", Decimal("0.04"), run["id"], run["started_at"])
    ]
    assert balance(shop) == "9.96"
    shop.at("2026-02-01T00:00:00Z")

    assert len(shop.sent()) == 3
    assert shop.run("ann", "three")["status"] == "completed"
    assert balance(shop) == "9.96"


@pytest.mark.feature("S6")
@pytest.mark.feature("S22")
def test_an_early_end_gives_back_what_was_not_sent_once(shop: World) -> None:
    shop.apply(paid("nine", *["Hi"] * 9, every=1))
    for contact in ("replied", "stopped", "bounced", "left", "done"):
        shop.contact(contact, phone=f"+49301{len(contact)}{ord(contact[0])}")
    shop.enroll("nine", "replied", "stopped", "bounced", "left", "done")
    shop.at("2026-01-08T12:00:00Z")

    assert len(shop.sent()) == 20
    shop.event("replied", "reply")
    shop.event("bounced", "bounce")
    shop.event("left", "unsubscribe")
    shop.call("enroll.stop", contact=["stopped"], account="acme", yes=True)
    shop.tick()
    shop.event("replied", "reply")
    shop.tick()
    for contact in ("replied", "stopped", "bounced", "left"):
        assert money(shop, "charge", contact) == Decimal("0.09")
        assert money(shop, "refund", contact) == Decimal("0.05"), contact
    shop.at("2026-02-01T00:00:00Z")

    assert shop.run("done", "nine")["end_reason"] == "completed"
    assert money(shop, "refund", "done") == 0
    shop.contact("paused")
    shop.enroll("nine", "paused")
    shop.tick()
    shop.call("campaign.pause", key="nine", account="acme", yes=True)

    assert shop.run("paused", "nine")["end_reason"] == "paused"
    assert money(shop, "refund", "paused") == Decimal("0.08")


@pytest.mark.feature("S22")
def test_refund_on_names_the_ends_that_give_back_and_a_reply_always_does(shop: World) -> None:
    shop.apply(paid("few", "Hi", "Ho", policy=", refund_on: [bounce]"))
    shop.contact("replied", phone="+4930111")
    shop.contact("stopped", phone="+4930222")
    shop.enroll("few", "replied", "stopped")
    shop.tick()
    shop.event("replied", "reply")
    shop.call("enroll.stop", contact=["stopped"], account="acme", yes=True)
    shop.tick()

    assert money(shop, "refund", "replied") == Decimal("0.01")
    assert money(shop, "refund", "stopped") == 0


@pytest.mark.feature("S14")
def test_a_balance_never_goes_below_nothing(shop: World) -> None:
    shop.call("account.set", key="poor", prices={"sms": "0.01"})
    shop.call("account.deposit", key="poor", amount="0.10")
    shop.sql(
        "INSERT INTO dripd.sender (account_id, address, channel) "
        "SELECT id, '+15550000009', 'sms' FROM dripd.account WHERE key = 'poor'"
    )
    shop.apply(paid("four", *["Hi"] * 4).replace("account: acme", "account: poor"), "poor")
    names = [f"c{n}" for n in range(5)]
    for name in names:
        shop.contact(name, "poor")
    with ThreadPoolExecutor(5) as pool:
        answers = list(
            pool.map(
                lambda name: shop.call(
                    "enroll.add", campaign="four", account="poor", contacts=[name]
                )["items"][0],
                names,
            )
        )

    assert sorted(str(one["reject_reason"]) for one in answers) == [
        "None", "None", *["insufficient_balance"] * 3,
    ]  # fmt: skip
    assert shop.call("account.show", key="poor")["balance"] == "0.02"
    assert shop.one("SELECT count(*) FROM dripd.enrollment WHERE campaign_key = 'four'") == 2


@pytest.mark.feature("S15")
def test_a_quote_holds_only_for_its_price_campaign_and_contact(shop: World) -> None:
    shop.apply(paid("two", "Hi", "Ho"))
    shop.contact("ann")
    shop.contact("bob", phone="+4930999")
    quote = shop.call("campaign.quote", key="two", account="acme", contact="ann")

    def enroll(contact: str, quote_id: str) -> object:
        answer = shop.call(
            "enroll.add", campaign="two", account="acme", contacts=[contact], quote=quote_id
        )
        return answer["items"][0]["reject_reason"]

    assert enroll("bob", quote["quote_id"]) == "quote_stale"
    assert enroll("bob", "none") == "quote_stale"
    shop.call("account.set", key="acme", prices={"sms": "0.02"})

    assert enroll("ann", quote["quote_id"]) == "quote_stale"
    assert money(shop, "charge") == 0
    fresh = shop.call("campaign.quote", key="two", account="acme", contact="ann")

    assert enroll("ann", fresh["quote_id"]) is None
    assert money(shop, "charge") == Decimal("0.04")


@pytest.mark.parametrize("amount", ["-1", "0", "much", "NaN", "1e99", "0.00000001"])
def test_a_deposit_is_a_sensible_amount(shop: World, amount: str) -> None:
    with pytest.raises(DripdError):
        shop.call("account.deposit", key="acme", amount=amount)


PER_SEND = f"""
campaign: each
account: acme
name: Each
policy: {{billing: per_send}}
steps:
  - {{key: m0, do: sms, text: "Hi"}}
  - {{key: m1, do: sms, delay: 1d, text: "{LONG}"}}
"""


@pytest.mark.feature("F14")
def test_each_text_is_charged_by_its_segments_when_it_is_sent(shop: World) -> None:
    shop.apply(PER_SEND)
    shop.apply(
        "campaign: sizes\naccount: acme\nname: Sizes\npolicy: {billing: per_send}\nsteps:\n"
        f'  - {{key: a, do: sms, text: "{"x" * 160}"}}\n'
        f'  - {{key: b, do: sms, text: "{"x" * 161}"}}\n'
    )
    shop.contact("ann")
    shop.enroll("sizes", "ann")
    shop.tick()
    rows = shop.sql(
        """SELECT d.step_key, d.segments, l.amount FROM dripd.delivery AS d
           JOIN dripd.ledger AS l ON l.account_id = d.account_id AND l.delivery_id = d.id
           ORDER BY d.id"""
    )

    assert [tuple(row) for row in rows] == [
        ("a", 1, Decimal("0.01")),
        ("b", 2, Decimal("0.02")),
    ]
    assert money(shop, "refund") == 0


def test_what_the_balance_does_not_cover_is_held_until_a_deposit(shop: World) -> None:
    shop.call("account.set", key="poor", prices={"sms": "0.01"})
    shop.call("account.deposit", key="poor", amount="0.01")
    shop.sql(
        "INSERT INTO dripd.sender (account_id, address, channel) "
        "SELECT id, '+15550000009', 'sms' FROM dripd.account WHERE key = 'poor'"
    )
    shop.apply(PER_SEND.replace("account: acme", "account: poor"), "poor")
    shop.contact("ann", "poor")
    shop.enroll("each", "ann", account="poor")
    shop.at("2026-01-07T12:00:00Z")
    run = shop.run("ann", "each")

    assert (run["status"], run["hold_reason"], run["step_key"]) == ("held", "balance", "m1")
    assert len(shop.sent()) == 1
    shop.call("account.deposit", key="poor", amount="0.03")
    shop.tick()

    assert shop.run("ann", "each")["status"] == "completed"
    assert shop.call("account.show", key="poor")["balance"] == "0.01"


def test_a_message_that_comes_out_longer_or_shorter_is_settled_when_it_leaves(
    shop: World,
) -> None:
    for name, words in (("longer", "x"), ("shorter", LONG), ("frozen", "x")):
        shop.contact(name, phone=f"+4930{ord(name[0])}", attrs=f'{{"note": "{words}"}}')
    shop.apply(paid("long", "Hi", "{Note}", every=1))
    shop.apply(paid("kept", "Hi", "{Note}", every=1, policy=", freeze: at_enroll"))
    shop.enroll("long", "longer", "shorter")
    shop.enroll("kept", "frozen")
    shop.tick()
    assert money(shop, "charge", "longer") == Decimal("0.02")
    assert money(shop, "charge", "shorter") == Decimal("0.03")
    shop.sql(
        "UPDATE dripd.contact SET attrs = jsonb_build_object('note', CASE "
        "WHEN external_id = 'shorter' THEN 'y' ELSE repeat('y', 200) END)"
    )
    shop.at("2026-02-01T00:00:00Z")

    assert money(shop, "charge", "longer") == Decimal("0.03")
    assert money(shop, "refund", "longer") == 0
    assert money(shop, "charge", "shorter") - money(shop, "refund", "shorter") == Decimal(
        "0.02"
    )
    assert money(shop, "charge", "frozen") == Decimal("0.02")
    assert money(shop, "refund", "frozen") == 0
    last = shop.sql(
        "SELECT body FROM dripd.sink_message WHERE recipient LIKE '%102' ORDER BY id"
    )
    assert last[-1][0].strip() == "x"


ACTIONS = """
campaign: {key}
account: acme
name: Actions
policy: {{meter: actions}}
steps:
  - {{key: a, do: tag_add, tag: a}}
  - {{key: b, do: delay, delay: 1d}}
  - {{key: c, do: email, subject: Hi, text: Hello}}
  - {{key: d, do: email, subject: Hi, text: Hello, when: "attrs.tier == 'gold'"}}
  - {{key: e, do: email, delay: 1d, subject: Hi, text: Hello}}
sender: hello@acme.test
"""


def metered(world: World) -> dict[str, int]:
    """period -> automation actions of account acme."""
    rows = world.sql(
        """SELECT m.period, m.n, m.kind FROM dripd.meter AS m
           JOIN dripd.account AS a ON a.id = m.account_id WHERE a.key = 'acme' ORDER BY 1"""
    )
    assert {row[2] for row in rows} <= {"automation_action"}
    return {row[0]: row[1] for row in rows}


@pytest.mark.feature("M54")
@pytest.mark.feature("M55")
def test_each_step_performed_is_an_action_and_the_completion_one_more(world: World) -> None:
    world.apply(ACTIONS.format(key="actions"))
    world.contact("replies")
    world.enroll("actions", "replies")
    world.at("2026-01-06T12:00:00Z")
    world.event("replies", "reply")
    world.tick()

    assert world.run("replies", "actions")["end_reason"] == "reply"
    assert metered(world) == {"2026-01": 3}  # a, b, c; d was skipped
    world.contact("ends", attrs='{"first_name": "Ann", "tier": "gold"}')
    world.enroll("actions", "ends")
    world.at("2026-02-01T00:00:00Z")

    assert metered(world) == {"2026-01": 3 + 5 + 1}


@pytest.mark.feature("M55")
def test_a_spent_quota_holds_until_the_next_month_and_loses_nothing(world: World) -> None:
    world.sql("INSERT INTO dripd.plan (key, action_quota) VALUES ('small', 7)")
    world.call("account.set", key="acme", plan="small")
    world.apply(ACTIONS.format(key="actions"))
    for name in ("one", "two", "three"):
        world.contact(name)
    world.enroll("actions", "one", "two", "three")
    world.at("2026-01-20T00:00:00Z")
    before = metered(world)["2026-01"]
    held = world.sql(
        "SELECT hold_reason, release_at FROM dripd.enrollment WHERE status = 'held'"
    )

    assert 7 <= before <= 8  # a completion is counted, never held
    assert {row[0] for row in held} == {"quota"}
    assert {row[1].isoformat() for row in held} == {"2026-02-01T00:00:00+00:00"}
    world.sql("UPDATE dripd.plan SET action_quota = 100 WHERE key = 'small'")
    world.at("2026-01-25T00:00:00Z")

    assert world.column("SELECT DISTINCT status FROM dripd.enrollment") == ["completed"]
    assert sum(metered(world).values()) == 3 * 5


@pytest.mark.feature("M55")
def test_a_new_month_goes_on_where_the_quota_stopped(world: World) -> None:
    world.sql("INSERT INTO dripd.plan (key, action_quota) VALUES ('small', 3)")
    world.call("account.set", key="acme", plan="small")
    world.apply(ACTIONS.format(key="actions"))
    world.contact("ann")
    world.enroll("actions", "ann")
    world.at("2026-01-31T23:59:59Z")

    assert metered(world) == {"2026-01": 3}
    assert world.run("ann", "actions")["hold_reason"] == "quota"
    world.at("2026-02-03T00:00:00Z")

    assert metered(world) == {"2026-01": 3, "2026-02": 2}
    assert world.run("ann", "actions")["status"] == "completed"
    assert len(world.sent()) == 2


@pytest.mark.feature("S11")
def test_without_a_subscription_nothing_begins_and_what_runs_is_held(world: World) -> None:
    world.apply(
        "campaign: two\naccount: acme\nname: Two\nsteps:\n"
        "  - {key: a, do: sms, text: Hi}\n  - {key: b, do: sms, delay: 1d, text: Ho}\n"
    )
    world.contact("ann")
    world.contact("bob", phone="+49302222")
    world.enroll("two", "ann")
    world.tick()
    world.call("account.set", key="acme", subscription=False)
    world.enroll("two", "bob")
    world.at("2026-01-08T00:00:00Z")

    assert (
        world.one("SELECT reject_reason FROM dripd.enroll_request WHERE external_id = 'bob'")
        == "no_subscription"
    )
    run = world.run("ann", "two")
    assert (run["status"], run["hold_reason"]) == ("held", "no_subscription")
    assert len(world.sent()) == 1
    world.call("account.set", key="acme", subscription=True)
    world.tick()

    assert len(world.sent()) == 2
    assert world.run("ann", "two")["status"] == "completed"


def test_an_unknown_outcome_counts_as_sent_until_it_is_disproved(shop: World) -> None:
    shop.apply(paid("doubt", "Hi", "Ho", every=1))
    shop.contact("ann", phone="+4930777")
    shop.sql(
        "INSERT INTO dripd.sink_rule (recipient_like, answer, times) "
        "VALUES ('+4930777', 'ambiguous', 1)"
    )
    shop.enroll("doubt", "ann")
    shop.tick()
    shop.event("ann", "reply")
    shop.tick()
    state = "SELECT state FROM dripd.delivery WHERE step_key = 'm0'"

    assert shop.one(state) == "unknown"
    assert money(shop, "refund") == Decimal("0.01")
    for _ in range(2):
        shop.sql("UPDATE dripd.step_log SET state = 2 WHERE state IN (2, 3) AND channel > 0")

    assert shop.one(state) == "failed"
    assert money(shop, "refund") == Decimal("0.02")


def test_an_erased_contact_leaves_no_text_that_it_was_charged_for(shop: World) -> None:
    shop.apply(paid("kept", "Hi {First Name}", "Ho", policy=", freeze: at_enroll"))
    shop.contact("ann")
    shop.enroll("kept", "ann")
    shop.tick()
    assert shop.one("SELECT frozen::text LIKE '%Hi Ann%' FROM dripd.run")
    shop.call("contact.erase", contact="ann", account="acme", yes=True)
    shop.tick()

    assert shop.one("SELECT frozen FROM dripd.run") is None
    assert shop.one("SELECT end_reason FROM dripd.run") == "contact_erased"
    assert money(shop, "refund") == Decimal("0.01")


@pytest.mark.feature("D14")
def test_what_was_paid_at_the_acceptance_is_not_charged_again_when_it_is_sent(
    shop: World,
) -> None:
    """A run that was charged as it began passes to a version that charges each message."""
    edit = ", edit: {active: allow, inflight: migrate}"
    shop.apply(paid("c", "One", LONG, policy=edit))
    shop.contact("ann")
    shop.enroll("c", "ann")
    shop.tick()
    before = money(shop, "charge", "ann")
    shop.apply(
        paid("c", "One", LONG, "Three", policy=f"{edit}, billing: per_send"), activate=False
    )
    shop.call("campaign.publish", key="c", account="acme", yes=True)
    shop.at("2026-02-01T00:00:00Z")

    assert len(shop.sent()) == 3
    assert (before, money(shop, "charge", "ann")) == (Decimal("0.03"), Decimal("0.04"))
