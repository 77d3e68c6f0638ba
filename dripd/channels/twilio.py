"""Texts through Twilio's Messages API: one a request.

Twilio honours no idempotency key for messages, which goes along all the same: a request without
a full answer is `Unknown`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode

from dripd.campaigns.event import Outcome, Rejected, Retryable, Throttled
from dripd.channels.base import (
    SMS,
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
    read_object,
    secret_of,
    word,
)
from dripd.channels.mime import BREAKS, Unsendable
from dripd.channels.options import refusal, text
from dripd.channels.reply import Reply
from dripd.channels.status import DEFAULT_THROTTLE_MS, StatusTable
from dripd.clock import DAY

BASE_URL: Final = "https://api.twilio.com"

SERVICE: Final = "MG"
"""How the id of a messaging service begins: it stands for a pool of numbers."""

OURS: Final = frozenset(
    {10001, 20003, 20005, 30002}
    | {21212, 21601, 21603, 21606, 21659, 21660, 21661}
    | {21701, 21704, 21705}
)
"""Codes of the account: its key and its state; a number that is not its own, or cannot text; a
messaging service that is none or has no numbers."""

LATER: Final = frozenset({21730})
"""Maintenance."""

TOO_FAST: Final = frozenset({20429, 14107, 21611, 30001, 63038})


class Twilio(Api[tuple[tuple[bytes, bytes], bytes]]):
    kinds = frozenset({SMS})
    table = StatusTable(not_accepted=frozenset({404, 405, 415}))

    def __init__(self, account_sid: str, status_callback: str) -> None:
        super().__init__(repeats=Repeats(evidence_ms=DAY))
        sid = quote(account_sid, safe="")
        self._target = f"/2010-04-01/Accounts/{sid}/Messages.json".encode()
        self._callback = status_callback

    def part(self, message: Message) -> tuple[tuple[bytes, bytes], bytes]:
        if not message.to or BREAKS.search(message.to) or BREAKS.search(message.sender):
            raise Unsendable("a number that is none")
        is_service = message.sender.startswith(SERVICE) and len(message.sender) == 34
        fields = {
            "To": message.to,
            "MessagingServiceSid" if is_service else "From": message.sender,
            "Body": message.text,
        }
        if self._callback:
            fields["StatusCallback"] = self._callback
        return key_header(message), urlencode(fields).encode("ascii")

    def request(
        self, messages: Sequence[Message], parts: Sequence[tuple[tuple[bytes, bytes], bytes]]
    ) -> Request:
        header, body = parts[0]
        return Request(self._target, body, messages, [header])

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        return all_accepted(messages, read_object(reply).get("sid"))

    def refused(self, reply: Reply, outcome: Outcome) -> Outcome:
        code = read_object(reply).get("code")
        if not isinstance(outcome, Rejected) or not code:
            return outcome
        if code in OURS:
            return Retryable(reason="auth")
        if code in LATER:
            return Retryable(reason=f"twilio_{word(code)}")
        if code in TOO_FAST:
            return Throttled(after_ms=DEFAULT_THROTTLE_MS)
        return Rejected(reason=f"twilio_{word(code)}")


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `twilio`. Option `account_sid`, secret `auth_token`; with an API key,
    `api_key_sid` beside it and the key's secret as `auth_token`. `status_callback`: where it
    is to tell what became of a message."""
    options = ("account_sid", "api_key_sid", "status_callback")
    check_options(settings, options=options, secrets=("auth_token",))
    sid = text(settings, "account_sid")
    if not sid:
        raise refusal(settings, "account_sid", "is missing", "it begins with AC")
    user = text(settings, "api_key_sid") or sid
    token = b64encode(f"{user}:{secret_of(settings, 'auth_token')}".encode()).decode("ascii")
    headers = {
        "Authorization": f"Basic {token}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    api = Twilio(sid, text(settings, "status_callback"))
    return channel(settings, api, clock=resources.clock, base_url=BASE_URL, headers=headers)
