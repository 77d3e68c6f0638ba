from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
import trio

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import Channel, ProviderSettings, Resources, Secret
from dripd.channels.registry import build
from dripd.clock import Millis, SystemClock
from dripd.errors import ConfigError
from tests.channels.contract import Bench, MailContract, Outcomes
from tests.support.http_server import Asked, Peer, Server, answer, answering, http_server

ERROR = orjson.dumps({"errors": [{"message": "x@y.example is bad", "field": "from.email"}]})
ANSWERS = {
    "accepted": answer(202, [("X-Message-Id", "sg-1")]),
    "permanent": answer(400, body=ERROR),
    "temporary": answer(503),
    "ambiguous": answer(500, body=b"oops"),
}


def channel_of(url: str, **changes: object) -> Channel:
    values: dict[str, object] = {
        "name": "it",
        "kind": "sendgrid",
        "base_url": url,
        "timeout_ms": Millis(2_000),
        "max_connections": 3,
        "secrets": {"api_key": Secret("SG.key")},
    }
    settings = ProviderSettings(**{**values, **changes})  # type: ignore[arg-type]  # its fields
    return build(settings, Resources(clock=SystemClock()))


def recipient(asked: Asked) -> str:
    (person,) = orjson.loads(asked.body)["personalizations"]
    return str(person["to"][0]["email"])


@asynccontextmanager
async def provider(taken: list[str]) -> AsyncIterator[Server]:
    async def script(peer: Peer) -> None:
        while (asked := await peer.ask()) is not None:
            fate = recipient(asked).split("-")[0]
            if fate in ("accepted", "ambiguous"):
                taken.append(recipient(asked))
            await peer.stream.send_all(ANSWERS[fate])

    async with http_server(script) as server:
        yield server


class TestSendgridContract(MailContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        taken: list[str] = []
        async with provider(taken) as server:
            channel = channel_of(server.url)
            try:
                yield Bench(
                    channel=channel,
                    address=lambda fate, i: f"{fate}-{i}@post.example",
                    received=lambda: taken,
                )
            finally:
                await channel.aclose()


def bench_of(channel: Channel) -> Bench:
    return Bench(
        channel=channel, address=lambda fate, i: f"{fate}-{i}@x.example", received=list
    )


async def send_one(channel: Channel, **changes: object) -> Outcome | None:
    message = bench_of(channel).message("accepted", 17, **changes)
    settle = Outcomes()
    await channel.send([message], settle)
    await channel.aclose()
    return settle[message]


@pytest.mark.trio
async def test_request_is_as_sendgrid_documents_it() -> None:
    async with answering(ANSWERS["accepted"]) as server:
        outcome = await send_one(
            channel_of(server.url),
            html="<p>Hi",
            headers={"List-Unsubscribe": "<https://x>", "Reply-To": "Bob <bob@acme.example>"},
        )
        (asked,) = server.asked
    body = orjson.loads(asked.body)

    assert Accepted(provider_id="sg-1") == outcome
    assert asked.head.startswith(b"POST /v3/mail/send HTTP/1.1\r\n")
    assert "Bearer SG.key" == asked.header("authorization")
    assert "application/json" == asked.header("content-type")
    assert "dripd:test:17:1:hello" == asked.header("idempotency-key")
    assert {"email": "ann@acme.example", "name": "Ann"} == body["from"]
    assert {"email": "bob@acme.example", "name": "Bob"} == body["reply_to"]
    assert "Hello" == body["subject"]
    assert ["text/plain", "text/html"] == [part["type"] for part in body["content"]]
    assert "<https://x>" == body["headers"]["List-Unsubscribe"]
    assert body["headers"]["Message-ID"].endswith("@acme.example>")
    assert {
        "dripd_key": "dripd:test:17:1:hello",
        "dripd_step": "hello",
        "dripd_enrollment": "17",
    } == body["custom_args"]


@pytest.mark.trio
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (answer(202), Accepted()),
        (answer(200, body=b"not json"), Accepted()),
        (answer(400, body=ERROR), Rejected(reason="http_400:from.email")),
        (answer(400, body=b"not json"), Rejected(reason="http_400")),
        (answer(400, body=b'{"errors":[{"field":"a@b"}]}'), Rejected(reason="http_400")),
        (answer(413), Rejected(reason="http_413")),
        (answer(401), Retryable(reason="auth")),
        (answer(403), Retryable(reason="auth")),
        (answer(404), Retryable(reason="http_404")),
        (answer(429, [("Retry-After", "7")]), Throttled(after_ms=Millis(7_000))),
        (answer(503, [("Retry-After", "7")]), Throttled(after_ms=Millis(7_000))),
        (answer(500), Unknown(reason="http_500")),
        (answer(302, [("Location", "https://elsewhere")]), Unknown(reason="http_302")),
        (b"HTTP/1.1 202 Acc", Unknown(reason="lost")),
        (b"nonsense\r\n\r\n", Unknown(reason="lost")),
    ],
)
async def test_answers_of_sendgrid_are_told_apart(said: bytes, expected: Outcome) -> None:
    async with answering(said, keep=False) as server:
        assert expected == await send_one(channel_of(server.url))


@pytest.mark.trio
async def test_compressed_error_is_not_unpacked() -> None:
    """200 kB on the wire were 200 MB in memory."""
    bomb = answer(400, [("Content-Encoding", "gzip")], body=b"\x1f\x8b" + b"x" * 100)
    async with answering(bomb) as server:
        assert Rejected(reason="http_400") == await send_one(channel_of(server.url))


@pytest.mark.trio
async def test_provider_that_is_away_costs_nothing() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    outcome = await send_one(channel_of(f"http://127.0.0.1:{port}"))

    assert Retryable(reason="connect") == outcome


@pytest.mark.trio
@pytest.mark.parametrize(
    ("said", "rest"),
    [
        (answer(429, [("Retry-After", "7")]), Throttled(after_ms=Millis(7_000))),
        (answer(401), Retryable(reason="auth")),
    ],
)
async def test_failure_that_concerns_all_spares_the_rest(said: bytes, rest: Outcome) -> None:
    async with answering(said) as server:
        channel = channel_of(server.url, max_connections=1)
        messages = [bench_of(channel).message("accepted", i) for i in range(3)]
        settle = Outcomes()
        await channel.send(messages, settle)
        await channel.aclose()

        assert [rest] * 3 == [settle[message] for message in messages]
        assert len(server.asked) == 1


@pytest.mark.trio
async def test_provider_that_hangs_costs_one_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.ask()
        await trio.sleep_forever()

    async with http_server(script) as server:
        channel = channel_of(server.url, max_connections=1, timeout_ms=Millis(30))
        messages = [bench_of(channel).message("accepted", i) for i in range(3)]
        settle = Outcomes()
        await channel.send(messages, settle)
        await channel.aclose()

        late = Retryable(reason="timeout")
        assert [Unknown(reason="timeout"), late, late] == [settle[m] for m in messages]
        assert server.n_connections == 1


@pytest.mark.trio
@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "a\nb"},
        {"subject": "\ud800"},
        {"to": "nobody"},
        {"sender": "a@b\r\nX: y"},
        {"headers": {"X": "a\rb"}},
        {"headers": {"Bcc": "all@x.example"}},
        {"headers": {"Reply-To": "nobody"}},
        {"idempotency_key": "\ud800"},
        {"idempotency_key": "a\r\nb"},
    ],
)
async def test_what_no_mail_can_carry_never_leaves(changes: dict[str, object]) -> None:
    async with answering(ANSWERS["accepted"]) as server:
        outcome = await send_one(channel_of(server.url), **changes)

        assert Rejected(reason="malformed") == outcome
        assert not server.asked


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"secrets": {}}, "provider.it.api_key"),
        ({"secrets": {"api_key": Secret("")}}, "provider.it.api_key"),
        ({"secrets": {"api_key": Secret("a\nb")}}, "provider.it.api_key"),
        ({"base_url": "ftp://x"}, "provider.it.base_url"),
        ({"base_url": "nowhere"}, "provider.it.base_url"),
        ({"base_url": "http://x:y"}, "provider.it.base_url"),
        ({"base_url": "https://u:p@x"}, "provider.it.base_url"),
        ({"options": {"sandbox": True}}, "provider.it.sandbox"),
    ],
)
def test_sendgrid_refuses_settings_with_their_path(
    changes: dict[str, object], path: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        channel_of(**{"url": "http://x", **changes})  # type: ignore[arg-type]  # its fields

    assert [path] == [fault.path for fault in caught.value.faults]
    assert "a\nb" not in str(caught.value)


@pytest.mark.parametrize(("connections", "batch"), [(1, 2), (8, 16), (64, 32)])
def test_no_more_is_in_hand_than_keeps_the_connections_busy(
    connections: int, batch: int
) -> None:
    channel = channel_of("http://x", max_connections=connections)

    assert (channel.batch, channel.concurrency) == (batch, 1 + -(-connections // batch))
