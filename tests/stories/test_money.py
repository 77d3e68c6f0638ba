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
