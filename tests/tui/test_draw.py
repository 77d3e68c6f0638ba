"""How lines are laid out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dripd.tui.draw import Cell, folded, line, plain, width_of


def test_a_line_that_is_too_long_goes_on_in_the_next() -> None:
    found = folded(line(Cell(" fix: mend", "warn"), " the cause first;  then retry"), 20)

    assert [plain(one).rstrip() for one in found] == [
        " fix: mend the cause",
        "    first;  then",
        "    retry",
    ]
    assert Cell("mend", "warn") in found[0]
    assert plain(folded(line("short"), 20)[0]).rstrip() == "short"


def test_what_does_not_fit_into_so_many_lines_is_cut() -> None:
    found = folded(line("a b c d e f g h"), 6, most=2)

    assert [plain(one) for one in found] == ["a b c ", "    d…"]


@given(
    st.lists(st.text(alphabet=st.sampled_from(" ab日e\u0301"), max_size=60), max_size=5),
    st.integers(8, 40),
)
def test_whatever_is_folded_fits(parts: list[str], width: int) -> None:
    found = folded(line(*parts), width)

    assert 1 <= len(found) <= 3
    assert all(width_of(plain(one)) == width for one in found)
