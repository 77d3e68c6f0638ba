"""Conditions read facts, and can neither raise nor do anything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.condition import MAX_DEPTH, compile_condition

FACTS: dict[str, object] = {
    "attrs": {
        "tier": "gold",
        "n": 5,
        "zero": 0,
        "vip": True,
        "empty": "",
        "First Name": "Ann",
        "interests": ["tea", "chess"],
        "address": {"city": "Oslo"},
    },
    "contact": {"owner": "ann"},
    "vars": {"source": "fair"},
    "tags": frozenset({"hot", "new"}),
    "lists": ["leads"],
    "events": {"reply"},
}


@pytest.mark.parametrize(
    "text",
    [
        "attrs.tier == 'gold'",
        'attrs.tier != "silver"',
        "attrs.n > 4 and attrs.n >= 5 and attrs.n < 6 and attrs.n <= 5.0",
        "attrs.n in [1, 5, 'x']",
        "attrs.n not in [1, 'five']",
        "'hot' in tags and 'leads' in lists and 'reply' in events",
        "'cold' not in tags",
        "'tea' in attrs.interests",
        "'ol' in attrs.tier",
        "attrs['First Name'] == 'Ann'",
        "attrs.address.city == 'Oslo'",
        "attrs.vip and not attrs.zero and not attrs.empty",
        "attrs.missing == null and company.name == null",
        "attrs.missing != 'x'",
        "not attrs.missing < 3 and not attrs.missing >= 3",
        "attrs.missing in [null]",
        "not (attrs.missing in ['x'])",
        "attrs.tier.deeper == null",
        "attrs.n == 5 or attrs.nothing.at.all",
        "not attrs.n == '5' and not attrs.vip == 1",
        "not attrs.n < 'x'",
        "attrs.n != -5",
        "contact.owner == 'ann' and vars.source == 'fair'",
        "attrs.tier == 'g\\old'",
        "null == null and true != false",
        "[1, [2]] == [1, [2]]",
    ],
)
def test_condition_holds(text: str) -> None:
    assert compile_condition(text)(FACTS) is True


@pytest.mark.parametrize(
    "text",
    [
        "attrs.missing",
        "tags == null",
        "'x' in attrs.missing",
        "'x' in attrs.n",
        "'city' in attrs.address",
        "5 in tags",
        "5 in attrs.tier",
        "true > false",
        "false or attrs.zero",
        "not true and true",
        "'silver' in events",
    ],
)
def test_condition_does_not_hold(text: str) -> None:
    assert compile_condition(text)(FACTS) is False


def test_and_binds_closer_than_or_and_not_closest() -> None:
    condition = compile_condition("true or false and not true")

    assert condition(FACTS) is True


def test_absent_facts_are_null_or_empty() -> None:
    condition = compile_condition("attrs.x == null and 'a' not in tags")

    assert condition({}) is True


def test_needs_names_what_is_read() -> None:
    condition = compile_condition("attrs.a == vars.b and ('x' in tags or 'reply' in events)")

    assert {"attrs", "vars", "tags", "events"} == condition.needs


def test_conditions_are_equal_by_their_text() -> None:
    assert compile_condition("'x' in tags") == compile_condition("'x' in tags")
    assert compile_condition("'x' in tags") != compile_condition("'y' in tags")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("attrs", 6),
        ("attrs.", 7),
        ("attrs.x =", 9),
        ("attrs.x == ", 12),
        ("(attrs.x", 9),
        ("attrs.x == 1)", 13),
        ("1 < 2 < 3", 7),
        ("foo.x", 1),
        ("attrs.x not 3", 13),
        ("[1 2]", 4),
        ("attrs[0]", 7),
        ("attrs['x'", 10),
        ("-'x'", 2),
        ("__import__('os')", 1),
        ("'open", 1),
        ("== 3", 1),
        ("attrs.x == 1 1", 14),
        ("   \u00a7", 4),
    ],
)
def test_a_bad_condition_names_the_column(text: str, column: int) -> None:
    with pytest.raises(ValueError, match=rf"^column {column}: "):
        compile_condition(text)


def test_a_condition_is_bounded() -> None:
    with pytest.raises(ValueError, match="characters"):
        compile_condition("a" * 5000)
    for opening in ("(", "[", "not "):
        with pytest.raises(ValueError, match="nested deeper"):
            compile_condition(opening * (MAX_DEPTH + 1) + "true")


WORDS = st.sampled_from(
    [
        "attrs.x",
        "tags",
        "events",
        "'a'",
        "1",
        "null",
        "true",
        "==",
        "<",
        "in",
        "not",
        "and",
        "or",
        "(",
        ")",
        "[",
        "]",
        ",",
        ".",
        "-",
        "vars['b']",
        "company.c.d",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.lists(WORDS, max_size=12), st.fixed_dictionaries({"attrs": VALUES, "tags": VALUES}))
def test_what_compiles_always_answers(words: list[str], facts: dict[str, object]) -> None:
    try:
        condition = compile_condition(" ".join(words))
    except ValueError:
        return

    assert condition(facts) in {True, False}


@given(st.text(max_size=40))
def test_any_text_compiles_or_is_refused_with_a_column(text: str) -> None:
    with suppress_column():
        compile_condition(text)


@contextmanager
def suppress_column() -> Iterator[None]:
    """Swallow the one error that is allowed."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("column "):
            raise
