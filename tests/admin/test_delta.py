"""A view's client has what the daemon has, whatever the differences that led there."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dripd.admin.delta import apply, diff
from dripd.admin.live import in_frames

WORDS = st.sampled_from(["a", "b", "held", "ok"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(1, 6)},
        optional={"status": WORDS, "n": st.integers(0, 3), "why": st.none() | WORDS},
    ),
    unique_by=lambda row: row["id"],
    max_size=6,
)
ANSWERS = st.fixed_dictionaries(
    {"items": ROWS}, optional={"next": st.none() | WORDS, "total": st.integers(0, 9)}
)


@given(ANSWERS, ANSWERS)
@example({"items": [{"id": 1, "why": "a"}]}, {"items": [{"id": 1}]})
@example({"items": [{"id": 1}, {"id": 2}]}, {"items": [{"id": 2}, {"id": 1}]})
def test_applied_differences_give_the_new_answer(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert new == apply(old, diff(old, new, ("id",)), ("id",))


@given(ANSWERS)
def test_nothing_changed_is_nothing_sent(answer: dict[str, Any]) -> None:
    assert {} == diff(answer, answer, ("id",))


@given(ANSWERS, ANSWERS)
def test_a_record_without_rows_is_compared_whole(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert new == apply(old, diff(old, new, ()), ())


@given(ANSWERS, st.lists(st.tuples(WORDS, st.integers(0, 9))))
def test_a_strangers_delta_breaks_nothing(
    answer: dict[str, Any], rows: list[tuple[str, int]]
) -> None:
    odd: dict[str, object] = {"rows": [*rows, ["1", {}], None], "order": ["9", "1"], "set": 4}

    assert apply(answer, odd, ("id",))["items"] == [
        row for row in answer["items"] if row["id"] == 1
    ]


def test_a_large_delta_goes_in_pieces_that_come_to_the_same() -> None:
    old: dict[str, Any] = {"items": []}
    new = {"items": [{"id": n, "text": "x" * 1000} for n in range(300)], "next": "c"}

    pieces = in_frames(diff(old, new, ("id",)))

    assert len(pieces) > 4
    for piece in pieces[:-1]:
        assert "order" not in piece
    rows = [row for piece in pieces for row in piece["rows"]]  # type: ignore[attr-defined]  # rows are a list
    assert new == apply(old, {**pieces[-1], "rows": rows}, ("id",))
