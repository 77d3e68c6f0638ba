"""Mail through Resend: one message a request under its idempotency key, or many without.

Resend keeps a key for 24 hours and compares the payload. With `batch` set, up to 100 messages
share a request and get a result each, but a key would name the request, not the message: then
a message of unknown outcome is not sent again. Batches carry no attachments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Unknown
from dripd.channels import letter
from dripd.channels.base import (
    EMAIL,
    NO_REPEATS,
    Channel,
    Message,
    ProviderSettings,
    Repeats,
    Resources,
)
from dripd.channels.http import (
    Api,
    Request,
    all_accepted,
    channel,
    check_options,
    key_header,
    named,
    read_object,
    secret_of,
    word,
)
from dripd.channels.mime import Unsendable
from dripd.channels.reply import Reply
from dripd.channels.status import StatusTable
from dripd.clock import DAY

BASE_URL: Final = "https://api.resend.com"
ONE: Final = b"/emails"
MANY: Final = b"/emails/batch"
MOST: Final = 100
NO_KEY: Final = "API key is invalid"
"""Of status 400 as well where it does not look like a key: the account's fault, as with 401."""

PERMISSIVE: Final = (b"x-batch-validation", b"permissive")
KEYED: Final = Repeats(key_ms=DAY)


class Resend(Api[tuple[tuple[bytes, bytes], bytes]]):
    kinds = frozenset({EMAIL})
    table = StatusTable(not_accepted=frozenset({404, 405, 415}))

    def part(self, message: Message) -> tuple[tuple[bytes, bytes], bytes]:
        if self.per_request > 1 and message.attachments:
            raise Unsendable("an attachment in a batch")
        return key_header(message), orjson.dumps(_letter(message))

    def shared(self, message: Message) -> object:
        return None

    def request(
        self, messages: Sequence[Message], parts: Sequence[tuple[tuple[bytes, bytes], bytes]]
    ) -> Request:
        if self.per_request == 1:
            return Request(ONE, parts[0][1], messages, [parts[0][0]])
        body = b"[%b]" % b",".join(body for _, body in parts)
        return Request(MANY, body, messages, [PERMISSIVE])

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        found = read_object(reply)
        if self.per_request == 1:
            return all_accepted(messages, found.get("id"))
        faults = {one.get("index"): one for one in _objects(found.get("errors"))}
        ids = iter(_objects(found.get("data")))
        return [
            Rejected(reason="resend_invalid")
            if no in faults
            else Accepted(provider_id=str(next(ids, {}).get("id", "")))
            for no in range(len(messages))
        ]

    def refused(self, reply: Reply, outcome: Outcome) -> Outcome:
        name = word(read_object(reply).get("name"))
        match name:
            case "concurrent_idempotent_requests":
                return Unknown(reason="in_flight")
            case "daily_quota_exceeded" | "monthly_quota_exceeded":
                return Retryable(reason="payment")
            case "invalid_idempotent_request":
                return Unknown(reason="key_reused")
            case "validation_error" if read_object(reply).get("message") == NO_KEY:
                return Retryable(reason="auth")
        return named(outcome, name)


def _objects(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _letter(message: Message) -> dict[str, object]:
    mail = letter.write(message)
    body: dict[str, object] = {
        "from": str(mail.sender),
        "to": [mail.to],
        "subject": message.subject,
        "headers": mail.headers,
    }
    if message.text or not message.html:
        body["text"] = message.text or " "
    if message.html:
        body["html"] = message.html
    if mail.reply_to is not None:
        body["reply_to"] = str(mail.reply_to)
    if message.attachments:
        body["attachments"] = [
            {
                "filename": one.name,
                "content": letter.encoded(one),
                "content_type": one.media_type,
            }
            for one in message.attachments
        ]
    return body


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `resend`. Secret `api_key`; `batch` up to 100 gives up its keys."""
    check_options(settings, secrets=("api_key",))
    headers = {
        "Authorization": f"Bearer {secret_of(settings, 'api_key')}",
        "Content-Type": "application/json",
    }
    n = min(settings.batch or 1, MOST)
    api = Resend(per_request=n, repeats=KEYED if n == 1 else NO_REPEATS)
    return channel(settings, api, clock=resources.clock, base_url=BASE_URL, headers=headers)
