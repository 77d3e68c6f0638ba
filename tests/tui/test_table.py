"""Rows move, the cursor does not: what a table promises to somebody who works on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dripd.tui.draw import plain, width_of
from dripd.tui.table import MOST_WIDE, Column, Table

COLUMNS = (
    Column(title="ID", width=4, right=True, show=lambda row: str(row["id"]), sort=lambda row: row["id"]),
    Column(title="NAME", show=lambda row: str(row.get("name", ""))),
    Column(title="MORE", width=10, priority=2, show=lambda row: "more"),
)  # fmt: skip


def some(*ids: int, **columns: Any) -> list[dict[str, Any]]:
    return [{"id": one, "name": f"n{one}", **columns} for one in ids]


def made(*ids: int) -> Table:
    table = Table(COLUMNS, lambda row: str(row["id"]))
    table.take(some(*ids))
    return table


def drawn(table: Table, width: int = 60, height: int = 6) -> list[str]:
    return [plain(one) for one in table.lines(width, height)]


def test_who_only_looks_sees_the_daemons_order() -> None:
    table = made(1, 2, 3)
    table.take(some(9, 3, 1))

    assert (table.order, table.cursor) == (["9", "3", "1"], "9")


def test_once_somebody_works_the_order_stands_still() -> None:
    table = made(1, 2, 3)
    table.move(1)
    table.take(some(9, 3, 1))

    assert (table.order, table.cursor) == (["1", "2", "3"], "2")
    assert (table.gone, table.waiting) == ({"2"}, ["9"])
    assert table.row is None

    table.reorder()
    assert (table.order, table.gone, table.waiting) == (["9", "3", "1"], set(), [])
    assert table.cursor == "3"


def test_values_change_in_place_while_the_order_is_frozen() -> None:
    table = made(1, 2)
    table.move(1)
    table.take([{"id": 1, "name": "new"}, {"id": 2, "name": "n2"}])

    assert table.rows["1"]["name"] == "new"


def test_what_comes_behind_the_last_row_is_shown_at_once() -> None:
    table = made(1, 2)
    table.move(1)
    table.take(some(1, 2, 3, 4))

    assert (table.order, table.waiting) == (["1", "2", "3", "4"], [])


def test_marks_stay_on_their_rows_and_go_with_them() -> None:
    table = made(1, 2, 3)
    table.mark()
    table.mark()
    table.take(some(3, 2))

    assert [row["id"] for row in table.marked] == [2]
    table.reorder()
    assert table.marks == {"2"}


def test_sorting_by_a_column_twice_turns_it_round() -> None:
    table = made(2, 3, 1)
    table.sort(COLUMNS[0])
    assert table.order == ["1", "2", "3"]
    table.sort(COLUMNS[0])
    assert table.order == ["3", "2", "1"]
    table.sort(None)
    assert table.order == ["2", "3", "1"]


def test_only_what_is_visible_is_drawn() -> None:
    asked: list[int] = []
    column = Column(title="X", show=lambda row: asked.append(row["id"]) or "x")  # type: ignore[func-returns-value]  # notes it
    table = Table([column], lambda row: str(row["id"]))
    table.take(some(*range(100_000)))
    table.end(first=False)

    assert len(drawn(table)) == 6
    assert set(asked) == set(range(99_995, 100_000))


def test_narrow_screens_leave_columns_of_the_second_priority_out() -> None:
    table = made(1)

    assert "MORE" not in drawn(table, 99)[0]
    assert "MORE" in drawn(table, 100)[0]
    table.more_columns = True
    assert "MORE" in drawn(table, 80)[0]


def test_screens_below_the_middle_leave_out_what_is_not_for_them() -> None:
    plain_one = Column(title="NAME", show=lambda row: str(row["id"]))
    table = Table(
        [plain_one, replace(plain_one, title="REST", narrow=False)], lambda row: str(row["id"])
    )
    table.take(some(1))

    assert "REST" not in drawn(table, 79)[0]
    assert "REST" in drawn(table, 80)[0]
    table.more_columns = True
    assert "REST" in drawn(table, 60)[0]


def test_on_a_wide_screen_the_figures_stay_beside_their_names() -> None:
    head = drawn(made(1), width=200)[0]

    assert head.index("MORE") - head.index("NAME") <= MOST_WIDE + 1
    assert len(head) == 200


def test_find_goes_round() -> None:
    table = made(1, 2, 12)

    assert table.find("2", 1)
    assert table.cursor == "2"
    assert table.find("n1", 1)
    assert table.cursor == "12"
    assert table.find("n1", 1)
    assert table.cursor == "1"
    assert not table.find("x", 1)


@given(
    st.lists(st.lists(st.integers(1, 12), unique=True, max_size=12), min_size=1, max_size=6),
    st.lists(st.sampled_from(["down", "up", "mark", "reorder", "end", "freeze"]), max_size=12),
    st.integers(10, 120),
    st.integers(1, 9),
)
def test_whatever_happens_the_table_is_whole(
    answers: list[list[int]], deeds: list[str], width: int, height: int
) -> None:
    table = Table(COLUMNS, lambda row: str(row["id"]))
    for ids in answers:
        before = table.cursor if table.working else None
        table.take(some(*ids))
        if before:
            assert table.cursor == before
        for deed in deeds:
            match deed:
                case "down" | "up":
                    table.move(1 if deed == "down" else -1)
                case "mark":
                    table.mark()
                case "reorder":
                    table.reorder()
                case "end":
                    table.end(first=False)
                case "freeze":
                    table.frozen = not table.frozen
        assert set(table.order) == set(table.rows)
        assert len(table.order) == len(set(table.order))
        assert table.cursor in ({*table.order} or {""})
        assert all(width_of(one) == width for one in drawn(table, width, height))


def test_room_that_nobody_fills_goes_to_the_column_that_would_cut() -> None:
    table = Table(
        (
            Column(title="NAME", show=lambda row: "short"),
            Column(title="HELD BY", width=8, show=lambda row: str(row["held"])),
        ),
        lambda row: str(row["id"]),
    )
    table.take([{"id": 1, "held": "no_subscription"}])
    assert "short" in drawn(table, 30)[1]
    assert "no_subscription" in drawn(table, 30)[1]
    before = drawn(table, 30)[0]
    table.take([{"id": 1, "held": "-"}])
    assert drawn(table, 30)[0] == before
    assert drawn(table, 20)[1].startswith("> short")
    table.take([{"id": 1, "held": "x" * 10_000}])
    assert all(width_of(one) == 200 for one in drawn(table, 200))
    assert drawn(table, 200)[1].count("x") == MOST_WIDE - 1


def test_on_a_narrow_screen_columns_give_what_they_do_not_fill() -> None:
    table = Table(
        (
            Column(title="STATE", width=12, show=lambda row: "ok"),
            Column(title="WHAT", show=lambda row: "a long name"),
            Column(title="RETRY?", width=9, show=lambda row: "safe"),
        ),
        lambda row: str(row["id"]),
    )
    table.take([{"id": 1}])

    assert drawn(table, 27) == ["  STATE  WHAT        RETRY?", "> ok     a long name safe  "]
