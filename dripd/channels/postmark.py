"""Mail through Postmark: up to 500 messages a request, each with its own result.

Postmark honours no idempotency key; the key goes along as metadata, which comes back in every
event of the mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled
from dripd.channels import letter
from dripd.channels.base import EMAIL, Channel, Message, ProviderSettings, Resources
from dripd.channels.http import (
    Api,
    Request,
    channel,
    check_options,
    read_object,
    secret_of,
    word,
)
from dripd.channels.options import text
from dripd.channels.reply import Reply
from dripd.channels.status import DEFAULT_THROTTLE_MS, StatusTable

BASE_URL: Final = "https://api.postmarkapp.com"
ONE: Final = b"/email"
MANY: Final = b"/email/batch"
MOST: Final = 500

OURS: Final = frozenset({10, 400, 401, 405, 412, 413, 1235, 1236})
"""Codes of the account: token, unconfirmed signature or domain, credits, pending approval, one
that may not send, a stream that is none or takes no mail."""

LATER: Final = frozenset({100})
TOO_FAST: Final = frozenset({429})


class Postmark(Api[bytes]):
    kinds = frozenset({EMAIL})
    table = StatusTable(not_accepted=frozenset({404, 405, 415, 503}))

    def __init__(self, *, per_request: int, stream: str) -> None:
        super().__init__(per_request=per_request)
        self._stream = stream

    def part(self, message: Message) -> bytes:
        return orjson.dumps(self._letter(message))

    def shared(self, message: Message) -> object:
        return None

    def request(self, messages: Sequence[Message], parts: Sequence[bytes]) -> Request:
        if len(parts) == 1:
            return Request(ONE, parts[0], messages)
        return Request(MANY, b"[%b]" % b",".join(parts), messages)

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        """In a batch every message has a result of its own, in the order of the request."""
        if len(messages) == 1 and not reply.body.lstrip().startswith(b"["):
            return [_outcome(read_object(reply))]
        try:
            found = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            found = []
        results = found if isinstance(found, list) and len(found) == len(messages) else []
        outcomes = [_outcome(one) for one in results]
        return outcomes or [Accepted() for _ in messages]

    def refused(self, reply: Reply, outcome: Outcome) -> Outcome:
        code = read_object(reply).get("ErrorCode")
        return _refusal(code) if isinstance(outcome, Rejected) and code else outcome

    def _letter(self, message: Message) -> dict[str, object]:
        mail = letter.write(message)
        headers = {**mail.headers, "X-PM-KeepID": "true"}
        body: dict[str, object] = {
            "From": str(mail.sender),
            "To": mail.to,
            "Subject": message.subject,
            "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
            "Metadata": letter.custom_args(message),
            "MessageStream": self._stream,
        }
        if message.text or not message.html:
            body["TextBody"] = message.text or " "
        if message.html:
            body["HtmlBody"] = message.html
        if mail.reply_to is not None:
            body["ReplyTo"] = str(mail.reply_to)
        if message.attachments:
            body["Attachments"] = [
                {
                    "Name": one.name,
                    "Content": letter.encoded(one),
                    "ContentType": one.media_type,
                }
                for one in message.attachments
            ]
        return body


def _outcome(result: object) -> Outcome:
    """One result of a batch; what cannot be read was accepted with the request."""
    found = result if isinstance(result, dict) else {}
    code = found.get("ErrorCode", 0)
    if code:
        return _refusal(code)
    provider_id = found.get("MessageID", "")
    return Accepted(provider_id=provider_id if isinstance(provider_id, str) else "")


def _refusal(code: object) -> Outcome:
    if code in OURS:
        return Retryable(reason="auth")
    if code in LATER:
        return Retryable(reason=f"postmark_{word(code)}")
    if code in TOO_FAST:
        return Throttled(after_ms=DEFAULT_THROTTLE_MS)
    return Rejected(reason=f"postmark_{word(code)}")


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `postmark`. Secret `server_token`; option `stream` (`outbound`)."""
    check_options(settings, options=("stream",), secrets=("server_token",))
    headers = {
        "X-Postmark-Server-Token": secret_of(settings, "server_token"),
        "Content-Type": "application/json",
    }
    api = Postmark(
        per_request=min(settings.batch or MOST, MOST),
        stream=text(settings, "stream", "outbound"),
    )
    return channel(settings, api, clock=resources.clock, base_url=BASE_URL, headers=headers)
