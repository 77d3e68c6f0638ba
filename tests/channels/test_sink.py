from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from dripd.campaigns.event import Accepted, Throttled
from dripd.channels.base import ProviderSettings, Resources, SinkRow
from dripd.channels.mime import message_id
from dripd.channels.registry import build
from dripd.channels.sink import SinkChannel
from dripd.clock import Millis, SystemClock
from dripd.errors import ConfigError
from tests.channels.contract import Bench, ChannelContract, Outcomes

WORDS = ("accepted", "permanent", "temporary", "ambiguous", "throttle")


class Ledger:
    """A `SinkWriter` in memory: it answers as the recipient's first letters say."""

    def __init__(self) -> None:
        self.rows: list[SinkRow] = []

    async def write(self, rows: Sequence[SinkRow]) -> list[str]:
        await trio.lowlevel.checkpoint()
        answers = [row.recipient.split("-")[0] for row in rows]
        taken = [
            row
            for row, word in zip(rows, answers, strict=True)
            if word in ("accepted", "ambiguous")
        ]
        self.rows += taken
        return answers


def settings(**options: object) -> ProviderSettings:
    return ProviderSettings(name="it", kind="sink", options=options)


class TestSinkContract(ChannelContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        ledger = Ledger()
        channel = build(settings(), Resources(clock=SystemClock(), sink_writer=ledger))
        yield Bench(
            channel=channel,
            address=lambda fate, i: f"{fate}-{i}@post.example",
            received=lambda: [row.recipient for row in ledger.rows],
        )


def bench_of(channel: SinkChannel) -> Bench:
    return Bench(channel=channel, address=lambda fate, i: f"{fate}-{i}@x", received=list)


@pytest.mark.trio
async def test_sink_that_throttles_asks_for_a_minute() -> None:
    channel = SinkChannel("it", Ledger())
    message = bench_of(channel).message("throttle", 1)
    settle = Outcomes()
    await channel.send([message], settle)

    assert Throttled(after_ms=Millis(60_000)) == settle[message]
    assert channel.count == 0


@pytest.mark.trio
async def test_sink_without_record_only_counts() -> None:
    channel = build(settings(record=False), Resources(clock=SystemClock()))
    assert isinstance(channel, SinkChannel)
    messages = [bench_of(channel).message("permanent", i) for i in range(7)]
    settle = Outcomes()
    await channel.send(messages, settle)

    assert channel.count == 7
    assert all(isinstance(settle[message], Accepted) for message in messages)


@pytest.mark.trio
@pytest.mark.parametrize(
    ("text", "html", "form", "body"),
    [
        ("t", "", "text/plain", "t"),
        ("", "<p>", "text/html", "<p>"),
        ("t", "<p>", "multipart/alternative", "<p>"),
    ],
)
async def test_sink_records_the_mail_as_it_would_be(
    text: str, html: str, form: str, body: str
) -> None:
    ledger = Ledger()
    channel = SinkChannel("it", ledger)
    message = bench_of(channel).message(
        "accepted", 5, text=text, html=html, headers={"List-Unsubscribe": "<x>"}
    )
    await channel.send([message], Outcomes())
    (row,) = ledger.rows

    own_id = message_id(message.idempotency_key, message.sender)
    headers = {"List-Unsubscribe": "<x>", "Content-Type": form, "Message-ID": own_id}
    assert headers == row.headers
    assert (body, "Hello", 5, "hello") == (
        row.body,
        row.subject,
        row.enrollment_id,
        row.step_key,
    )
    assert (message.sender, message.idempotency_key) == (row.sender, row.idempotency_key)


@pytest.mark.trio
async def test_sink_takes_a_sender_that_no_mail_could_have() -> None:
    ledger = Ledger()
    channel = SinkChannel("it", ledger)
    await channel.send([bench_of(channel).message("accepted", 1, sender="Sales")], Outcomes())

    assert {"Content-Type": "text/plain"} == ledger.rows[0].headers


@pytest.mark.trio
async def test_sink_takes_texts_as_well() -> None:
    ledger = Ledger()
    channel = SinkChannel("it", ledger)
    message = bench_of(channel).message("accepted", 1, channel="sms", to="accepted-+4915")
    await channel.send([message], Outcomes())

    assert ("sms", {}, "Hi\n") == (
        ledger.rows[0].channel,
        ledger.rows[0].headers,
        ledger.rows[0].body,
    )


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"record": "no"}, "provider.it.record"),
        ({"recrod": False}, "provider.it.recrod"),
        ({}, "provider.it.record"),
    ],
)
def test_sink_refuses_settings_with_their_path(options: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(settings(**options), Resources(clock=SystemClock()))

    assert [path] == [fault.path for fault in caught.value.faults]
