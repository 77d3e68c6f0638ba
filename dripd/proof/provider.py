"""A provider in virtual time: it misbehaves as its dice say, and writes down what it took.

Its log is the witness of the simulation: what dripd records is held against it. What it does
with a request goes on although the daemon that made it gives up, freezes or dies.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from dripd.campaigns.enrollment import FLAG_AMBIGUOUS
from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import EMAIL, NO_REPEATS, SMS, Message, Repeats, Settle
from dripd.clock import DAY, Instant, Millis
from dripd.policy.perform import Rendered
from dripd.proof.machine import Machine

FATES: Final = (
    "lost_answer", "cut", "slow_accept", "late_accept", "temporary", "throttle",
    "permanent", "breaks",
)  # fmt: skip
"""What may befall a request: taken and answered by silence; cut off before it was taken;
taken, the answer too late; taken after the deadline; refused for
now, for a minute, for good; the adapter fails in the middle of its batch."""

TAKES: Final = frozenset({"", "lost_answer", "slow_accept", "late_accept"})
"""Fates with which the message is taken."""

DEFINITE: Final = frozenset({"temporary", "throttle", "permanent"})
"""Fates by which the provider says that it did not take the message."""

TOO_LATE_S: Final = 100.0
"""Beyond every deadline."""


@dataclass(slots=True, kw_only=True)
class Request:
    """One request, in the order in which they came; `accepted`: the message was taken."""

    provider: str
    at: Instant
    key: str
    account_id: int
    enrollment_id: int | None
    step_key: str
    recipient: str
    body: str
    fate: str
    accepted: bool
    by_zombie: bool
    """Its daemon slept between the last look at the clock and the request."""
    was_heard: bool = False
    """Its daemon lived to hear that it was accepted."""


class Provider:
    """The outside server: several daemons' requests come to the same."""

    def __init__(
        self,
        name: str,
        nursery: trio.Nursery,
        now: Callable[[], Instant],
        dice: random.Random,
        log: list[Request],
    ) -> None:
        """*log*: what came to it and to others, in its order."""
        self.name = name
        self.keyed = False
        self.faulty = 0.0
        """The share of requests that something befalls."""
        self.batch = 32
        self.latency_s = 0.0
        """How long it has a request before it answers."""
        self.log = log
        self._nursery = nursery
        self.now = now
        self._dice = dice
        self._keys: dict[str, Instant] = {}

    def draw(self) -> str:
        if self.faulty and self._dice.random() < self.faulty:
            return self._dice.choice(FATES)
        return ""

    def take(self, message: Message, fate: str, *, by_zombie: bool) -> Outcome:
        """The request as it is now, and what a caller who waits hears."""
        known = self.keyed and message.idempotency_key in self._keys
        accepted = fate in TAKES and not known
        if accepted:
            self._keys[message.idempotency_key] = self.now()
        self.log.append(
            Request(
                provider=self.name,
                at=self.now(),
                key=message.idempotency_key,
                account_id=message.account_id,
                enrollment_id=message.enrollment_id,
                step_key=message.step_key,
                recipient=message.to,
                body=f"{message.subject}\n{message.text}",
                fate=fate,
                accepted=accepted,
                by_zombie=by_zombie,
            )
        )
        if known:  # it answers for the first request
            return Accepted(provider_id=f"p-{message.idempotency_key}")
        return _answer(message, fate)

    def take_later(self, message: Message, after_s: float, *, by_zombie: bool) -> None:
        """The request is under way although nobody waits for it any more."""

        async def arrive() -> None:
            await trio.sleep(after_s)  # noqa: TID251 - virtual time on the way
            self.take(message, "late_accept", by_zombie=by_zombie)

        self._nursery.start_soon(arrive)


class SimulatedChannel:
    """The provider as one machine reaches it."""

    kinds: Final = frozenset({EMAIL, SMS})
    concurrency: Final = 2

    def __init__(self, provider: Provider, machine: Machine) -> None:
        self.name: Final = provider.name
        self._provider = provider
        self._machine = machine

    @property
    def batch(self) -> int:
        return self._provider.batch

    @property
    def repeats(self) -> Repeats:
        return Repeats(key_ms=Millis(DAY)) if self._provider.keyed else NO_REPEATS

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        machine = self._machine
        frozen, slept = not machine.thawed.is_set(), machine.n_frozen
        await trio.lowlevel.checkpoint()
        for message in messages:
            await machine.touch()
            by_zombie = frozen or slept != machine.n_frozen or self._is_behind(message)
            await self._send(message, settle, by_zombie=by_zombie)

    def _is_behind(self, message: Message) -> bool:
        """Was it judged by a clock that stood still while its machine was frozen?

        The manual clock is the last instant that a daemon has read; who wakes has not read yet.
        """
        rendered = message.ref
        if not self._machine.n_frozen or not isinstance(rendered, Rendered):
            return False
        return not rendered.leased.flags & FLAG_AMBIGUOUS and rendered.at < self._provider.now()

    async def _send(self, message: Message, settle: Settle, *, by_zombie: bool) -> None:
        provider = self._provider
        fate = provider.draw()
        if fate == "late_accept":
            provider.take_later(message, TOO_LATE_S / 2, by_zombie=by_zombie)
            await trio.sleep(TOO_LATE_S)  # noqa: TID251 - the caller's deadline ends it
        at = len(provider.log)
        outcome = provider.take(message, fate, by_zombie=by_zombie)
        if fate == "breaks":
            raise ConnectionResetError("the provider broke the connection: it is played so")
        if provider.latency_s:
            await trio.sleep(provider.latency_s)  # noqa: TID251 - virtual time until the answer
        elif fate == "slow_accept":
            await trio.sleep(TOO_LATE_S)  # noqa: TID251 - the caller's deadline ends it
        await self._machine.touch()
        provider.log[at].was_heard = isinstance(outcome, Accepted)
        settle(message, outcome)

    async def aclose(self) -> None:
        """Nothing is open."""


def _answer(message: Message, fate: str) -> Outcome:
    match fate:
        case "lost_answer" | "cut" | "breaks":
            return Unknown(reason="connection_lost")
        case "temporary":
            return Retryable(reason="temporary")
        case "throttle":
            return Throttled(after_ms=Millis(60_000))
        case "permanent":
            return Rejected(reason="permanent")
        case _:
            return Accepted(provider_id=f"p-{message.idempotency_key}")
