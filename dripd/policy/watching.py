"""What fills the slots that are ours: tracked links, the pixel, unsubscribing, the address.

Asked only for messages that have such a slot (`Content.asks_ours`).
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Literal

from dripd.campaigns.event import Held
from dripd.campaigns.links import Links, Told
from dripd.campaigns.template import Lookup, render
from dripd.campaigns.tracking import OPEN_SLOT, POSTAL, UNSUBSCRIBE, is_web, slot_number
from dripd.campaigns.version import Content
from dripd.policy.deeds import unrendered


def own_words(
    content: Content,
    reader: Lookup,
    zone: tzinfo,
    missing: Literal["block", "empty", "fallback"],
    links: Links | None,
    told: Told,
    postal_address: str | None,
) -> Lookup | Held:
    """*reader* with what is ours before it, or what a tag inside a link's target holds."""
    addresses: list[str] = []
    for link in content.links:
        target = render(link.target, reader, zone, missing=missing)
        if not isinstance(target, str):
            return unrendered(target)
        web = links is not None and is_web(target)
        addresses.append(links.click_url(told, target, link.id) if web and links else target)

    def look(name: str) -> object | None:
        if name == UNSUBSCRIBE:
            return None if links is None else links.unsubscribe_url(*told[:3])
        if name == POSTAL:
            return postal_address
        if name == OPEN_SLOT:
            return None if links is None else links.open_url(told)
        number = slot_number(name)
        return reader(name) if number is None else addresses[number]

    return look
