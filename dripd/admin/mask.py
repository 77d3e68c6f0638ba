"""What does a viewer not see? Personal values in results, masked in one place.

Ids, keys, counts and instants stay; addresses keep their first letter and their domain, so
that two can be told apart; content disappears.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dripd.admin.wire import portable

ADDRESSES: Final = frozenset({"email", "phone", "address", "to_address", "recipient"})
CONTENT: Final = frozenset(
    {"subject", "text", "html", "body", "final_body", "attrs", "payload", "vars", "busy"}
)
MASK: Final = "***"


def mask(value: object) -> object:
    """*value* with every personal value beneath it masked; nothing is changed in place.

    A campaign's own texts (`definition`) are no personal data and stay.
    """
    if isinstance(value, Mapping):
        return {key: mask_key(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    return value


def masked(value: object) -> object:
    """*value* masked, as a result may carry it."""
    return portable(mask(value))


def mask_key(key: object, item: object) -> object:
    if item is None or key == "definition":
        return item
    if key == "recipient" and isinstance(item, str) and not is_address(item):
        return item  # the operator whom a notification is for
    if key in ADDRESSES:
        return mask_address(item) if isinstance(item, str) else MASK
    return MASK if key in CONTENT else mask(item)


def is_address(text: str) -> bool:
    """Whether *text* may be a mail address or a number, and not a person's name."""
    return "@" in text or any(char.isdigit() for char in text)


def mask_address(address: str) -> str:
    """`ann@acme.test` as `a***@acme.test`, a number as its first three and last two signs."""
    local, at, domain = address.partition("@")
    if at:
        return f"{local[:1]}{MASK}@{domain}"
    return f"{address[:3]}{MASK}{address[-2:]}" if len(address) > 6 else MASK
