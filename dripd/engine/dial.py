"""Are connections there before a great many messages want them? Opened a moment ahead.

A window that opens, a day that begins: both release at one instant what has gathered since
the last, and the first messages would wait for handshakes. So the channels are told a moment
before, and at the start where something is due. What trickles opens what it needs by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio

from dripd.channels.base import Channel, Dials
from dripd.clock import Instant, Millis
from dripd.engine.pipeline import Pipeline
from dripd.log import get

AHEAD_MS = Millis(1_500)
"""Enough for name, TCP and TLS; less than any server lets an idle connection live."""

LOOK_S = 0.5
"""Real seconds between two looks."""

log = get("dial")


async def dial(pipe: Pipeline, channels: Iterable[Channel], *, at_once: bool) -> None:
    """Have connections opened ahead, for ever, and *at_once* as well."""
    able: list[Dials] = [channel for channel in channels if isinstance(channel, Dials)]
    if not able:
        return
    served: Instant | None = None
    while True:
        now = pipe.clock.now()
        opening = pipe.lanes.next_opening(now)
        is_near = opening is not None and opening != served and opening - now <= AHEAD_MS
        if is_near or at_once:
            served, at_once = opening if is_near else served, False
            await _tell(pipe, able)
        await trio.sleep(LOOK_S)  # noqa: TID251 - connections live by real time


def is_due(pipe: Pipeline) -> bool:
    """Does anything come up now, of what has not been loaded yet?"""
    first = pipe.lanes.next_load()
    return first is not None and first - pipe.clock.now() <= AHEAD_MS


async def _tell(pipe: Pipeline, able: Sequence[Dials]) -> None:
    """Tell all at once, and wait no longer than it helps; one whose breaker is open is spared."""
    with trio.move_on_after(AHEAD_MS / 1_000):
        await _tell_all(pipe, able)


async def _tell_all(pipe: Pipeline, able: Sequence[Dials]) -> None:
    async with trio.open_nursery() as nursery:
        for channel in able:
            if not pipe.flow.providers[channel.name].breaker.is_open:
                nursery.start_soon(_open, channel)


async def _open(channel: Dials) -> None:
    try:
        await channel.dial()
    except Exception:
        log.exception("channel.failed", provider=channel.name)
