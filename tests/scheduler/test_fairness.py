from __future__ import annotations

from collections import Counter, defaultdict
from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dripd.clock import Instant
from dripd.scheduler.fairness import Ready

BULK, SINGLE = 1, 2


def put(ready: Ready[str], account: int, lane: int, due: int, *, urgent: bool = False) -> None:
    assert ready.add(account, lane, Instant(due), f"{account}.{lane}.{due}", urgent=urgent)


def fill(
    ready: Ready[int], account: int, n: int, lane: int = 0, *, urgent: bool = False
) -> None:
    entries = ((Instant(i), i) for i in range(n))
    assert ready.extend(account, lane, entries, urgent=urgent) == n


def test_nothing_ready_picks_nothing() -> None:
    ready: Ready[int] = Ready()

    assert ready.pick(500, ()) == []
    assert ready.drop_account(1) == 0
    assert ready.count(1, 0) == 0
    assert ready.lanes(1) == []
    assert not ready.is_parked(1, 0)
    assert ready.extend(1, 0, [], urgent=False) == 0
    assert ready.pick(500, ()) == []


@pytest.mark.parametrize(("quantum", "reserve"), [(0, 0.25), (25, -0.1), (25, 1.1)])
def test_what_is_no_fair_share_is_refused(quantum: int, reserve: float) -> None:
    with pytest.raises(ValueError, match="no fair share"):
        Ready(quantum=quantum, reserve=reserve)


def test_oldest_due_goes_first_among_the_lanes() -> None:
    ready: Ready[str] = Ready(reserve=0)
    for lane, due in ((0, 3), (0, 5), (1, 1), (1, 4), (2, 2)):
        put(ready, 7, lane, due, urgent=lane == 1)

    assert ready.pick(9, ()) == [
        (7, [(1, "7.1.1"), (2, "7.2.2"), (0, "7.0.3"), (1, "7.1.4"), (0, "7.0.5")])
    ]
    assert len(ready) == 0


def test_share_is_kept_for_urgent_lanes() -> None:
    ready: Ready[int] = Ready(quantum=8, reserve=0.25)
    fill(ready, 1, 100)
    ready.extend(1, 5, [(Instant(1000 + i), i) for i in range(10)], urgent=True)
    ready.extend(2, 0, [(Instant(0), 0)] * 100, urgent=False)

    lanes = [Counter(lane for lane, _ in dict(ready.pick(16, ()))[1]) for _ in range(5)]
    assert lanes == [{5: 2, 0: 6}] * 5
    assert ready.count(1, 5) == 0


def test_account_alone_fills_the_whole_batch() -> None:
    ready: Ready[int] = Ready()
    fill(ready, 1, 1000)

    assert ready.pick(500, ()) == [(1, [(0, i) for i in range(500)])]
    assert ready.count(1, 0) == len(ready) == 500


def test_accounts_take_turns_by_the_quantum() -> None:
    ready: Ready[int] = Ready(quantum=10)
    for account in range(5):
        fill(ready, account, 1000)

    turns = [[(a, len(got)) for a, got in ready.pick(20, ())] for _ in range(5)]
    assert turns == [
        [(0, 10), (1, 10)],
        [(2, 10), (3, 10)],
        [(4, 10), (0, 10)],
        [(1, 10), (2, 10)],
        [(3, 10), (4, 10)],
    ]


def test_turn_that_a_batch_cuts_short_goes_on_in_the_next() -> None:
    ready: Ready[int] = Ready(quantum=10)
    for account in (1, 2):
        fill(ready, account, 100)

    sizes = [[(a, len(got)) for a, got in ready.pick(7, ())] for _ in range(3)]
    assert sizes == [[(1, 7)], [(1, 3), (2, 4)], [(2, 6), (1, 1)]]


def test_million_of_one_account_delay_a_single_entry_by_one_pick() -> None:
    ready: Ready[int] = Ready()
    ready.extend(BULK, 0, repeat((Instant(0), 0), 1_000_000), urgent=False)
    for _ in range(5):
        ready.pick(500, ())
    ready.add(SINGLE, 0, Instant(9), 9, urgent=False)

    picked = ready.pick(500, ())
    assert picked[0] == (SINGLE, [(0, 9)])
    assert len(picked[1][1]) == 499


def test_front_is_for_once_a_round() -> None:
    """A trickle of single entries must not hold up the ring."""
    ready: Ready[int] = Ready(quantum=10)
    for account in range(10, 20):
        fill(ready, account, 10_000)
    ready.pick(100, ())
    served = Counter[int]()
    for due in range(100):
        ready.add(SINGLE, 0, Instant(due), due, urgent=False)
        served.update({a: len(got) for a, got in ready.pick(10, ())})

    assert all(served[account] >= 70 for account in range(10, 20))
    assert served[SINGLE] >= 10


def test_busy_account_is_passed_over_and_keeps_its_turn() -> None:
    ready: Ready[int] = Ready(quantum=10)
    for account in (1, 2, 3):
        fill(ready, account, 100)

    assert [a for a, _ in ready.pick(10, {1})] == [2]
    assert [a for a, _ in ready.pick(10, {2})] == [1]
    assert [a for a, _ in ready.pick(20, ())] == [3, 2]
    assert ready.pick(10, {1, 2, 3}) == []


def test_parked_lane_keeps_nothing_until_unparked() -> None:
    ready: Ready[str] = Ready()
    put(ready, 1, 0, 5)
    put(ready, 1, 1, 6)

    assert ready.park(1, 0) == [(5, "1.0.5")]
    assert ready.park(1, 0) == []
    assert ready.is_parked(1, 0)
    assert not ready.add(1, 0, Instant(7), "", urgent=False)
    assert ready.lanes(1) == [1]
    assert ready.pick(9, ()) == [(1, [(1, "1.1.6")])]
    ready.unpark(1, 0)
    put(ready, 1, 0, 8)
    assert ready.pick(9, ()) == [(1, [(0, "1.0.8")])]


def test_what_is_put_back_stands_before_what_came_later() -> None:
    ready: Ready[str] = Ready(reserve=0)
    for lane, due in ((0, 3), (1, 2), (0, 4)):
        put(ready, 1, lane, due)
    ((_, picked),) = ready.pick(2, ())
    assert picked == [(1, "1.1.2"), (0, "1.0.3")]
    for lane, entry in picked:
        due = Instant(int(entry[-1]))
        assert ready.extend(1, lane, [(due, entry)], urgent=False, first=True) == 1

    assert (len(ready), ready.count(1, 0)) == (3, 2)
    assert ready.pick(9, ()) == [(1, [(1, "1.1.2"), (0, "1.0.3"), (0, "1.0.4")])]


def test_account_whose_lanes_are_all_parked_loses_its_place_quietly() -> None:
    ready: Ready[str] = Ready()
    put(ready, 1, 0, 5)
    put(ready, 2, 0, 5)
    ready.park(1, 0)

    assert ready.pick(9, ()) == [(2, [(0, "2.0.5")])]


def test_what_comes_after_all_was_parked_begins_a_turn_of_its_own() -> None:
    """Else who went first hung on how an earlier batch was cut, and no forecast could tell."""
    ready: Ready[str] = Ready(quantum=4, reserve=0.5)
    waiting = [(0, 1), (0, 2), (0, 3), (0, 4)]
    for lane, due in waiting:
        put(ready, 1, lane, due)
    assert ready.pick(2, ()) == [(1, [(0, "1.0.1"), (0, "1.0.2")])]
    ready.park(1, 0)
    ready.unpark(1, 0)
    for lane, due in (*waiting, (1, 5), (1, 6), (1, 7), (1, 8)):
        put(ready, 1, lane, due, urgent=lane == 1)

    (picked,) = ready.pick(4, ())
    assert picked == (1, [(1, "1.1.5"), (1, "1.1.6"), (0, "1.0.1"), (0, "1.0.2")])


def test_dropped_account_is_forgotten_and_may_come_back() -> None:
    ready: Ready[str] = Ready()
    put(ready, 1, 0, 5)
    put(ready, 1, 1, 6)
    ready.park(1, 2)

    assert ready.drop_account(1) == 2
    assert len(ready) == 0
    put(ready, 1, 2, 7)
    assert ready.pick(9, ()) == [(1, [(2, "1.2.7")])]
    assert ready.pick(9, ()) == []


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=9),
    trickle=st.lists(st.integers(0, 8), max_size=60),
)
def test_while_one_account_waits_any_other_has_at_most_three_turns(
    sizes: list[int], trickle: list[int]
) -> None:
    quantum = 5
    ready: Ready[int] = Ready(quantum=quantum)
    for account, size in enumerate(sizes):
        fill(ready, account, size)
    waits: dict[int, Counter[int]] = defaultdict(Counter)
    while len(ready):
        ((served, _),) = ready.pick(1, ())
        waits.pop(served, None)
        for waiting in range(len(sizes)):
            if waiting != served and ready.lanes(waiting):
                waits[waiting][served] += 1
                assert waits[waiting][served] <= 3 * quantum
        if trickle and (late := trickle.pop()) < len(sizes):
            ready.add(late, 0, Instant(10**6), 0, urgent=False)


class ReadyKeepsItsBooks(RuleBasedStateMachine):
    """Nothing is lost, nothing comes twice, a lane keeps its order."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: Ready[int] = Ready(quantum=4)
        self.model: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.parked: set[tuple[int, int]] = set()
        self.serial = 0

    @rule(account=st.integers(0, 4), lane=st.integers(0, 3), n=st.integers(0, 9))
    def extend(self, account: int, lane: int, n: int) -> None:
        serials = range(self.serial, self.serial + n)
        self.serial += n
        kept = self.ready.extend(
            account, lane, [(Instant(i // 3), i) for i in serials], urgent=lane == 0
        )
        shut = (account, lane) in self.parked
        assert kept == (0 if shut else n)
        if not shut:
            self.model[account, lane].extend(serials)

    @rule(n=st.integers(0, 30), busy=st.sets(st.integers(0, 4)))
    def pick(self, n: int, busy: set[int]) -> None:
        free = sum(len(v) for (account, _), v in self.model.items() if account not in busy)
        picked = self.ready.pick(n, busy)
        assert sum(len(got) for _, got in picked) == min(n, free)
        assert len({account for account, _ in picked} - busy) == len(picked)
        for account, got in picked:
            for lane, serial in got:
                assert self.model[account, lane].pop(0) == serial

    @rule(account=st.integers(0, 4), lane=st.integers(0, 3))
    def park(self, account: int, lane: int) -> None:
        dropped = [entry for _, entry in self.ready.park(account, lane)]
        assert dropped == self.model.pop((account, lane), [])
        self.parked.add((account, lane))

    @rule(account=st.integers(0, 4), lane=st.integers(0, 3))
    def unpark(self, account: int, lane: int) -> None:
        self.ready.unpark(account, lane)
        self.parked.discard((account, lane))

    @rule(account=st.integers(0, 4))
    def drop(self, account: int) -> None:
        mine = [key for key in self.model if key[0] == account]
        assert self.ready.drop_account(account) == sum(len(self.model.pop(k)) for k in mine)
        self.parked = {key for key in self.parked if key[0] != account}

    @invariant()
    def all_are_counted(self) -> None:
        assert len(self.ready) == sum(map(len, self.model.values()))
        for account in range(5):
            lanes = [lane for lane in range(4) if self.model.get((account, lane))]
            assert self.ready.lanes(account) == lanes
            assert all(
                self.ready.count(account, lane) == len(self.model[account, lane])
                for lane in lanes
            )


TestReady = ReadyKeepsItsBooks.TestCase
TestReady.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
