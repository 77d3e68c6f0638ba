"""What holds for a whole campaign? Windows, rules and notices of a campaign file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Literal

from dripd.campaigns.definition import ExitRule, Match, Notify
from dripd.campaigns.presets import Preset
from dripd.campaigns.reader import (
    BadValue,
    Section,
    as_fields,
    closing_minute,
    filled,
    flag,
    minute,
    scalar,
    shown,
    text,
    word,
    words,
)
from dripd.campaigns.window import WEEKDAYS, WindowSpec
from dripd.errors import DefinitionError, Fault

MATCH_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "list_added": ("list",),
        "list_removed": ("list",),
        "tag_added": ("tag",),
        "tag_removed": ("tag",),
        "status_changed": ("field", "to", "from"),
        "field_changed": ("field", "to", "from"),
        "contact_created": ("board",),
        "form": ("form",),
        "click": ("link", "step"),
        "open": ("link", "step"),
        "reply": ("step",),
        "interaction": ("step",),
        "unsubscribe": ("step",),
        "complaint": ("step",),
        "bounce": ("type",),
    }
)
"""The kinds of event, and what a match may ask of each."""

REQUIRED_KEYS = frozenset({"list", "tag", "field"})
"""A match whose kind has one of these must give it."""

_CALENDAR = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_ZONE = re.compile(r"[A-Za-z0-9_+\-/]{1,64}")


def parse_window(value: object) -> WindowSpec | Literal["off"]:
    """Read a window by itself, such as an account's `send_window`.

    Raises `DefinitionError` with every fault.
    """
    faults: list[Fault] = []
    found = read_window(Section({"window": value}, "", faults))
    if faults or found is None:
        raise DefinitionError("the window cannot be read", faults=tuple(faults))
    return found


def read_window(section: Section, key: str = "window") -> WindowSpec | Literal["off"] | None:
    """The window under *key*: None where none is given or it is at fault."""
    if section.values.get(key) == "off":
        section.taken.add(key)
        return "off"
    inner = section.section(key)
    if inner is None or not isinstance(section.values[key], Mapping):
        return None
    spec = WindowSpec(
        days=inner.take("days", _days, frozenset(range(7))),
        opens=inner.take("from", minute, 0),
        closes=inner.take("to", closing_minute, 1440),
        holidays=inner.take("holidays", _holidays, ()),
    )
    inner.finish()
    if spec.opens == spec.closes:
        inner.fault("bad_value", inner.path, "it never opens", "let `to` be later than `from`")
        return None
    return spec


def _days(value: object) -> frozenset[int]:
    found = frozenset(WEEKDAYS.index(day) for day in words(word(*WEEKDAYS))(value))
    if not found:
        raise BadValue("no day is left", hint="such as [mon, tue]; `window: off` for none")
    return found


def _holidays(value: object) -> tuple[str, ...]:
    return words(_holiday)(value)


def _holiday(value: object) -> str:
    name = text(value)
    if name[:1].isdigit():
        try:
            return date.fromisoformat(name).isoformat()
        except ValueError:
            raise BadValue(f"{shown(name)} is no date", hint="such as 2026-12-25") from None
    if not _CALENDAR.fullmatch(name):
        raise BadValue(f"{shown(name)} is no calendar", hint="such as DE-BE, or a date")
    return name


def zone(value: object) -> str:
    """An IANA name, `account` or `contact`; whether the zone exists is for `validate`."""
    name = text(value)
    if not _ZONE.fullmatch(name):
        raise BadValue(f"{shown(name)} is no zone", hint="such as Europe/Berlin")
    return name


def read_match(section: Section, *, must: bool = True) -> Match | None:
    """The `on:` of a section with its match keys; the caller finishes the section. Where there
    is none, that is a fault only if there *must* be one."""
    if not section.given("on"):
        if must:
            section.fault("bad_value", section.path, "`on` is missing", "such as on: reply")
        section.taken.update(section.values)
        return None
    kind = section.take("on", word(*MATCH_KEYS), "")
    if not kind:
        section.taken.update(section.values)
        return None
    params: dict[str, object] = {}
    for name in MATCH_KEYS[kind]:
        if name not in section.values and name in REQUIRED_KEYS:
            section.fault(
                "bad_value", section.path, f"`{kind}` needs `{name}`", f"{name}: NAME"
            )
        read = word("hard", "soft") if name == "type" else _MATCHED.get(name, filled)
        if name in {"to", "from"} and name in section.values:
            section.taken.add(name)
            params[name] = section.values[name]
        elif (value := section.take(name, read, None)) is not None:
            params[name] = value
    return Match(kind=kind, params=params)


_MATCHED: Mapping[str, Callable[[object], str]] = MappingProxyType({"form": text, "link": text})


def read_triggers(section: Section, key: str = "triggers") -> tuple[Match, ...]:
    """The list of matches under *key*."""
    found = []
    for path, item in section.items(key):
        inner = Section(item, path, section.faults)
        match = read_match(inner)
        inner.finish()
        if match is not None:
            found.append(match)
    return tuple(found)


def read_goal(section: Section) -> Match | None:
    """The match under `goal`."""
    inner = section.section("goal")
    if inner is None:
        return None
    match = read_match(inner)
    inner.finish()
    return match


def read_exit_rules(section: Section, preset: Preset) -> tuple[ExitRule, ...]:
    """The file's rules, after those of the preset whose kind the file does not name."""
    given = [
        rule
        for path, item in section.items("exit_rules")
        if (rule := _exit_rule(Section(item, path, section.faults))) is not None
    ]
    named = {rule.match.kind for rule in given}
    preset_rules = [
        ExitRule(match=Match(kind=kind)) for kind in preset.exit_on if kind not in named
    ]
    return (*preset_rules, *given)


def _exit_rule(section: Section) -> ExitRule | None:
    match = read_match(section)
    changes = section.section("set")
    rule = {
        "enabled": section.take("enabled", flag, default=True),
        "scope": section.take("scope", word("campaign", "any"), "campaign"),
        "set": {} if changes is None else read_scalars(changes),
        "notify": section.take("notify", flag, default=False),
    }
    section.finish()
    return (
        None if match is None else ExitRule(match=match, path=section.path, **as_fields(rule))
    )


def read_scalars(section: Section) -> dict[str, object]:
    """Every key of a mapping of field values."""
    found = {name: section.take(name, scalar, None) for name in section.values}
    return {name: value for name, value in found.items() if value is not None}


def read_notify(section: Section) -> Notify:
    """The mapping under `notify`."""
    inner = section.section("notify")
    if inner is None:
        return Notify()
    found = Notify(
        field=inner.take("field", filled, None),
        task_due=inner.take("task_due", flag, default=True),
        ended=inner.take("ended", flag, default=False),
        opened=inner.take("opened", flag, default=False),
    )
    inner.finish()
    return found
