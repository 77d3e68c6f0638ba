"""What can befall a step: the closed union that `advance` reduces.

Channels answer with an `Outcome`; the gate and the stages make the rest. All are values:
nothing that a campaign expects is an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dripd.clock import Instant, Millis


@dataclass(slots=True, kw_only=True)
class Accepted:
    """The provider took the message; `provider_id` is empty where it gave none."""

    provider_id: str = ""


@dataclass(slots=True, kw_only=True)
class Retryable:
    """Provably not sent, and worth another try; `after_ms` is the provider's own wish, if any."""

    reason: str
    after_ms: Millis | None = None


@dataclass(slots=True, kw_only=True)
class Throttled:
    """Provably not sent because we are too fast: no attempt is counted."""

    after_ms: Millis
    reason: str = "throttled"


@dataclass(slots=True, kw_only=True)
class Rejected:
    """Provably not sent, and never will be: the provider refuses it for good."""

    reason: str


@dataclass(slots=True, kw_only=True)
class Unknown:
    """Bytes left and no full answer came back: never sent again on a guess."""

    reason: str


Outcome: TypeAlias = Accepted | Retryable | Throttled | Rejected | Unknown
"""What one attempt at a delivery came to, as a channel answers it."""


@dataclass(slots=True, kw_only=True)
class Done:
    """An internal step was performed; `reason` is `noop` where nothing had to be changed."""

    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Skipped:
    """The step is passed over, the run goes on."""

    reason: str


@dataclass(slots=True, kw_only=True)
class Deferred:
    """Not now: lease and cap go back; the lane is parked until `until` for `reason`.

    `alone`: it is not the lane that is shut; this one step is held until `until`.
    """

    reason: str
    until: Instant | None
    alone: bool = False


@dataclass(slots=True, kw_only=True)
class Held:
    """This one enrollment waits for somebody to put something right.

    `failed`: the step was tried and failed, for this reason; it is tried again when released.
    """

    reason: str
    failed: str = ""


@dataclass(slots=True, kw_only=True)
class Stopped:
    """The run ends here: `status` is `completed`, `removed` or `terminated`."""

    status: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Uncertain:
    """It may have left, and the run waits: until `due_at` for evidence or another attempt
    under the same key, None: until somebody says what became of it."""

    reason: str
    due_at: Instant | None


@dataclass(slots=True, kw_only=True)
class Presumed:
    """Nobody waits for evidence any more: it counts as sent, and the run goes on."""


@dataclass(slots=True, kw_only=True)
class Settled:
    """What was in doubt is on record. `reason`: why it had not left, or "" where it had."""

    reason: str = ""


StepEvent: TypeAlias = (
    Outcome | Done | Skipped | Deferred | Held | Stopped | Uncertain | Presumed | Settled
)
