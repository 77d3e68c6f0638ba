"""Everything that a decision may look at: the facts of a lease, by the names of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.template import make_lookup

COLUMNS = ("email", "phone", "timezone", "owner", "service_owner", "external_id")


def contact_columns(leased: Leased) -> dict[str, object]:
    """The columns of `contact` by name."""
    return {name: getattr(leased, name) for name in COLUMNS}


def lookup(leased: Leased) -> Callable[[str], object | None]:
    """Reads merge tags: `vars`, the contact's columns, attrs, `company.`."""
    return make_lookup(
        variables=leased.vars,
        contact=contact_columns(leased),
        attrs=leased.attrs,
        company=leased.company,
    )


def condition_facts(leased: Leased) -> Mapping[str, object]:
    """What a `when:` reads."""
    return {
        "attrs": leased.attrs,
        "contact": contact_columns(leased),
        "company": leased.company,
        "vars": leased.vars,
        "tags": leased.tags,
        "lists": leased.lists,
        "events": leased.events,
    }


def address_of(leased: Leased, channel: str, field_map: Mapping[str, str]) -> str | None:
    """Where the channel reaches the contact: its column, or what `field_map` names."""
    name = "email" if channel == "email" else "phone"
    mapped = field_map.get(name, "")
    value: object = getattr(leased, name)
    if mapped.startswith("attrs."):
        value = leased.attrs.get(mapped.removeprefix("attrs."))
    text = str(value).strip() if value is not None else ""
    return text or None
