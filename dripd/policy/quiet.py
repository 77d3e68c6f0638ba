"""May somebody in the United States be sent a text at this hour? The policy `us_tcpa`.

No text before 8 and after 21 o'clock where the called party is (47 CFR 64.1200(c)(1)); many
states allow less, which is asked where the contact has a `state`, by its two letters. A contact
whose zone is not known may be in any zone of the country: then only hours that are allowed in all
of them are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.window import WindowSpec
from dripd.clock import Instant
from dripd.policy.facts import lookup
from dripd.policy.rooms import Rooms
from dripd.scheduler.calendar import is_open, next_open

ZONES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix",
    "America/Los_Angeles", "America/Anchorage", "Pacific/Honolulu",
)  # fmt: skip

WEEK, NO_SUNDAY = frozenset(range(7)), frozenset(range(6))


def _hours(opens: int, closes: int, days: frozenset[int] = WEEK, *, but: str = "") -> str:
    """A calendar of full hours; *but* the holidays of a state."""
    holidays = (f"US-{but}",) if but else ()
    return WindowSpec(
        days=days, opens=opens * 60, closes=closes * 60, holidays=holidays
    ).to_text()


FEDERAL = (_hours(8, 21),)
_TO_EIGHT, _FROM_NINE, _NINE_TO_EIGHT = (_hours(8, 20),), (_hours(9, 21),), (_hours(9, 20),)

STATES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("FL", "MA", "MD", "OK", "OR", "WA", "WY"), _TO_EIGHT),
    **dict.fromkeys(("IL", "MI", "MN", "NM"), _FROM_NINE),
    **dict.fromkeys(("CT", "NV"), _NINE_TO_EIGHT),
    **{state: (_hours(8, 20, NO_SUNDAY, but=state),) for state in ("AL", "LA", "MS")},
    "KY": (_hours(10, 21),),
    "PA": (_hours(8, 21, but="PA"),),
    "RI": (
        _hours(9, 18, frozenset(range(5)), but="RI"),
        _hours(10, 17, frozenset({5}), but="RI"),
    ),
    "SD": (_hours(9, 21, NO_SUNDAY),),
    "TX": (_hours(9, 21, NO_SUNDAY), _hours(12, 21, frozenset({6}))),
    "UT": (_hours(8, 21, NO_SUNDAY, but="UT"),),
}
"""Where less is allowed than by federal law, on what days, and whether on the state's holidays.

Laws change, and some of these have exemptions that nobody here can judge: where sources differ
the narrower hours stand."""


def quiet_until(leased: Leased, now: Instant, rooms: Rooms) -> Instant | None:
    """The next instant at which a text may be sent; None: it may now."""
    state = str(lookup(leased)("state") or "").strip().upper()
    calendars = STATES.get(state, FEDERAL)
    known = leased.timezone is not None and leased.timezone in rooms.zones
    zones = (str(leased.timezone),) if known else ZONES
    at = now
    while (later := max(_opens(leased, zone, calendars, at, rooms) for zone in zones)) > at:
        at = later
    return None if at == now else at


def _opens(
    leased: Leased, zone: str, calendars: Sequence[str], at: Instant, rooms: Rooms
) -> Instant:
    """The first instant from *at* on that one of *calendars* allows in *zone*."""
    where = rooms.zone(leased.account_id, zone)
    windows = [rooms.window(leased.account_id, calendar) for calendar in calendars]
    if any(is_open(window, where, at) for window in windows):
        return at
    found = (next_open(window, where, at) for window in windows)
    return min(one for one in found if one is not None)
