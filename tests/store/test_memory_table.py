"""Memory's tables keep their indexes true, and a rolled back unit leaves no trace."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.store.memory_table import SLACK, Groups, Shelf, Shelves, Table, UndoLog


@dataclass(slots=True)
class Card:
    lane: int
    due: int
    claim: int | None


class Box:
    """A table with both kinds of index."""

    def __init__(self) -> None:
        self.undo = UndoLog()
        self.claims: Groups[int, Card] = Groups(lambda card: card.claim)
        self.lanes: Shelves[int, Card] = Shelves(lambda card: (card.lane, (card.due,)))
        self.cards: Table[int, Card] = Table(self.undo, self.claims, self.lanes)

    def do(self, key: int, lane: int, due: int, claim: int | None) -> None:
        """Insert, change or, where *due* is 0, delete."""
        if key not in self.cards:
            self.cards.add(key, Card(lane, due, claim))
        elif due:
            self.cards.change(key, lane=lane, due=due, claim=claim)
        else:
            self.cards.drop(key)

    def picture(self, keys: range) -> object:
        rows = {key: (c.lane, c.due, c.claim) for key in keys if (c := self.cards.get(key))}
        claims = {claim: self.claims.at(claim) for claim in range(3)}
        lanes = {lane: list(self.lanes.at(lane)) for lane in range(3)}
        return rows, claims, lanes, sorted(self.lanes.names())


KEYS = range(6)
deeds = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(0, 2), st.integers(0, 4), st.none() | st.integers(0, 2)
    ),
    max_size=30,
)


@given(deeds, deeds)
def test_a_rolled_back_unit_leaves_no_trace(
    kept: list[tuple[int, int, int, int | None]], undone: list[tuple[int, int, int, int | None]]
) -> None:
    box = Box()
    for deed in kept:
        box.do(*deed)
    box.undo.forget()
    before = box.picture(KEYS)
    for deed in undone:
        box.do(*deed)
    box.undo.roll_back()

    assert box.picture(KEYS) == before


@given(deeds)
def test_indexes_say_what_the_rows_say(
    done: list[tuple[int, int, int, int | None]],
) -> None:
    box = Box()
    for deed in done:
        box.do(*deed)
    rows = {key: card for key in KEYS if (card := box.cards.get(key)) is not None}

    for claim in range(3):
        assert box.claims.at(claim) == [k for k, c in rows.items() if c.claim == claim]
        assert box.claims.has(claim) == bool(box.claims.keys(claim))
    for lane in range(3):
        assert list(box.lanes.at(lane)) == sorted(
            (c.due,) for c in rows.values() if c.lane == lane
        )


def test_a_row_is_inserted_once_and_must_be_there_to_be_changed() -> None:
    box = Box()
    box.cards.add(1, Card(0, 1, None))
    with pytest.raises(KeyError):
        box.cards.add(1, Card(0, 1, None))
    with pytest.raises(KeyError):
        box.cards.change(2, due=5)
    with pytest.raises(KeyError):
        box.cards.drop(2)


def test_a_shelf_is_emptied_from_its_head_and_goes_on() -> None:
    shelf = Shelf()
    for n in range(4 * SLACK):
        shelf.add((n,))
    for n in range(3 * SLACK):
        shelf.drop((n,))
    shelf.add((0,))
    shelf.drop((3 * SLACK,))

    assert list(shelf) == [(0,), *((n,) for n in range(3 * SLACK + 1, 4 * SLACK))]
    assert list(shelf.after((4 * SLACK - 2,))) == [(4 * SLACK - 1,)]
    assert len(shelf) == SLACK
