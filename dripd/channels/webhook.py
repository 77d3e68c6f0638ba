"""Messages to a service of one's own, signed as Standard Webhooks has it.

The receiver knows a message again by its `webhook-id`, which is the idempotency key: it is
expected to keep ids for a day and to answer a repeat as it answered the first.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Sequence
from typing import Final

import orjson

from dripd.campaigns.event import Outcome
from dripd.channels.base import (
    EMAIL,
    SMS,
    Channel,
    Message,
    ProviderSettings,
    Repeats,
    Resources,
)
from dripd.channels.http import (
    Api,
    Headers,
    Request,
    all_accepted,
    channel,
    check_options,
    key_header,
    read_object,
    secret_of,
)
from dripd.channels.letter import encoded
from dripd.channels.options import refusal
from dripd.channels.reply import Reply
from dripd.channels.signing import PREFIX, sign_with
from dripd.channels.status import StatusTable
from dripd.clock import DAY, Clock

EXAMPLE: Final = "https://hooks.example.com/dripd"


class Webhook(Api[tuple[bytes, Headers]]):
    kinds = frozenset({EMAIL, SMS})
    table = StatusTable(not_accepted=frozenset({404, 405, 415}))

    def __init__(self, secret: bytes, clock: Clock) -> None:
        super().__init__(repeats=Repeats(key_ms=DAY))
        self._secret = secret
        self._clock = clock

    def part(self, message: Message) -> tuple[bytes, Headers]:
        body = orjson.dumps({"type": "message.send", "data": _data(message)})
        own_id = key_header(message, b"webhook-id")
        seconds = str(self._clock.now() // 1_000)
        signature = sign_with(self._secret, message.idempotency_key, seconds, body)
        return body, [
            own_id,
            (b"webhook-timestamp", seconds.encode()),
            (b"webhook-signature", signature.encode()),
        ]

    def request(
        self, messages: Sequence[Message], parts: Sequence[tuple[bytes, Headers]]
    ) -> Request:
        body, headers = parts[0]
        return Request(b"", body, messages, headers)

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        return all_accepted(messages, read_object(reply).get("id"))


def _data(message: Message) -> dict[str, object]:
    return {
        "channel": message.channel,
        "idempotency_key": message.idempotency_key,
        "account_id": message.account_id,
        "enrollment_id": message.enrollment_id,
        "step_key": message.step_key,
        "from": message.sender,
        "to": message.to,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "headers": message.headers,
        "attachments": [
            {"name": one.name, "media_type": one.media_type, "content": encoded(one)}
            for one in message.attachments
        ],
    }


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `webhook`. `base_url` is the whole address; secret
    `signing_secret`, as `whsec_` and base64."""
    check_options(settings, secrets=("signing_secret",))
    if not settings.base_url:
        raise refusal(settings, "base_url", "is missing", f"such as {EXAMPLE}")
    api = Webhook(_key(settings), resources.clock)
    return channel(
        settings,
        api,
        clock=resources.clock,
        base_url=EXAMPLE,
        headers={"Content-Type": "application/json"},
    )


def _key(settings: ProviderSettings) -> bytes:
    text = secret_of(settings, "signing_secret")
    try:
        key = b64decode(text.removeprefix(PREFIX), validate=True)
    except (Error, ValueError) as error:
        hint = "such as whsec_ and 32 bytes in base64"
        raise refusal(settings, "signing_secret", "is no base64", hint) from error
    if len(key) < 24:
        raise refusal(
            settings, "signing_secret", "is shorter than 24 bytes", "make a longer one"
        )
    return key
