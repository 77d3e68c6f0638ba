"""Messages into a Slack channel or to a member, by `chat.postMessage`.

Slack honours no idempotency key, which goes along all the same, and says in a body of status
200 what it refused. Where `to` is no id or name of Slack's, the message goes to the option
`channel`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import orjson

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import EMAIL, SMS, Channel, Message, ProviderSettings, Resources
from dripd.channels.http import (
    Api,
    Request,
    channel,
    check_options,
    key_header,
    read_object,
    secret_of,
    word,
)
from dripd.channels.mime import Unsendable
from dripd.channels.options import text
from dripd.channels.reply import Reply
from dripd.channels.status import DEFAULT_THROTTLE_MS, StatusTable

BASE_URL: Final = "https://slack.com"
TARGET: Final = b"/api/chat.postMessage"
ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""What Slack reads as a command: a contact named `<!channel>` must not call everybody."""

PLACE: Final = re.compile(r"#[a-z0-9._-]{1,80}|[CGDUW][A-Z0-9]{7,20}")

OURS: Final = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired",
     "missing_scope", "no_permission", "org_login_required", "ekm_access_denied",
     "access_denied", "accesslimited", "not_allowed_token_type", "restricted_action",
     "team_access_not_granted", "two_factor_setup_required"}
)  # fmt: skip
LATER: Final = frozenset({"service_unavailable", "team_added_to_org"})
TOO_FAST: Final = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
PERHAPS: Final = frozenset({"internal_error", "fatal_error", "request_timeout"})


class Slack(Api[tuple[tuple[bytes, bytes], bytes]]):
    kinds = frozenset({EMAIL, SMS})
    table = StatusTable(not_accepted=frozenset({404, 405, 415}))

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def part(self, message: Message) -> tuple[tuple[bytes, bytes], bytes]:
        place = message.to if PLACE.fullmatch(message.to) else self._place
        if not place:
            raise Unsendable("no place of Slack's to send to")
        parts = (f"*{message.subject}*" if message.subject else "", message.text)
        said = "\n".join(part for part in parts if part).translate(ESCAPED)
        words = {"channel": place, "text": said or " "}
        return key_header(message), orjson.dumps({**words, "unfurl_links": False})

    def request(
        self, messages: Sequence[Message], parts: Sequence[tuple[tuple[bytes, bytes], bytes]]
    ) -> Request:
        header, body = parts[0]
        return Request(TARGET, body, messages, [header])

    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        found = read_object(reply)
        if found.get("ok") is not False:
            ts = found.get("ts")
            return [Accepted(provider_id=ts if isinstance(ts, str) else "") for _ in messages]
        return [_refusal(word(found.get("error"))) for _ in messages]


def _refusal(error: str) -> Outcome:
    if error in OURS:
        return Retryable(reason="auth")
    if error in LATER:
        return Retryable(reason=f"slack_{error}")
    if error in TOO_FAST:
        return Throttled(after_ms=DEFAULT_THROTTLE_MS)
    if error in PERHAPS:
        return Unknown(reason=f"slack_{error}")
    return Rejected(reason=f"slack_{error}")


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `slack`. Secret `bot_token`; option `channel`, such as `#sales`."""
    check_options(settings, options=("channel",), secrets=("bot_token",))
    headers = {
        "Authorization": f"Bearer {secret_of(settings, 'bot_token')}",
        "Content-Type": "application/json; charset=utf-8",
    }
    api = Slack(text(settings, "channel"))
    return channel(settings, api, clock=resources.clock, base_url=BASE_URL, headers=headers)
