"""How is the deployment, as SQL knows it, and how do its campaigns go? Read beside those who look.

Whoever asks gets the last glance at once; if it is due, it is read anew meanwhile. So on a table
of any size an overview costs its reader nothing, and is at most one reading old.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from dripd.daemon.control_room import Door
from dripd.errors import StoreError
from dripd.store.connect import Conn
from dripd.store.desk_console import read_glance
from dripd.store.desk_deed import Result
from dripd.store.desk_estimate import read_campaigns

GLANCE_S: Final = 2.0
"""Between two looks into SQL,"""

SHARE: Final = 20
"""and at least so many times as long as the last one took."""

AGAIN_S: Final = 5.0
"""After one that failed, however long that took."""

OLD_S: Final = 60.0
"""Beyond it a glance is history: nobody has looked, and who does now waits for a fresh one."""


CAMPAIGNS_S: Final = 10.0
"""Between two estimates of how the campaigns go."""

Unit = Callable[[Conn], Awaitable[Result]]


class Glance:
    """The last glance, and what went wrong when it was to be read."""

    def __init__(
        self, desk: Door, unit: Unit = read_glance, *, rest_s: float = GLANCE_S
    ) -> None:
        self._desk = desk
        self._unit = unit
        self._least_s = rest_s
        self._found: Result = {}
        self._error: StoreError | None = None
        self._read_at = -OLD_S
        self._rest = rest_s
        self._wanted = trio.Event()
        self._done = trio.Event()

    async def read(self) -> tuple[Result, StoreError | None]:
        """The last glance, and why there is no newer one if the database does not answer."""
        age = trio.current_time() - self._read_at
        if age >= self._rest:
            self._wanted.set()
            if age >= OLD_S:
                await self._done.wait()
        return self._found, self._error

    async def run(self) -> None:
        """Read what is wanted, for ever."""
        while True:
            await self._wanted.wait()
            began = trio.current_time()
            try:
                self._found, self._error = await self._desk.run(self._unit), None
                self._rest = max(self._least_s, SHARE * (trio.current_time() - began))
            except StoreError as error:
                self._error, self._rest = error, AGAIN_S
            self._read_at = trio.current_time()
            self._wanted = trio.Event()
            self._done.set()
            self._done = trio.Event()


class Glances:
    """What is looked at so: the deployment, and how its campaigns go."""

    def __init__(self, desk: Door) -> None:
        self.deployment = Glance(desk)
        self.campaigns = Glance(desk, read_campaigns, rest_s=CAMPAIGNS_S)

    async def run(self) -> None:
        """Read what is wanted, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.deployment.run)
            nursery.start_soon(self.campaigns.run)
