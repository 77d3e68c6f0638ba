"""Whom is a message on its way to? What this daemon has let go and a lease may not show yet.

Only for accounts in which some version limits how often a contact is written to.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from dripd.campaigns.enrollment import Leased
from dripd.clock import Instant

KEPT_S: Final = 600.0
"""Longer than from a lease to the record of whatever was sent before it."""


class Written:
    """By contact, the messages let go of late: (enrollment, seq) to the instant."""

    def __init__(self) -> None:
        self._sent: dict[tuple[int, int], dict[tuple[int, int], Instant]] = {}
        self._order: deque[tuple[float, tuple[int, int], tuple[int, int]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._sent)

    def note(self, leased: Leased, now: Instant) -> None:
        """A message leaves now."""
        self._forget_old()
        whom, which = _keys(leased)
        self._sent.setdefault(whom, {})[which] = now
        self._order.append((trio.current_time(), whom, which))

    def drop(self, leased: Leased) -> None:
        """It did not leave after all."""
        whom, which = _keys(leased)
        self._drop(whom, which)

    def to(self, leased: Leased) -> list[Instant]:
        """When the contact of *leased* was written to: what its lease says, and what is here."""
        whom, own = _keys(leased)
        found = {(enrollment, seq): at for enrollment, seq, at in leased.sent}
        found.update(self._sent.get(whom, {}))
        found.pop(own, None)
        return list(found.values())

    def _forget_old(self) -> None:
        until = trio.current_time() - KEPT_S
        while self._order and self._order[0][0] <= until:
            _, whom, which = self._order.popleft()
            self._drop(whom, which)

    def _drop(self, whom: tuple[int, int], which: tuple[int, int]) -> None:
        sent = self._sent.get(whom)
        if sent is not None:
            sent.pop(which, None)
            if not sent:
                del self._sent[whom]


def _keys(leased: Leased) -> tuple[tuple[int, int], tuple[int, int]]:
    return (leased.account_id, leased.contact_id), (leased.enrollment_id, leased.seq)
