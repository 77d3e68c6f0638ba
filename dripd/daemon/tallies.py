"""Who counts what is too large to be counted as asked? One campaign at a time, beside the work.

It has a connection of its own, opened when it is first needed, on which a statement may take
minutes: neither a view nor a command waits for it unless it wants to.
"""

from __future__ import annotations

from typing import Final

import trio

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.errors import StoreError, TimedOut
from dripd.log import get
from dripd.store.desk import Desk
from dripd.store.desk_deed import Result
from dripd.store.desk_tally import count_campaign, read_statistics

WAIT_S: Final = 25.0
"""How long a command waits for a count; it asks again if that was not enough."""

QUICK_MS: Final = 1_000
"""A campaign that is counted within this is counted for every command that asks."""

MOST: Final = 8
"""Campaigns that are wanted at once; the one that was asked for longest ago is forgotten."""

log = get("tallies")


class Tallies:
    """The counts that are wanted, the latest first."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wanted: dict[tuple[int, int], trio.Event] = {}
        self._asked = trio.Event()

    def want(self, place: tuple[int, int]) -> trio.Event:
        """Have the campaign of *place* counted; set when that is done, or was given up."""
        done = self._wanted.pop(place) if place in self._wanted else trio.Event()
        self._wanted[place] = done
        if len(self._wanted) > MOST:
            self._wanted.pop(next(iter(self._wanted))).set()
        self._asked.set()
        return done

    async def run(self) -> None:
        """Count what is wanted, for ever."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            while self._wanted:
                await self._count(next(reversed(self._wanted)))

    async def _count(self, place: tuple[int, int]) -> None:
        done = self._wanted.pop(place)  # who asks from now on has it counted again
        try:
            if not self._desk.is_open:
                await self._desk.open()
            await self._desk.run(count_campaign, *place)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
        finally:
            done.set()

    async def read(self, desk: Desk, _call: Call, args: p.CampaignStats) -> Result:
        """`campaign.stats`, over *desk*. `quick`: as it was counted last, if at all."""
        found = await desk.run(read_statistics, args)
        if found.place is None:
            return found.result
        done = self.want(found.place)
        if args.quick or (found.took_ms is not None and found.took_ms > QUICK_MS):
            return found.result
        with trio.move_on_after(WAIT_S):
            await done.wait()
        found = await desk.run(read_statistics, args)
        if found.took_ms is None:
            raise TimedOut(
                f"campaign {args.key} is large and still being counted",
                hint="ask again in a minute",
            )
        return found.result
