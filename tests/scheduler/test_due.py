from __future__ import annotations

from datetime import UTC, date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import DAY, HOUR, MINUTE, Instant, parse_instant
from dripd.scheduler.calendar import Window
from dripd.scheduler.due import Delay, Timing, due_at, parse_delay, parse_offset

PARIS = ZoneInfo("Europe/Paris")
WORK = Window(days=frozenset(range(5)), opens=540, closes=1020)
MONDAY_15 = parse_instant("2026-01-05T15:00:00+01:00")


def at(text: str) -> Instant:
    return parse_instant(text)


def due(
    timing: Timing,
    previous: Instant = MONDAY_15,
    *,
    start: Instant = MONDAY_15,
    window: Window | None = None,
) -> Instant:
    return due_at(timing, previous=previous, start=start, zone=PARIS, window=window)


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        (0, Delay()),
        ("0", Delay()),
        ("90s", Delay(ms=90_000)),
        ("15m", Delay(ms=15 * MINUTE)),
        ("2h", Delay(ms=2 * HOUR)),
        ("3d", Delay(days=3)),
        ("1w", Delay(days=7)),
        ("3bd", Delay(business_days=3)),
        ("1d12h", Delay(days=1, ms=12 * HOUR)),
        (" 1w1d2bd1h1m1s ", Delay(days=8, business_days=2, ms=3_661_000)),
    ],
)
def test_durations_are_read(value: str | int, delay: Delay) -> None:
    assert parse_delay(value) == delay
    assert parse_offset(value) == delay


@pytest.mark.parametrize(
    "value", ["", "3", 3, -1, False, "-1h", "1.5d", "d", "1 d", "1y", "1d-2h", "٣d"]
)
def test_what_is_no_duration_is_refused_with_a_hint(value: str | int) -> None:
    with pytest.raises(ValueError, match=r"is no duration; write 90s, 15m, 2h"):
        parse_delay(value)


@pytest.mark.parametrize("value", ["3661d", "9999999h", "2000d2000bd"])
def test_no_duration_is_over_ten_years(value: str) -> None:
    with pytest.raises(ValueError, match="over ten years"):
        parse_delay(value)


def test_offsets_may_have_a_sign() -> None:
    assert parse_offset("-1d1h2bd") == Delay(days=-1, business_days=-2, ms=-HOUR)
    assert parse_offset("+2h") == Delay(ms=2 * HOUR)
    with pytest.raises(ValueError, match="no duration"):
        parse_offset("--1h")


@pytest.mark.feature("C11")
def test_three_days_are_72_hours_to_the_millisecond() -> None:
    assert due(Timing(delay=parse_delay("3d"))) == MONDAY_15 + 72 * HOUR


def test_elapsed_days_keep_hours_over_a_clock_change() -> None:
    saturday = at("2026-03-28T12:00:00+01:00")

    assert due(Timing(delay=Delay(days=1)), saturday) == at("2026-03-29T13:00:00+02:00")


def test_calendar_days_keep_the_wall_clock_over_a_clock_change() -> None:
    saturday = at("2026-03-28T12:00:00+01:00")
    timing = Timing(delay=Delay(days=1, ms=HOUR), unit="calendar")

    assert due(timing, saturday) == at("2026-03-29T13:00:00+02:00")


def test_zero_delay_is_due_at_once() -> None:
    assert due(Timing()) == MONDAY_15


def test_business_days_skip_the_weekend_and_the_holidays_of_the_window() -> None:
    friday = at("2026-01-09T15:00:00+01:00")
    off = Window(days=WORK.days, opens=540, closes=1020, holidays={date(2026, 1, 12)})
    timing = Timing(delay=parse_delay("1bd"))

    assert due(timing, friday) == at("2026-01-12T15:00:00+01:00")
    assert due(timing, friday, window=off) == at("2026-01-13T15:00:00+01:00")
    assert due(Timing(delay=parse_delay("1d"), unit="business"), friday) == due(timing, friday)


@pytest.mark.feature("C21")
def test_send_at_is_a_wall_time_on_the_day_the_delay_reaches() -> None:
    monday_21 = at("2026-01-05T21:00:00+01:00")
    monday_10 = at("2026-01-05T10:00:00+01:00")
    tuesday_9 = at("2026-01-06T09:00:00+01:00")

    assert due(Timing(delay=Delay(days=1), send_at=540), monday_21) == tuesday_9
    assert due(Timing(send_at=540), monday_10) == tuesday_9
    assert due(Timing(send_at=540), tuesday_9) == tuesday_9


def test_send_at_honours_the_hours_of_a_delay() -> None:
    monday_8 = at("2026-01-05T08:00:00+01:00")

    assert due(Timing(delay=Delay(ms=2 * HOUR), send_at=540), monday_8) == at(
        "2026-01-06T09:00:00+01:00"
    )


def test_send_at_that_is_past_on_an_anchored_day_is_the_next_day() -> None:
    late = at("2026-01-20T10:00:00+01:00")
    timing = Timing(delay=Delay(days=3), send_at=540, anchor="after_start")

    assert due(timing, late) == at("2026-01-21T09:00:00+01:00")
    assert due(timing) == at("2026-01-08T09:00:00+01:00")
    assert due(Timing(day=3, send_at=540), late) == at("2026-01-21T09:00:00+01:00")


@pytest.mark.feature("S8")
def test_delays_count_from_the_previous_step_or_from_the_start() -> None:
    def dates(anchor: str) -> list[int]:
        previous, days = MONDAY_15, []
        for n in (0, 7, 30):
            timing = Timing(delay=Delay(days=n), anchor=anchor)  # type: ignore[arg-type]
            previous = due(timing, previous)
            days.append((previous - MONDAY_15) // DAY)
        return days

    assert dates("after_start") == [0, 7, 30]
    assert dates("after_previous") == [0, 7, 37]


@pytest.mark.feature("S25")
def test_day_three_is_thursday_at_the_start_s_hour_or_where_the_window_opens() -> None:
    assert due(Timing(day=3), window=WORK) == at("2026-01-08T15:00:00+01:00")
    assert due(Timing(day=3, day_at="window_open"), window=WORK) == at(
        "2026-01-08T09:00:00+01:00"
    )


def test_day_at_may_be_a_wall_time() -> None:
    assert due(Timing(day=1, day_at=1050)) == at("2026-01-06T17:30:00+01:00")


def test_window_open_on_a_closed_day_is_the_next_opening() -> None:
    assert due(Timing(day=5, day_at="window_open"), window=WORK) == at(
        "2026-01-12T09:00:00+01:00"
    )


def test_window_open_of_a_night_window_is_where_it_opens_that_day() -> None:
    night = Window(days=frozenset(range(7)), opens=1320, closes=120)

    assert due(Timing(day=1, day_at="window_open"), window=night) == at(
        "2026-01-06T22:00:00+01:00"
    )


def test_window_open_without_a_window_is_midnight() -> None:
    never = Window(days=frozenset(), opens=540, closes=1020)

    assert due(Timing(day=1, day_at="window_open")) == at("2026-01-06T00:00:00+01:00")
    assert due(Timing(day=1, day_at="window_open"), window=never) == at(
        "2026-01-06T09:00:00+01:00"
    )


@pytest.mark.feature("M12")
def test_day_numbers_count_from_their_base_and_never_pass_a_late_predecessor() -> None:
    tenth = at("2026-01-10T11:00:00+01:00")
    late = at("2026-01-13T16:00:00+01:00")
    timing = Timing(day=3, day_base=1)

    assert due(timing, tenth, start=tenth) == at("2026-01-12T11:00:00+01:00")
    assert due(timing, late, start=tenth) == late


timings = st.builds(
    Timing,
    delay=st.builds(
        Delay, days=st.integers(0, 40), business_days=st.integers(0, 9), ms=st.integers(0, DAY)
    ),
    day=st.none() | st.integers(0, 60),
    day_at=st.none() | st.just("window_open") | st.integers(0, 1439),
    send_at=st.none() | st.integers(0, 1439),
    unit=st.sampled_from(["elapsed", "calendar", "business"]),
    anchor=st.sampled_from(["after_previous", "after_start"]),
    day_base=st.integers(0, 1),
)


@given(
    timing=timings,
    start=st.integers(0, 4_000_000_000_000).map(Instant),
    passed=st.integers(0, 90 * DAY),
    zone=st.sampled_from([UTC, PARIS, ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia")]),
    window=st.none() | st.just(WORK),
)
def test_nothing_is_due_before_its_predecessor(
    timing: Timing, start: Instant, passed: int, zone: ZoneInfo, window: Window | None
) -> None:
    previous = Instant(start + passed)

    assert due_at(timing, previous=previous, start=start, zone=zone, window=window) >= previous
