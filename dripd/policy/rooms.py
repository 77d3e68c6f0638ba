"""What the judgement asks of the world beside the lease: zones, windows, senders.

Built at the rim and handed in, so that nothing here reads a file or a clock.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import tzinfo
from typing import Protocol

from dripd.campaigns.enrollment import LaneKey
from dripd.campaigns.links import Links
from dripd.campaigns.version import Version
from dripd.clock import FAR_FUTURE, Instant
from dripd.scheduler.calendar import Window
from dripd.scheduler.due import Timing, due_at


class MissingVersion(KeyError):
    """A version that has not been loaded: load it, then decide again."""

    def __init__(self, cv_id: int) -> None:
        super().__init__(cv_id)
        self.cv_id = cv_id


class MissingAccount(KeyError):
    """An account that has not been loaded."""

    def __init__(self, account_id: int) -> None:
        super().__init__(account_id)
        self.account_id = account_id


class Sender(Protocol):
    """An address or number that an account sends from."""

    @property
    def id(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def status(self) -> str: ...


class Rooms(Protocol):
    """The directory as the judgement sees it."""

    @property
    def zones(self) -> Container[str]:
        """The IANA names that exist."""

    def zone(self, account_id: int, name: str) -> tzinfo:
        """A zone by its name; `account` is the account's."""

    def window(self, account_id: int, calendar: str) -> Window | None:
        """The window of a lane's calendar text; None = always open."""

    def sender(
        self, account_id: int, channel: str, address: str, contact_id: int
    ) -> Sender | None:
        """The sender of *address*; for "" one of the account's, the same for a contact always."""

    def links(self, sender: Sender) -> Links | None:
        """Who makes the links of messages through *sender*; None = nobody could follow them."""

    def has_connector(self, account_id: int, key: str) -> bool:
        """Does the account have a connector of that name?"""

    def postal_address(self, account_id: int) -> str | None:
        """The postal address that marketing mail of the account shows."""

    def version(self, cv_id: int) -> Version:
        """A compiled version that was loaded. Raises `MissingVersion`."""


def step_times(
    rooms: Rooms,
    version: Version,
    step_no: int,
    account_id: int,
    contact_zone: str | None,
    flags: int = 0,
) -> tuple[LaneKey, tzinfo, Window | None]:
    """The lane of a step, the zone of its times of day, and its window."""
    lane = version.lane_key(step_no, contact_zone, rooms.zones, flags)
    zone = zone_of(rooms, version, account_id, contact_zone)
    return lane, zone, rooms.window(account_id, version.calendar(step_no))


def lane_and_due(
    rooms: Rooms,
    version: Version,
    step_no: int,
    account_id: int,
    contact_zone: str | None,
    previous: Instant,
    start: Instant,
) -> tuple[LaneKey, Instant]:
    """The lane of a step that comes after *previous*, and when it comes up; see `due_of`."""
    lane = version.lane_key(step_no, contact_zone, rooms.zones)
    zone = zone_of(rooms, version, account_id, contact_zone)
    window = rooms.window(account_id, version.hours(step_no))
    return lane, due_of(version.steps[step_no].timing, previous, start, zone, window)


def zone_of(
    rooms: Rooms, version: Version, account_id: int, contact_zone: str | None
) -> tzinfo:
    """The zone of a run's times of day."""
    return rooms.zone(account_id, version.zone_name(contact_zone, rooms.zones))


def home_zone(
    rooms: Rooms, version: Version, account_id: int, contact_zone: str | None
) -> tzinfo:
    """The zone in which the contact's own dates are meant: its own, else the run's."""
    if contact_zone is not None and contact_zone in rooms.zones:
        return rooms.zone(account_id, contact_zone)
    return zone_of(rooms, version, account_id, contact_zone)


def due_of(
    timing: Timing,
    previous: Instant,
    start: Instant,
    zone: tzinfo,
    window: Window | None,
) -> Instant:
    """When a step comes up: never before *previous*, never beyond `FAR_FUTURE`.

    `FAR_FUTURE` itself where business days are counted and the holidays leave none.
    """
    try:
        due = due_at(timing, previous=previous, start=start, zone=zone, window=window)
    except ValueError:  # said where the campaign is explained: it waits for another calendar
        due = FAR_FUTURE
    return Instant(min(max(due, previous), FAR_FUTURE))
