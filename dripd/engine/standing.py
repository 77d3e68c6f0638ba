"""What keeps a sender back right now? For those who look on; nothing is taken.

Buckets and breakers are in the memory of the daemon that serves the account, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dripd.clock import Instant, format_instant
from dripd.engine.directory import Account
from dripd.engine.pipeline import Pipeline
from dripd.ratelimit.breaker import Breaker
from dripd.scheduler.calendar import day_bounds, local_date


def standing(pipe: Pipeline, account_id: int, sender_id: int) -> Mapping[str, object] | None:
    """Tokens, breakers and rest of a sender; None where another daemon serves its account."""
    account = pipe.directory.accounts.get(account_id)
    if account is None or account_id not in pipe.owned:
        return None
    row = next((one for one in account.row.senders if one.id == sender_id), None)
    if row is None:
        return None
    now = pipe.clock.now()
    own, provider = account.line(sender_id), pipe.flow.providers.get(row.provider)
    breakers = [("sender", own.breaker)]
    rests = own.rests_until
    if provider is not None:
        breakers.append((f"provider {row.provider}", provider.breaker))
        rests = max(rests, provider.rests_until)
    bucket = own.bucket
    return {
        "tokens": None if bucket is None else bucket.ready(now),
        "burst": None if bucket is None else bucket.rate.burst,
        "breakers": [_told(of, one, now) for of, one in breakers if one.is_open],
        "trips_today": _trips(account, [one for _, one in breakers], now),
        "rests_until": format_instant(rests) if rests > now else None,
        "unknown_provider": provider is None,
    }


def open_breakers(pipe: Pipeline) -> list[Mapping[str, object]]:
    """The providers that fail, as this daemon has found them."""
    now = pipe.clock.now()
    return [
        _told(name, line.breaker, now)
        for name, line in pipe.flow.providers.items()
        if line.breaker.is_open
    ]


def _trips(account: Account, breakers: Sequence[Breaker], now: Instant) -> int:
    """How often one of them has opened in the account's local day; what fails a sender and its
    provider at once is one time."""
    trips = {at for one in breakers for at in one.trips}
    if not trips:
        return 0
    begins = day_bounds(account.zone, local_date(account.zone, now))[0]
    return sum(at >= begins for at in trips)


def _told(of: str, breaker: Breaker, now: Instant) -> Mapping[str, object]:
    """`probe_at` None: its time has come, the next message is the probe."""
    at = breaker.next_at(now)
    return {
        "of": of,
        "since": format_instant(breaker.opened_at),
        "probe_at": None if at is None else format_instant(at),
    }
