"""Prices are decimals, and only sensible ones."""

from __future__ import annotations

from decimal import Decimal

import pytest

from dripd.billing.price import FREE, price_of, read_price, read_prices

PRICES = {"sms": Decimal("0.01"), "email": Decimal("0.002")}


@pytest.mark.parametrize("text", ["-0.01", "NaN", "Infinity", "1e9", "much", "", "0.0000001"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"price|amount|places"):
        read_price(text)


def test_an_amount_is_told_in_plain_digits() -> None:
    assert ["1000", "0.001"] == [str(read_price(text)) for text in ("1e3", "1e-3")]


def test_a_text_costs_by_segment_and_a_mail_by_message() -> None:
    assert price_of(PRICES, "sms", 3) == Decimal("0.03")
    assert price_of(PRICES, "email", None) == Decimal("0.002")


def test_a_channel_without_a_price_costs_nothing() -> None:
    assert price_of({}, "sms", 3) == FREE


def test_a_stored_list_is_read_as_far_as_it_can_be() -> None:
    assert read_prices({"sms": "0.01", "email": "cheap"}) == {"sms": Decimal("0.01")}
