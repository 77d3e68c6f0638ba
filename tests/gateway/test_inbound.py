"""Providers' events: what is signed is read, everything else leaves no trace."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from dripd.channels.base import ProviderSettings, Secret
from dripd.channels.happening import Happened
from dripd.channels.mime import message_id
from dripd.channels.signing import sign_standard
from dripd.clock import Instant, ManualClock, to_datetime
from dripd.errors import StoreUnavailable
from dripd.gateway.inbound import Hooks, ask_api
from dripd.gateway.signature import signs_standard, signs_twilio
from tests.gateway.world import asking

NOW = Instant(1_772_445_600_000)
SECONDS = str(NOW // 1000)
DEPLOYMENT = "d3pl0y"
KEY = f"dripd:{DEPLOYMENT}:70:1:hello"
OURS = message_id(KEY, "hello@acme.test")
WHSEC = "whsec_" + b64encode(b"s" * 32).decode()
TOPIC = "arn:aws:sns:eu-west-1:123456789012:dripd"

EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_PUBLIC = b64encode(
    EC_KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
).decode()


class Provider:
    """One provider's hook, asked by the provider or by somebody else."""

    def __init__(
        self,
        kind: str,
        secret: str = WHSEC,
        topic: str = "",
        *,
        inbound: str = "",
        mails: str = "",
    ) -> None:
        self.told: list[Happened] = []
        self.fetched: list[str] = []
        self.refused: list[tuple[str, str, str]] = []
        self.clock = ManualClock(NOW)
        self.away = False
        self.certificate = CERTIFICATE
        self.mail: dict[str, Any] = {}
        self.settings = ProviderSettings(
            name="p", kind=kind, webhook_secret=Secret(secret), webhook_topic=topic,
            inbound_secret=Secret(inbound), inbound_topic=mails,
        )  # fmt: skip

    async def keep(self, _provider: str, told: Sequence[Happened]) -> int:
        if self.away:
            raise StoreUnavailable("the database is away")
        self.told += told
        return 0

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        return self.certificate

    async def ask(self, _provider: ProviderSettings, mail_id: str) -> dict[str, Any]:
        self.fetched.append(mail_id)
        if self.away:
            raise StoreUnavailable("the provider is away")
        return self.mail

    @asynccontextmanager
    async def open(self) -> AsyncIterator[httpx.AsyncClient]:
        hooks = Hooks(
            {"p": self.settings},
            DEPLOYMENT,
            self.keep,
            self.clock,
            public_url="https://mail.acme.test/drip",
            fetch=self.fetch,
            ask=self.ask,
            refused=lambda *what: self.refused.append(what),
        )
        async with asking(hooks.routes()) as client:
            yield client

    async def post(self, body: bytes, headers: dict[str, str], path: str = "/hooks/p") -> int:
        async with self.open() as client:
            return (await client.post(path, content=body, headers=headers)).status_code

    def rows(self) -> list[tuple[str, str, str, dict[str, object]]]:
        return [(one.kind, one.id, one.address, dict(one.payload)) for one in self.told]


def sendgrid(body: bytes, seconds: str = SECONDS) -> dict[str, str]:
    signature = EC_KEY.sign(seconds.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": seconds,
    }


SENDGRID_EVENTS = orjson.dumps(
    [
        {"event": "processed", "sg_event_id": "0"},
        {"event": "delivered", "sg_event_id": "1", "email": "a@x.test", "dripd_key": KEY,
         "sg_message_id": "abc.filter1.2", "timestamp": 1_772_445_000},
        {"event": "bounce", "sg_event_id": "2", "email": "a@x.test", "type": "bounce", "status": "5.1.1"},
        {"event": "bounce", "sg_event_id": "3", "email": "a@x.test", "type": "blocked"},
        {"event": "dropped", "sg_event_id": "4", "email": "a@x.test", "reason": "Bounced Address"},
        {"event": "dropped", "sg_event_id": "5", "email": "a@x.test", "reason": "Unsubscribed Address"},
        {"event": "open", "sg_event_id": "6", "email": "a@x.test", "sg_machine_open": True},
        {"event": "spamreport", "sg_event_id": "7", "email": "a@x.test"},
        "nonsense",
    ]
)  # fmt: skip


@pytest.mark.trio
async def test_what_is_turned_away_is_told_with_its_peer() -> None:
    provider = Provider("webhook")
    body, cut = b'{"type": "x"}', b"no JSON"
    assert 401 == await provider.post(body, {})
    assert 400 == await provider.post(cut, standard(cut))

    (forged, unread) = provider.refused
    assert forged[:2] == ("p", "signature")
    assert unread[:2] == ("p", "malformed")
    assert forged[2]


@pytest.mark.trio
async def test_sendgrid_events_are_read_under_their_signature() -> None:
    provider = Provider("sendgrid", EC_PUBLIC)

    assert 200 == await provider.post(SENDGRID_EVENTS, sendgrid(SENDGRID_EVENTS))
    assert [
        ("delivered", "1", "a@x.test", {}),
        ("bounce", "2", "a@x.test", {"type": "hard"}),
        ("bounce", "3", "a@x.test", {"type": "soft"}),
        ("bounce", "4", "a@x.test", {"type": "hard"}),
        ("unsubscribe", "5", "a@x.test", {}),
        ("open", "6", "a@x.test", {"machine": True}),
        ("complaint", "7", "a@x.test", {}),
    ] == provider.rows()
    first = provider.told[0]
    assert (KEY, "abc", 1_772_445_000_000) == (first.key, first.provider_id, first.at)


@pytest.mark.trio
async def test_forged_replayed_and_changed_events_leave_no_trace() -> None:
    provider = Provider("sendgrid", EC_PUBLIC)
    good = sendgrid(SENDGRID_EVENTS)
    old = sendgrid(SENDGRID_EVENTS, str(int(SECONDS) - 301))
    flipped = bytes([SENDGRID_EVENTS[0], SENDGRID_EVENTS[1] ^ 1]) + SENDGRID_EVENTS[2:]
    answers = [
        await provider.post(SENDGRID_EVENTS, {}),
        await provider.post(SENDGRID_EVENTS, old),
        await provider.post(flipped, good),
        await provider.post(SENDGRID_EVENTS, dict.fromkeys(good, "x")),
        await provider.post(SENDGRID_EVENTS, good, "/hooks/other"),
    ]

    assert [401, 401, 401, 401, 404] == answers
    assert [] == provider.told


@pytest.mark.trio
async def test_every_flipped_bit_of_a_signature_is_refused() -> None:
    body = b"[]"
    raw = b64decode(sign_standard(WHSEC, "id1", SECONDS, body).removeprefix("v1,"))
    for at in range(0, len(raw) * 8, 7):
        forged = bytearray(raw)
        forged[at // 8] ^= 1 << at % 8
        headers = {
            "webhook-id": "id1",
            "webhook-timestamp": SECONDS,
            "webhook-signature": "v1," + b64encode(bytes(forged)).decode(),
        }

        assert not signs_standard(WHSEC, headers, body, NOW)


@pytest.mark.trio
async def test_nothing_is_answered_before_it_is_kept() -> None:
    provider = Provider("sendgrid", EC_PUBLIC)
    provider.away = True

    assert 503 == await provider.post(SENDGRID_EVENTS, sendgrid(SENDGRID_EVENTS))


def standard(body: bytes, own_id: str = "msg_1", prefix: str = "webhook") -> dict[str, str]:
    signature = sign_standard(WHSEC, own_id, SECONDS, body)
    return {
        f"{prefix}-id": own_id,
        f"{prefix}-timestamp": SECONDS,
        f"{prefix}-signature": f"v1a,other {signature}",
    }


def test_standard_webhooks_agree_with_the_vector_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }

    assert signs_standard(secret, headers, body, Instant(1_614_265_330_000))
    assert not signs_standard(secret, headers, body + b" ", Instant(1_614_265_330_000))
    assert not signs_standard(secret, headers, body, Instant(1_614_265_631_000))


@pytest.mark.trio
async def test_resend_events_come_through_svix() -> None:
    provider = Provider("resend")
    bodies = [
        {"type": "email.bounced", "created_at": "2026-03-02T09:00:00Z", "data": {
            "email_id": "e1", "to": ["a@x.test"], "tags": {"dripd_key": KEY},
            "bounce": {"type": "Permanent"}}},
        {"type": "email.bounced", "data": {"to": ["a@x.test"], "bounce": {"type": "Transient"}}},
        {"type": "email.complained", "data": {"to": ["a@x.test"], "tags": [
            {"name": "dripd_key", "value": KEY}]}},
        {"type": "email.sent", "data": {}},
    ]  # fmt: skip
    for n, document in enumerate(bodies):
        body = orjson.dumps(document)

        assert 200 == await provider.post(body, standard(body, f"msg_{n}", "svix"))
    assert [("bounce", {"type": "hard"}), ("bounce", {"type": "soft"}), ("complaint", {})] == [
        (one.kind, dict(one.payload)) for one in provider.told
    ]
    assert [KEY, "", KEY] == [one.key for one in provider.told]


@pytest.mark.trio
async def test_ones_own_system_speaks_standard_webhooks() -> None:
    provider = Provider("smtp")
    data = {"account": "acme", "conversation_ref": "X", "payload": {"auto": True}, "address": 5}
    body = orjson.dumps({"type": "reply", "data": data})
    unknown = orjson.dumps({"type": "teleport", "data": {}})

    assert 200 == await provider.post(body, standard(body))
    assert 400 == await provider.post(unknown, standard(unknown))
    assert 400 == await provider.post(b"no json", standard(b"no json"))
    assert 401 == await provider.post(body, standard(body) | {"webhook-id": "msg_2"})
    one = provider.told[0]
    assert ("reply", "id:msg_1", "acme", "X", "", {"auto": True}) == (
        one.kind, one.id, one.account, one.conversation_ref, one.address, dict(one.payload),
    )  # fmt: skip


@pytest.mark.trio
async def test_what_postgres_cannot_hold_is_replaced() -> None:
    """It was refused by the database, and so repeated by the provider for as long as that likes."""
    provider = Provider("smtp")
    payload = {"a\0": ["b\0", {"c": "d\0"}, 5]}
    body = orjson.dumps(
        {"type": "form", "data": {"account": "acme", "address": "a\0@x", "payload": payload}}
    )
    assert 200 == await provider.post(body, standard(body))
    one = provider.told[0]
    assert ("a\ufffd@x", {"a\ufffd": ["b\ufffd", {"c": "d\ufffd"}, 5]}) == (
        one.address, one.payload,
    )  # fmt: skip


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"hook:{password}".encode()).decode()}


@pytest.mark.trio
async def test_postmark_is_known_by_the_password_that_it_was_given() -> None:
    provider = Provider("postmark", "a long password of its own")
    records: list[dict[str, Any]] = [
        {"RecordType": "Bounce", "ID": 42, "Type": "HardBounce", "Email": "a@x.test",
         "Metadata": {"dripd_key": KEY}, "MessageID": "m1", "BouncedAt": "2026-03-02T09:00:00Z"},
        {"RecordType": "Bounce", "ID": 43, "Type": "Transient", "Email": "a@x.test"},
        {"RecordType": "SubscriptionChange", "SuppressSending": True, "Recipient": "a@x.test"},
        {"RecordType": "SubscriptionChange", "SuppressSending": False, "Recipient": "a@x.test"},
        {"RecordType": "SpamComplaint", "ID": 44, "Email": "a@x.test"},
    ]  # fmt: skip
    good = basic("a long password of its own")
    for record in records:
        assert 200 == await provider.post(orjson.dumps(record), good)
    for headers in (
        {},
        basic("guess"),
        {"Authorization": "Basic %"},
        {"Authorization": "Bearer x"},
    ):
        assert 401 == await provider.post(orjson.dumps(records[0]), headers)
    assert [("bounce", {"type": "hard"}), ("bounce", {"type": "soft"}), ("unsubscribe", {}),
            ("complaint", {})] == [(o.kind, dict(o.payload)) for o in provider.told]  # fmt: skip
    assert ("42", KEY, "m1") == (
        provider.told[0].id, provider.told[0].key, provider.told[0].provider_id,
    )  # fmt: skip


@pytest.mark.trio
async def test_an_inbound_mail_is_a_reply_to_the_message_that_it_names() -> None:
    provider = Provider("postmark", "a long password of its own")

    async def receive(**changes: Any) -> Happened:
        mail = {
            "MessageID": f"in-{len(provider.told)}",
            "FromFull": {"Email": "ann@x.test"},
            "ToFull": [{"Email": "hello@acme.test"}],
            "Subject": "Re: Hi",
            "Headers": [{"Name": "In-Reply-To", "Value": OURS}],
            **changes,
        }
        answer = await provider.post(orjson.dumps(mail), basic("a long password of its own"))
        assert 200 == answer
        return provider.told[-1]

    reply = await receive()
    assert ("reply", KEY, "ann@x.test", "hello@acme.test", {}) == (
        reply.kind, reply.key, reply.address, reply.sender, dict(reply.payload),
    )  # fmt: skip
    thread = {"Name": "References", "Value": f"<first@else> {OURS} <last@else>"}
    assert KEY == (await receive(Headers=[thread])).key
    assert "" == (await receive(Headers=[])).key
    forged = {"Name": "In-Reply-To", "Value": OURS.replace(".70.", ".71.")}
    assert "" == (await receive(Headers=[forged])).key
    automatic = [
        await receive(Headers=[{"Name": "Auto-Submitted", "Value": "auto-replied"}]),
        await receive(Headers=[{"Name": "X-Autoreply", "Value": "yes"}]),
        await receive(Headers=[{"Name": "Precedence", "Value": "bulk"}]),
        await receive(Subject="Automatic reply: Hi"),
        await receive(Subject="Out of Office Re: Hi"),
        await receive(Subject="AW: Abwesenheitsnotiz"),
    ]
    assert [{"auto": True}] * 6 == [dict(one.payload) for one in automatic]
    person = await receive(
        Headers=[{"Name": "Auto-Submitted", "Value": "no"}], Subject="Re: automatic pumps"
    )
    assert {} == dict(person.payload)


def mailgun(token: str = "t" * 50, seconds: str = SECONDS) -> dict[str, str]:
    signed = hmac.digest(b"signing key of the account", f"{seconds}{token}".encode(), "sha256")
    return {"timestamp": seconds, "token": token, "signature": signed.hex()}


@pytest.mark.trio
async def test_mailgun_signs_a_token_which_then_serves_one_body() -> None:
    provider = Provider("mailgun", "signing key of the account")
    json = {"Content-Type": "application/json"}
    data = {"event": "failed", "severity": "permanent", "id": "e1", "recipient": "a@x.test",
            "message": {"headers": {"message-id": OURS.strip("<>")}}, "timestamp": 1_772_445_000.5}  # fmt: skip
    good = orjson.dumps({"signature": mailgun(), "event-data": data})
    async with provider.open() as client:

        async def post(body: bytes, headers: dict[str, str] = json) -> int:
            return (await client.post("/hooks/p", content=body, headers=headers)).status_code

        assert [200, 200] == [await post(good), await post(good)]
        other = {**data, "event": "unsubscribed", "id": "e2"}
        assert 401 == await post(orjson.dumps({"signature": mailgun(), "event-data": other}))
        old = mailgun("u" * 50, str(int(SECONDS) + 301))
        assert 401 == await post(orjson.dumps({"signature": old, "event-data": data}))
        assert 401 == await post(orjson.dumps({"event-data": data}))
        assert 401 == await post(b"[]")
        route = {**mailgun("r" * 50), "sender": "ann@x.test", "recipient": "hello@acme.test",
                 "subject": "Re: Hi", "In-Reply-To": OURS, "Message-Id": "<in@x>"}  # fmt: skip
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert 200 == await post(urlencode(route).encode(), form)

    assert [("bounce", "e1", "a@x.test", {"type": "hard"})] * 2 + [
        ("reply", "<in@x>", "ann@x.test", {})
    ] == provider.rows()
    assert [KEY] * 3 == [one.key for one in provider.told]


def test_twilio_signatures_agree_with_the_vector_of_its_documentation() -> None:
    form = [("CallSid", "CA1234567890ABCDE"), ("Caller", "+14158675309"), ("Digits", "1234"),
            ("From", "+14158675309"), ("To", "+18005551212")]  # fmt: skip
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"

    assert signs_twilio("12345", "RSOYDt4T1cUTdK1PDd93/VVr8B8=", url, form)
    assert not signs_twilio("12345", "RSOYDt4T1cUTdK1PDd93/VVr8B8=", url + "&x=1", form)


@pytest.mark.trio
async def test_texts_and_their_fates_come_through_twilio() -> None:
    provider = Provider("twilio", "auth token")

    async def post(path: str = "/hooks/p", **form: str) -> int:
        url = "https://mail.acme.test/drip" + path
        text = url + "".join(name + value for name, value in sorted(form.items()))
        signed = hmac.digest(b"auth token", text.encode(), hashlib.sha1)
        headers = {"X-Twilio-Signature": b64encode(signed).decode(),
                   "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
        return await provider.post(urlencode(form).encode(), headers, path)

    inbound = {"From": "+4930", "To": "+1555", "SmsStatus": "received"}
    assert 200 == await post(MessageSid="SM1", Body="Yes, please", **inbound)
    assert 200 == await post(MessageSid="SM2", Body=" Stop. ", **inbound)
    assert 200 == await post(MessageSid="SM3", Body="don't stop", **inbound)
    assert 200 == await post(
        "/hooks/p?k=1", MessageSid="SM4", MessageStatus="delivered", To="+4930"
    )
    assert 200 == await post(
        MessageSid="SM5", MessageStatus="failed", ErrorCode="21614", To="+4930"
    )
    assert 200 == await post(
        MessageSid="SM6", MessageStatus="undelivered", ErrorCode="30003", To="+4930"
    )
    assert 200 == await post(
        MessageSid="SM7", MessageStatus="failed", ErrorCode="21610", To="+4930"
    )
    assert 200 == await post(MessageSid="SM8", MessageStatus="sent", To="+4930")
    assert 401 == await provider.post(b"MessageSid=SM9&Body=STOP&From=%2B1", {})
    assert [
        ("reply", "SM1", "+4930", {}),
        ("unsubscribe", "SM2", "+4930", {"via": "sms"}),
        ("reply", "SM3", "+4930", {}),
        ("delivered", "SM4:delivered", "+4930", {}),
        ("bounce", "SM5:bounce", "+4930", {"type": "hard"}),
        ("bounce", "SM6:bounce", "+4930", {"type": "soft"}),
        ("unsubscribe", "SM7:unsubscribe", "+4930", {}),
    ] == provider.rows()
    assert "+1555" == provider.told[0].sender


RSA_KEY = rsa.generate_private_key(65537, 2048)


def make_certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = x509.CertificateBuilder(
        name,
        name,
        RSA_KEY.public_key(),
        7,
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    made = builder.sign(RSA_KEY, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


CERTIFICATE = make_certificate()
CERT_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc.pem"


def sns(message: object, *, drop: str = "", **changes: str) -> bytes:
    envelope = {
        "Type": "Notification",
        "MessageId": "n1",
        "TopicArn": TOPIC,
        "Message": orjson.dumps(message).decode(),
        "Timestamp": to_datetime(NOW).isoformat().replace("+00:00", "Z"),
        "SignatureVersion": "2",
        "SigningCertURL": CERT_URL,
        **changes,
    }
    names = [
        "Message",
        "MessageId",
        "Subject",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ]
    text = "".join(f"{n}\n{envelope[n]}\n" for n in names if n in envelope)
    digest = hashes.SHA256() if envelope["SignatureVersion"] == "2" else hashes.SHA1()
    signed = RSA_KEY.sign(text.encode(), padding.PKCS1v15(), digest)
    envelope["Signature"] = b64encode(signed).decode()
    return orjson.dumps({k: v for k, v in envelope.items() if k != drop})


BOUNCE = {
    "eventType": "Bounce",
    "mail": {"messageId": "ses1", "headers": [{"name": "Message-ID", "value": OURS}]},
    "bounce": {
        "bounceType": "Permanent",
        "timestamp": "2026-03-02T09:00:00.000Z",
        "bouncedRecipients": [{"emailAddress": "a@x.test"}],
    },
}


@pytest.mark.trio
async def test_ses_events_come_from_our_topic_alone() -> None:
    provider = Provider("ses", "", TOPIC)
    transient = {**BOUNCE, "bounce": {**BOUNCE["bounce"], "bounceType": "Transient"}}  # type: ignore[dict-item]

    assert 200 == await provider.post(sns(BOUNCE), {})
    assert 200 == await provider.post(sns(transient, SignatureVersion="1"), {})
    unclear = {**BOUNCE, "bounce": {**BOUNCE["bounce"], "bounceType": "Undetermined"}}  # type: ignore[dict-item]
    assert 200 == await provider.post(sns(unclear), {})
    assert ["hard", "soft", "soft"] == [one.payload["type"] for one in provider.told]
    assert {(KEY, "ses1", "a@x.test")} == {
        (one.key, one.provider_id, one.address) for one in provider.told
    }
    hour_old = (to_datetime(NOW) - timedelta(minutes=61)).isoformat().replace("+00:00", "Z")
    for forged in (
        sns(BOUNCE, TopicArn=TOPIC + "2"),
        sns(BOUNCE, SigningCertURL="https://sns.eu-west-1.amazonaws.com.evil.test/x.pem"),
        sns(BOUNCE, SigningCertURL="http://sns.eu-west-1.amazonaws.com/x.pem"),
        sns(BOUNCE, SigningCertURL="https://a@sns.eu-west-1.amazonaws.com/x.pem"),
        sns(BOUNCE, SigningCertURL="https://s3.eu-west-1.amazonaws.com/x.pem"),
        sns(BOUNCE, SignatureVersion="3"),
        sns(BOUNCE, Timestamp=hour_old),
        sns(BOUNCE, Timestamp="soon"),
        sns(BOUNCE, drop="Signature"),
        sns(BOUNCE).replace(b"a@x.test", b"b@x.test"),
        b"[]",
    ):
        assert 401 == await provider.post(forged, {})
    assert 3 == len(provider.told)
    assert {CERT_URL} == set(provider.fetched)


@pytest.mark.trio
async def test_a_subscription_is_confirmed_at_amazon_and_nowhere_else() -> None:
    provider = Provider("ses", "", TOPIC)
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=x"
    asked = {"Type": "SubscriptionConfirmation", "Token": "x"}

    assert 200 == await provider.post(sns({}, SubscribeURL=url, **asked), {})
    assert url == provider.fetched[-1]
    evil = "https://evil.test/?Token=x"
    assert 401 == await provider.post(sns({}, SubscribeURL=evil, **asked), {})
    assert evil not in provider.fetched
    assert [] == provider.told


@pytest.mark.trio
async def test_what_ses_says_beside_events_is_taken() -> None:
    """Else SNS would repeat it, and show our address as one that fails."""
    provider = Provider("ses", "", TOPIC)
    words = "Successfully validated SNS topic for Amazon SES event publishing."
    tried = orjson.loads(sns({}, Message=words, Subject="Amazon SES"))
    assert 200 == await provider.post(orjson.dumps(tried), {})
    ended = {"Type": "UnsubscribeConfirmation", "Token": "x"}
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=x"
    assert 200 == await provider.post(sns({}, SubscribeURL=url, **ended), {})
    assert url not in provider.fetched, "who ended it meant to"
    forged = sns({}, SubscribeURL=url, **ended).replace(b'"n1"', b'"n2"')
    assert 401 == await provider.post(forged, {})
    assert [] == provider.told


@pytest.mark.trio
async def test_who_wants_more_by_lists_of_ses_is_not_unsubscribed() -> None:
    provider = Provider("ses", "", TOPIC)
    for everything, topic in ((True, "OptIn"), (False, "OptOut"), (False, "OptIn")):
        told = {
            "eventType": "Subscription",
            "mail": {"messageId": f"{everything}{topic}", "destination": ["a@x.test"]},
            "subscription": {
                "timestamp": "2026-03-02T09:00:00.000Z",
                "newTopicPreferences": {
                    "unsubscribeAll": everything,
                    "topicSubscriptionStatus": [
                        {"topicName": "news", "subscriptionStatus": topic}
                    ],
                },
            },
        }
        assert 200 == await provider.post(sns(told), {})
    assert [("unsubscribe", "TrueOptIn"), ("unsubscribe", "FalseOptOut")] == [
        (one.kind, one.provider_id) for one in provider.told
    ]


@pytest.mark.trio
async def test_a_certificate_that_proves_nothing_is_asked_for_again() -> None:
    provider = Provider("ses", "", TOPIC)
    async with provider.open() as client:
        sound, provider.certificate = provider.certificate, b"<html>try later</html>"
        assert 401 == (await client.post("/hooks/p", content=sns(BOUNCE))).status_code
        provider.certificate = sound
        for _ in range(2):
            assert 200 == (await client.post("/hooks/p", content=sns(BOUNCE))).status_code
    assert [CERT_URL, CERT_URL] == provider.fetched


@pytest.mark.trio
async def test_a_provider_without_a_secret_has_no_hook() -> None:
    provider = Provider("sendgrid", "")

    assert 404 == await provider.post(b"[]", {})


def form(**fields: str | bytes) -> tuple[bytes, dict[str, str]]:
    """A form of parts; octets are a file's."""
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (name.encode(), value.encode())
        if isinstance(value, str)
        else b'--xyz\r\nContent-Disposition: form-data; name="%b"; filename="a.pdf"\r\n'
        b"Content-Type: application/pdf\r\n\r\n%b\r\n" % (name.encode(), value)
        for name, value in fields.items()
    ]
    return b"".join([*parts, b"--xyz--\r\n"]), {
        "Content-Type": "multipart/form-data; boundary=xyz"
    }


def parsed(head: str = "", **fields: str | bytes) -> tuple[bytes, dict[str, str]]:
    return form(**{
        "headers": f"Message-ID: <in@x.test>\nFrom: Ann <ann@x.test>\n"
                   f"To: Sales <hello@acme.test>\nReferences: <other@x> {OURS}\n{head}",
        "from": "Ann <ann@x.test>", "to": "Sales <hello@acme.test>", "subject": "Re: Hällo",
        "envelope": '{"to": ["reply@parse.acme.test"], "from": "ann@x.test"}', "text": "Yes",
        **fields,
    })  # fmt: skip


@pytest.mark.trio
async def test_sendgrid_mail_comes_in_by_the_password_or_under_a_signature() -> None:
    password, signed = Provider("sendgrid", EC_PUBLIC, inbound="s3cret"), Provider(
        "sendgrid", "", inbound=EC_PUBLIC
    )  # fmt: skip
    body, kind = parsed()

    assert 200 == await password.post(body, kind | basic("s3cret"))
    assert 200 == await signed.post(body, kind | sendgrid(body))
    old = sendgrid(body, str(int(SECONDS) - 301))
    for provider, headers in (
        (password, {}),
        (password, basic("guess")),
        (password, basic("")),
        (password, basic(EC_PUBLIC)),
        (signed, basic(EC_PUBLIC)),
        (signed, basic("")),
        (signed, {}),
        (signed, old),
        (Provider("sendgrid", EC_PUBLIC), basic("")),
    ):
        assert 401 == await provider.post(body, kind | headers)
    assert 401 == await signed.post(body.replace(b"Yes", b"Yea"), kind | sendgrid(body))
    assert [("reply", "<in@x.test>", "ann@x.test", {})] == signed.rows()
    one = signed.told[0]
    assert (KEY, "hello@acme.test") == (one.key, one.sender)


@pytest.mark.trio
async def test_sendgrid_mail_of_machines_says_so_and_raw_mail_is_read_too() -> None:
    provider = Provider("sendgrid", "", inbound="s3cret")

    async def receive(body: bytes, kind: dict[str, str]) -> Happened:
        assert 200 == await provider.post(body, kind | basic("s3cret"))
        return provider.told[-1]

    automatic = [
        await receive(*parsed("Auto-Submitted: auto-replied\n")),
        await receive(*parsed(subject="Automatic reply: Hi")),
        await receive(*parsed(envelope='{"to": ["a@b.test"], "from": ""}')),
    ]
    assert [{"auto": True}] * 3 == [dict(one.payload) for one in automatic]
    mail = f"Message-ID: <raw@x>\r\nFrom: ann@x.test\r\nIn-Reply-To: {OURS}\r\n\r\nYes"
    raw = await receive(*form(email=mail, envelope='{"to": ["hello@acme.test"]}'))
    assert ("<raw@x>", KEY, "ann@x.test", "hello@acme.test", {}) == (
        raw.id, raw.key, raw.address, raw.sender, dict(raw.payload),
    )  # fmt: skip
    bare = await receive(*form(text="Yes", envelope="[1"))
    assert ("reply", "", "") == (bare.kind, bare.key, bare.address)
    broken = {"Content-Type": "multipart/form-data"}
    assert 400 == await provider.post(b"x", broken | basic("s3cret"))


@pytest.mark.trio
async def test_what_is_attached_to_a_mail_keeps_no_reply_away() -> None:
    file = bytes(range(256)) * 8192
    provider = Provider("sendgrid", "", inbound="s3cret")
    body, kind = parsed(attachment1=file)
    assert len(body) > 1 << 20
    assert 200 == await provider.post(body, kind | basic("s3cret"))

    gun = Provider("mailgun", "signing key of the account")
    fields = {**mailgun("m" * 50), "sender": "ann@x.test", "recipient": "hello@acme.test",
              "subject": "Re: Hi", "In-Reply-To": OURS, "Message-Id": "<in@x>"}  # fmt: skip
    body, kind = form(**fields, attachment=file)
    assert 200 == await gun.post(body, kind)
    assert [KEY, KEY] == [provider.told[0].key, gun.told[0].key]
    other = Provider("resend")
    assert 413 == await other.post(bytes(2 << 20), {})


RECEIVED = {
    "notificationType": "Received",
    "mail": {
        "messageId": "ses9", "source": "bounces@x.test", "destination": ["hello@acme.test"],
        "headers": [
            {"name": "From", "value": "Ann <ann@x.test>"}, {"name": "In-Reply-To", "value": OURS},
        ],
        "commonHeaders": {"subject": "Re: Hi"},
    },
    "receipt": {"action": {"type": "SNS", "encoding": "BASE64"}},
}  # fmt: skip


@pytest.mark.trio
async def test_ses_mail_comes_in_by_a_topic_of_its_own() -> None:
    mails = TOPIC + "-mail"
    provider = Provider("ses", "", TOPIC, mails=mails)

    assert 200 == await provider.post(sns(RECEIVED, TopicArn=mails), {})
    assert 200 == await provider.post(sns(BOUNCE), {})
    assert 401 == await provider.post(sns(RECEIVED, TopicArn=TOPIC + "2"), {})
    mail, head = RECEIVED["mail"], f"Auto-Submitted: auto-replied\r\nReferences: {OURS}\r\n"
    cut = {**mail, "headers": [], "headersTruncated": True}  # type: ignore[dict-item]
    content = b64encode(f"From: bob@x.test\r\n{head}\r\nAway".encode()).decode()
    whole = {**RECEIVED, "mail": cut, "content": content}
    assert 200 == await provider.post(sns(whole, TopicArn=mails), {})
    plain = {**whole, "content": head, "receipt": {"action": {"encoding": "UTF8"}}}
    assert 200 == await provider.post(sns(plain, TopicArn=mails), {})
    assert 200 == await provider.post(sns({**whole, "content": "%"}, TopicArn=mails), {})

    assert [("reply", "ses9", "ann@x.test", {}), ("reply", "ses9", "bob@x.test", {"auto": True}),
            ("reply", "ses9", "bounces@x.test", {"auto": True}),
            ("reply", "ses9", "bounces@x.test", {})] == [
        row for row in provider.rows() if row[0] == "reply"
    ]  # fmt: skip
    assert [KEY, KEY, KEY, ""] == [one.key for one in provider.told if one.kind == "reply"]


@pytest.mark.trio
async def test_resend_is_asked_for_the_headers_of_a_mail() -> None:
    provider = Provider("resend")
    data = {
        "email_id": "e-9",
        "from": "Ann <ann@x.test>",
        "to": ["hello@acme.test"],
        "subject": "Re: Hi",
    }
    body = orjson.dumps({"type": "email.received", "data": data})
    provider.mail = {"headers": {"In-Reply-To": OURS, "Auto-Submitted": "auto-replied"}}

    assert 200 == await provider.post(body, standard(body))
    provider.mail = {}
    assert 200 == await provider.post(body, standard(body))
    odd = orjson.dumps({"type": "email.received", "data": {**data, "email_id": "../keys"}})
    assert 200 == await provider.post(odd, standard(odd))
    assert 401 == await provider.post(body, {})
    provider.away = True
    assert 503 == await provider.post(body, standard(body))
    assert ["e-9", "e-9", "e-9"] == provider.fetched
    assert [(KEY, {"auto": True}), ("", {}), ("", {})] == [
        (one.key, dict(one.payload)) for one in provider.told
    ]
    assert ("e-9", "ann@x.test", "hello@acme.test") == (
        provider.told[0].id, provider.told[0].address, provider.told[0].sender,
    )  # fmt: skip


@pytest.mark.trio
async def test_resends_api_answers_says_nothing_or_is_asked_again() -> None:
    asked: list[bytes] = []
    answers = [b"200 OK", b"403 Forbidden", b"404 Gone", b"500 Oh", b"429 Slow"]

    async def serve(stream: trio.SocketStream) -> None:
        asked.append(await stream.receive_some(65_536))
        body = b'{"headers": {"a": "b"}}'
        head = b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n" % (
            answers[len(asked) - 1],
            len(body),
        )
        await stream.send_all(head + body)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        provider = ProviderSettings(
            name="p", kind="resend", base_url=url, secrets={"api_key": Secret("re_x")}
        )
        found = [await ask_api(provider, "e-9") for _ in range(3)]
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await ask_api(provider, "e-9")
        nursery.cancel_scope.cancel()

    assert [{"headers": {"a": "b"}}, {}, {}] == found
    assert asked[0].startswith(b"GET /emails/receiving/e-9 ")
    assert b"bearer re_x" in asked[0].lower()
    with pytest.raises(StoreUnavailable):
        await ask_api(provider, "e-9")  # nobody listens any more
