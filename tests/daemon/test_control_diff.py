"""Differences between definitions, and definitions as files."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dripd.campaigns.definition import Policy, Reentry
from dripd.campaigns.document import load_documents
from dripd.clock import DAY
from dripd.daemon.control_diff import diff
from dripd.daemon.control_text import duration_text, show_policy, to_yaml


def steps(*keys: str, **more: object) -> dict[str, Any]:
    return {"name": "n", "steps": [{"key": key, "do": "delay", **more} for key in keys]}


def test_step_that_moves_is_the_only_change() -> None:
    changes = diff(steps("a", "b", "c", "d"), steps("a", "c", "d", "b"))

    assert changes == [
        {"op": "~", "step": "b", "path": "steps[3]", "old": "steps[1]", "new": "steps[3]"}
    ]


def test_steps_that_come_and_go_are_told_whole() -> None:
    changes = diff(steps("a", "b"), steps("b", "c"))

    assert [(one["op"], one["step"], one["path"]) for one in changes] == [
        ("-", "a", "steps[0]"),
        ("+", "c", "steps[1]"),
    ]


def test_nested_values_are_told_by_their_path() -> None:
    old = {"policy": {"edit": {"active": "allow"}, "cap": "plan"}, "name": "a"}
    new = {"policy": {"edit": {"active": "locked"}}, "name": "a", "board": "x"}

    assert [(one["op"], one["path"]) for one in diff(old, new)] == [
        ("+", "board"),
        ("-", "policy.cap"),
        ("~", "policy.edit.active"),
    ]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
)
keys = st.text("abcdefghij_", min_size=1, max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
definitions = st.dictionaries(keys, values, min_size=1, max_size=6)


@given(definitions)
@example({"a": "09:00", "b": "on", "c": "1e3", "d": "2026-01-01", "e": "null", "f": ""})
@example(
    {"a": "two\nlines\n", "b": " trailing \n", "c": "# no comment", "d": "- x: y", "e": "*a"}
)
@example({"a": "~", "b": "+5", "c": "0x10", "d": ".5", "e": "TRUE", "f": "{First Name}"})
@example({"a": 1e-7, "b": 1e22, "c": -0.0, "d": "\x85\u2028", "e": "\ufeff", "f": "\x7f"})
def test_exported_text_reads_back_as_it_was(definition: dict[str, Any]) -> None:
    (read,) = load_documents(to_yaml(definition))

    assert read == definition


@given(definitions)
def test_text_does_not_depend_on_the_order_of_keys(definition: dict[str, Any]) -> None:
    backwards = dict(reversed(definition.items()))

    assert to_yaml(backwards) == to_yaml(definition)


@given(definitions, definitions)
def test_nothing_differs_from_itself(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert diff(one, one) == []
    assert bool(diff(one, other)) == (
        {k: v for k, v in one.items() if k != "steps"}
        != {k: v for k, v in other.items() if k != "steps"}
    ) or "steps" in {*one, *other}


def test_every_policy_can_be_shown() -> None:
    names = {
        "edit",
        "reentry",
        "exclusivity",
        "limits",
        "frequency",
        "freeze",
        "min_gap",
        "cap",
    }
    shown = show_policy(Policy(origins=dict.fromkeys(names, "default")))

    assert shown["edit"] == {"value": {"active": "allow", "inflight": "pin"}, "from": "default"}
    assert shown["exclusivity"] == {"value": "none", "from": "default"}
    assert shown["reentry"] == {"value": "once", "from": "default"}
    gap = Policy(origins={"min_gap": "preset"}, min_gap_ms=DAY)
    assert show_policy(gap)["min_gap"] == {"value": "24h", "from": "preset"}
    often = Policy(origins={"reentry": "file"}, reentry=Reentry(max_runs=2))
    assert show_policy(often)["reentry"] == {
        "value": {"mode": "once", "min_gap": "0s", "max_runs": 2, "max_runs_per_day": 10},
        "from": "file",
    }
    assert (duration_text(86_400_000), duration_text(0), duration_text(90_000)) == (
        "1d", "0s", "90s",
    )  # fmt: skip
