"""May somebody in the United States be sent a text at this hour? The policy `us_tcpa`.

No text before 8 and after 21 o'clock where the called party is (47 CFR 64.1200(c)(1)); some
states allow less, which is asked where the contact has a `state`. A contact whose zone is not
known may be in any zone of the country: then only hours that are allowed in all of them are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dripd.campaigns.enrollment import Leased
from dripd.clock import Instant
from dripd.policy.facts import lookup
from dripd.policy.rooms import Rooms
from dripd.scheduler.calendar import Window, is_open, next_open

ZONES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix",
    "America/Los_Angeles", "America/Anchorage", "Pacific/Honolulu",
)  # fmt: skip

EVERY_DAY, WEEK, SUNDAY = frozenset(range(7)), frozenset(range(6)), frozenset({6})

FEDERAL = (Window(days=EVERY_DAY, opens=8 * 60, closes=21 * 60),)
_TO_EIGHT = (Window(days=EVERY_DAY, opens=8 * 60, closes=20 * 60),)

STATES: Mapping[str, tuple[Window, ...]] = {
    "FL": _TO_EIGHT,
    "OK": _TO_EIGHT,
    "MD": _TO_EIGHT,
    "CT": (Window(days=EVERY_DAY, opens=9 * 60, closes=20 * 60),),
    "TX": (
        Window(days=WEEK, opens=9 * 60, closes=21 * 60),
        Window(days=SUNDAY, opens=12 * 60, closes=21 * 60),
    ),
}
"""Where less is allowed than by federal law."""


def quiet_until(leased: Leased, now: Instant, rooms: Rooms) -> Instant | None:
    """The next instant at which a text may be sent; None: it may now."""
    state = str(lookup(leased)("state") or "").strip().upper()
    windows = STATES.get(state, FEDERAL)
    known = leased.timezone is not None and leased.timezone in rooms.zones
    zones = (str(leased.timezone),) if known else ZONES
    at = now
    while (later := max(_opens(leased, zone, windows, at, rooms) for zone in zones)) > at:
        at = later
    return None if at == now else at


def _opens(
    leased: Leased, zone: str, windows: Sequence[Window], at: Instant, rooms: Rooms
) -> Instant:
    """The first instant from *at* on that one of *windows* allows in *zone*."""
    where = rooms.zone(leased.account_id, zone)
    if any(is_open(window, where, at) for window in windows):
        return at
    found = (next_open(window, where, at) for window in windows)
    return min(one for one in found if one is not None)
