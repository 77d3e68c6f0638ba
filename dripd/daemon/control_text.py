"""How does a stored definition become a file again? Stable YAML, and policies as written."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from dripd.campaigns.definition import Policy, Reentry
from dripd.clock import DAY, HOUR, MINUTE, SECOND

ORDER = (
    "campaign", "account", "name", "goal_text", "preset", "class", "owner", "board", "sender",
    "timezone", "window", "fields", "field_map", "triggers", "exit_rules", "goal", "notify",
    "policy", "steps", "templates",
)  # fmt: skip
"""As people write a file; jsonb keeps no order of its own."""

INNER = (
    "key", "do", "name", "on", "op", "field", "value", "delay", "day", "day_at", "send_at",
    "when", "days", "from", "to", "holidays", "template", "subject", "text", "html",
)  # fmt: skip
"""What stands first in every mapping below; the rest follows by the alphabet."""

_READ_AS_OTHER = re.compile(r"[-+]?[0-9.][-+0-9.eE]*|~|true|false|null", re.IGNORECASE)


class _Dumper(yaml.SafeDumper):
    """Quotes every word that the strict reader would take for a number or a constant."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    odd = any(not char.isprintable() and char != "\n" for char in value)
    if odd or not value or _READ_AS_OTHER.fullmatch(value):
        style: str | None = '"'
    else:
        style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(definition: Mapping[str, object]) -> str:
    """*definition* as a campaign file; equal definitions give equal texts."""
    return yaml.dump(
        _ordered(definition, ORDER),
        Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96, default_flow_style=False,
    )  # fmt: skip


def _ordered(value: object, order: tuple[str, ...]) -> object:
    if isinstance(value, Mapping):
        rank = {key: index for index, key in enumerate(order)}
        keys = sorted(value, key=lambda key: (rank.get(key, len(order)), key))
        return {key: _ordered(value[key], INNER) for key in keys}
    return [_ordered(item, INNER) for item in value] if isinstance(value, list) else value


def show_policy(policy: Policy) -> dict[str, object]:
    """Every policy as a file writes it, and who gave it: `{key: {value, from}}`."""
    return {
        key: {"value": _policy_value(policy, key), "from": origin}
        for key, origin in sorted(policy.origins.items())
    }


def _policy_value(policy: Policy, key: str) -> object:
    match key:
        case "edit":
            return {"active": policy.edit_active, "inflight": policy.edit_inflight}
        case "min_gap":
            # elapsed time, whatever a local day has: as the presets say it
            return "24h" if policy.min_gap_ms == DAY else duration_text(policy.min_gap_ms)
        case "exclusivity":
            one = policy.exclusivity
            return (
                "none" if one.scope == "none" else {"scope": one.scope, "on_busy": one.on_busy}
            )
        case "reentry" if policy.reentry == Reentry(mode=policy.reentry.mode):
            return policy.reentry.mode
        case "reentry" | "limits" | "frequency":
            return _parts(policy, key)
        case "freeze":
            return policy.freeze or False
    value = getattr(policy, key)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _parts(policy: Policy, key: str) -> object:
    if key == "reentry":
        one = policy.reentry
        return {
            "mode": one.mode,
            "min_gap": duration_text(one.min_gap_ms),
            "max_runs": one.max_runs,
            "max_runs_per_day": one.max_runs_per_day,
        }
    if key == "limits":
        names = ("max_messages", "max_gap_days", "max_sms_segments")
        return {name: getattr(policy.limits, name) for name in names}
    if policy.frequency is None:
        return None
    often = policy.frequency
    return {"per_contact": f"{often.n}/{duration_text(often.per_ms)}"}


def duration_text(ms: int) -> str:
    """`86400000` is `1d`; the largest unit that leaves no rest."""
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms // SECOND}s"
