"""Messages that may have left, by what is configured for their provider, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from trio.testing import MockClock

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import NO_REPEATS, Message, ProviderSettings, Repeats, Settle
from dripd.clock import DAY, HOUR, MINUTE, Millis
from dripd.engine.doubt import policy_of
from dripd.errors import ConfigError
from dripd.proof.virtual import GatedSink, Virtual, virtual

EMAIL = {"do": "email", "subject": "Hi {First Name|there}", "text": "Hello"}
ONE = {"key": "one", **EMAIL}
TWO = {"key": "two", "delay": "2h", **EMAIL}

KEYED = Repeats(key_ms=DAY)

pytestmark = pytest.mark.trio


class Scripted(GatedSink):
    """Answers attempts at step `one` in this order, and accepts all else."""

    def __init__(self, world: Virtual, repeats: Repeats, *answers: Outcome) -> None:
        super().__init__(world.store)
        self.repeats = repeats  # type: ignore[misc]  # a provider of another kind
        self.answers = list(answers)
        self.heard: list[tuple[object, ...]] = []

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        for message in messages:
            one = message
            self.heard.append(
                (one.step_key, one.idempotency_key, one.to, one.subject, one.text, one.sender)
            )
            is_first = message.step_key == "one" and self.answers
            settle(message, self.answers.pop(0) if is_first else Accepted(provider_id="p"))

    def attempts(self) -> list[tuple[object, ...]]:
        return [one for one in self.heard if one[0] == "one"]


async def begin(world: Virtual, repeats: Repeats, *answers: Outcome, **policy: Any) -> Scripted:
    """A daemon whose provider answers so, and a run of two mails."""
    sink = Scripted(world, repeats, *answers)
    world.sink = sink
    engine = await world.start()
    if policy:
        settings = ProviderSettings(name="sink", kind="x", **policy)
        engine.pipe.doubts["sink"] = policy_of(sink, settings)
    world.campaign(ONE, TWO)
    world.enroll("ann")
    return sink


def delivery(world: Virtual) -> tuple[object, object, object]:
    (row,) = [row for row in world.store.deliveries() if row["step_key"] == "one"]
    return row["state"], row["reason"], row["attempt"]


def run(world: Virtual) -> tuple[object, object]:
    (row,) = world.store.enrollments()
    return row["status"], row["hold_reason"]


async def test_without_keys_it_is_presumed_sent_and_never_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with virtual(daemons=0) as world:
        sink = await begin(world, NO_REPEATS, Unknown(reason="timeout"))
        await world.advance_to("2026-01-05T09:59:59Z")
        assert ("unknown", "timeout", 1) == delivery(world)
        assert ("held", "unknown") == run(world)

        await world.advance_to("2026-01-05T10:00:00Z")
        assert ("unknown", "presumed_sent", 1) == delivery(world)
        assert ("waiting", None) == run(world)
        await world.advance_to("2026-01-05T11:00:00Z")  # two hours after the attempt
        assert {"completed": 1} == world.ends()
        assert 1 == len(sink.attempts())


async def test_a_key_is_used_again_with_the_same_bytes(autojump_clock: MockClock) -> None:
    answers = (
        Unknown(reason="lost"),
        Retryable(reason="http_503"),
        Throttled(after_ms=Millis(MINUTE)),
    )
    async with virtual(daemons=0) as world:
        sink = await begin(world, KEYED, *answers)
        await world.advance_to("2026-01-05T09:00:05Z")
        assert ("unknown", "lost", 1) == delivery(world)
        contact = next(iter(world.store.enrollments()))["contact_id"]
        world.store.set_attrs(world.acme, contact, first_name="Someone else")

        await world.advance_to("2026-01-05T12:00:00Z")
        assert ("accepted", None) == delivery(world)[:2]
        assert 4 == len(sink.attempts())
        assert 1 == len(set(sink.attempts()))


async def test_what_is_sent_again_takes_of_the_provider_s_rate(
    autojump_clock: MockClock,
) -> None:
    """A hundred messages in doubt came up at once: they were sent again at once."""
    async with virtual(daemons=0) as world:
        sink = await begin(world, KEYED, *[Unknown(reason="odd")] * 100)
        at: list[int] = []
        world.engines[0].pipe.flow.add_provider("sink", rate="2/s burst 10")
        world.enroll(*(f"p{n}" for n in range(99)))

        async def heard(messages: Sequence[Message], settle: Settle) -> None:
            at.extend([world.clock.now()] * len(messages))
            await Scripted.send(sink, messages, settle)

        sink.send = heard  # type: ignore[method-assign]  # with its instants
        await world.advance_to("2026-01-05T09:10:00Z")

        assert {"accepted"} == {row["state"] for row in world.store.deliveries()}
        assert 200 == len(at)
        for i, first in enumerate(at):
            for n, last in enumerate(at[i:], start=1):
                assert n <= 10 + 2 * (last - first) / 1_000


async def test_a_key_is_not_used_beyond_its_life(autojump_clock: MockClock) -> None:
    async with virtual(daemons=0) as world:
        sink = await begin(world, Repeats(key_ms=HOUR), *[Unknown(reason="lost")] * 50)
        await world.advance_to("2026-01-05T09:48:00Z")
        assert ("unknown", "presumed_sent") == delivery(world)[:2]
        n = len(sink.attempts())
        assert 3 < n < 10

        await world.advance_to("2026-01-08T09:00:00Z")
        assert n == len(sink.attempts())
        assert ("unknown", "presumed_sent") == delivery(world)[:2]
        assert {"completed": 1} == world.ends()


async def test_a_refusal_of_a_repeat_does_not_make_it_failed(autojump_clock: MockClock) -> None:
    answers = (Unknown(reason="lost"), Rejected(reason="http_422"))
    async with virtual(daemons=0) as world:
        sink = await begin(world, KEYED, *answers)
        await world.advance_to("2026-01-06T04:11:59Z")
        assert "unknown" == delivery(world)[0]
        assert 2 == len(sink.attempts())

        await world.advance_to("2026-01-06T04:12:00Z")  # 0.8 of a day
        assert ("unknown", "presumed_sent") == delivery(world)[:2]


async def test_who_wants_to_be_asked_is_waited_for(autojump_clock: MockClock) -> None:
    async with virtual(daemons=0) as world:
        sink = await begin(world, KEYED, Unknown(reason="lost"), unknown="ask")
        await world.advance_to("2026-03-01T09:00:00Z")
        assert ("unknown", "lost", 1) == delivery(world)
        assert ("held", "unknown") == run(world)

        (row,) = world.store.enrollments()
        await world.store.testify([(int(str(row["id"])), 1, None)])
        await world.pass_by(120)
        await world.advance_to("2026-03-01T09:00:01Z")
        assert "accepted" == delivery(world)[0]
        assert {"completed": 1} == world.ends()
        assert 1 == len(sink.attempts())


async def test_a_repeat_keeps_to_the_window_and_to_suppression(
    autojump_clock: MockClock,
) -> None:
    window = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "09:01"}
    async with virtual(daemons=0) as world:
        sink = Scripted(world, KEYED, *[Unknown(reason="lost")] * 9)
        world.sink = sink
        await world.start()
        world.campaign(ONE, window=window)
        world.enroll("ann")
        await world.advance_to("2026-01-05T23:00:00Z")
        n = len(sink.attempts())
        assert n < 5
        world.store.suppress(world.acme, "email", "ann@x.test")
        await world.advance_to("2026-01-09T09:00:00Z")

        assert n == len(sink.attempts())
        assert ("unknown", "presumed_sent") == delivery(world)[:2]


async def test_every_attempt_after_a_failure_sends_the_same(autojump_clock: MockClock) -> None:
    failed = Retryable(reason="http_503")
    async with virtual(daemons=0) as world:
        sink = await begin(world, NO_REPEATS, failed, failed)
        await world.advance_to("2026-01-05T09:00:01Z")
        contact = next(iter(world.store.enrollments()))["contact_id"]
        world.store.set_attrs(world.acme, contact, first_name="Someone else")
        await world.advance_to("2026-01-05T12:00:00Z")

        assert ("accepted", None, 3) == delivery(world)
        assert 1 == len(set(sink.attempts()))


async def test_a_retry_needs_a_key() -> None:
    class Keyless:
        name, repeats = "x", NO_REPEATS

    with pytest.raises(ConfigError, match="no idempotency key"):
        policy_of(Keyless(), ProviderSettings(name="x", kind="x", unknown="retry"))  # type: ignore[arg-type]  # what it reads
