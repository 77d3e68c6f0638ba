from __future__ import annotations

from array import array
from itertools import chain

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dripd.clock import DAY, FAR_FUTURE, HOUR, Instant
from dripd.scheduler.wheel import Wheel

START = Instant(1_767_225_600_000)
YEAR = 365 * DAY


def fired(wheel: Wheel, now: int) -> list[tuple[int, ...]]:
    flat = wheel.turn(Instant(now))
    return list(zip(*(flat[k::4] for k in range(4)), strict=True))


def flat(records: list[tuple[int, int, int, int]]) -> array[int]:
    return array("q", chain.from_iterable(records))


def test_empty_wheel_fires_nothing() -> None:
    wheel = Wheel(START)

    assert wheel.next_at() is None
    assert not wheel.turn(Instant(START + YEAR))
    assert len(wheel) == 0


def test_record_fires_at_its_millisecond_and_not_before() -> None:
    wheel = Wheel(START)
    wheel.insert((START + 72 * HOUR, 1, 2, 3))

    assert fired(wheel, START + 72 * HOUR - 1) == []
    assert wheel.next_at() == START + 72 * HOUR
    assert fired(wheel, START + 72 * HOUR) == [(START + 72 * HOUR, 1, 2, 3)]


def test_record_that_is_due_already_fires_on_the_next_turn() -> None:
    wheel = Wheel(START)
    wheel.insert((START - 5, 1, 0, 0))
    wheel.insert((START, 2, 0, 0))

    assert wheel.next_at() == START
    assert [record[1] for record in fired(wheel, START)] == [1, 2]


def test_time_may_jump_by_a_century() -> None:
    wheel = Wheel(Instant(0))
    dues = [1, 255, 256, 65_536, DAY, 40 * DAY, YEAR, 40 * YEAR, FAR_FUTURE]
    for due in reversed(dues):
        wheel.insert((due, due, 0, 0))

    assert [record[0] for record in fired(wheel, FAR_FUTURE - 1)] == dues[:-1]
    assert [record[0] for record in fired(wheel, FAR_FUTURE)] == dues[-1:]


def test_last_instant_of_64_bits_has_a_place() -> None:
    wheel = Wheel(Instant(0))
    last = 2**63 - 1
    wheel.insert((last, 1, 0, 0))

    assert wheel.cancel(Instant(last), 1)
    assert wheel.next_at() is None


def test_cancelled_record_does_not_fire() -> None:
    wheel = Wheel(START)
    due = Instant(START + 5000)
    wheel.insert_many(flat([(due, i, 0, 0) for i in range(5)]))

    assert wheel.holds(due, 1)
    assert not wheel.holds(Instant(due + 1), 1)
    assert wheel.cancel(due, 1)
    assert not wheel.holds(due, 1)
    assert not wheel.cancel(due, 1)
    assert not wheel.cancel(Instant(due + 1), 2)
    assert not wheel.cancel(Instant(due + DAY), 2)
    assert not wheel.cancel(START, 2)
    assert {record[1] for record in fired(wheel, due)} == {0, 2, 3, 4}


def test_one_identity_may_stand_at_several_instants() -> None:
    wheel = Wheel(START)
    wheel.insert_many(flat([(START + 70_000 + i, 7, i, 0) for i in range(4)]))

    assert wheel.cancel(Instant(START + 70_002), 7)
    assert [record[2] for record in fired(wheel, START + DAY)] == [0, 1, 3]


def test_coarse_tick_is_never_early_and_late_by_less_than_a_tick() -> None:
    wheel = Wheel(START, tick_ms=100)
    wheel.insert((START + 101, 2, 0, 0))
    wheel.insert((START + 100, 1, 0, 0))

    assert [record[1] for record in fired(wheel, START + 199)] == [1]
    assert wheel.next_at() == START + 200
    assert [record[1] for record in fired(wheel, START + 200)] == [2]


def test_record_due_between_tick_and_now_waits_for_its_tick() -> None:
    """It was taken for overdue when its slot was dealt out: found by 1,500 stories."""
    wheel = Wheel(Instant(0), tick_ms=50)
    wheel.insert((14_990, 1, 0, 0))

    assert fired(wheel, 14_995) == []
    assert wheel.next_at() == 15_000
    assert wheel.cancel(Instant(14_990), 1)


def test_records_come_out_in_due_order_also_at_a_coarse_tick() -> None:
    wheel = Wheel(Instant(0), tick_ms=10)
    wheel.insert((21, 1, 0, 0))
    wheel.insert((28, 2, 0, 0))
    wheel.insert((24, 3, 0, 0))
    wheel.turn(Instant(25))
    wheel.insert((23, 4, 0, 0))

    assert [record[0] for record in fired(wheel, 30)] == [21, 23, 24, 28]


def test_time_that_runs_backwards_stands_still() -> None:
    wheel = Wheel(START)
    wheel.turn(Instant(START + 100))
    wheel.insert((START + 50, 1, 0, 0))

    assert [record[1] for record in fired(wheel, START)] == [1]


def test_what_is_no_record_is_refused() -> None:
    wheel = Wheel(START)
    for width, tick_ms, now in ((1, 1, 0), (4, 0, 0), (4, 1, -1)):
        with pytest.raises(ValueError, match="no wheel"):
            Wheel(Instant(now), width=width, tick_ms=tick_ms)
    with pytest.raises(ValueError, match="3 words in a wheel of 4"):
        wheel.insert((1, 2, 3))
    with pytest.raises(ValueError, match="6 words are no records"):
        wheel.insert_many(array("q", range(6)))


def test_many_at_once_are_as_many_one_by_one() -> None:
    records = [(START + (i * 7919) % 200_000_000, i, -i, 0) for i in range(3000)]
    many, single = Wheel(START), Wheel(START)
    many.insert_many(flat(records))
    for record in records:
        single.insert(record)

    for now in range(START, START + 200_000_001, 20_000_000):
        assert sorted(fired(many, now)) == sorted(fired(single, now))
    assert len(many) == len(single) == 0


class WheelAgainstSortedList(RuleBasedStateMachine):
    """The wheel and a plain list are told the same; they must tell the same."""

    tick_ms = 1

    def __init__(self) -> None:
        super().__init__()
        self.now = int(START)
        self.wheel = Wheel(START, tick_ms=self.tick_ms)
        self.held: list[tuple[int, int, int, int]] = []
        self.overdue: list[tuple[int, int, int, int]] = []
        self.serial = 0

    def note(self, ahead: int) -> tuple[int, int, int, int]:
        self.serial += 1
        record = (self.now + ahead, self.serial % 5, self.serial, -ahead)
        (self.overdue if ahead <= 0 else self.held).append(record)
        return record

    def ripe(self, record: tuple[int, int, int, int], now: int) -> bool:
        return -(-record[0] // self.tick_ms) <= now // self.tick_ms

    @rule(ahead=st.integers(-1000, 1000) | st.integers(-1, 3 * YEAR))
    def insert(self, ahead: int) -> None:
        self.wheel.insert(self.note(ahead))

    @rule(
        spread=st.sampled_from([3, 300, 70_000, DAY, YEAR]),
        n=st.integers(0, 60),
        prime=st.sampled_from([7919, 104_729, 0]),
    )
    def insert_many(self, spread: int, n: int, prime: int) -> None:
        self.wheel.insert_many(flat([self.note(i * prime % spread - 1) for i in range(n)]))

    @precondition(lambda self: self.held or self.overdue)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        record = data.draw(st.sampled_from(self.held + self.overdue))
        assert self.wheel.cancel(Instant(record[0]), record[1])
        twins = [r for r in self.held + self.overdue if r[:2] == record[:2]]
        if len(twins) > 1:
            self.tell_apart(twins)
            return
        (self.held if record in self.held else self.overdue).remove(record)

    def tell_apart(self, twins: list[tuple[int, int, int, int]]) -> None:
        """Any one of equal records may go: take the others out as well."""
        for _ in twins[1:]:
            assert self.wheel.cancel(Instant(twins[0][0]), twins[0][1])
        self.held = [r for r in self.held if r not in twins]
        self.overdue = [r for r in self.overdue if r not in twins]

    @rule(due=st.integers(-1000, 1000), identity=st.integers(5, 9))
    def cancel_stranger(self, due: int, identity: int) -> None:
        assert not self.wheel.cancel(Instant(self.now + due), identity)

    @rule(ahead=st.integers(-5, 1000) | st.integers(0, DAY) | st.integers(0, 2 * YEAR))
    def turn(self, ahead: int) -> None:
        self.check(self.now + ahead)

    @precondition(lambda self: self.wheel.next_at() is not None)
    @rule()
    def turn_when_told(self) -> None:
        at = self.wheel.next_at()
        assert at is not None
        assert at > self.now or self.overdue
        self.check(at)

    def check(self, now: int) -> None:
        out = fired(self.wheel, now)
        self.now = max(self.now, now)
        ripe = [r for r in self.held if self.ripe(r, self.now)]
        self.held = [r for r in self.held if not self.ripe(r, self.now)]
        assert sorted(out) == sorted(ripe + self.overdue)
        assert [r[0] for r in out] == sorted(r[0] for r in out)
        self.overdue = []

    @invariant()
    def all_are_counted(self) -> None:
        assert len(self.wheel) == len(self.held) + len(self.overdue)

    @invariant()
    def next_is_never_after_the_first_firing(self) -> None:
        at = self.wheel.next_at()
        waiting = self.held + self.overdue
        assert (at is None) == (not waiting)
        if at is not None:
            first = min(-(-r[0] // self.tick_ms) * self.tick_ms for r in waiting)
            assert at <= max(first, self.now)


class CoarseWheelAgainstSortedList(WheelAgainstSortedList):
    tick_ms = 50


QUICK = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestWheel = WheelAgainstSortedList.TestCase
TestWheel.settings = QUICK
TestCoarseWheel = CoarseWheelAgainstSortedList.TestCase
TestCoarseWheel.settings = QUICK
