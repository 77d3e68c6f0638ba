"""Changes of fields, and the small tools of the desk."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import parse_instant
from dripd.errors import BadRequest
from dripd.store.desk_deed import (
    cursor_of,
    read_cursor,
    read_duration,
    read_instant,
    refuse_unfit,
    shown,
)
from dripd.store.desk_ops import apply_ops, read_ops

AT = parse_instant("2026-01-01T00:00:00Z")
NOW = "2026-01-01T00:00:00Z"


def changed(attrs: dict[str, object], *lines: str) -> dict[str, object]:
    return apply_ops(attrs, {"owner": None}, read_ops(lines), AT)[0]


def test_ops_apply_in_their_order() -> None:
    assert changed({"n": 1}, "n increment 2", "n increment", "seen now") == {
        "n": 4,
        "seen": NOW,
    }


def test_many_values_hold_each_once() -> None:
    assert changed({}, "likes add red", "likes add red", "likes add blue") == {
        "likes": ["red", "blue"]
    }
    assert changed({"likes": "red"}, "likes add blue") == {"likes": ["red", "blue"]}
    assert changed({"likes": ["red", "blue"]}, "likes remove red") == {"likes": ["blue"]}


def test_columns_are_told_from_attrs() -> None:
    ops = read_ops(["owner set ann", "attrs.owner set bob", "contact.owner set eve"])
    attrs, columns = apply_ops({}, {"owner": None}, ops, AT)

    assert (attrs, columns) == ({"owner": "bob"}, {"owner": "eve"})


@pytest.mark.parametrize("line", ["", "city", "city paint red", "city set", "n increment x"])
def test_line_that_is_no_change_is_refused(line: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read_ops(["a set 1", line])

    assert (refused.value.code, refused.value.path) == ("bad_op", "ops[1]")


@pytest.mark.feature("F19")
def test_usual_fields_are_text_unless_declared() -> None:
    with pytest.raises(BadRequest):
        apply_ops({"city": "7"}, {}, read_ops(["city increment"]), AT)
    attrs, _ = apply_ops({"city": 7}, {}, read_ops(["city increment"]), AT, {"city": "number"})

    assert attrs == {"city": 8}


def test_text_is_not_incremented() -> None:
    with pytest.raises(BadRequest):
        changed({"n": "many"}, "n increment 1")


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20))
def test_cursor_reads_back_as_it_was(number: int, text: str) -> None:
    assert read_cursor(cursor_of({"a": number, "b": text}, ("a", "b")), 0, "") == [number, text]


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_or_a_bad_request(text: str) -> None:
    with contextlib.suppress(BadRequest):
        (number,) = read_cursor(text, 0)

        assert isinstance(number, int)


@pytest.mark.parametrize("text", ["", "soon", "2026-01-01", "1969-12-31T23:59:59Z", "9" * 30])
def test_absurd_instants_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_instant(text, "at")


@pytest.mark.parametrize("text", ["", "-1d", "3bd", "ever"])
def test_absurd_durations_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_duration(text, "by")


@pytest.mark.parametrize("value", ["a\x00", "\ud800", 2**63, {"k": [1, "\udfff"]}, {"\x00": 1}])
def test_what_cannot_be_stored_is_refused(value: object) -> None:
    with pytest.raises(BadRequest):
        refuse_unfit({"field": value})


def test_numbers_that_json_readers_spoil_are_shown_as_text() -> None:
    row = {"id": 5, "attrs": {"big": 2**60, "list": [2**53 - 1, -(2**53)], "inf": math.inf}}

    assert shown(row)["attrs"] == {
        "big": str(2**60),
        "list": [2**53 - 1, str(-(2**53))],
        "inf": "inf",
    }


def test_instants_are_shown_as_text_by_their_name() -> None:
    row = {"at": 0, "due_at": 1_500, "ended_at": None, "n": 5, "attrs": {"at": 1}}

    assert shown(row) == {
        "at": "1970-01-01T00:00:00Z",
        "due_at": "1970-01-01T00:00:01.500Z",
        "ended_at": None,
        "n": 5,
        "attrs": {"at": 1},
    }
