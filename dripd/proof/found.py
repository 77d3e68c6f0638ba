"""What was done from outside, and what was found to be wrong afterwards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

PROMISES: Final = (
    "lost",
    "duplicates",
    "cap_excess",
    "window",
    "after_stop",
    "order",
    "stuck",
    "ledger",
    "phantom",
    "live",
    "transition",
    "early",
    "input",
    "frozen",
    "events",
    "unfair",
)

Barred = Sequence[tuple[int, int]]
"""(contact, instant in ms at which a commit that bars it was acknowledged)."""


@dataclass(slots=True, kw_only=True)
class Injected:
    """What the injector did and was told. `requests`: enrollments that were asked for, each
    counted once however often it was told."""

    requests: int
    stops: Barred = ()
    suppressed: Barred = ()
    told: Sequence[str] = ()
    """Keys of events that a provider told of, and that were answered 2xx."""
    sightings: Sequence[str] = ()
    """What was wrong at some instant while it went on."""


@dataclass(slots=True)
class Found:
    """How often each promise was broken, with a few examples; the rest is no breach."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unknown: int = 0
    unknown_accepted: int = 0
    deliveries: int = 0
    late_ms: tuple[int, int, int] = (0, 0, 0)
    """p50, p99 and the most by which follow-ups came after their due."""
    least_share: float | None = None
    """Of what an account should have got of a minute, the least that one got; None: in no minute
    had all of them enough to send."""

    def breach(self, promise: str, what: str, n: int = 1) -> None:
        self.counts[promise] += n
        if len(self.examples[promise]) < 5:
            self.examples[promise].append(what)
