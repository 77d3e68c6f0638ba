"""Which address is meant? It has one form, however it is written.

What is suppressed, sent from, looked for or told of is compared in that; `sql/schema.sql` has
the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def meant(sender: str, addresses: Iterable[str]) -> frozenset[str]:
    """Those of *addresses* that a `sender` names, one or several with commas between: as it is
    written, or, where none is written so, in other writings."""
    kept = frozenset(addresses)
    written = frozenset(sender.split(","))
    exact = kept & written
    forms = {form for one in written - exact if (form := address_form(one))}
    return exact | {one for one in kept if address_form(one) in forms} if forms else exact


def is_address(text: str, channel: str) -> bool:
    """Could *text* be an address of the channel at all? Providers judge the rest.

    No spaces and no control characters, in a mail's address an `@` between two parts, in a
    number a digit.
    """
    if not text.isprintable():
        return False
    if channel != "email":
        return any(char.isdigit() for char in text)
    name, at, host = text.rpartition("@")
    return bool(name and at and host) and " " not in text  # the one space that is printable
