"""Which addresses are never to be reached again? What events forbid, and on which channel."""

from __future__ import annotations

from collections.abc import Collection

from dripd.campaigns.address import address_form
from dripd.policy.inbox_rows import EventRow, Suppress

FORBIDDING = frozenset({"unsubscribe", "complaint"})
"""Kinds that forbid the address whatever they say."""

MAY_FORBID = FORBIDDING | {"bounce"}
"""Those, and a bounce, which does so if it is a hard one: kinds that can only end sending."""


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
