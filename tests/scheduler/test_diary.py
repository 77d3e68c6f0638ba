"""When a person is free: weekdays from nine to five, and nothing twice."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from dripd.clock import DAY, HOUR, MINUTE, Instant, format_instant, parse_instant
from dripd.scheduler.diary import first_free, next_in_turn, working_hours

FRIDAY = parse_instant("2026-01-09T08:02:00Z")


def at(text: str) -> Instant:
    return parse_instant(f"2026-01-{text}:00Z")


def test_working_hours_are_those_of_weekdays_in_the_zone() -> None:
    hours = list(working_hours(ZoneInfo("Europe/Berlin"), FRIDAY))

    assert [tuple(map(format_instant, span)) for span in hours[:2]] == [
        ("2026-01-09T08:05:00Z", "2026-01-09T16:00:00Z"),
        ("2026-01-12T08:00:00Z", "2026-01-12T16:00:00Z"),
    ]
    evening = next(working_hours(ZoneInfo("UTC"), at("09T17:00")))
    assert format_instant(evening[0]) == "2026-01-12T09:00:00Z"


def test_the_first_time_that_fits_is_taken() -> None:
    openings = list(working_hours(ZoneInfo("UTC"), FRIDAY))
    busy = [(at("09T11:00"), at("09T12:02")), (at("09T09:00"), at("09T10:00"))]

    assert first_free(openings, busy, HOUR) == (at("09T10:00"), at("09T11:00"))
    assert first_free(openings, busy, 2 * HOUR) == (at("09T12:05"), at("09T14:05"))
    assert first_free(openings, busy, 8 * HOUR) == (at("12T09:00"), at("12T17:00"))
    assert first_free(openings, busy, 9 * HOUR) is None


SPANS = st.lists(
    st.tuples(st.integers(0, 5 * 24 * 12), st.integers(1, 60)).map(
        lambda one: (
            Instant(FRIDAY + one[0] * 5 * MINUTE),
            Instant(FRIDAY + (one[0] + one[1]) * 5 * MINUTE),
        )
    ),
    max_size=12,
)


@given(SPANS, st.integers(1, 96))
def test_a_free_time_lies_in_an_opening_and_overlaps_nothing(
    busy: list[tuple[Instant, Instant]], fives: int
) -> None:
    openings = list(working_hours(ZoneInfo("UTC"), FRIDAY))
    span = first_free(openings, busy, fives * 5 * MINUTE)

    assert span is not None
    assert any(opens <= span[0] and span[1] <= closes for opens, closes in openings)
    assert all(ends <= span[0] or span[1] <= begins for begins, ends in busy)
    assert span[0] - FRIDAY < 60 * DAY


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5), min_size=1))
def test_turns_go_by_weight(weights: dict[str, int]) -> None:
    given_: dict[str, int] = {}
    for _ in range(3 * sum(weights.values())):
        member = next_in_turn(given_, weights)
        given_[member] = given_.get(member, 0) + 1

    assert given_ == {member: 3 * weight for member, weight in weights.items()}
