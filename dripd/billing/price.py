"""What does a message cost? The account's price list, applied to what would be sent.

A text costs its price for each segment, a mail its price for each message. Amounts are
decimals, never floats; a channel without a price costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

FREE = Decimal(0)

DEAREST = Decimal(1_000_000)
"""No message costs more: whoever writes so has mistaken the unit."""


class Priced(NamedTuple):
    """A message that a run owes, with what it costs; `segments` None where none are counted."""

    step_key: str
    channel: str
    segments: int | None
    amount: Decimal


def read_price(text: str) -> Decimal:
    """A price such as `0.01`. Raises `ValueError` for what is none, negative or absurd."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no amount") from error
    if not amount.is_finite() or not FREE <= amount <= DEAREST:
        raise ValueError(f"{text!r} is no amount from 0 to {DEAREST}")
    if amount != amount.quantize(Decimal("1e-6")):
        raise ValueError(f"{text!r} has more than six places behind the point")
    return Decimal(f"{amount:f}")  # 1e3 is told as 1000


def read_prices(raw: Mapping[str, object]) -> dict[str, Decimal]:
    """A stored price list; what cannot be read costs nothing."""
    found: dict[str, Decimal] = {}
    for channel, value in raw.items():
        try:
            found[channel] = read_price(str(value))
        except ValueError:
            continue
    return found


def price_of(prices: Mapping[str, Decimal], channel: str, segments: int | None) -> Decimal:
    """What one message of *channel* costs."""
    unit = prices.get(channel, FREE)
    return unit * (segments or 1) if channel == "sms" else unit
