"""Everything that a decision may look at: the facts of a lease, by the names of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.template import bare, normalise
from dripd.policy.admission_rows import RequestRow
from dripd.policy.inbox_rows import ContactRow

COLUMNS = ("email", "phone", "timezone", "owner", "service_owner", "external_id")

_COLUMNS = {**{bare(name): name for name in COLUMNS}, **{name: name for name in COLUMNS}}
"""How a column may be written in a tag, normalised."""


def contact_columns(leased: Leased) -> dict[str, object]:
    """The columns of `contact` by name."""
    return {name: getattr(leased, name) for name in COLUMNS}


def lookup(leased: Leased | ContactRow) -> Callable[[str], object | None]:
    """Reads merge tags: `vars`, the contact's columns, attrs, `company.`, in this order.

    A value that is null or empty gives way to the next source; `attrs.x` and the like ask one
    source only. Reads one name at a time: a message names few of the fields that there are.
    """

    def look(name: str) -> object | None:
        scope, dot, key = name.partition(".")
        if dot and scope in {"vars", "contact", "attrs", "company"}:
            found = _column(leased, key) if scope == "contact" else None
            return found if found is not None else _field(_source(leased, scope), key)
        found = _field(leased.vars, name) if leased.vars else None
        if found is None and name in _COLUMNS:
            found = _column(leased, name)
        if found is None:
            found = _field(leased.attrs, name)
        return _field(leased.company, name) if found is None else found

    return look


def _source(leased: Leased | ContactRow, scope: str) -> Mapping[str, object]:
    match scope:
        case "vars":
            return leased.vars
        case "attrs":
            return leased.attrs
        case "company":
            return leased.company
    return {}


def _column(leased: Leased | ContactRow, name: str) -> object | None:
    found = getattr(leased, _COLUMNS[name]) if name in _COLUMNS else None
    return None if found == "" else found


def _field(source: Mapping[str, object], name: str) -> object | None:
    """The value under *name*, else under a key that is written otherwise (`First Name`,
    `FirstName`)."""
    found = source.get(name)
    if found is not None and found != "":
        return found
    wanted = bare(name)
    for key, value in source.items():
        if value is not None and value != "" and bare(normalise(key)) == wanted:
            return value
    return None


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


def address_of(
    leased: Leased | RequestRow, channel: str, field_map: Mapping[str, str]
) -> str | None:
    """Where the channel reaches the contact: its column, or what `field_map` names.

    Only text and whole numbers are addresses; None where there is nothing.
    """
    is_email = channel == "email"
    value: object = leased.email if is_email else leased.phone
    mapped = field_map.get("email" if is_email else "phone", "") if field_map else ""
    if mapped.startswith("attrs."):
        value = leased.attrs.get(mapped.removeprefix("attrs."))
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
