"""What does an HTTP answer mean for a message? Status, `Retry-After` and exceptions, once.

Three kinds of failure are kept apart: provably not accepted and worth another try, provably
not accepted for good, and ambiguous. A status that no rule names is ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import MAX_RETRY_AFTER_MS
from dripd.clock import Instant, Millis, from_datetime

NO_STATUSES: Final[frozenset[int]] = frozenset()

DEFAULT_THROTTLE_MS: Final = Millis(30_000)
"""The patience after a 429 that names none."""

ACCOUNT: Final = {401: "auth", 402: "payment", 403: "auth"}
"""The account's fault, not the message's: a bad key must not cost a backlog its messages."""

MOVED: Final = frozenset({301, 307, 308})
"""Redirects that promise that nothing was done with the request; we follow none."""

TOO_EARLY: Final = 425
AMBIGUOUS_4XX: Final = frozenset({408, 409})
"""Timed out while it read us, or at work on the same key: either way perhaps accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusTable:
    """What one provider documents beyond the common rules.

    `not_accepted` are statuses with which it took nothing and may do better later;
    `throttle_ms` is the patience after a 429 without a usable `Retry-After`.
    """

    not_accepted: frozenset[int] = NO_STATUSES
    throttle_ms: Millis = DEFAULT_THROTTLE_MS


COMMON: Final = StatusTable()


def classify(
    status: int, headers: Mapping[str, str], *, now: Instant, table: StatusTable = COMMON
) -> Outcome:
    """The outcome of a message that was answered in full with *status*.

    *headers* are looked up in lower case; *now* is real time, for a `Retry-After` that is a
    date. A reason is `auth`, `payment`, `redirected`, `throttled` or `http_<status>`.
    """
    if 200 <= status < 300:
        return Accepted()
    after_ms = retry_after(headers.get("retry-after", ""), now=now)
    if status == 429:
        return Throttled(after_ms=table.throttle_ms if after_ms is None else after_ms)
    if status == 503 and after_ms is not None:
        return Throttled(after_ms=after_ms)
    if status in table.not_accepted or status == TOO_EARLY:
        return Retryable(reason=f"http_{status}", after_ms=after_ms)
    return _by_class(status)


def _by_class(status: int) -> Outcome:
    if status in ACCOUNT:
        return Retryable(reason=ACCOUNT[status])
    if status in MOVED:
        return Retryable(reason="redirected")
    if 400 <= status < 500 and status not in AMBIGUOUS_4XX:
        return Rejected(reason=f"http_{status}")
    return Unknown(reason=f"http_{status}")


def retry_after(value: str, *, now: Instant) -> Millis | None:
    """Read a `Retry-After`: seconds, or an HTTP date as seen from *now*.

    Clamped to 0 ... 6 hours; None where it is neither.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        seconds = int(text) if len(text) < 10 else 10**9
        return _clamp(seconds * 1_000)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return _clamp(from_datetime(aware) - now)
    except OverflowError:
        return None


def _clamp(after_ms: int) -> Millis:
    return Millis(min(max(after_ms, 0), MAX_RETRY_AFTER_MS))
