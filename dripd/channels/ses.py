"""Mail through Amazon SES, version 2: the mail is written here and sent raw, one a request.

So every header arrives as it was made, and attachments go along; SES replaces the Message-ID.
Requests are signed by version 4 of AWS's signature. SES honours no idempotency key; a digest
of it goes along as a tag, which comes back in every event of the mail.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

import orjson

from dripd.campaigns.event import Outcome, Rejected, Retryable, Throttled
from dripd.channels import letter
from dripd.channels.base import (
    EMAIL,
    Channel,
    Message,
    ProviderSettings,
    Resources,
    Secret,
)
from dripd.channels.http import (
    Api,
    Headers,
    Request,
    address_of,
    all_accepted,
    channel,
    check_options,
    named,
    read_object,
    secret_of,
    word,
)
from dripd.channels.mime import build
from dripd.channels.options import refusal, text
from dripd.channels.reply import Reply
from dripd.channels.status import DEFAULT_THROTTLE_MS, StatusTable
from dripd.clock import Clock, Instant, to_datetime

TARGET: Final = b"/v2/email/outbound-emails"
ALGORITHM: Final = "AWS4-HMAC-SHA256"

OURS: Final = frozenset(
    {"AccountSuspended", "SendingPaused", "MailFromDomainNotVerified", "LimitExceeded",
     "AccessDenied", "NotAuthorized", "UnrecognizedClient", "InvalidSignature",
     "IncompleteSignature", "ExpiredToken", "RequestExpired"}
)  # fmt: skip
"""Of the account, whatever the status, without `Exception` at their end. `RequestExpired` is a
clock that is wrong by a quarter of an hour."""

TOO_FAST: Final = frozenset({"Throttling", "TooManyRequests"})
"""AWS throttles with status 400 as well."""

UNVERIFIED: Final = "not verified"
"""What the message of `MessageRejected` says where an identity of the account is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs POST requests with a JSON body to one host."""

    host: str
    region: str
    access_key: str
    secret_key: Secret
    session_token: str = ""

    def headers(self, target: bytes, body: bytes, now: Instant) -> Headers:
        """The headers that prove who asks, at *now* of real time.

        Source: "Signature Version 4 signing process", AWS General Reference.
        """
        at = to_datetime(now).strftime("%Y%m%dT%H%M%SZ")
        signed = {"content-type": "application/json", "host": self.host, "x-amz-date": at}
        if self.session_token:
            signed["x-amz-security-token"] = self.session_token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"POST\n{target.decode()}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{at[:8]}/{self.region}/ses/aws4_request"
        digest = sha256(canonical.encode()).hexdigest()
        to_sign = f"{ALGORITHM}\n{at}\n{scope}\n{digest}"
        key = _signing_key(self.secret_key, at[:8], self.region)
        signature = hmac.new(key, to_sign.encode(), sha256).hexdigest()
        proof = (
            f"{ALGORITHM} Credential={self.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        given = {"X-Amz-Date": at, "Authorization": proof}
        if self.session_token:
            given["X-Amz-Security-Token"] = self.session_token
        return [(name.encode(), value.encode()) for name, value in given.items()]


@lru_cache(maxsize=8)
def _signing_key(secret: Secret, day: str, region: str) -> bytes:
    key = f"AWS4{secret.reveal()}".encode()
    for part in (day, region, "ses", "aws4_request"):
        key = hmac.digest(key, part.encode(), sha256)
    return key


class Ses(Api[bytes]):
    kinds = frozenset({EMAIL})
    table = StatusTable(not_accepted=frozenset({404, 405, 413, 415}))

    def __init__(self, signer: Signer, clock: Clock, configuration_set: str) -> None:
        super().__init__()
        self._signer = signer
        self._clock = clock
        self._set = configuration_set

    def part(self, message: Message) -> bytes:
        mail = letter.write(message)
        raw = build(message, date=self._clock.now())
        digest = sha256(message.idempotency_key.encode()).hexdigest()
        body: dict[str, object] = {
            "FromEmailAddress": mail.sender.email,
            "Destination": {"ToAddresses": [mail.to]},
            "Content": {"Raw": {"Data": b64encode(raw).decode("ascii")}},
            "EmailTags": [{"Name": "dripd_key", "Value": digest}],
        }
        if self._set:
            body["ConfigurationSetName"] = self._set
        return orjson.dumps(body)

    def request(self, messages: Sequence[Message], parts: Sequence[bytes]) -> Request:
        headers = self._signer.headers(TARGET, parts[0], self._clock.now())
        return Request(TARGET, parts[0], messages, headers)

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        return all_accepted(messages, read_object(reply).get("MessageId"))

    def refused(self, reply: Reply, outcome: Outcome) -> Outcome:
        name = word(reply.headers.get("x-amzn-errortype", "").partition(":")[0])
        if not isinstance(outcome, Rejected | Retryable):
            return outcome
        kind = name.removesuffix("Exception")
        if kind in OURS or (kind == "MessageRejected" and UNVERIFIED in _said(reply)):
            return Retryable(reason="auth")
        if kind in TOO_FAST:
            return Throttled(after_ms=DEFAULT_THROTTLE_MS)
        return named(outcome, name)


def _said(reply: Reply) -> str:
    found = read_object(reply)
    return str(found.get("message") or found.get("Message") or "")


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `ses`. Option `region`; secrets `access_key` and `secret_key`, and
    `session_token` where they are temporary. Option `configuration_set` for its events."""
    check_options(
        settings,
        options=("region", "configuration_set"),
        secrets=("access_key", "secret_key", "session_token"),
    )
    region = text(settings, "region")
    if not region:
        raise refusal(settings, "region", "is missing", "such as eu-central-1")
    base_url = f"https://email.{region}.amazonaws.com"
    secret_of(settings, "secret_key")
    token = settings.secrets.get("session_token")
    signer = Signer(
        host=address_of(settings, base_url).netloc.decode("ascii"),
        region=region,
        access_key=secret_of(settings, "access_key"),
        secret_key=settings.secrets["secret_key"],
        session_token=token.reveal() if token else "",
    )
    return channel(
        settings,
        Ses(signer, resources.clock, text(settings, "configuration_set")),
        clock=resources.clock,
        base_url=base_url,
        headers={"Content-Type": "application/json"},
    )
