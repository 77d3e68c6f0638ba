"""Which lanes come up, and which are shut? The daemon's memory of every lane that it knows.

Wanted: from a hundred thousand lanes the few that must be loaded now, and the parks whose
release has come, at the cost of those few.
Method: a lane stands in a heap by `next_at`, the first due that may not be in memory; a park
in another by its release. An entry that no longer holds is passed over when it comes up, so
that a change costs one push. A lane that has enough in memory leaves the heap and returns
when its account has been served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from dripd.campaigns.enrollment import LaneKey
from dripd.clock import Instant
from dripd.store.protocol import WHOLE_ACCOUNT, ParkRow

GATHERS = frozenset({"window", "cap"})
"""Reasons of parks that open all at one instant, with all that has gathered until then."""

START = (Instant(0), 0)
"""The cursor of a lane of which nothing has been loaded."""


@dataclass(slots=True)
class Lane:
    """What of a lane has been loaded, up to `cursor` by key and up to `loaded_to` by due."""

    key: LaneKey
    next_at: Instant | None = None
    cursor: tuple[Instant, int] = START
    loaded_to: Instant = Instant(0)
    opened_at: Instant = Instant(0)
    """When it was last un-parked: how late its steps are counts from there."""
    waiting: int = 0
    """Keys of the lane in the wheel."""


class Lanes:
    """Every lane by (account, lane), and what is parked of them."""

    def __init__(self) -> None:
        self._lanes: dict[int, dict[int, Lane]] = {}
        self._coming: list[tuple[Instant, int, int]] = []
        self._full: dict[int, set[int]] = {}
        self._parked: dict[int, dict[int, ParkRow]] = {}
        self._releases: list[tuple[Instant, int, int]] = []
        self._openings: set[Instant] = set()
        self.resting: set[int] = set()
        """Accounts of which nothing could be had: what comes next waits for those keys."""

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def n_parked(self) -> int:
        return sum(map(len, self._parked.values()))

    def parked_by_reason(self) -> dict[str, int]:
        """How many lanes and whole accounts are parked, by why."""
        found: dict[str, int] = {}
        for rows in self._parked.values():
            for row in rows.values():
                found[row.reason] = found.get(row.reason, 0) + 1
        return found

    def get(self, account: int, lane: int) -> Lane | None:
        return self._lanes.get(account, {}).get(lane)

    def at(self, account: int, lane: int) -> Lane:
        """A lane that is known. Raises `KeyError`."""
        return self._lanes[account][lane]

    def know(self, account: int, lane: int, key: LaneKey) -> None:
        """A lane that SQL has."""
        self._lanes.setdefault(account, {}).setdefault(lane, Lane(key))

    # what is to be loaded

    def expect(self, account: int, lane: int, at: Instant) -> None:
        """Something of the lane, not in memory, is due at *at*."""
        state = self.at(account, lane)
        if state.next_at is None or at < state.next_at:
            state.next_at = at
            heappush(self._coming, (at, account, lane))

    def reset(self, account: int, lane: int, next_at: Instant | None) -> None:
        """Forget what was loaded of a lane: SQL will tell again, from *next_at* on."""
        state = self.at(account, lane)
        state.cursor, state.loaded_to, state.next_at = START, Instant(0), next_at
        self._full.get(account, set()).discard(lane)
        if next_at is not None:
            heappush(self._coming, (next_at, account, lane))

    def reset_account(self, account: int, next_at: Instant | None) -> None:
        for lane in self._lanes.get(account, ()):
            self.reset(account, lane, next_at)

    def coming(self, horizon: Instant) -> Iterator[tuple[int, int, Lane, Instant]]:
        """Take out, one by one, the lanes that come up by *horizon*, and when."""
        heap = self._coming
        while heap and heap[0][0] <= horizon:
            at, account, lane = heappop(heap)
            state = self.at(account, lane)
            if state.next_at == at and lane not in self._full.get(account, ()):
                state.next_at = None
                yield account, lane, state, at

    def is_full(self, account: int, lane: int, at: Instant) -> None:
        """A lane that comes up at *at* has enough in memory for now."""
        self.at(account, lane).next_at = at
        self._full.setdefault(account, set()).add(lane)

    def served(self, account: int) -> None:
        """The account had its turn: what was full of it may be loaded on."""
        for lane in self._full.pop(account, ()):
            at = self.at(account, lane).next_at
            if at is not None:
                heappush(self._coming, (at, account, lane))

    def next_load(self) -> Instant | None:
        """When the next lane comes up; may be too early, never too late."""
        return self._coming[0][0] if self._coming else None

    # what is shut

    def is_parked(self, account: int, lane: int) -> bool:
        parked = self._parked.get(account)
        return parked is not None and (lane in parked or WHOLE_ACCOUNT in parked)

    def outlasts(self, row: ParkRow) -> bool:
        """Is its lane shut already, and for as long as *row* wants? What holds longest stands: a
        lane shut for a cap alone opens when a message gives its place back."""
        parked = self._parked.get(row.account_id, {})
        held = parked.get(row.lane)
        if WHOLE_ACCOUNT in parked or held is None:
            return WHOLE_ACCOUNT in parked
        return held.release_at is None or (
            row.release_at is not None and row.release_at <= held.release_at
        )

    def parks(self) -> Iterator[ParkRow]:
        """All that is parked."""
        for parked in self._parked.values():
            yield from parked.values()

    def park(self, row: ParkRow) -> None:
        parked = self._parked.setdefault(row.account_id, {})
        before = parked.get(row.lane)
        parked[row.lane] = row
        is_new = before is None or before.release_at != row.release_at
        if is_new and row.release_at is not None:
            heappush(self._releases, (row.release_at, row.account_id, row.lane))
            if row.reason in GATHERS:
                self._openings.add(row.release_at)

    def unpark(self, account: int, lane: int, now: Instant) -> None:
        """A lane, or with `WHOLE_ACCOUNT` all of an account's, is served again, from SQL."""
        self._open(account, lane, Instant(0))
        for number, state in self._lanes.get(account, {}).items():
            if lane in {WHOLE_ACCOUNT, number}:
                state.opened_at = now

    def _open(self, account: int, lane: int, next_at: Instant | None) -> None:
        parked = self._parked.get(account, {})
        parked.pop(lane, None)
        if not parked:
            self._parked.pop(account, None)
        if lane == WHOLE_ACCOUNT:
            self.reset_account(account, next_at)
        elif self.get(account, lane) is not None:
            self.reset(account, lane, next_at)

    def keep_parks(self, accounts: Iterable[int], rows: Collection[ParkRow]) -> None:
        """*rows* are all that is parked of *accounts*; what was shut and is not is told anew."""
        shut = {(row.account_id, row.lane) for row in rows}
        for account in accounts:
            for lane in list(self._parked.get(account, ())):
                if (account, lane) not in shut:
                    self._open(account, lane, None)
        for row in rows:
            self.park(row)

    def parked_for(self, account: int, reason: str) -> list[tuple[int, int]]:
        """What of *account* is parked with *reason*."""
        parked = self._parked.get(account, {})
        return [(account, lane) for lane, row in parked.items() if row.reason == reason]

    def released(self, now: Instant) -> list[tuple[int, int]]:
        """Take out the parks whose release has come; they stay shut until `unpark`."""
        found = []
        while self._releases and self._releases[0][0] <= now:
            at, account, lane = heappop(self._releases)
            row = self._parked.get(account, {}).get(lane)
            if row is not None and row.release_at == at:
                found.append((account, lane))
        return found

    def release_again(self, places: Iterable[tuple[int, int]]) -> None:
        """Put back what `released` took out and nobody could open."""
        for account, lane in places:
            row = self._parked.get(account, {}).get(lane)
            if row is not None and row.release_at is not None:
                heappush(self._releases, (row.release_at, account, lane))

    def next_release(self) -> Instant | None:
        """When the next park opens; may be too early, never too late."""
        return self._releases[0][0] if self._releases else None

    def next_opening(self, now: Instant) -> Instant | None:
        """When next a window opens or a day begins for what is parked; may be too early.

        There are few such instants, however many lanes wait for them.
        """
        self._openings = {at for at in self._openings if at > now}
        return min(self._openings, default=None)
