"""What do signals mean to a running daemon?

SIGTERM and SIGINT end it in order; a second one cuts short what is in flight. SIGHUP reads the
configuration again, SIGUSR1 logs everything for a minute, SIGUSR2 writes the tasks to the log,
SIGQUIT the stacks of all threads to stderr.
"""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import trio

from dripd import log

DEBUG_S: Final = 60.0

WANTED: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Ending:
    """`asked`: it is to end in order. `hurried`: at once; what is in flight is unknown."""

    asked: trio.Event = field(default_factory=trio.Event)
    hurried: trio.Event = field(default_factory=trio.Event)

    def more(self) -> None:
        """Somebody asks that it end: once in order, twice at once."""
        (self.hurried if self.asked.is_set() else self.asked).set()


async def listen(
    ending: Ending,
    *,
    reload: Callable[[], None],
    trace: Callable[[], Mapping[str, object]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Obey, until cancelled."""
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    logger = log.get("signals")
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(*WANTED) as signals:
            task_status.started()
            async for number in signals:
                if number in (signal.SIGTERM, signal.SIGINT):
                    ending.more()
                elif number == signal.SIGHUP:
                    reload()
                elif number == signal.SIGUSR1:
                    nursery.start_soon(debug)
                else:
                    logger.info("daemon.traced", **trace())


async def debug() -> None:
    """Log everything for a minute, then from the level on that was in force."""
    before = log.level()
    log.set_level("debug")
    try:
        await trio.sleep(DEBUG_S)  # noqa: TID251 - in real time
    finally:
        log.set_level(before)
