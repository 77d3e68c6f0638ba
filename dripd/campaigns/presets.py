"""What does a preset switch? One table, in the words of a campaign file.

A policy that neither the file nor the preset gives has dripd's default. An exit rule in the file replaces the preset's of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Policies that differ from dripd's defaults, and the kinds of event that end a run."""

    policy: Mapping[str, object]
    exit_on: tuple[str, ...]


DEFAULT = Preset(policy=MappingProxyType({}), exit_on=("reply", "bounce"))
"""What holds where a file names no preset."""

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "contactually": Preset(
            policy=MappingProxyType(
                {
                    "exclusivity": {"scope": "account", "on_busy": "reject"},
                    "reentry": "after_end",
                }
            ),
            exit_on=("bounce",),
        ),
        "smarter_contact": Preset(
            policy=MappingProxyType(
                {
                    "reentry": "after_end",
                    "edit": {"active": "locked"},
                    "pause": "remove_all",
                    "on_list_leave": "ignore",
                    "anchor": "after_start",
                    "day_base": 0,
                    "limits": {
                        "max_messages": 9,
                        "max_gap_days": 365,
                        "max_sms_segments": 2,
                    },
                    "billing": "upfront",
                    "min_gap": "24h",
                }
            ),
            exit_on=("reply", "bounce"),
        ),
        "monday": Preset(
            policy=MappingProxyType(
                {
                    "reentry": "after_end",
                    "edit": {"inflight": "terminate"},
                    "on_list_leave": "ignore",
                    "anchor": "after_start",
                    "day_base": 1,
                    "meter": "actions",
                    "min_gap": "24h",
                }
            ),
            exit_on=(),
        ),
        "quentn": Preset(
            policy=MappingProxyType({"on_list_leave": "ignore"}), exit_on=("bounce",)
        ),
        "superoffice": Preset(
            policy=MappingProxyType({"on_list_leave": "ignore", "billing": "per_send"}),
            exit_on=("bounce",),
        ),
    }
)


def preset_of(name: str) -> Preset:
    """The preset called *name*, the defaults for ""."""
    return PRESETS.get(name, DEFAULT)
