"""Which policies hold? The file's, else the preset's, else dripd's default, with the origin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dripd.campaigns.definition import (
    Exclusivity,
    Frequency,
    Limits,
    Origin,
    Policy,
    Reentry,
)
from dripd.campaigns.presets import Preset
from dripd.campaigns.reader import (
    BadValue,
    Section,
    as_fields,
    duration,
    filled,
    flag,
    shown,
    suggest,
    text,
    whole,
    word,
    words,
)
from dripd.campaigns.settings import MATCH_KEYS
from dripd.clock import DAY, Millis

MANUAL_KINDS = (
    "custom_task", "task", "call_task", "manual_email", "follow_up", "request", "sale",
)  # fmt: skip

WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "content": ("pinned", "live"),
        "pause": ("hold", "remove_all"),
        "deactivate": ("hold", "drain", "remove_all"),
        "on_resume": ("keep", "shift"),
        "on_list_leave": ("remove", "ignore"),
        "on_no_phone": ("skip", "exit"),
        "on_unable": ("skip", "exit"),
        "anchor": ("after_previous", "after_start"),
        "delay_unit": ("elapsed", "calendar", "business"),
        "billing": ("none", "upfront", "per_send"),
        "meter": ("none", "actions"),
        "cap": ("plan", "none"),
        "missing_tag": ("block", "empty", "fallback"),
        "sms_overflow": ("hold", "truncate", "send"),
        "approval_cancel": ("skip", "exit"),
        "past": ("skip", "send_now", "exit"),
        "machine_opens": ("ignore", "count"),
        "quiet_hours": ("off", "us_tcpa"),
        "individual": ("warn", "block"),
    }
)
"""The policies that are one word; the default stands first."""

READERS = {name: (word(*choices), choices[0]) for name, choices in WORDS.items()}
"""How each is read, and its default."""

ENDINGS = (
    *MATCH_KEYS, "goal", "end", "completed", "suppressed", "left_list", "no_phone", "unable",
    "date_past", "approval_cancelled", "timeout", "paused", "moved", "contact_erased", "stopped",
    "edited", "reset",
)  # fmt: skip
"""How the reason of an end begins."""

SPOKEN: Mapping[str, str] = MappingProxyType({"pause": "paused", "stop": "stopped"})
"""What people say for two of them."""

MERGED = frozenset({"edit", "limits", "blocking"})
"""Mappings whose keys override the preset's one by one."""

_FREQUENCY = re.compile(r"([0-9]{1,6})/(.+)")


def read_policy(section: Section, preset: Preset) -> Policy:
    """Resolve every policy key: the file's value, else the preset's, else the default."""
    given = section.section("policy") or Section({}, "policy", section.faults)
    merged, origins = _merge(given, preset)
    inner = Section(merged, given.path, section.faults)
    values: dict[str, Any] = {
        name: inner.take(name, read, default) for name, (read, default) in READERS.items()
    }
    values |= _structured(inner)
    values |= _counted(inner)
    inner.finish()
    return Policy(
        **values, origins={name: origins.get(name, "default") for name in inner.taken}
    )


def _merge(given: Section, preset: Preset) -> tuple[dict[str, object], dict[str, Origin]]:
    merged: dict[str, object] = dict(preset.policy)
    origins: dict[str, Origin] = dict.fromkeys(preset.policy, "preset")
    for name, value in given.values.items():
        if value is None:
            continue
        below = merged.get(name)
        if name in MERGED and isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[name] = {**below, **value}
        else:
            merged[name] = value
        origins[name] = "file"
    return merged, origins


def _structured(policy: Section) -> dict[str, object]:
    edit = policy.section("edit") or Section({}, "", policy.faults)
    found = {
        "exclusivity": _exclusivity(policy),
        "reentry": _reentry(policy),
        "edit_active": edit.take("active", word("allow", "locked"), "allow"),
        "edit_inflight": edit.take("inflight", word("pin", "terminate", "migrate"), "pin"),
        "limits": _limits(policy),
        "blocking": _blocking(policy),
        "frequency": _frequency(policy),
    }
    edit.finish()
    return found


def _counted(policy: Section) -> dict[str, object]:
    return {
        "require": policy.take("require", words(word("phone", "email")), ()),
        "day_base": policy.take("day_base", whole(0, 1), 0),
        "min_gap_ms": policy.take("min_gap", duration, Millis(0)),
        "refund_on": policy.take("refund_on", words(_ending), None),
        "freeze": policy.take("freeze", _freeze, None),
        "soft_bounces": policy.take("soft_bounces", whole(1, 1000), 3),
    }


def _ending(value: object) -> str:
    """The reason of an end, whole (`left_list:vip`) or without what it names."""
    reason = filled(value)
    reason = SPOKEN.get(reason, reason)
    word(*ENDINGS)(reason.partition(":")[0])
    return reason


def _freeze(value: object) -> str | None:
    return None if value is False else word("at_enroll")(value)


def _exclusivity(policy: Section) -> Exclusivity:
    if isinstance(policy.values.get("exclusivity"), str):
        return Exclusivity(scope=policy.take("exclusivity", _scope, "none"))
    inner = policy.section("exclusivity")
    if inner is None:
        return Exclusivity()
    found = Exclusivity(
        scope=inner.take("scope", _scope, "account"),
        **as_fields(
            {"on_busy": inner.take("on_busy", word("reject", "queue", "move"), "reject")}
        ),
    )
    inner.finish()
    return found


def _scope(value: object) -> str:
    name = text(value)
    group = name.removeprefix("group:")
    if name in {"account", "none"} or (group != name and group.strip() == group != ""):
        return name
    hint = suggest(name, ("account", "none", "group:NAME"))
    raise BadValue(f"{shown(name)} is none of account, none, group:NAME", hint=hint)


def _reentry(policy: Section) -> Reentry:
    modes = ("once", "after_end", "always")
    if isinstance(policy.values.get("reentry"), str):
        return Reentry(**as_fields({"mode": policy.take("reentry", word(*modes), "once")}))
    inner = policy.section("reentry")
    if inner is None:
        return Reentry()
    found = {
        "mode": inner.take("mode", word(*modes), "once"),
        "min_gap_ms": inner.take("min_gap", duration, Millis(0)),
        "max_runs": inner.take("max_runs", whole(1), None),
        "max_runs_per_day": inner.take("max_runs_per_day", whole(1), 10),
    }
    inner.finish()
    return Reentry(**as_fields(found))


def _limits(policy: Section) -> Limits:
    inner = policy.section("limits")
    if inner is None:
        return Limits()
    found = Limits(
        max_messages=inner.take("max_messages", whole(0), None),
        max_gap_days=inner.take("max_gap_days", whole(0), None),
        max_sms_segments=inner.take("max_sms_segments", whole(1), None),
    )
    inner.finish()
    return found


def _blocking(policy: Section) -> dict[str, bool]:
    if isinstance(policy.values.get("blocking"), bool):
        return dict.fromkeys(MANUAL_KINDS, policy.take("blocking", flag, default=False))
    inner = policy.section("blocking")
    if inner is None:
        return dict.fromkeys(MANUAL_KINDS, False)
    found = {kind: inner.take(kind, flag, default=False) for kind in MANUAL_KINDS}
    inner.finish()
    return found


def _frequency(policy: Section) -> Frequency | None:
    inner = policy.section("frequency")
    if inner is None:
        return None
    found = inner.take("per_contact", _per_contact, None)
    inner.finish()
    return found


def _per_contact(value: object) -> Frequency:
    parts = _FREQUENCY.fullmatch(value) if isinstance(value, str) else None
    if parts is None or int(parts[1]) == 0 or duration(parts[2]) == 0:
        raise BadValue(f"{shown(value)} is no frequency", hint="such as 2/1d")
    return Frequency(n=int(parts[1]), per_ms=Millis(min(duration(parts[2]), 366 * DAY)))
