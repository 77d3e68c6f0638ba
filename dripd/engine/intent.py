"""Did it leave? What is said before a message leaves and after its answer, beside the database.

A dead daemon's steps are judged by what its journal says of them: no intent, then provably
nothing left; an answer, then that is what is recorded; an intent without one, then nobody
knows. Whoever reads a journal seals it first, so that a daemon that only seemed dead sends
nothing more. The engine knows the protocol; files are the daemon's (`daemon.journal`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import Deferred, Outcome, StepEvent, Unknown


class Leave(StrEnum):
    """May what was written down leave now?"""

    YES = "yes"
    FENCED = "fenced"  # others have taken over what we lease: nothing may leave any more
    UNWRITABLE = "unwritable"  # the journal takes nothing: nothing may leave for now
    UNHEARD = "unheard"  # the database has long not heard of us: others may have taken over


class Testimony:
    """What the journal of one incarnation says of its steps; the last word on each counts.

    `whole`: every intent that was ever written is in it, so that silence proves that a step
    did not leave. A journal from before the machine's last start may have lost its end.
    """

    __test__ = False  # its name looks like a test's

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self.words: dict[tuple[int, int], Outcome | None] = {}
        self.tried: tuple[int, int] | None = None
        """The suspect step (enrollment, seq) in whose midst the daemon died, if any."""
        self.marks: dict[tuple[int, int], str] = {}
        self.tries: dict[tuple[int, int], int | None] = {}
        """Of what was answered, how many attempts had been recorded before; None: it is not said."""

    def intend(self, enrollment_id: int, seq: int, mark: str = "") -> None:
        self.words[enrollment_id, seq] = self.tries[enrollment_id, seq] = None
        if mark:
            self.marks[enrollment_id, seq] = mark

    def answer(
        self, enrollment_id: int, seq: int, outcome: Outcome, tries: int | None = None
    ) -> None:
        self.words[enrollment_id, seq] = outcome
        self.tries[enrollment_id, seq] = tries

    def knows(self, key: tuple[int, int], attempt: int) -> bool:
        """Does it say of the step *key* what became of it since *attempt* tries were recorded?

        An answer that has been recorded says nothing of the lease after it.
        """
        tries = self.tries.get(key)
        return key in self.words and (tries is None or tries >= attempt)


def alone(number: int) -> tuple[int, int]:
    """The key of an individual message among those of deliveries."""
    return (-number, 0)


Past = Mapping[int, Testimony]
"""Incarnation to its testimony; one whose journal is not to be had here is missing."""


def judge(past: Past, holders: Sequence[int], leased: Leased) -> StepEvent:
    """What became of *leased*, which *holders* held one after the other and none of them lives.

    An answer is itself, silence of whole journals `Deferred`, all else `Unknown`.
    """
    return judge_key(past, holders, (leased.enrollment_id, leased.seq), leased.attempt)


def judge_key(
    past: Past, holders: Sequence[int], key: tuple[int, int], attempt: int = 0
) -> Outcome | Deferred:
    """As `judge`, of what the journals know under *key*, of which *attempt* tries are recorded."""
    found = [past.get(holder) for holder in holders]
    for testimony in found:
        if testimony is not None and testimony.knows(key, attempt):
            return testimony.words[key] or Unknown(reason="daemon_died")
    if all(testimony is not None and testimony.whole for testimony in found):
        return Deferred(reason="daemon_died", until=None)
    return Unknown(reason="daemon_died")


def mark_of(past: Past, leased: Leased) -> str:
    """What the journals say of the message of *leased* that left, "" where they do not."""
    key = (leased.enrollment_id, leased.seq)
    found = (past[holder].marks.get(key, "") for holder in leased.holders if holder in past)
    return next(filter(None, found), "")


class Journal(Protocol):
    """The journal of this daemon, and those of its dead neighbours that can be read here."""

    def intend(self, steps: Sequence[Leased], marks: Sequence[str] = ()) -> Leave:
        """Write down that *steps* leave next, in one write. Only on `YES` may they.

        *marks*, where there are any: by what each could be known to be the same if it is sent
        again.
        """
        ...

    def answer(self, leased: Leased, outcome: Outcome) -> None:
        """A step that left has its answer; it is written within this turn of the event loop."""
        ...

    def depart(self, number: int) -> Leave:
        """Write down that the individual message *number* leaves next. Only on `YES` may it."""
        ...

    def arrive(self, number: int, outcome: Outcome, to: str) -> None:
        """It has its answer; *to*: the address, which is written nowhere."""
        ...

    def keep(self, number: int) -> None:
        """Its answer is in the database: nothing of it is needed any more."""
        ...

    def begin(self, leased: Leased) -> None:
        """A step over which a daemon has died is performed next."""
        ...

    def survive(self, leased: Leased) -> None:
        """It has been performed: whatever ends the daemon from now on, it was not this step."""
        ...

    def fault(self) -> str:
        """Why nothing can be written, or "". Tries again where it failed before."""
        ...

    def past(self, incarnations: Collection[int]) -> Past:
        """Seal and read the journals of *incarnations*, this daemon's own unsealed."""
        ...

    def abandoned(self) -> list[int]:
        """Incarnations that kept a journal here and whose process is gone."""
        ...

    def unattended(self) -> list[int]:
        """Incarnations of journals here that nobody writes: also copies, which prove no death."""
        ...

    def tidy(self, open_claims: Collection[int]) -> None:
        """Throw away what concerns none of *open_claims*, the claims that this daemon holds."""
        ...

    def forget(self, incarnations: Collection[int]) -> None:
        """Throw away the journals of *incarnations*: nothing of theirs is open."""
        ...


class NoJournal:
    """Nothing is written down: what a dead daemon leased is unknown where it may have left."""

    def intend(self, steps: Sequence[Leased], marks: Sequence[str] = ()) -> Leave:
        del steps, marks
        return Leave.YES

    def answer(self, leased: Leased, outcome: Outcome) -> None:
        """It is not kept."""

    def depart(self, number: int) -> Leave:
        del number
        return Leave.YES

    def arrive(self, number: int, outcome: Outcome, to: str) -> None:
        """It is not kept."""

    def keep(self, number: int) -> None:
        """It is not kept."""

    def begin(self, leased: Leased) -> None:
        """It is not kept."""

    def survive(self, leased: Leased) -> None:
        """It is not kept."""

    def fault(self) -> str:
        return ""

    def past(self, incarnations: Collection[int]) -> Past:
        del incarnations
        return {}

    def abandoned(self) -> list[int]:
        return []

    def unattended(self) -> list[int]:
        return []

    def tidy(self, open_claims: Collection[int]) -> None:
        """There is nothing to throw away."""

    def forget(self, incarnations: Collection[int]) -> None:
        """There is nothing to throw away."""
