from __future__ import annotations

from datetime import UTC, date, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dripd.clock import DAY, HOUR, MINUTE, Instant, from_datetime, parse_instant, to_datetime
from dripd.scheduler.calendar import (
    Today,
    Window,
    add_business_days,
    add_days,
    day_bounds,
    is_open,
    local_date,
    next_open,
    shut_since,
    wall,
)

WEEK = frozenset(range(7))
WORK = frozenset(range(5))
NINE_TO_FIVE = Window(days=WORK, opens=540, closes=1020)
NIGHT = Window(days=frozenset({4}), opens=22 * 60, closes=2 * 60)
BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
ST_JOHNS = ZoneInfo("America/St_Johns")
APIA = ZoneInfo("Pacific/Apia")

zones = st.sampled_from(sorted(available_timezones() - {"localtime"})).map(ZoneInfo)
instants = st.integers(
    parse_instant("1975-01-01T00:00:00Z"), parse_instant("2060-01-01T00:00:00Z")
).map(Instant)
days_off = st.frozensets(st.dates(date(1975, 1, 1), date(2062, 1, 1)), max_size=4)
windows = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6)),
    opens=st.integers(0, 1439),
    closes=st.integers(0, 1440),
    holidays=days_off,
)


def at(text: str) -> Instant:
    return parse_instant(text)


def change_near(zone: ZoneInfo, now: Instant) -> Instant:
    """The first change of the zone's offset within two years, or *now*."""
    offset = to_datetime(now).astimezone(zone).utcoffset()
    for probe in range(now, now + 732 * DAY, 12 * HOUR):
        if to_datetime(Instant(probe)).astimezone(zone).utcoffset() != offset:
            low, high = probe - 12 * HOUR, probe
            while high - low > 1:
                middle = Instant((low + high) // 2)
                same = to_datetime(middle).astimezone(zone).utcoffset() == offset
                low, high = (middle, high) if same else (low, middle)
            return Instant(high)
    return now


def shown(zone: ZoneInfo, now: Instant) -> str:
    return to_datetime(now).astimezone(zone).strftime("%a %Y-%m-%d %H:%M")


def test_no_window_is_always_open() -> None:
    now = at("2026-01-03T03:00:00Z")

    assert is_open(None, UTC, now)
    assert next_open(None, UTC, now) == now


def test_window_is_half_open() -> None:
    last = at("2026-01-05T16:59:59.999+01:00")
    end = at("2026-01-05T17:00:00+01:00")

    assert next_open(NINE_TO_FIVE, BERLIN, last) == last
    assert next_open(NINE_TO_FIVE, BERLIN, end) == at("2026-01-06T09:00:00+01:00")


def test_saturday_waits_for_monday_nine() -> None:
    saturday = at("2026-01-03T10:00:00+01:00")
    monday = at("2026-01-05T09:00:00+01:00")

    assert next_open(NINE_TO_FIVE, BERLIN, saturday) == monday


def test_only_tuesday_waits_for_next_tuesday() -> None:
    tuesday = Window(days=frozenset({1}), opens=540, closes=1020)

    assert next_open(tuesday, BERLIN, at("2026-01-06T18:00:00+01:00")) == at(
        "2026-01-13T09:00:00+01:00"
    )


def test_holiday_is_passed_over() -> None:
    off = Window(days=WORK, opens=540, closes=1020, holidays={date(2026, 1, 5)})

    assert next_open(off, UTC, at("2026-01-05T10:00:00Z")) == at("2026-01-06T09:00:00Z")


@pytest.mark.parametrize(
    ("window", "now", "closed"),
    [
        (NINE_TO_FIVE, "2026-01-05T16:00:05Z", "2026-01-05T16:00:00Z"),
        (NINE_TO_FIVE, "2026-01-06T07:59:00Z", "2026-01-05T16:00:00Z"),
        (NINE_TO_FIVE, "2026-01-11T12:00:00Z", "2026-01-09T16:00:00Z"),
        (NINE_TO_FIVE, "2026-01-05T15:59:59Z", None),
        (NIGHT, "2026-01-10T01:00:01Z", "2026-01-10T01:00:00Z"),
        (NIGHT, "2026-01-09T20:00:00Z", "2026-01-03T01:00:00Z"),
        (Window(days=frozenset(), opens=540, closes=1020), "2026-01-05T20:00:00Z", None),
    ],
)
def test_a_window_is_shut_since_its_last_closing(
    window: Window, now: str, closed: str | None
) -> None:
    wanted = None if closed is None else parse_instant(closed)

    assert shut_since(window, BERLIN, parse_instant(now)) == wanted


def test_night_window_belongs_to_the_day_it_opens() -> None:
    friday_noon = at("2026-01-02T12:00:00Z")
    saturday_one = at("2026-01-03T01:00:00Z")

    assert next_open(NIGHT, UTC, friday_noon) == at("2026-01-02T22:00:00Z")
    assert is_open(NIGHT, UTC, saturday_one)
    assert not is_open(NIGHT, UTC, at("2026-01-03T02:00:00Z"))
    assert not is_open(NIGHT, UTC, at("2026-01-02T01:00:00Z"))
    assert not is_open(NIGHT, UTC, at("2026-01-03T23:00:00Z"))


def test_night_window_of_a_holiday_stays_shut_past_midnight() -> None:
    off = Window(days=WEEK, opens=1320, closes=120, holidays={date(2026, 1, 2)})

    assert not is_open(off, UTC, at("2026-01-03T01:00:00Z"))
    assert is_open(off, UTC, at("2026-01-02T01:00:00Z"))


@pytest.mark.parametrize(
    "window",
    [
        Window(days=frozenset(), opens=540, closes=1020),
        Window(days=WEEK, opens=540, closes=540),
    ],
)
def test_empty_window_answers_none(window: Window) -> None:
    assert next_open(window, BERLIN, at("2026-01-05T09:00:00Z")) is None


def test_window_with_only_holidays_answers_none() -> None:
    class Always:
        def __contains__(self, day: object) -> bool:
            return True

    shut = Window(days=WEEK, opens=0, closes=1440, holidays=Always())

    assert next_open(shut, UTC, at("2026-01-05T09:00:00Z")) is None


def test_window_skips_the_hour_that_spring_forward_removes() -> None:
    """02:00-03:00 does not exist in Berlin on 2026-03-29: that day has no slot."""
    swallowed = Window(days=WEEK, opens=120, closes=180)
    half = Window(days=WEEK, opens=150, closes=240)
    eve = at("2026-03-28T12:00:00Z")

    assert next_open(swallowed, BERLIN, eve) == at("2026-03-30T02:00:00+02:00")
    assert next_open(half, BERLIN, eve) == at("2026-03-29T03:00:00+02:00")


def test_window_shuts_where_spring_forward_jumps_over_its_end() -> None:
    early = Window(days=WEEK, opens=60, closes=150)

    assert is_open(early, BERLIN, at("2026-03-29T01:59:59.999+01:00"))
    assert not is_open(early, BERLIN, at("2026-03-29T03:00:00+02:00"))


def test_window_that_fall_back_repeats_opens_twice() -> None:
    """01:00-01:30 local comes twice in New York on 2026-11-01."""
    short = Window(days=frozenset({6}), opens=60, closes=90)
    once = at("2026-11-01T01:40:00-04:00")

    assert next_open(short, NEW_YORK, once) == at("2026-11-01T01:00:00-05:00")
    assert is_open(short, NEW_YORK, at("2026-11-01T01:29:59.999-04:00"))
    assert not is_open(short, NEW_YORK, at("2026-11-01T01:30:00-04:00"))


def test_window_stays_open_through_a_change_inside_it() -> None:
    morning = Window(days=WEEK, opens=60, closes=600)

    for opens, closes in (
        ("2026-03-29T01:30:00+01:00", "2026-03-29T10:00:00+02:00"),
        ("2026-10-25T01:30:00+02:00", "2026-10-25T10:00:00+01:00"),
    ):
        assert all(
            is_open(morning, BERLIN, Instant(t))
            for t in range(at(opens), at(closes), 10 * MINUTE)
        )
        assert not is_open(morning, BERLIN, at(closes))


def test_wall_time_in_a_gap_is_the_first_instant_after_it() -> None:
    assert wall(BERLIN, date(2026, 3, 29), 150) == at("2026-03-29T03:00:00+02:00")


def test_wall_time_that_occurs_twice_means_the_first() -> None:
    assert wall(BERLIN, date(2026, 10, 25), 150) == at("2026-10-25T02:30:00+02:00")


def test_days_of_a_clock_change_last_23_and_25_hours() -> None:
    spring = day_bounds(BERLIN, date(2026, 3, 29))
    autumn = day_bounds(BERLIN, date(2026, 10, 25))

    assert spring[1] - spring[0] == 23 * HOUR
    assert autumn[1] - autumn[0] == 25 * HOUR


def test_day_without_a_midnight_begins_at_its_first_instant() -> None:
    beirut = ZoneInfo("Asia/Beirut")

    assert day_bounds(beirut, date(2026, 3, 29))[0] == at("2026-03-29T01:00:00+03:00")


def test_day_that_a_zone_left_out_is_empty() -> None:
    start, end = day_bounds(APIA, date(2011, 12, 30))

    assert start == end == at("2011-12-31T00:00:00+14:00")


def test_a_zone_is_read_as_its_rules_say_not_as_postgres_does() -> None:
    """To Postgres CET is an abbreviation, an hour ahead of Greenwich in summer too."""
    starts, _ = day_bounds(ZoneInfo("CET"), date(2026, 7, 1))

    assert parse_instant("2026-06-30T22:00:00Z") == starts


def test_local_day_goes_on_where_the_clock_is_set_back_over_midnight() -> None:
    """St John's fell back at 00:01: 23:30 came again after the new day had begun."""
    begun = wall(ST_JOHNS, date(2010, 11, 7), 0)
    again = Instant(begun + 30 * MINUTE)

    assert shown(ST_JOHNS, again) == "Sat 2010-11-06 23:30"
    assert local_date(ST_JOHNS, again) == date(2010, 11, 7)


def test_days_keep_the_wall_clock() -> None:
    saturday = at("2026-03-28T09:00:00.250+01:00")

    assert add_days(BERLIN, saturday, 1) == at("2026-03-29T09:00:00.250+02:00")
    assert add_days(BERLIN, saturday, -1) == at("2026-03-27T09:00:00.250+01:00")
    assert add_days(BERLIN, saturday, 0) == saturday


def test_business_days_skip_weekends_and_holidays() -> None:
    friday = at("2026-01-02T10:00:00+01:00")
    off = {date(2026, 1, 6)}

    assert add_business_days(BERLIN, friday, 1, ()) == at("2026-01-05T10:00:00+01:00")
    assert add_business_days(BERLIN, friday, 2, off) == at("2026-01-07T10:00:00+01:00")
    assert add_business_days(BERLIN, friday, 0, off) == friday
    assert add_business_days(BERLIN, friday, -3, ()) == at("2025-12-30T10:00:00+01:00")
    assert add_business_days(BERLIN, Instant(friday + DAY), 1, ()) == at(
        "2026-01-05T10:00:00+01:00"
    )


def test_holidays_without_end_are_refused() -> None:
    class Always:
        def __contains__(self, day: object) -> bool:
            return True

    with pytest.raises(ValueError, match="check the holidays"):
        add_business_days(UTC, at("2026-01-02T10:00:00Z"), 1, Always())


@settings(max_examples=60, deadline=None)
@given(
    window=windows, zone=zones, now=instants, near=st.integers(-DAY, DAY), edge=st.booleans()
)
@example(Window(days=WEEK, opens=0, closes=1), ST_JOHNS, at("2010-10-01T00:00:00Z"), 0, True)
@example(
    Window(days=frozenset({4}), opens=0, closes=99), APIA, at("2011-12-01T00:00:00Z"), 0, True
)
def test_next_open_is_open_minimal_and_idempotent(
    window: Window, zone: ZoneInfo, now: Instant, near: int, edge: bool
) -> None:
    if edge:
        now = Instant(change_near(zone, now) + near)
    opens = next_open(window, zone, now)
    if opens is None:
        assert not any(is_open(window, zone, Instant(now + i * 7 * HOUR)) for i in range(100))
        return

    assert opens >= now
    assert is_open(window, zone, opens)
    assert next_open(window, zone, opens) == opens
    assert opens == now or not is_open(window, zone, Instant(opens - 1))
    gap = opens - now
    strides = [Instant(now + gap * i // 40) for i in range(40)]
    assert not any(is_open(window, zone, t) for t in strides if t < opens)
    minutes = range(max(now, opens - 3 * HOUR), opens, MINUTE)
    assert not any(is_open(window, zone, Instant(t)) for t in minutes)


@settings(max_examples=60, deadline=None)
@given(zone=zones, now=instants, near=st.integers(-DAY, DAY))
@example(ST_JOHNS, at("2010-10-01T00:00:00Z"), 20 * MINUTE)
@example(APIA, at("2011-12-01T00:00:00Z"), 0)
def test_local_days_partition_time(zone: ZoneInfo, now: Instant, near: int) -> None:
    now = Instant(change_near(zone, now) + near)
    day = local_date(zone, now)
    start, end = day_bounds(zone, day)

    assert start <= now < end
    assert day_bounds(zone, day + timedelta(days=1))[0] == end
    series = [local_date(zone, Instant(now + i * HOUR)) for i in range(-30, 30)]
    assert all(a <= b for a, b in pairwise(series))


@settings(max_examples=60, deadline=None)
@given(zone=zones, now=instants, near=st.integers(-4 * HOUR, 4 * HOUR))
def test_wall_is_the_first_instant_not_before_the_wall_time(
    zone: ZoneInfo, now: Instant, near: int
) -> None:
    local = to_datetime(Instant(change_near(zone, now) + near)).astimezone(zone)
    minute = local.hour * 60 + local.minute
    found = wall(zone, local.date(), minute)
    wanted = local.replace(second=0, microsecond=0, tzinfo=None, fold=0)
    reached = to_datetime(found).astimezone(zone).replace(tzinfo=None)
    before = to_datetime(Instant(found - 1)).astimezone(zone).replace(tzinfo=None)

    assert reached == wanted
    assert before < wanted
    assert from_datetime(local) >= found


def test_the_dates_of_an_instant_are_those_of_each_zone() -> None:
    now = Instant(1_767_610_800_000)  # 2026-01-05T11:00:00Z
    dates = Today(now)

    for _ in range(2):
        for zone in (BERLIN, ZoneInfo("Pacific/Auckland"), ZoneInfo("Pacific/Kiritimati")):
            assert dates.of(zone) == local_date(zone, now)
