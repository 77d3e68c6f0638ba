"""How are follow-ups, requests and sales read? Their types, categories, words and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dripd.campaigns.definition import Activity, ActivityType, Definition
from dripd.campaigns.reader import (
    BadValue,
    Section,
    duration,
    filled,
    scalar,
    shown,
    suggest,
    whole,
    word,
    words,
)

AUTO, NOBODY = "auto", "none"
"""Owners that are no names: the next of the category, and nobody in particular."""

HALF_AN_HOUR = "30m"

WORDS_OF: Mapping[str, Mapping[str, str]] = {
    "request": {"status": "statuses", "priority": "priorities"},
    "sale": {"stage": "stages"},
    "follow_up": {},
}
"""What a step of each kind says, and where its type lists the words for it."""


def read_types(top: Section, key: str, kind: str) -> dict[str, ActivityType]:
    """The types of requests or sales under *key*."""
    inner = top.section(key)
    found: dict[str, ActivityType] = {}
    for name in () if inner is None else tuple(inner.values):
        one = None if inner is None else inner.section(name)
        if one is None:
            continue
        allowed = {
            said: one.take(listed, words(filled), ()) for said, listed in WORDS_OF[kind].items()
        }
        given = one.section("defaults")
        defaults = (
            {} if given is None else {k: given.take(k, scalar, None) for k in given.values}
        )
        one.finish()
        found[name] = ActivityType(words=allowed, defaults=defaults)
    return found


def read_categories(top: Section) -> dict[str, dict[str, int]]:
    """Members of each category with their weights; all the same where only names are given."""
    inner = top.section("categories")
    if inner is None:
        return {}
    return {name: inner.take(name, _members, {}) for name in inner.values}


def _members(value: object) -> dict[str, int]:
    if isinstance(value, Mapping):
        found = {filled(name): whole(1, 1000)(weight) for name, weight in value.items()}
    else:
        found = dict.fromkeys(words(filled)(value), 1)
    if not found:
        raise BadValue("it has no members", hint="such as [ann, bob] or {ann: 2, bob: 1}")
    return found


def read_activity(section: Section, kind: str, campaign: Definition) -> Activity:
    """What *section* says of an activity, completed from its type."""
    types = {"request": campaign.request_types, "sale": campaign.sale_types}.get(kind, {})
    name = section.take("type", _one_of(types, "type") if types else filled, "")
    one = types.get(name, ActivityType(words={}))
    category = section.take("category", _one_of(campaign.categories, "category"), None)
    if category is None:
        category = str(one.defaults.get("category", ""))
    said = {key: _said(section, key, one) for key in WORDS_OF[kind]}
    inner = section.section("fields")
    given = {} if inner is None else {k: inner.take(k, scalar, None) for k in inner.values}
    extra = {k: v for k, v in one.defaults.items() if k not in {*said, "category"}}
    return Activity(
        type=name,
        category=category,
        words={key: value for key, value in said.items() if value},
        fields={**extra, **given},
        slot_ms=_slot(section) if kind == "follow_up" else None,
    )


def _said(section: Section, key: str, one: ActivityType) -> str:
    allowed = one.words.get(key, ())
    default = str(one.defaults.get(key, allowed[0] if allowed else ""))
    return section.take(key, _one_of(allowed, key) if allowed else filled, default)


def _one_of(choices: Mapping[str, object] | Sequence[str], what: str) -> Any:
    def read(value: object) -> str:
        name = filled(value)
        if name not in choices:
            raise BadValue(f"{shown(name)} is no {what} of it", hint=suggest(name, choices))
        return name

    return read


def _slot(section: Section) -> Any:
    slot = section.take("slot", word("first_available"), None)
    length = section.take("duration", duration, duration(HALF_AN_HOUR))
    return None if slot is None else length
