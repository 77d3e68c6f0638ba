"""Mail through SendGrid's `/v3/mail/send`: one message a request.

SendGrid honours no idempotency key, so a request without a full answer is `Unknown`. Its
key goes along as custom arguments, which come back in every event of the mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parseaddr
from typing import Final

import httpx
import orjson

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import (
    EMAIL,
    NO_REPEATS,
    Channel,
    Message,
    ProviderSettings,
    Resources,
    Settle,
)
from dripd.channels.mime import Unsendable, address, check_header, message_id
from dripd.channels.options import expect_only, refusal
from dripd.channels.status import StatusTable, classify
from dripd.channels.transport import TrioTransport, outcome_of, unsent
from dripd.clock import Clock

BASE_URL: Final = "https://api.sendgrid.com"
PATH: Final = "/v3/mail/send"

TABLE: Final = StatusTable(not_accepted=frozenset({404, 405, 406, 415, 503}))
"""503 is documented as "the v3 Web API is not available". The others are what a wrong
`base_url` answers: the configuration's fault, which must not cost a message."""

REPLY_TO: Final = "reply-to"

MAX_FAULT_BYTES: Final = 65_536
"""Of an error's body: enough for the name of the field, which is all that we keep."""


class SendgridChannel:
    """Sends with *client*, whose transport must tell what left (`TrioTransport`).

    Messages of one call go one after the other; *batch* says how many that may be. A
    failure that will meet the next message as well (no connection, no key, too fast)
    settles the rest of the call at once.
    """

    kinds: Final = frozenset({EMAIL})
    repeats: Final = NO_REPEATS

    def __init__(
        self,
        name: str,
        client: httpx.AsyncClient,
        *,
        clock: Clock,
        batch: int,
        concurrency: int,
    ) -> None:
        self.name: Final = name
        self.batch: Final = batch
        self.concurrency: Final = concurrency
        self._client = client
        self._clock = clock

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        left = list(messages)
        rest: Outcome | None = None
        try:
            while left and rest is None:
                outcome = await self._send_one(left.pop(0), settle)
                rest = _for_the_rest(outcome)
        finally:
            for message in left:
                settle(message, rest or Retryable(reason="cancelled"))

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _send_one(self, message: Message, settle: Settle) -> Outcome:
        try:
            body = orjson.dumps(_letter(message))
        except (Unsendable, UnicodeEncodeError, orjson.JSONEncodeError):
            outcome: Outcome = Rejected(reason="malformed")
        else:
            outcome = await self._post(message, body, settle)
        settle(message, outcome)
        return outcome

    async def _post(self, message: Message, body: bytes, settle: Settle) -> Outcome:
        headers = {b"Idempotency-Key": message.idempotency_key.encode()}
        request = self._client.build_request("POST", PATH, content=body, headers=headers)
        is_answered = False
        try:
            response = await self._client.send(request, stream=True)
            is_answered = True
        except httpx.TransportError as error:
            is_answered = True
            return outcome_of(error)
        finally:
            if not is_answered and unsent(request):
                settle(message, Retryable(reason="cancelled"))
        return await self._read(response)

    async def _read(self, response: httpx.Response) -> Outcome:
        outcome = classify(
            response.status_code, response.headers, now=self._clock.now(), table=TABLE
        )
        match outcome:
            case Accepted():
                return Accepted(provider_id=response.headers.get("x-message-id", ""))
            case Rejected(reason=reason):
                return Rejected(reason=reason + await _field_of(response))
            case _:
                return outcome


def _for_the_rest(outcome: Outcome) -> Outcome | None:
    """What becomes of the next messages, where they would only meet the same failure."""
    match outcome:
        case Throttled():
            return outcome
        case Retryable(reason=reason) if not reason.startswith("http_"):
            return outcome
        case Unknown(reason="timeout"):
            return Retryable(reason="timeout")
        case _:
            return None


async def _field_of(response: httpx.Response) -> str:
    """`:from.email` where the error names the field; its message may hold an address."""
    raw = b""
    async for part in response.aiter_raw():
        raw += part
        if len(raw) > MAX_FAULT_BYTES:
            return ""
    try:
        field = orjson.loads(raw)["errors"][0]["field"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return ""
    is_word = isinstance(field, str) and field.isascii() and field.isprintable()
    return f":{field[:64]}" if is_word and "@" not in field else ""


def _letter(message: Message) -> dict[str, object]:
    """The request's JSON. Raises `Unsendable` for what no mail can carry."""
    check_header("Subject", message.subject)
    own_id = message.message_id or message_id(message.idempotency_key, message.sender)
    headers = {"Message-ID": own_id}
    letter: dict[str, object] = {
        "personalizations": [{"to": [{"email": address(message.to)}]}],
        "from": _mailbox(message.sender),
        "subject": message.subject,
        "content": _content(message),
        "headers": headers,
        "custom_args": _custom_args(message),
    }
    for name, value in message.headers.items():
        check_header(name, value)
        if name.lower() == REPLY_TO:
            letter["reply_to"] = _mailbox(value)
        else:
            headers[name] = value
    return letter


def _mailbox(text: str) -> dict[str, str]:
    name = parseaddr(text)[0] if "<" in text else ""
    bare = address(text)
    return {"email": bare, "name": name} if name else {"email": bare}


def _content(message: Message) -> list[dict[str, str]]:
    """Plain text first, as SendGrid demands; a part must not be empty."""
    parts = (("text/plain", message.text), ("text/html", message.html))
    content = [{"type": form, "value": value} for form, value in parts if value]
    return content or [{"type": "text/plain", "value": " "}]


def _custom_args(message: Message) -> dict[str, str]:
    args = {"dripd_key": message.idempotency_key, "dripd_step": message.step_key}
    if message.enrollment_id is not None:
        args["dripd_enrollment"] = str(message.enrollment_id)
    return args


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `sendgrid`. Secret `api_key`; `base_url` for a region or a stand-in.

    Raises `ConfigError` where the key is missing or unfit for a header, or the address is
    not http(s).
    """
    expect_only(settings, secrets=("api_key",))
    base_url = settings.base_url or BASE_URL
    client = httpx.AsyncClient(
        base_url=_checked(settings, base_url),
        headers=_headers(settings),
        timeout=settings.timeout_ms / 1_000,
        transport=TrioTransport(max_connections=settings.max_connections),
        trust_env=False,
    )
    return SendgridChannel(
        settings.name,
        client,
        clock=resources.clock,
        batch=settings.batch or 1,
        concurrency=settings.max_connections,
    )


def _checked(settings: ProviderSettings, base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise refusal(settings, "base_url", "is no address", f"such as {BASE_URL}") from error
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise refusal(settings, "base_url", "must be http(s)://host", f"such as {BASE_URL}")
    return url


def _headers(settings: ProviderSettings) -> dict[str, str]:
    key = settings.secrets.get("api_key")
    if not key:
        raise refusal(
            settings, "api_key", "is missing", 'such as "file:/etc/dripd/sendgrid.key"'
        )
    if not key.reveal().isascii() or not key.reveal().isprintable():
        raise refusal(
            settings, "api_key", "is no key", "it has a line break or a control character"
        )
    return {
        "Authorization": f"Bearer {key.reveal()}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "dripd",
    }
