"""What every channel promises, whatever is behind it: the suite that each adapter passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
import trio

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Unknown
from dripd.channels.base import Channel, Message

FATES: dict[str, type[Outcome]] = {
    "accepted": Accepted,
    "permanent": Rejected,
    "temporary": Retryable,
    "ambiguous": Unknown,
}


@dataclass(slots=True, kw_only=True)
class Bench:
    """A channel, its provider's record, and how to address a fate."""

    channel: Channel
    address: Callable[[str, int], str]
    received: Callable[[], Sequence[str]]
    """The recipients of all that the provider took, in order."""

    def message(self, fate: str, number: int, **changes: object) -> Message:
        values: dict[str, object] = {
            "ref": object(),
            "channel": "email",
            "account_id": 1,
            "enrollment_id": number,
            "step_key": "hello",
            "sender": "Ann <ann@acme.example>",
            "to": self.address(fate, number),
            "subject": "Hello",
            "text": "Hi\n",
            "idempotency_key": f"dripd:test:{number}:1:hello",
        }
        return Message(**{**values, **changes})  # type: ignore[arg-type]  # the fields of Message


class Outcomes:
    """A `settle` that refuses a second word about the same message."""

    def __init__(self) -> None:
        self.of: dict[int, Outcome] = {}
        self.messages: list[Message] = []

    def __call__(self, message: Message, outcome: Outcome) -> None:
        assert id(message) not in self.of, "settled twice"
        self.of[id(message)] = outcome
        self.messages.append(message)

    def __getitem__(self, message: Message) -> Outcome | None:
        return self.of.get(id(message))


async def cancel_at(
    k: int, channel: Channel, messages: Sequence[Message], settle: Outcomes
) -> bool:
    """Send, cancelled at the k-th turn of the loop; whether it came to its end before."""
    ended = False

    async def watch(scope: trio.CancelScope) -> None:
        for _ in range(k):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        await channel.send(messages, settle)
        ended = True
        nursery.cancel_scope.cancel()
    return ended


@pytest.mark.trio
class ChannelContract:
    """Subclassed once per adapter; `open` gives a fresh bench."""

    kind = "email"
    cancel_range = range(120)

    def open(self) -> AbstractAsyncContextManager[Bench]:
        raise NotImplementedError

    async def send(self, bench: Bench, messages: Sequence[Message]) -> Outcomes:
        settle = Outcomes()
        for at in range(0, len(messages), bench.channel.batch):
            await bench.channel.send(messages[at : at + bench.channel.batch], settle)
        return settle

    async def test_channel_says_what_it_carries(self) -> None:
        async with self.open() as bench:
            assert bench.channel.name == "it"
            assert self.kind in bench.channel.kinds
            assert bench.channel.batch >= 1
            assert bench.channel.concurrency >= 1
            assert bench.channel.repeats.key_ms >= 0

    @pytest.mark.parametrize("fate", list(FATES))
    async def test_each_answer_has_its_outcome(self, fate: str) -> None:
        async with self.open() as bench:
            message = bench.message(fate, 1)
            outcomes = await self.send(bench, [message])

            assert isinstance(outcomes[message], FATES[fate])

    async def test_accepted_message_has_a_provider_id_and_arrived_once(self) -> None:
        async with self.open() as bench:
            message = bench.message("accepted", 1)
            outcomes = await self.send(bench, [message])

            outcome = outcomes[message]
            assert isinstance(outcome, Accepted)
            assert outcome.provider_id
            assert [message.to] == list(bench.received())

    async def test_messages_of_one_call_have_their_own_outcomes(self) -> None:
        fates = [
            "accepted",
            "permanent",
            "accepted",
            "temporary",
            "accepted",
            "ambiguous",
            "accepted",
        ]
        async with self.open() as bench:
            messages = [bench.message(fate, i) for i, fate in enumerate(fates)]
            outcomes = await self.send(bench, messages)

            assert [FATES[fate] for fate in fates] == [type(outcomes[m]) for m in messages]
            taken = [m.to for m, f in zip(messages, fates, strict=True) if f == "accepted"]
            assert sorted(taken) == sorted(to for to in bench.received() if to in taken)

    async def test_messages_are_handed_back_untouched(self) -> None:
        async with self.open() as bench:
            message = bench.message("accepted", 1)
            ref = message.ref
            outcomes = await self.send(bench, [message])

            assert [True] == [m is message for m in outcomes.messages]
            assert message.ref is ref

    async def test_calls_may_overlap_up_to_the_concurrency(self) -> None:
        async with self.open() as bench:
            settle = Outcomes()
            messages = [
                bench.message("accepted", i) for i in range(4 * bench.channel.concurrency)
            ]
            async with trio.open_nursery() as nursery:
                for i in range(bench.channel.concurrency):
                    part = messages[i :: bench.channel.concurrency][: bench.channel.batch]
                    nursery.start_soon(bench.channel.send, part, settle)

            assert all(isinstance(outcome, Accepted) for outcome in settle.of.values())
            assert len(settle.of) == len(bench.received())

    async def test_cancelled_anywhere_it_claims_nothing_false(self) -> None:
        """Whatever is settled as unsent, or not begun, did not arrive; nothing arrives twice."""
        for k in self.cancel_range:
            async with self.open() as bench:
                settle = Outcomes()
                messages = [bench.message("accepted", i) for i in range(bench.channel.batch)]
                ended = await cancel_at(k, bench.channel, messages, settle)
                again = bench.message("accepted", 9_999)
                assert isinstance((await self.send(bench, [again]))[again], Accepted)

                received = list(bench.received())
                assert len(set(received)) == len(received)
                for message in messages:
                    outcome = settle[message]
                    assert outcome is None or isinstance(
                        outcome, Accepted | Retryable | Unknown
                    )
                    assert not (isinstance(outcome, Retryable) and message.to in received)
                    assert not (isinstance(outcome, Accepted) and message.to not in received)
                if ended:
                    return
        pytest.fail("the range is too short to come to the end")

    async def test_closed_channel_has_no_connections(self) -> None:
        async with self.open() as bench:
            await self.send(bench, [bench.message("accepted", 1)])
            await bench.channel.aclose()


class MailContract(ChannelContract):
    """For adapters that write mail: the sink keeps whatever it is given."""

    async def test_message_that_no_mail_can_carry_harms_nobody_else(self) -> None:
        async with self.open() as bench:
            messages = [
                bench.message("accepted", 1),
                bench.message("accepted", 2, subject="x\r\nBcc: all@x.example"),
                bench.message("accepted", 3),
            ]
            outcomes = await self.send(bench, messages)

            kinds = [type(outcomes[message]) for message in messages]
            assert kinds[0] is kinds[2] is Accepted
            assert sorted([messages[0].to, messages[2].to]) == sorted(
                to for to in bench.received() if to != messages[1].to
            )
