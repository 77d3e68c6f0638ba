"""Is the database there? What its answers tell, and who asks again while it is away.

A unit that fails because its connection does closes the door: from then on nobody connects but
one prober, with growing pauses drawn by lot, so that neither the stages of a daemon nor many
daemons storm a server that comes back. Who waits at the door is let in when the prober has met
a server that takes writes, or turned away after `WAIT_S`. What fails on a server that answers
(a full disk, a lock) closes nothing: it is noted until the same unit has gone well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import trio

from dripd.clock import Instant, SystemClock, format_instant
from dripd.errors import StoreBusy, StoreError, StoreUnavailable
from dripd.log import get

WAIT_S: Final = 5.0
"""So long a unit of work waits for a database that is away."""

PAUSE_LEAST_S, PAUSE_MOST_S = 0.05, 2.0
"""Pauses of the prober: each up to three times the one before."""

CALM_S: Final = 10.0
"""A database that goes away again sooner than this is asked with the pauses grown so far."""

TROUBLE_S: Final = 3.0
"""A unit that has failed for so long is trouble: shorter, it met somebody's lock."""

log = get("store")


class Condition:
    """How the database is, as far as this daemon's own calls tell."""

    def __init__(self, probe: Callable[[], Awaitable[None]] | None = None) -> None:
        self.probe = probe
        self.pools: list[Any] = []
        """What connects anew once it is back."""
        self.reason = ""
        """Why it is away; "" while it answers."""
        self.since = Instant(0)
        self.is_left = False
        """The daemon ends: nobody waits any more."""
        self.troubles: dict[str, tuple[Instant, str]] = {}
        """Units that fail although it answers: since when, and why."""
        self._lots = Random()  # a pause that others do not keep too
        self._pause = PAUSE_LEAST_S
        self._back_at = -CALM_S
        self._is_probing = False
        self._probed = trio.Event()

    def note(self, name: str, error: StoreError) -> None:
        """The unit *name* has failed."""
        if isinstance(error, StoreBusy):
            self.troubles.setdefault(name, (SystemClock().now(), error.message))
        elif isinstance(error, StoreUnavailable) and not self.reason:
            self.reason, self.since = error.message, SystemClock().now()
            if trio.current_time() - self._back_at > CALM_S:
                self._pause = PAUSE_LEAST_S
            log.error("store.lost", reason=error.code, error=error.message)

    def went_well(self, name: str) -> None:
        """The unit *name* has been done."""
        self.troubles.pop(name, None)

    def refuse(self) -> None:
        """Raise `StoreUnavailable` at once while it is away: for those who would rather know."""
        if self.reason:
            raise StoreUnavailable(self.words())

    async def until_back(self) -> None:
        """Wait while it is away. Raises `StoreUnavailable` after `WAIT_S`."""
        with trio.move_on_after(WAIT_S):
            while self.reason and not self.is_left:
                if self._is_probing or self.probe is None:
                    await self._probed.wait()
                else:
                    await self._ask(self.probe)
        self.refuse()

    async def _ask(self, probe: Callable[[], Awaitable[None]]) -> None:
        self._is_probing = True
        try:
            await trio.sleep(self._pause)  # noqa: TID251 - the database is away
            longest = min(3 * self._pause, PAUSE_MOST_S)
            self._pause = self._lots.uniform(PAUSE_LEAST_S, longest)
            await probe()
        except StoreError as error:
            self.reason = error.message
        else:
            self._regain()
        finally:
            self._is_probing = False
            self._probed.set()
            self._probed = trio.Event()

    def _regain(self) -> None:
        away_ms = SystemClock().now() - self.since
        self.reason, self._back_at = "", trio.current_time()
        log.info("store.regained", away_ms=away_ms)

    @property
    def away_ms(self) -> int:
        """For how long it has been away; 0 while it answers."""
        return max(1, SystemClock().now() - self.since) if self.reason else 0

    def report(self) -> dict[str, object]:
        """`ok`, `error` in words, and `since` when it is so."""
        error = self.words()
        since = self.since if self.reason else min(self.troubles.values(), default=(None,))[0]
        told = None if since is None or not error else format_instant(since)
        return {"ok": not error, "error": error or None, "since": told}

    def words(self) -> str:
        """What is wrong and since when, for people; "" where nothing is."""
        now = SystemClock().now()
        if self.reason:
            return _said(self.reason, self.since, now)
        for name, (since, why) in sorted(self.troubles.items(), key=lambda one: one[1]):
            if now - since > TROUBLE_S * 1000:
                return _said(f"{name} fails: {why}", since, now)
        return ""


def _said(what: str, since: Instant, now: Instant) -> str:
    return f"{what}, since {format_instant(since)} ({(now - since) // 1000} s)"
