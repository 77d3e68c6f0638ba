"""Who can afford what, and which ends give back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.billing.ledger import is_refunded, paid, refund_words, total, unaffordable
from dripd.billing.price import Priced

amounts = st.integers(0, 500).map(lambda n: Decimal(n) / 100)


@given(
    st.dictionaries(st.integers(1, 3), amounts, max_size=3),
    st.lists(st.tuples(st.integers(1, 4), amounts), max_size=30),
)
def test_what_is_granted_never_exceeds_a_balance(
    balances: dict[int, Decimal], wishes: list[tuple[int, Decimal]]
) -> None:
    asked = [(n, account, amount) for n, (account, amount) in enumerate(wishes)]
    refused = unaffordable(balances, asked)
    for account in {account for _, account, _ in asked}:
        spent = sum(
            (amount for n, a, amount in asked if a == account and n not in refused), Decimal(0)
        )
        left = balances.get(account, Decimal(0)) - spent

        assert left >= 0
        assert all(amount > 0 for n, a, amount in asked if a == account and n in refused), (
            "what costs nothing is never refused"
        )


def test_one_that_is_too_dear_leaves_the_rest_to_those_behind_it() -> None:
    asked = [(1, 1, Decimal(2)), (2, 1, Decimal(5)), (3, 1, Decimal(1))]

    assert unaffordable({1: Decimal(3)}, asked) == {2}


@pytest.mark.parametrize(
    ("reason", "refund_on", "back"),
    [
        ("stopped", None, True),
        ("completed", None, True),
        ("reply", refund_words(["bounce"]), True),
        ("stopped", refund_words(["stop"]), True),
        ("reset", refund_words(["stop"]), True),
        ("paused", refund_words(["pause"]), True),
        ("goal:tag:won", refund_words(["goal"]), True),
        ("stopped", refund_words(["bounce"]), False),
    ],
)
def test_an_end_gives_back_as_refund_on_says(
    reason: str, refund_on: object, *, back: bool
) -> None:
    assert is_refunded(reason, refund_on) is back


def test_a_run_keeps_what_each_message_was_charged() -> None:
    bill = [Priced("a", "sms", 2, Decimal("0.02")), Priced("b", "email", None, Decimal(0))]

    assert total(bill) == Decimal("0.02")
    assert paid(bill, None) == {
        "refund_on": None,
        "messages": {
            "a": {"amount": "0.02", "segments": 2},
            "b": {"amount": "0", "segments": None},
        },
    }
