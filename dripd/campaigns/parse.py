"""What does a campaign file mean? From plain values to a `Definition`, with every fault.

`read` gives a definition even of a faulty file, each bad value replaced by its default, so
that `validate` can look for what else is wrong; `parse` gives it only of a sound one.
A file that lacks settings (a template, a sender) is sound: that is for `validate` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from dripd.campaigns.activities import read_categories, read_types
from dripd.campaigns.definition import Content, Definition
from dripd.campaigns.document import examine
from dripd.campaigns.flow import faults_of, moved_by_delays
from dripd.campaigns.handlers import actions_of, read_handlers
from dripd.campaigns.kinds import read_content
from dripd.campaigns.policies import read_policy
from dripd.campaigns.presets import PRESETS, preset_of
from dripd.campaigns.reader import (
    BadValue,
    Section,
    as_fields,
    filled,
    key,
    named,
    senders,
    shown,
    text,
    word,
)
from dripd.campaigns.settings import (
    read_exit_rules,
    read_goal,
    read_notify,
    read_triggers,
    read_window,
    zone,
)
from dripd.campaigns.step import read_flow
from dripd.errors import DefinitionError, Fault

FIELD_TYPES = ("text", "number", "date", "datetime", "bool", "person", "multi")

NONE_SHARED: Mapping[str, Content] = MappingProxyType({})


def parse(
    document: Mapping[str, object],
    *,
    account: str = "",
    shared: Mapping[str, Content] = NONE_SHARED,
) -> Definition:
    """Read one document of a campaign file.

    *account* is used where the file names none; one that contradicts it is a fault. *shared*
    are the account's templates.
    Raises `DefinitionError` with every fault.
    """
    definition, faults = read(document, account=account, shared=shared)
    if faults:
        name = definition.campaign or "the campaign"
        raise DefinitionError(f"{name} has {len(faults)} fault(s)", faults=faults)
    return definition


def read(
    document: Mapping[str, object],
    *,
    account: str = "",
    shared: Mapping[str, Content] = NONE_SHARED,
) -> tuple[Definition, tuple[Fault, ...]]:
    """Read one document as far as it can be read, and say everything that is wrong with it."""
    faults = list(examine(document))
    if faults:
        return Definition(campaign="", account="", name=""), tuple(faults)
    section = Section(document, "", faults)
    definition = _definition(section, account, shared)
    section.finish()
    faults.extend(faults_of(definition))
    if not faults:
        steps = moved_by_delays(definition.steps, definition.starts())
        if steps is not definition.steps:
            definition = replace(definition, steps=steps)
    return definition, tuple(faults)


def _definition(top: Section, account: str, shared: Mapping[str, Content]) -> Definition:
    preset_name = top.take("preset", word(*PRESETS), "")
    preset = preset_of(preset_name)
    found = {
        **_who(top, account),
        "klass": top.take("class", word("personal", "marketing", "transactional"), "personal"),
        "preset": preset_name,
        "fields": _fields(top),
        "field_map": _field_map(top),
        "timezone": top.take("timezone", zone, "account"),
        "window": read_window(top),
        "triggers": read_triggers(top),
        "exit_rules": read_exit_rules(top, preset),
        "goal": read_goal(top),
        "notify": read_notify(top),
        "policy": read_policy(top, preset),
        "request_types": read_types(top, "request_types", "request"),
        "sale_types": read_types(top, "sale_types", "sale"),
        "categories": read_categories(top),
        "templates": _templates(top),
        "shared": shared,
    }
    definition = Definition(**as_fields(found))
    raw = {**top.values, "account": definition.account}
    steps, sequences = read_flow(top, definition)
    handlers = read_handlers(top, definition)
    flow = replace(definition, steps=steps, sequences=sequences, handlers=handlers, raw=raw)
    return replace(flow, shared=_used(flow)) if shared else flow


def _used(definition: Definition) -> dict[str, Content]:
    """The account's templates that steps and actions name, and the file does not own."""
    steps = (*definition.steps, *(step for _, step in actions_of(definition)))
    named = {step.template for step in steps} - {*definition.templates}
    return {name: definition.shared[name] for name in sorted(named & {*definition.shared})}


def _who(top: Section, account: str) -> dict[str, object]:
    found: dict[str, object] = {
        "campaign": top.take("campaign", key, ""),
        "account": top.take("account", key, account),
        "name": top.take("name", named, ""),
        "goal_text": top.take("goal_text", text, ""),
        "owner": top.take("owner", filled, ""),
        "board": top.take("board", filled, ""),
        "sender": top.take("sender", senders, ""),
    }
    if not top.given("campaign"):
        top.fault("missing:campaign", "", "the key is missing", "begin with `campaign: KEY`")
    if not top.given("name"):
        top.fault("name_required", "", "the name is missing", "add `name: ...`")
    if not top.given("account") and not account:
        top.fault("missing:account", "", "the account is missing", "add it, or --account A")
    if account and found["account"] != account:
        message = f"it belongs to account {found['account']!r}, not {account!r}"
        top.fault("bad_value", "account", message, "leave it out of the file or the command")
    return found


def _fields(top: Section) -> dict[str, str]:
    inner = top.section("fields")
    if inner is None:
        return {}
    return {name: inner.take(name, word(*FIELD_TYPES), "text") for name in inner.values}


def _field_map(top: Section) -> dict[str, str]:
    inner = top.section("field_map")
    if inner is None:
        return {}
    found = {name: inner.take(name, _attr, "") for name in ("email", "phone")}
    inner.finish()
    return {name: value for name, value in found.items() if value}


def _attr(value: object) -> str:
    found = text(value)
    if not found.startswith("attrs.") or not found.removeprefix("attrs.").strip():
        raise BadValue(f"{shown(found)} is no attrs key", hint="such as attrs.work_email")
    return found


def _templates(top: Section) -> dict[str, Content]:
    inner = top.section("templates")
    found: dict[str, Content] = {}
    for name in () if inner is None else tuple(inner.values):
        one = None if inner is None else inner.section(name)
        if one is not None:
            found[name] = read_content(one)
            one.finish()
    return found
