"""Campaign files are read strictly: YAML without its traps, JSON as its subset."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.document import load_documents, member
from dripd.errors import DefinitionError, Fault


def faults_of(text: str) -> tuple[Fault, ...]:
    with pytest.raises(DefinitionError) as caught:
        load_documents(text, filename="x.yaml")
    return caught.value.faults


def test_words_without_quotes_stay_words() -> None:
    text = (
        "{on: on, off: off, yes: no, time: 09:00, day: 2026-01-01, n: 1_000, o: 010, x: 0x1f}"
    )

    assert load_documents(text) == [
        {
            "on": "on",
            "off": "off",
            "yes": "no",
            "time": "09:00",
            "day": "2026-01-01",
            "n": "1_000",
            "o": "010",
            "x": "0x1f",
        }
    ]


def test_true_false_null_and_decimal_numbers_are_what_they_say() -> None:
    text = "{a: true, b: false, c: null, d: ~, e: , f: -5, g: 1.5, h: '5', i: 1e2, j: !  5}"

    assert load_documents(text) == [
        {"a": True, "b": False, "c": None, "d": None, "e": None}
        | {"f": -5, "g": 1.5, "h": "5", "i": 100.0, "j": "5"}
    ]


def test_every_document_is_read_and_empty_ones_are_passed_over() -> None:
    assert load_documents("---\na: 1\n---\n---\nb: [1, {c: 2}]\n") == [
        {"a": 1},
        {"b": [1, {"c": 2}]},
    ]


def test_json_is_the_subset_it_is() -> None:
    document = {"a": [1, 2.5, True, None, "😀 \n"], "b": {"c d": "é"}}

    assert load_documents(json.dumps(document)) == [document]


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "b.c", "'c' is given twice (x.yaml, line 4"),
        ('{"a": 1, "a": 2}', "", "'a' is given twice"),
        ("a: &x [1]\nb: {c: *x}", "b.c", "line 2, column 8: an alias"),
        ("a: &a [*a]", "a[0]", "an alias"),
        ("a: !!timestamp 2026-01-01", "a", "the tag"),
        ("a: !!python/object/apply:os.system [id]", "a", "the tag"),
        ('a: "x\\0"', "a", "'\\x00' cannot be stored"),
        ('{"a": ["\\ud800"]}', "a[0]", "'\\ud800' cannot be stored"),
        ('{"b\\u0000": 1}', "", "unfit key"),
        ("a: 99999999999999999", "a", "the number is too large"),
        ('{"a": 1e999}', "a", "the number is too large"),
        ("a: [1, 2\nb: 3", "", "x.yaml, line 2, column 2"),
        ("a: b: c", "", "x.yaml, line 1"),
        ("a: \x07", "", "x.yaml"),
        ("? [a]\n: 1", "", "a key must be a word"),
        ("[1]", "", "holds no campaign"),
        ("just text", "", "holds no campaign"),
        ("", "", "holds no campaign"),
        ("a: \ud800", "", "x.yaml"),
        ("a: 1\n" * 250_000, "", "more than"),
    ],
)
def test_a_trap_is_a_fault(text: str, path: str, said: str) -> None:
    faults = faults_of(text)

    assert any(fault.path == path and said in fault.message for fault in faults), faults
    assert {"bad_value"} == {fault.code for fault in faults}
    assert all(fault.hint for fault in faults)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", '{"a":'])
def test_depth_is_bounded(opening: str) -> None:
    assert faults_of(opening * 100_000)


def test_every_duplicate_is_named() -> None:
    assert [fault.path for fault in faults_of("a: 1\na: 2\nb: {c: 1, c: 2}\nb: 3")] == [
        "a",
        "b.c",
        "b",
    ]


def test_odd_keys_are_quoted_in_paths() -> None:
    assert member("a", "b c") == 'a["b c"]'
    assert member("a", "b-c_1") == "a.b-c_1"
    assert member("", "a") == "a"


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
)
DOCUMENTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["on", "no", "5", "a b"]), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@given(DOCUMENTS)
def test_what_json_writes_is_read_back(document: dict[str, object]) -> None:
    assert load_documents(json.dumps(document)) == [document]


@given(DOCUMENTS)
def test_quoted_yaml_is_read_back(document: dict[str, object]) -> None:
    text = yaml.safe_dump(document, default_style='"', allow_unicode=True, width=10_000)
    text = text.replace("!!null ", "").replace("!!bool ", "").replace("!!int ", "")
    if "!!float" in text:
        return

    def as_text(value: object) -> object:
        if isinstance(value, dict):
            return {key: as_text(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [as_text(item) for item in value]
        if value is None or isinstance(value, bool):
            return json.dumps(value)
        return str(value)

    assert load_documents(text) == [as_text(document)]


@given(st.text("ab:-[]{},'\"\n &*!|>?%@0 #", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        documents = load_documents(text)
    except DefinitionError as error:
        documents, refused = [], error.faults
    else:
        refused = ()

    assert bool(documents) is not bool(refused)
    assert all(isinstance(document, dict) for document in documents)
