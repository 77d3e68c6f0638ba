"""The table of presets, cell by cell."""

from __future__ import annotations

import pytest

from dripd.campaigns.definition import Definition, Exclusivity, Limits
from dripd.campaigns.parse import parse
from dripd.campaigns.presets import PRESETS
from dripd.clock import DAY


def campaign(preset: str, **keys: object) -> Definition:
    document = {
        "campaign": "c",
        "account": "a",
        "name": "C",
        "steps": [{"key": "one", "do": "end"}],
        **({"preset": preset} if preset else {}),
        **keys,
    }
    return parse(document)


# preset, exclusivity, re-entry, active, inflight, pause, exits, on_list_leave, anchor, base,
# limits, billing, meter, min_gap
TABLE = [
    ("", "none", "once", "allow", "pin", "hold", ("reply", "bounce"), "remove",
     "after_previous", 0, (None, None, None), "none", "none", 0),
    ("contactually", "account", "after_end", "allow", "pin", "hold", ("bounce",), "remove",
     "after_previous", 0, (None, None, None), "none", "none", 0),
    ("smarter_contact", "none", "after_end", "locked", "pin", "remove_all",
     ("reply", "bounce"), "ignore", "after_start", 0, (9, 365, 2), "upfront", "none", DAY),
    ("monday", "none", "after_end", "allow", "terminate", "hold", (), "ignore",
     "after_start", 1, (None, None, None), "none", "actions", DAY),
    ("quentn", "none", "once", "allow", "pin", "hold", ("bounce",), "ignore",
     "after_previous", 0, (None, None, None), "none", "none", 0),
    ("superoffice", "none", "once", "allow", "pin", "hold", ("bounce",), "ignore",
     "after_previous", 0, (None, None, None), "per_send", "none", 0),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0] or "none")
def test_each_preset_is_its_row(row: tuple[object, ...]) -> None:
    found = campaign(str(row[0]))
    policy = found.policy
    limits = policy.limits

    assert row == (
        found.preset,
        policy.exclusivity.scope,
        policy.reentry.mode,
        policy.edit_active,
        policy.edit_inflight,
        policy.pause,
        tuple(rule.match.kind for rule in found.exit_rules),
        policy.on_list_leave,
        policy.anchor,
        policy.day_base,
        (limits.max_messages, limits.max_gap_days, limits.max_sms_segments),
        policy.billing,
        policy.meter,
        policy.min_gap_ms,
    )


def test_every_preset_is_in_the_table() -> None:
    assert {str(row[0]) for row in TABLE} == {"", *PRESETS}


def test_the_file_overrides_the_preset_key_by_key() -> None:
    found = campaign(
        "smarter_contact",
        policy={
            "limits": {"max_messages": 3},
            "edit": {"inflight": "migrate"},
            "pause": "hold",
        },
    )

    assert found.policy.limits == Limits(max_messages=3, max_gap_days=365, max_sms_segments=2)
    assert (found.policy.edit_active, found.policy.edit_inflight) == ("locked", "migrate")
    assert (found.policy.pause, found.policy.anchor) == ("hold", "after_start")
    assert {"pause": "file", "anchor": "preset", "cap": "default"}.items() <= (
        found.policy.origins.items()
    )


def test_exclusivity_in_the_file_replaces_the_presets() -> None:
    found = campaign("contactually", policy={"exclusivity": "none"})

    assert found.policy.exclusivity == Exclusivity()


def test_a_given_exit_rule_replaces_the_presets_of_that_kind() -> None:
    found = campaign(
        "smarter_contact",
        exit_rules=[{"on": "reply", "notify": True}, {"on": "open", "enabled": False}],
    )

    assert [(rule.match.kind, rule.enabled, rule.notify) for rule in found.exit_rules] == [
        ("bounce", True, False),
        ("reply", True, True),
        ("open", False, False),
    ]
