"""Was this asked before? What mutating calls were answered, by who asked and request_id.

A client whose connection broke cannot know whether its call took effect; it asks again with
the same `request_id` and gets the same answer, once the first is finished. Kept in this
daemon's memory, hence only as long as it lives.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import orjson
import trio

from dripd.errors import Conflict, DripdError

KEEP_S: Final = 24 * 3600
MOST_REPLIES: Final = 10_000
MOST_BYTES: Final = 16 * 1024 * 1024
"""Answers beyond either bound push out the oldest."""

Answer: TypeAlias = orjson.Fragment | DripdError
Key: TypeAlias = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A call in progress: what was asked, and when it is over."""

    asked: bytes
    done: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A call that was answered `at` an instant of the monotonic clock."""

    asked: bytes
    answer: Answer
    size: int
    at: float


class Replies:
    """The answers of the last 24 hours, within bounds, and the calls in progress."""

    def __init__(self) -> None:
        self._running: dict[Key, Running] = {}
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0

    async def find(self, key: Key, asked: bytes) -> Answer | None:
        """The answer given to *key* before, waiting for one in progress; None if there is none.

        None also means that the caller now performs the call: it must `keep` or `forget`.
        Raises `Conflict` if *key* was used to ask something else.
        """
        while (running := self._running.get(key)) is not None:
            self._compare(key, running.asked, asked)
            await running.done.wait()
        if (kept := self._kept.get(key)) is not None:
            self._compare(key, kept.asked, asked)
            return kept.answer
        self._running[key] = Running(asked=asked)
        return None

    def keep(self, key: Key, answer: Answer, size: int) -> None:
        """Answer whoever waits for *key*, and later ones, with *answer* of *size* bytes."""
        running = self._running.pop(key)
        self._kept[key] = Kept(
            asked=running.asked, answer=answer, size=size, at=trio.current_time()
        )
        self._bytes += size
        running.done.set()
        self._trim()

    def forget(self, key: Key) -> None:
        """The call came to nothing that may be repeated: the next one performs it afresh."""
        self._running.pop(key).done.set()

    def _compare(self, key: Key, before: bytes, now: bytes) -> None:
        if before != now:
            raise Conflict(
                f"request_id {key[1]!r} was used for another call",
                code="request_id_reused",
                hint="make a new request_id for each call",
            )

    def _trim(self) -> None:
        horizon = trio.current_time() - KEEP_S
        while self._kept:
            oldest = next(iter(self._kept.values()))
            over = len(self._kept) > MOST_REPLIES or self._bytes > MOST_BYTES
            if not over and oldest.at >= horizon:
                return
            self._bytes -= oldest.size
            self._kept.popitem(last=False)
