"""A contact is written to so often in any span, however the messages lie."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.definition import Frequency
from dripd.clock import DAY, HOUR, Instant
from dripd.policy.frequency import release_at
from tests.support.rooms import NOW

TWICE = Frequency(n=2, per_ms=DAY)


def test_the_third_waits_until_the_first_is_a_day_old() -> None:
    sent = [Instant(NOW - 3 * HOUR), Instant(NOW - HOUR)]

    assert release_at(TWICE, sent, NOW) == NOW - 3 * HOUR + DAY
    assert release_at(TWICE, sent[:1], NOW) is None
    assert release_at(TWICE, [Instant(NOW - DAY), *sent[1:]], NOW) is None


@given(
    st.integers(1, 4),
    st.integers(1, 1_000),
    st.lists(st.integers(0, 300), min_size=1, max_size=40),
)
def test_no_span_ever_has_more_and_each_goes_when_it_may(
    n: int, per_ms: int, gaps: list[int]
) -> None:
    limit, now = Frequency(n=n, per_ms=per_ms), NOW  # type: ignore[arg-type]  # milliseconds
    sent: list[Instant] = []
    for gap in gaps:
        now = Instant(now + gap)
        later = release_at(limit, sent, now)
        assert later is None or later > now
        now = now if later is None else later
        assert release_at(limit, sent, now) is None
        sent.append(now)
    for at in sent:
        assert sum(1 for other in sent if at <= other < at + per_ms) <= n
