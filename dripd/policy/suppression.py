"""Which addresses are never to be reached again? What events forbid, and on which channel.

An address has one form, however it is written: what is suppressed, looked for or told of is
compared in that. `sql/schema.sql` has the same functions.
"""

from __future__ import annotations

from collections.abc import Collection

from dripd.policy.inbox_rows import EventRow, Suppress

FORBIDDING = frozenset({"unsubscribe", "complaint"})
"""Kinds that forbid the address whatever they say."""

MAY_FORBID = FORBIDDING | {"bounce"}
"""Those, and a bounce, which does so if it is a hard one: kinds that can only end sending."""

BLANKS = " \t\n\r\f\v\u00a0"
"""What may stand around an address."""

_BESIDE_DIGITS = (
    f"{BLANKS}()./-\u2007\u2009\u200b\u200c\u200d\u200e\u200f\u2010\u2011\u2012\u2013\u2014\u2015"
    "\u202a\u202b\u202c\u202d\u202e\u202f\u2060\u2066\u2067\u2068\u2069\u2212\ufeff"
)
"""What people write into numbers, and what comes with one that is copied from a page."""

_CAPITALS = (
    *range(0x41, 0x5B),  # ASCII
    *range(0xC0, 0xDF),  # Latin
    *range(0x100, 0x180),
    *range(0x386, 0x3AC),  # Greek
    *range(0x400, 0x430),  # Cyrillic
)

_SMALL = {code: small for code in _CAPITALS if len(small := chr(code).lower()) == 1}

_PLAIN = {ord(char): None for char in _BESIDE_DIGITS}


def address_form(address: str) -> str:
    """The one form of *address*: `+1 (555) 000-1111` is `+15550001111`, `Ann@X.example` in
    small letters; "" where there is no address at all."""
    plain = address.strip(BLANKS) if "@" in address else address.translate(_PLAIN)
    return plain.translate(_SMALL)


def channel_of(event: EventRow) -> str | None:
    """`email` or `sms`: the delivery's channel, else that of the address; None = not known."""
    if event.channel is not None:
        return event.channel
    if not event.address:
        return None
    return "email" if "@" in event.address else "sms"


def forbids(event: EventRow) -> bool:
    """Does *event* forbid an address? A bounce that names no type is a hard one."""
    if event.kind == "bounce":
        return (event.payload.get("type") or "hard") == "hard"
    return event.kind in FORBIDDING


def suppressions_of(event: EventRow) -> list[Suppress]:
    """The addresses that *event* forbids from now on.

    Where it names only the contact, these are all that the contact has, of a bounce the mail
    address alone; none where there is none.
    """
    if not forbids(event):
        return []
    channel = channel_of(event)
    address = event.address or ""
    if channel is not None and address_form(address):
        return [Suppress(channel, address, event.kind)]
    own = zip(("email", "sms"), event.own, strict=False)
    wanted = {"email"} if event.kind == "bounce" else {"email", "sms"}
    return [
        Suppress(one, address, event.kind)
        for one, address in own
        if address and address_form(address) and one in wanted
    ]


def all_suppressed(
    channels: Collection[str], *, email_suppressed: bool, phone_suppressed: bool
) -> bool:
    """Can none of *channels* reach the contact? False where no channel is used at all."""
    suppressed = {"email": email_suppressed, "sms": phone_suppressed}
    return bool(channels) and all(suppressed[channel] for channel in channels)
