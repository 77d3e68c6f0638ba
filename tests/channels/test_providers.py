"""Every HTTP adapter against a stand-in of its provider: the contract, and its own documents."""

from __future__ import annotations

import email
import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels import http
from dripd.channels.base import (
    Attachment,
    Channel,
    Message,
    ProviderSettings,
    Resources,
    Secret,
)
from dripd.channels.registry import build
from dripd.channels.ses import Signer
from dripd.clock import HOUR, Clock, Instant, ManualClock, Millis, SystemClock, parse_instant
from dripd.errors import ConfigError
from tests.channels.contract import Bench, ChannelContract, MailContract, Outcomes
from tests.support.http_server import Asked, Peer, answer, answering, http_server

SIGNING = b64encode(b"k" * 32).decode()


def ok(**body: object) -> bytes:
    return answer(200, [("Content-Type", "application/json")], orjson.dumps(body))


def fault(status: int, **body: object) -> bytes:
    return answer(status, body=orjson.dumps(body))


def form(asked: Asked) -> dict[str, str]:
    return dict(parse_qsl(asked.body.decode()))


def json(asked: Asked) -> Any:
    return orjson.loads(asked.body)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a provider's stand-in reads and answers, and how its adapter is set up."""

    to: Callable[[Asked], str]
    answers: Mapping[str, bytes]
    options: Mapping[str, object] = field(default_factory=dict)
    secrets: Mapping[str, str]
    target: str
    carries: str = "email"
    batch: int = 1


AMBIGUOUS = answer(500, body=b"oops")

KINDS: dict[str, Kind] = {
    "postmark": Kind(
        to=lambda asked: str(json(asked)["To"]),
        answers={
            "accepted": ok(ErrorCode=0, MessageID="pm-1"),
            "permanent": fault(422, ErrorCode=406, Message="x@y is inactive"),
            "temporary": answer(503),
        },
        secrets={"server_token": "pm"},
        target="/email",
    ),
    "resend": Kind(
        to=lambda asked: str(json(asked)["to"][0]),
        answers={
            "accepted": ok(id="re-1"),
            "permanent": fault(422, name="validation_error"),
            "temporary": answer(425),
        },
        secrets={"api_key": "re"},
        target="/emails",
    ),
    "mailgun": Kind(
        to=lambda asked: form(asked)["to"],
        answers={
            "accepted": ok(id="<mg-1@acme.example>"),
            "permanent": fault(400, message="'to' is bad"),
            "temporary": answer(404),
        },
        secrets={"api_key": "mg"},
        target="/v3/acme.example/messages",
    ),
    "ses": Kind(
        to=lambda asked: str(json(asked)["Destination"]["ToAddresses"][0]),
        answers={
            "accepted": ok(MessageId="ses-1"),
            "permanent": answer(400, [("x-amzn-ErrorType", "MessageRejected:")]),
            "temporary": answer(404),
        },
        options={"region": "eu-central-1"},
        secrets={"access_key": "AK", "secret_key": "SK"},
        target="/v2/email/outbound-emails",
    ),
    "twilio": Kind(
        to=lambda asked: form(asked)["To"],
        answers={
            "accepted": answer(201, body=b'{"sid": "SM1"}'),
            "permanent": fault(400, code=21211),
            "temporary": answer(404),
        },
        options={"account_sid": "AC1"},
        secrets={"auth_token": "tw"},
        target="/2010-04-01/Accounts/AC1/Messages.json",
        carries="sms",
    ),
    "webhook": Kind(
        to=lambda asked: str(json(asked)["data"]["to"]),
        answers={
            "accepted": ok(id="wh-1"),
            "permanent": answer(400),
            "temporary": answer(404),
        },
        secrets={"signing_secret": f"whsec_{SIGNING}"},
        target="/",
    ),
    "slack": Kind(
        to=lambda asked: str(json(asked)["text"]).partition("\n")[2],
        answers={
            "accepted": ok(ok=True, ts="1.2"),
            "permanent": ok(ok=False, error="channel_not_found"),
            "temporary": answer(404),
        },
        options={"channel": "#sales"},
        secrets={"bot_token": "xoxb"},
        target="/api/chat.postMessage",
    ),
}


def channel_of(
    kind: str, url: str, *, clock: Clock | None = None, **changes: object
) -> Channel:
    spec = KINDS[kind]
    values: dict[str, object] = {
        "name": "it",
        "kind": kind,
        "base_url": url,
        "timeout_ms": Millis(2_000),
        "max_connections": 3,
        "batch": spec.batch,
        "options": spec.options,
        "secrets": {name: Secret(value) for name, value in spec.secrets.items()},
    }
    settings = ProviderSettings(**{**values, **changes})  # type: ignore[arg-type]  # its fields
    return build(settings, Resources(clock=clock or SystemClock()))


@asynccontextmanager
async def open_bench(kind: str, **changes: object) -> AsyncIterator[Bench]:
    spec = KINDS[kind]
    taken: list[str] = []
    answers = {**spec.answers, "ambiguous": AMBIGUOUS}

    async def script(peer: Peer) -> None:
        while (asked := await peer.ask()) is not None:
            to = spec.to(asked)
            fate = to.lstrip("+").split("-")[0]
            if fate in {"accepted", "ambiguous"}:
                taken.append(to)
            await peer.stream.send_all(answers[fate])

    def address(fate: str, i: int) -> str:
        return f"{fate}-{i}@post.example"

    async with http_server(script) as server:
        channel = channel_of(kind, server.url, **changes)
        try:
            yield Bench(channel=channel, address=address, received=lambda: taken)
        finally:
            await channel.aclose()


class MailKind(MailContract):
    provider = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        async with open_bench(self.provider) as bench:
            yield bench


class TestPostmarkContract(MailKind):
    provider = "postmark"


class TestResendContract(MailKind):
    provider = "resend"


class TestMailgunContract(MailKind):
    provider = "mailgun"


class TestSesContract(MailKind):
    provider = "ses"


class OtherKind(ChannelContract):
    provider = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        async with open_bench(self.provider) as bench:
            yield bench


class TestTwilioContract(OtherKind):
    provider = "twilio"
    kind = "sms"


class TestWebhookContract(OtherKind):
    provider = "webhook"


class SlackBench(Bench):
    def message(self, fate: str, number: int, **changes: object) -> Message:
        where = self.address(fate, number)
        return super().message(fate, number, **{"text": where, **changes})


class TestSlackContract(OtherKind):
    """What is sent to is in the text: a stand-in cannot see an address of mail."""

    provider = "slack"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        async with open_bench("slack") as bench:
            yield SlackBench(
                channel=bench.channel, address=bench.address, received=bench.received
            )


class TestProxyContract(MailKind):
    """Stock httpx, as a proxy or HTTP/2 has it: here the stand-in is its own proxy."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        spec = KINDS["resend"]
        taken: list[str] = []
        answers = {**spec.answers, "ambiguous": AMBIGUOUS}

        async def script(peer: Peer) -> None:
            while (asked := await peer.ask()) is not None:
                assert asked.head.startswith(b"POST http://api.resend.test/emails HTTP/1.1")
                fate = spec.to(asked).split("-")[0]
                if fate in {"accepted", "ambiguous"}:
                    taken.append(spec.to(asked))
                await peer.stream.send_all(answers[fate])

        async with http_server(script) as server:
            options = {"proxy": server.url}
            channel = channel_of("resend", "http://api.resend.test", options=options)
            try:
                yield Bench(
                    channel=channel,
                    address=lambda fate, i: f"{fate}-{i}@post.example",
                    received=lambda: taken,
                )
            finally:
                await channel.aclose()

    @pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    )  # httpx leaves generators behind where it is cancelled
    async def test_cancelled_anywhere_it_claims_nothing_false(self) -> None:
        """httpx does not say what had left: what it was asked to carry is left unsettled."""
        await super().test_cancelled_anywhere_it_claims_nothing_false()


@pytest.mark.interpreted
class TestContractWithoutEpoll(MailKind):
    """httpx over our own transport, as where the system has no epoll."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(http, "HAS_EPOLL", False)
            patch.delattr("select.epoll")
            async with open_bench("resend") as bench:
                yield bench


async def ask(kind: str, said: bytes, **changes: object) -> tuple[Outcome | None, Asked]:
    """One message over a stand-in that says *said*: its outcome, and the request."""
    async with answering(said, keep=False) as server:
        channel = channel_of(kind, server.url)
        bench = Bench(channel=channel, address=lambda *_: "bob@x.example", received=list)
        message = bench.message("accepted", 17, **changes)
        settle = Outcomes()
        await channel.send([message], settle)
        await channel.aclose()
        return settle[message], server.asked[0]


FILE = Attachment(name="terms.pdf", media_type="application/pdf", data=b"%PDF")
HEADERS = {"List-Unsubscribe": "<https://x>", "Reply-To": "Bob <bob@acme.example>"}


@pytest.mark.trio
@pytest.mark.parametrize("kind", KINDS)
async def test_request_goes_where_the_provider_has_it(kind: str) -> None:
    _, asked = await ask(kind, KINDS[kind].answers["accepted"])

    assert asked.head.startswith(f"POST {KINDS[kind].target} HTTP/1.1\r\n".encode())


@pytest.mark.trio
async def test_postmark_gets_headers_metadata_and_files() -> None:
    _, asked = await ask(
        "postmark", KINDS["postmark"].answers["accepted"], headers=HEADERS, attachments=(FILE,)
    )
    body = json(asked)
    named = {one["Name"]: one["Value"] for one in body["Headers"]}

    assert "pm" == asked.header("x-postmark-server-token")
    assert '"Ann" <ann@acme.example>' == body["From"]
    assert '"Bob" <bob@acme.example>' == body["ReplyTo"]
    assert ("<https://x>", "true") == (named["List-Unsubscribe"], named["X-PM-KeepID"])
    assert "dripd:test:17:1:hello" == body["Metadata"]["dripd_key"]
    assert ["JVBERg=="] == [one["Content"] for one in body["Attachments"]]


@pytest.mark.trio
async def test_postmark_batch_has_a_result_per_message() -> None:
    results = [
        {"ErrorCode": 0, "MessageID": "a"},
        {"ErrorCode": 406},
        {"ErrorCode": 100},
        {"ErrorCode": 0, "MessageID": "b"},
    ]
    async with answering(answer(200, body=orjson.dumps(results))) as server:
        channel = channel_of("postmark", server.url, batch=0)
        bench = Bench(channel=channel, address=lambda f, i: f"{f}-{i}@x.example", received=list)
        messages = [bench.message("accepted", i) for i in range(4)]
        settle = Outcomes()
        await channel.send(messages, settle)
        await channel.aclose()

        assert channel.batch == 500
        assert server.asked[0].head.startswith(b"POST /email/batch ")
        assert [m.to for m in messages] == [one["To"] for one in json(server.asked[0])]
        assert [
            Accepted(provider_id="a"),
            Rejected(reason="postmark_406"),
            Retryable(reason="postmark_100"),
            Accepted(provider_id="b"),
        ] == [settle[message] for message in messages]


@pytest.mark.trio
async def test_resend_batch_has_a_result_per_message_and_no_key() -> None:
    said = {"data": [{"id": "a"}, {"id": "b"}], "errors": [{"index": 1, "message": "x"}]}
    async with answering(answer(200, body=orjson.dumps(said))) as server:
        channel = channel_of("resend", server.url, batch=50)
        bench = Bench(channel=channel, address=lambda f, i: f"{f}-{i}@x.example", received=list)
        messages = [bench.message("accepted", i) for i in range(3)]
        settle = Outcomes()
        await channel.send(messages, settle)
        await channel.aclose()

        assert server.asked[0].head.startswith(b"POST /emails/batch ")
        assert "permissive" == server.asked[0].header("x-batch-validation")
        assert (0, "") == (
            channel.repeats.key_ms,
            server.asked[0].header("idempotency-key"),
        )
        assert [
            Accepted(provider_id="a"),
            Rejected(reason="resend_invalid"),
            Accepted(provider_id="b"),
        ] == [settle[message] for message in messages]


@pytest.mark.trio
@pytest.mark.parametrize("kind", ["twilio", "slack"])
async def test_a_key_without_a_place_of_its_own_goes_along_in_a_header(kind: str) -> None:
    _, asked = await ask(kind, KINDS[kind].answers["accepted"])

    assert "dripd:test:17:1:hello" == asked.header("idempotency-key")


@pytest.mark.trio
async def test_resend_gets_the_key_that_it_honours() -> None:
    _, asked = await ask("resend", KINDS["resend"].answers["accepted"], attachments=(FILE,))

    assert "dripd:test:17:1:hello" == asked.header("idempotency-key")
    assert "terms.pdf" == json(asked)["attachments"][0]["filename"]


@pytest.mark.trio
async def test_mailgun_gets_a_form_and_files_as_parts() -> None:
    accepted = KINDS["mailgun"].answers["accepted"]
    outcome, asked = await ask("mailgun", accepted, headers=HEADERS)
    fields = form(asked)

    assert Accepted(provider_id="mg-1@acme.example") == outcome
    assert "<https://x>" == fields["h:List-Unsubscribe"]
    assert "dripd:test:17:1:hello" == fields["v:dripd_key"]
    assert f"Basic {b64encode(b'api:mg').decode()}" == asked.header("authorization")
    _, asked = await ask("mailgun", accepted, attachments=(FILE,))
    head = b"Content-Type: " + asked.header("content-type").encode() + b"\r\n\r\n"
    parts = email.message_from_bytes(head + asked.body, policy=policy.HTTP)
    names = [part.get_filename() for part in parts.iter_parts() if part.get_filename()]

    assert ["terms.pdf"] == names


@pytest.mark.trio
async def test_ses_gets_the_mail_as_it_was_made() -> None:
    outcome, asked = await ask(
        "ses", KINDS["ses"].answers["accepted"], headers=HEADERS, attachments=(FILE,)
    )
    raw = b64decode(json(asked)["Content"]["Raw"]["Data"])
    mail = email.message_from_bytes(raw, policy=policy.default)

    assert Accepted(provider_id="ses-1") == outcome
    assert ("<https://x>", "Hello") == (mail["List-Unsubscribe"], mail["Subject"])
    assert ["terms.pdf"] == [part.get_filename() for part in mail.iter_attachments()]
    assert asked.header("authorization").startswith("AWS4-HMAC-SHA256 Credential=AK/")


def test_signature_is_what_aws_computes() -> None:
    """The same request signed by botocore 1.44, its SigV4Auth frozen at this instant."""
    signer = Signer(
        host="email.eu-central-1.amazonaws.com",
        region="eu-central-1",
        access_key="AKIDEXAMPLE",
        secret_key=Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    )
    at = parse_instant("2026-01-05T09:00:00Z")
    headers = dict(signer.headers(b"/v2/email/outbound-emails", b'{"a":1}', at))

    assert b"20260105T090000Z" == headers[b"X-Amz-Date"]
    assert headers[b"Authorization"].endswith(b"Signature=" + SIGNED)


SIGNED = b"13af26ac23f1ceee718bde9a81d17138dfa153ee3085aa05a20c2b839fa637c8"


@pytest.mark.trio
async def test_webhook_is_signed_as_standard_webhooks_has_it() -> None:
    _, asked = await ask("webhook", KINDS["webhook"].answers["accepted"], html="<p>Hi")
    at = asked.header("webhook-timestamp")
    signed = f"dripd:test:17:1:hello.{at}.".encode() + asked.body
    digest = b64encode(hmac.digest(b"k" * 32, signed, sha256)).decode()

    assert "dripd:test:17:1:hello" == asked.header("webhook-id")
    assert f"v1,{digest}" == asked.header("webhook-signature")
    assert ("bob@x.example", "<p>Hi") == (
        json(asked)["data"]["to"],
        json(asked)["data"]["html"],
    )


@pytest.mark.trio
async def test_webhook_says_the_same_to_the_byte_with_every_attempt() -> None:
    async with answering(KINDS["webhook"].answers["accepted"], keep=False) as server:
        clock = ManualClock(parse_instant("2026-01-05T09:00:00Z"))
        hook = channel_of("webhook", server.url, clock=clock)
        bench = Bench(channel=hook, address=lambda *_: "bob@x.example", received=list)
        for _ in range(2):
            await hook.send([bench.message("accepted", 17)], Outcomes())
            clock.set(Instant(clock.now() + HOUR))
        await hook.aclose()
    first, second = server.asked

    assert first.body == second.body
    assert first.header("webhook-id") == second.header("webhook-id")
    assert first.header("webhook-timestamp") != second.header("webhook-timestamp")


@pytest.mark.trio
async def test_slack_writes_to_a_place_of_its_own_where_it_is_given_one() -> None:
    _, asked = await ask("slack", KINDS["slack"].answers["accepted"], to="C0123ABCD")

    assert ("C0123ABCD", "*Hello*\nHi\n") == (json(asked)["channel"], json(asked)["text"])


@pytest.mark.trio
async def test_slack_reads_no_command_in_what_a_contact_is_called() -> None:
    answer_ = KINDS["slack"].answers["accepted"]
    _, asked = await ask("slack", answer_, subject="R&D", text="Hi <!channel>")

    assert json(asked)["text"] == "*R&amp;D*\nHi &lt;!channel&gt;"


@pytest.mark.trio
@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("postmark", fault(401, ErrorCode=10), Retryable(reason="auth")),
        ("postmark", fault(422, ErrorCode=412), Retryable(reason="auth")),
        ("postmark", fault(422, ErrorCode=413), Retryable(reason="auth")),
        ("postmark", fault(422, ErrorCode=1235), Retryable(reason="auth")),
        ("postmark", ok(ErrorCode=300), Rejected(reason="postmark_300")),
        ("postmark", answer(200, body=b"oops"), Accepted()),
        ("postmark", fault(422, ErrorCode=300), Rejected(reason="postmark_300")),
        (
            "resend",
            fault(409, name="concurrent_idempotent_requests"),
            Unknown(reason="in_flight"),
        ),
        (
            "resend",
            fault(400, name="validation_error", message="API key is invalid"),
            Retryable(reason="auth"),
        ),
        (
            "resend",
            fault(400, name="validation_error", message="Invalid `to` field"),
            Rejected(reason="http_400:validation_error"),
        ),
        ("resend", fault(429, name="daily_quota_exceeded"), Retryable(reason="payment")),
        ("resend", answer(429, [("Retry-After", "2")]), Throttled(after_ms=Millis(2_000))),
        ("mailgun", answer(401), Retryable(reason="auth")),
        ("mailgun", fault(400, message="bad"), Rejected(reason="http_400")),
        ("ses", answer(429), Throttled(after_ms=Millis(30_000))),
        (
            "ses",
            answer(400, [("x-amzn-ErrorType", "SendingPausedException")]),
            Retryable(reason="auth"),
        ),
        (
            "ses",
            answer(400, [("x-amzn-ErrorType", "MessageRejected:http://x")]),
            Rejected(reason="http_400:MessageRejected"),
        ),
        (
            "ses",
            answer(
                400,
                [("x-amzn-ErrorType", "MessageRejected")],
                b'{"message":"Email address is not verified."}',
            ),
            Retryable(reason="auth"),
        ),
        (
            "ses",
            answer(400, [("x-amzn-ErrorType", "ThrottlingException")]),
            Throttled(after_ms=Millis(30_000)),
        ),
        (
            "ses",
            answer(400, [("x-amzn-ErrorType", "IncompleteSignature")]),
            Retryable(reason="auth"),
        ),
        ("twilio", fault(400, code=21660), Retryable(reason="auth")),
        ("twilio", fault(400, code=21704), Retryable(reason="auth")),
        ("twilio", fault(400, code=21730), Retryable(reason="twilio_21730")),
        ("twilio", fault(400, code=21610), Rejected(reason="twilio_21610")),
        ("twilio", fault(429, code=20429), Throttled(after_ms=Millis(30_000))),
        ("twilio", fault(400, code=14107), Throttled(after_ms=Millis(30_000))),
        ("webhook", answer(204), Accepted()),
        ("webhook", answer(410), Rejected(reason="http_410")),
        ("webhook", answer(502), Unknown(reason="http_502")),
        ("slack", ok(ok=False, error="ratelimited"), Throttled(after_ms=Millis(30_000))),
        ("slack", ok(ok=False, error="fatal_error"), Unknown(reason="slack_fatal_error")),
        ("slack", ok(ok=False, error="access_denied"), Retryable(reason="auth")),
        (
            "slack",
            ok(ok=False, error="service_unavailable"),
            Retryable(reason="slack_service_unavailable"),
        ),
        (
            "slack",
            ok(ok=False, error="channel_not_found"),
            Rejected(reason="slack_channel_not_found"),
        ),
        ("slack", answer(429, [("Retry-After", "9")]), Throttled(after_ms=Millis(9_000))),
        *((kind, b"HTTP/1.1 200 O", Unknown(reason="lost")) for kind in KINDS),
    ],
)
async def test_answers_are_told_apart(kind: str, said: bytes, expected: Outcome) -> None:
    outcome, _ = await ask(kind, said)

    assert expected == outcome


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_secret_is_said_with_its_path(kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        channel_of(kind, "http://x", secrets={})

    assert f"provider.it.{next(iter(KINDS[kind].secrets))}" in {
        fault.path for fault in caught.value.faults
    } | ({"provider.it.access_key"} if kind == "ses" else set())


@pytest.mark.parametrize(
    ("kind", "changes", "path"),
    [
        ("ses", {"options": {}}, "region"),
        ("twilio", {"options": {}}, "account_sid"),
        ("webhook", {"base_url": ""}, "base_url"),
        ("webhook", {"secrets": {"signing_secret": Secret("whsec_x")}}, "signing_secret"),
        ("resend", {"options": {"proxy": "no address"}}, "proxy"),
        ("resend", {"options": {"stream": "x"}}, "stream"),
    ],
)
def test_bad_settings_are_refused_with_their_path(
    kind: str, changes: dict[str, object], path: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        channel_of(kind, **{"url": "http://x", **changes})  # type: ignore[arg-type]  # its fields

    assert [f"provider.it.{path}"] == [fault.path for fault in caught.value.faults]
