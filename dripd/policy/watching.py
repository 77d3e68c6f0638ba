"""What does a message say to this contact, what is ours included?

Ours are tracked links, the pixel, unsubscribing, the address; they are asked for only where a
message has such a slot (`Content.asks_ours`).
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Literal, TypeAlias

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import Held
from dripd.campaigns.links import Links, Told
from dripd.campaigns.template import Lookup, render
from dripd.campaigns.tracking import OPEN_SLOT, POSTAL, UNSUBSCRIBE, is_web, slot_number
from dripd.campaigns.version import Content, Version
from dripd.clock import Instant
from dripd.policy.facts import lookup
from dripd.policy.performance import unrendered
from dripd.policy.rooms import Rooms, zone_of

Words: TypeAlias = tuple[str, str, str]
"""Subject, text and html as they leave."""


def render_words(
    leased: Leased,
    version: Version,
    now: Instant,
    rooms: Rooms,
    links: Links | None,
    *,
    step_no: int | None = None,
    watched: bool = False,
) -> Words | Held:
    """The words of a message, *watched* as the step wants it, or what holds it.

    *step_no* None: that of the leased step.
    """
    no = leased.step_no if step_no is None else step_no
    content, reader = version.contents[no], lookup(leased)
    zone = zone_of(rooms, version, leased.account_id, leased.timezone)
    missing = version.definition.policy.missing_tag
    if watched and links is not None and content.tracked is not None:
        content = content.tracked
    if content.asks_ours:
        postal = rooms.postal_address(leased.account_id)
        told = Told(leased.account_id, leased.enrollment_id, leased.seq, now)
        own = own_words(content, reader, zone, missing, links, told, postal)
        if isinstance(own, Held):
            return own
        reader = own
    parts: list[str] = []
    for template in (content.subject, content.text, content.html):
        part = render(template, reader, zone, missing=missing)
        if not isinstance(part, str):
            return unrendered(part)
        parts.append(part)
    return parts[0], parts[1], parts[2]


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
