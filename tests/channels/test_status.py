from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.status import DEFAULT_THROTTLE_MS, StatusTable, classify, retry_after
from dripd.clock import Instant, Millis, parse_instant

NOW = parse_instant("2026-01-01T09:00:00Z")
SIX_HOURS_MS = 6 * 3_600_000


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Accepted()),
        (202, Accepted()),
        (204, Accepted()),
        (301, Retryable(reason="redirected")),
        (303, Unknown(reason="http_303")),
        (307, Retryable(reason="redirected")),
        (400, Rejected(reason="http_400")),
        (401, Retryable(reason="auth")),
        (402, Retryable(reason="payment")),
        (403, Retryable(reason="auth")),
        (404, Rejected(reason="http_404")),
        (408, Unknown(reason="http_408")),
        (409, Unknown(reason="http_409")),
        (422, Rejected(reason="http_422")),
        (425, Retryable(reason="http_425")),
        (429, Throttled(after_ms=DEFAULT_THROTTLE_MS)),
        (500, Unknown(reason="http_500")),
        (502, Unknown(reason="http_502")),
        (503, Unknown(reason="http_503")),
        (504, Unknown(reason="http_504")),
        (799, Unknown(reason="http_799")),
    ],
)
def test_status_says_whether_the_message_was_accepted(status: int, expected: Outcome) -> None:
    assert expected == classify(status, {}, now=NOW)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_provider_says_how_long_to_wait(status: int) -> None:
    outcome = classify(status, {"retry-after": "17"}, now=NOW)

    assert Throttled(after_ms=Millis(17_000)) == outcome


def test_a_provider_may_document_that_it_took_nothing() -> None:
    table = StatusTable(not_accepted=frozenset({503, 404}))

    assert Retryable(reason="http_503") == classify(503, {}, now=NOW, table=table)
    assert Retryable(reason="http_404") == classify(404, {}, now=NOW, table=table)
    assert Unknown(reason="http_500") == classify(500, {}, now=NOW, table=table)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        (" 120 ", 120_000),
        ("99999999999999999999999999", SIX_HOURS_MS),
        ("Thu, 01 Jan 2026 09:01:30 GMT", 90_000),
        ("Thu, 01 Jan 2026 08:00:00 GMT", 0),
        ("Fri, 01 Jan 2027 09:00:00 GMT", SIX_HOURS_MS),
        ("Thu, 01 Jan 2026 09:01:30 -0000", 90_000),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0665", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
    ],
)
def test_retry_after_is_read_and_clamped(value: str, expected: int | None) -> None:
    assert expected == retry_after(value, now=NOW)


@given(st.text() | st.from_regex(r"\w{3}, \d+ Jan \d+ \d+:\d+:\d+ [+-]\d+"))
def test_no_retry_after_breaks_anything(value: str) -> None:
    after_ms = retry_after(value, now=Instant(0))

    assert after_ms is None or 0 <= after_ms <= SIX_HOURS_MS


@given(st.integers(0, 999), st.text())
def test_every_status_has_an_outcome(status: int, value: str) -> None:
    outcome = classify(status, {"retry-after": value}, now=NOW)

    assert isinstance(outcome, Accepted) == (200 <= status < 300)
