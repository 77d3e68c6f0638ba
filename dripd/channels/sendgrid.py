"""Mail through SendGrid's `/v3/mail/send`: one message a request.

SendGrid honours no idempotency key, so a request without a full answer is `Unknown`. Its
key goes along as custom arguments, which come back in every event of the mail. A request of
many recipients is accepted or refused as a whole: it would have no result per recipient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from dripd.campaigns.event import Outcome
from dripd.channels import letter
from dripd.channels.base import EMAIL, Channel, Message, ProviderSettings, Resources
from dripd.channels.http import (
    Api,
    Request,
    all_accepted,
    channel,
    check_options,
    key_header,
    named,
    secret_of,
    word,
)
from dripd.channels.reply import Reply
from dripd.channels.status import StatusTable

BASE_URL: Final = "https://api.sendgrid.com"
TARGET: Final = b"/v3/mail/send"


class Sendgrid(Api[tuple[tuple[bytes, bytes], bytes]]):
    kinds = frozenset({EMAIL})
    table = StatusTable(not_accepted=frozenset({404, 405, 406, 415, 503}))
    """503 is documented as "the v3 Web API is not available". The others are what a wrong
    `base_url` answers: the configuration's fault, which must not cost a message."""

    def part(self, message: Message) -> tuple[tuple[bytes, bytes], bytes]:
        return key_header(message), orjson.dumps(_letter(message))

    def request(
        self, messages: Sequence[Message], parts: Sequence[tuple[tuple[bytes, bytes], bytes]]
    ) -> Request:
        header, body = parts[0]
        return Request(TARGET, body, messages, [header])

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        return all_accepted(messages, reply.header("x-message-id"))

    def refused(self, reply: Reply, outcome: Outcome) -> Outcome:
        return named(outcome, _field_of(reply))


def _field_of(reply: Reply) -> str:
    """`from.email` where the error names the field; its message may hold an address."""
    try:
        return word(orjson.loads(reply.body)["errors"][0]["field"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return ""


def _letter(message: Message) -> dict[str, object]:
    """The request's JSON. Raises `Unsendable` for what no mail can carry."""
    mail = letter.write(message)
    body: dict[str, object] = {
        "personalizations": [{"to": [{"email": mail.to}]}],
        "from": _mailbox(mail.sender),
        "subject": message.subject,
        "content": _content(message),
        "headers": mail.headers,
        "custom_args": letter.custom_args(message),
    }
    if mail.reply_to is not None:
        body["reply_to"] = _mailbox(mail.reply_to)
    if message.attachments:
        body["attachments"] = [
            {"content": letter.encoded(one), "type": one.media_type, "filename": one.name}
            for one in message.attachments
        ]
    return body


def _mailbox(box: letter.Mailbox) -> dict[str, str]:
    return {"email": box.email, "name": box.name} if box.name else {"email": box.email}


def _content(message: Message) -> list[dict[str, str]]:
    """Plain text first, as SendGrid demands; a part must not be empty."""
    parts = (("text/plain", message.text), ("text/html", message.html))
    content = [{"type": form, "value": value} for form, value in parts if value]
    return content or [{"type": "text/plain", "value": " "}]


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `sendgrid`. Secret `api_key`; `base_url` for a region or a stand-in.

    Raises `ConfigError` where the key is missing or unfit for a header, or the address is
    not http(s).
    """
    check_options(settings, secrets=("api_key",))
    headers = {
        "Authorization": f"Bearer {secret_of(settings, 'api_key')}",
        "Content-Type": "application/json",
    }
    return channel(
        settings, Sendgrid(), clock=resources.clock, base_url=BASE_URL, headers=headers
    )
