"""Which lanes come up, and which are shut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dripd.campaigns.enrollment import LaneClass, LaneKey
from dripd.clock import Instant
from dripd.engine.lanes import Lanes
from dripd.store.protocol import WHOLE_ACCOUNT, ParkRow

KEY = LaneKey(1, LaneClass.FIRST, "email", "", "account")


def known(*places: tuple[int, int]) -> Lanes:
    lanes = Lanes()
    for account, lane in places:
        lanes.know(account, lane, KEY)
    return lanes


def coming(lanes: Lanes, horizon: int) -> list[tuple[int, int]]:
    return [(account, lane) for account, lane, _, _ in lanes.coming(Instant(horizon))]


def test_lanes_come_up_by_what_is_expected_of_them_once() -> None:
    lanes = known((1, 0), (1, 1), (2, 0))
    lanes.expect(2, 0, Instant(20))
    lanes.expect(1, 1, Instant(10))
    lanes.expect(1, 1, Instant(30))

    assert lanes.next_load() == 10
    assert coming(lanes, 20) == [(1, 1), (2, 0)]
    assert coming(lanes, 99) == []


def test_an_earlier_due_moves_a_lane_forward_and_a_reset_says_it_anew() -> None:
    lanes = known((1, 0))
    lanes.expect(1, 0, Instant(50))
    lanes.expect(1, 0, Instant(5))
    assert coming(lanes, 9) == [(1, 0)]

    lanes.at(1, 0).loaded_to = Instant(9)
    lanes.reset(1, 0, Instant(70))
    assert (lanes.at(1, 0).loaded_to, lanes.at(1, 0).cursor) == (0, (0, 0))
    assert coming(lanes, 69) == []
    lanes.reset(1, 0, None)
    assert coming(lanes, 99) == []


def test_a_full_lane_stands_aside_until_its_account_was_served() -> None:
    lanes = known((1, 0))
    lanes.expect(1, 0, Instant(5))
    for account, lane, _, at in lanes.coming(Instant(9)):
        lanes.is_full(account, lane, at)
    lanes.expect(1, 0, Instant(3))
    assert coming(lanes, 9) == []

    lanes.served(1)
    assert coming(lanes, 2) == []
    assert coming(lanes, 3) == [(1, 0)]


def test_a_park_opens_at_its_release_and_is_told_anew() -> None:
    lanes = known((1, 0), (1, 1))
    lanes.park(ParkRow(1, 0, "window", Instant(10)))
    lanes.park(ParkRow(1, 0, "cap", Instant(20)))
    assert lanes.is_parked(1, 0)
    assert not lanes.is_parked(1, 1)
    assert lanes.parked_for(1, "cap") == [(1, 0)]

    assert lanes.released(Instant(19)) == []
    lanes.keep_parks([1], [ParkRow(1, 0, "cap", Instant(20))])
    assert lanes.released(Instant(20)) == [(1, 0)]
    lanes.unpark(1, 0, Instant(20))
    assert not lanes.is_parked(1, 0)
    assert coming(lanes, 0) == [(1, 0)]


def test_a_whole_account_is_shut_and_opened_at_once() -> None:
    lanes = known((1, 0), (1, 1), (2, 0))
    lanes.park(ParkRow(1, WHOLE_ACCOUNT, "account_paused", None))
    assert lanes.is_parked(1, 1)
    assert not lanes.is_parked(2, 0)

    lanes.unpark(1, WHOLE_ACCOUNT, Instant(20))
    assert coming(lanes, 0) == [(1, 0), (1, 1)]


def test_what_sql_says_of_parks_holds_and_what_it_no_longer_says_is_told_anew() -> None:
    lanes = known((1, 0), (1, 1), (2, 0))
    lanes.park(ParkRow(1, 0, "cap", None))
    lanes.park(ParkRow(2, 0, "cap", None))
    lanes.at(1, 0).loaded_to = Instant(9)
    lanes.keep_parks([1], [ParkRow(1, 1, "paused", None)])

    assert [lanes.is_parked(1, 0), lanes.is_parked(1, 1)] == [False, True]
    assert lanes.is_parked(2, 0)
    assert lanes.at(1, 0).loaded_to == 0


places = st.tuples(st.integers(1, 3), st.integers(0, 2))
instants = st.integers(0, 30).map(Instant)


@settings(max_examples=60, stateful_step_count=30, deadline=None)
class Memory(RuleBasedStateMachine):
    """Against a plain scan of everything that was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = known(*((a, b) for a in (1, 2, 3) for b in (0, 1, 2)))
        self.expected: dict[tuple[int, int], Instant] = {}
        self.full: set[tuple[int, int]] = set()

    @rule(place=places, at=instants)
    def expect(self, place: tuple[int, int], at: Instant) -> None:
        self.lanes.expect(*place, at)
        self.expected[place] = min(at, self.expected.get(place, at))

    @rule(place=places, at=st.none() | instants)
    def reset(self, place: tuple[int, int], at: Instant | None) -> None:
        self.lanes.reset(*place, at)
        self.full.discard(place)
        self.expected.pop(place, None)
        if at is not None:
            self.expected[place] = at

    @rule(horizon=instants, fill=st.booleans())
    def come(self, horizon: Instant, fill: bool) -> None:
        wanted = {p for p, at in self.expected.items() if at <= horizon} - self.full
        found = []
        for account, lane, _, at in self.lanes.coming(horizon):
            found.append((account, lane))
            if fill:
                self.lanes.is_full(account, lane, at)
        assert sorted(found) == sorted(wanted)
        if fill:
            self.full |= wanted
        else:
            for place in wanted:
                del self.expected[place]

    @rule(account=st.integers(1, 3))
    def serve(self, account: int) -> None:
        self.lanes.served(account)
        self.full = {place for place in self.full if place[0] != account}

    @invariant()
    def nothing_comes_before_the_next_load(self) -> None:
        open_ = [at for place, at in self.expected.items() if place not in self.full]
        upcoming = self.lanes.next_load()
        assert not open_ or (upcoming is not None and upcoming <= min(open_))


TestMemory = Memory.TestCase


@given(st.lists(st.tuples(places, instants), max_size=20), instants)
def test_parks_are_released_once_in_order(
    rows: list[tuple[tuple[int, int], Instant]], now: Instant
) -> None:
    lanes = known(*((a, b) for a in (1, 2, 3) for b in (0, 1, 2)))
    last: dict[tuple[int, int], Instant] = {}
    for place, at in rows:
        lanes.park(ParkRow(*place, "cap", at))
        last[place] = at

    found = lanes.released(now)
    assert set(found) == {place for place, at in last.items() if at <= now}
    for place in found:
        lanes.unpark(*place, Instant(20))
    assert lanes.released(now) == []
