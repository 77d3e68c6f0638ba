"""What every further attempt at a message sends, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from trio.testing import MockClock

from dripd.channels.base import Message, Settle
from dripd.proof.virtual import Virtual, virtual
from tests.engine.rig import HELLO


def attempts(world: Virtual) -> list[tuple[str, str, str]]:
    """(recipient, subject, text) of every request that comes to the sink from now on."""
    came: list[tuple[str, str, str]] = []
    answer = world.sink.send

    async def send(messages: Sequence[Message], settle: Settle) -> None:
        came.extend((one.to, one.subject, one.text) for one in messages)
        await answer(messages, settle)

    world.sink.send = send  # type: ignore[method-assign]
    return came


@pytest.mark.trio
async def test_an_address_that_is_suppressed_between_two_attempts_gets_no_second(
    autojump_clock: MockClock,
) -> None:
    """A further attempt goes where the first went; only the contact's own address was asked for,
    and that was another by then."""
    async with virtual() as world:
        world.campaign(HELLO)
        came = attempts(world)
        world.store.sink_rule("old@%", "temporary", times=1)
        contact = world.contact("ann", email="old@x.test")
        world.store.enroll(world.acme, "welcome", "ann")
        await world.advance_to("2026-01-05T09:00:10Z")
        world.store.set_contact(world.acme, contact, email="new@x.test")
        world.store.suppress(world.acme, "email", "old@x.test")
        await world.advance_to("2026-01-05T12:00:00Z")

        assert [("old@x.test", "Hi", "Hello")] == came
        assert {"suppressed": 1} == world.ends()


@pytest.mark.trio
async def test_what_people_of_the_house_are_told_again_is_the_same(
    autojump_clock: MockClock,
) -> None:
    """It was rendered anew, and sent under the key of the attempt before."""
    notice: dict[str, Any] = {
        "key": "tell", "do": "notify_email", "to": "boss@house.test",
        "subject": "{First Name} is here", "text": "Call {First Name}",
    }  # fmt: skip
    async with virtual() as world:
        world.campaign(notice)
        came = attempts(world)
        world.store.sink_rule("boss@%", "temporary", times=1)
        contact = world.contact("ann", attrs={"first_name": "Ann"})
        world.store.enroll(world.acme, "welcome", "ann")
        await world.advance_to("2026-01-05T09:00:10Z")
        world.store.set_attrs(world.acme, contact, first_name="Bea")
        await world.advance_to("2026-01-05T12:00:00Z")

        assert [("boss@house.test", "Ann is here", "Call Ann")] * 2 == came
        assert {"completed": 1} == world.ends()
