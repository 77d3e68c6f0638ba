"""Which clock a daemon goes by."""

from __future__ import annotations

import time

import pytest

from dripd.clock import DatabaseClock, Instant, Millis, asleep_s, parse_instant


def test_the_databases_clock_is_followed_and_the_hosts_is_not() -> None:
    """A daemon on a host that was an hour ahead sent an hour before its window."""
    tick = [5_000]
    clock = DatabaseClock(lambda: tick[0] * 1_000_000)
    asked = clock.ticked()
    tick[0] += 10
    clock.hear(Instant(1_000_000), asked)
    first = clock.now()
    tick[0] += 250

    assert 1_000_000 <= first <= 1_000_010
    assert first + 250 == clock.now()


def test_what_lies_between_question_and_answer_moves_no_clock() -> None:
    tick = [0]
    clock = DatabaseClock(lambda: tick[0] * 1_000_000)
    clock.hear(Instant(50_000), Millis(0))
    for wait, late in ((20, 3), (7, 7), (900, 0)):
        asked = clock.ticked()
        tick[0] += wait
        clock.hear(Instant(50_000 + tick[0] - late), asked)

        assert 50_000 + tick[0] == clock.now()
    asked = clock.ticked()
    clock.hear(Instant(40_000 + tick[0]), asked)  # the database's own clock steps

    assert 40_000 + tick[0] == clock.now()


def test_the_time_for_which_the_machine_was_suspended_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came up meanwhile was judged by the hour of falling asleep, outside its window."""
    clock = DatabaseClock()
    before, awake = clock.now(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: awake + 3_600_000_000_000)

    assert 3_600_000 <= clock.now() - before < 3_700_000
    assert asleep_s() > 3_590


@pytest.mark.parametrize("text", ["tomorrow", "2026-01-01", "2026-13-01T00:00:00Z", ""])
def test_what_is_no_instant_is_told_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write 2026-01-01T09:00:00Z") as refused:
        parse_instant(text)

    assert "isoformat" not in str(refused.value)
