"""What do providers send us, and may we believe it? `/hooks/PROVIDER_NAME`.

A hook is open for a provider whose configuration says how it proves itself (`webhook_secret`,
`inbound_secret`; for ses the topics). Signatures are checked over the octets as they came,
before anything is read from them; what is not signed is answered 401 and leaves no trace but
a line of log. 2xx is said once all is committed, so a provider repeats what we could not keep;
repeated events are recognised by the provider's own id, for ever.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import httpx
import orjson
import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dripd.channels.base import ProviderSettings
from dripd.channels.happening import Happened, id_of, storable
from dripd.channels.resend import BASE_URL
from dripd.clock import Clock, Instant, parse_instant
from dripd.errors import StoreUnavailable
from dripd.gateway import events_mail, events_other, events_reply, signature
from dripd.gateway.app import MAX_BODY, length_of, read_body
from dripd.gateway.fields import Json, form_of, inner, text
from dripd.gateway.sns import Fetch, Topics
from dripd.log import get

TOKENS_KEPT = 10_000
"""Mailgun's tokens of the last minutes: its signature does not cover what it says."""

FETCH_S = 5.0

MAIL_KINDS = frozenset({"sendgrid", "postmark", "mailgun"})
"""Kinds of providers that send whole mails, with what is attached to them."""

MAX_MAIL = 40 << 20
"""Octets of a mail: 30 MB is the most that any of them takes, a third more as base64."""

MAILS_AT_ONCE = 2
"""Large mails in memory at a time; others wait for their turn, or come again."""

Keep = Callable[[str, Sequence[Happened]], Awaitable[int]]
"""Keeps what a provider told in one transaction; returns how much of it was parked."""

Refused: TypeAlias = Callable[[str, str, str], None]
"""Tells those who look on of a call that was turned away: provider, reason, peer."""

Reader: TypeAlias = Callable[
    ["Hooks", ProviderSettings, Request, bytes], Awaitable[Sequence[Happened]]
]

Ask: TypeAlias = Callable[[ProviderSettings, str], Awaitable[Json]]
"""Asks a provider's API for an inbound mail, by its id; empty where it says nothing of it."""

MAIL_ID = re.compile(r"[A-Za-z0-9-]{1,64}")

log = get("gateway")


class Forged(Exception):
    """Nobody proved that this is from the provider; the reason is a word."""


class Hooks:
    """The hooks of *providers*. *clock* is real time; *public_url* is what Twilio signs."""

    def __init__(
        self,
        providers: Mapping[str, ProviderSettings],
        deployment: str,
        keep: Keep,
        clock: Clock,
        *,
        public_url: str = "",
        fetch: Fetch | None = None,
        ask: Ask | None = None,
        refused: Refused = lambda _provider, _reason, _peer: None,
    ) -> None:
        self._providers = {name: one for name, one in providers.items() if is_open(one)}
        self.deployment = deployment
        self._keep = keep
        self._refused = refused
        self._clock = clock
        self.public_url = public_url
        self._tokens: dict[str, str] = {}
        self._topics = {
            name: Topics(topics_of(one), fetch or fetch_from_amazon)
            for name, one in self._providers.items()
            if one.kind == "ses"
        }
        self.ask = ask or ask_api
        self._mails = trio.CapacityLimiter(MAILS_AT_ONCE)

    def routes(self) -> list[Route]:
        return [Route("/hooks/{provider}", self.take, methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """Check, read, keep, and only then say so."""
        name = request.path_params["provider"]
        provider = self._providers.get(name)
        if provider is None:
            raise HTTPException(404)
        if provider.kind in MAIL_KINDS and length_of(request) > MAX_BODY:
            async with self._mails:
                return await self._take(provider, request, MAX_MAIL)
        return await self._take(provider, request, MAX_BODY)

    async def _take(self, provider: ProviderSettings, request: Request, most: int) -> Response:
        name, body = provider.name, await read_body(request, most)
        read = READERS.get(provider.kind, _generic)
        try:
            told = await read(self, provider, request, body)
        except Forged as forged:
            self._refuse(request, name, str(forged))
            raise HTTPException(401) from forged
        except ValueError as error:  # signed, and yet not what we can read
            self._refuse(request, name, "malformed")
            raise HTTPException(400) from error
        parked = await self._keep(name, list(map(storable, told))) if told else 0
        if parked:
            log.info("hook.parked", provider=name, n=parked)
        return Response(status_code=200)

    def _refuse(self, request: Request, provider: str, reason: str) -> None:
        log.warning("hook.refused", provider=provider, reason=reason)
        peer = "" if request.client is None else request.client.host
        self._refused(provider, reason, peer)

    def now(self) -> Instant:
        return self._clock.now()

    def topics(self, provider: ProviderSettings) -> Topics:
        return self._topics[provider.name]

    def is_its_own(self, token: str, said: str) -> bool:
        """Did *token* come with these very words, or for the first time? Then it may again."""
        if self._tokens.setdefault(token, said) != said:
            return False
        if len(self._tokens) > TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        return True


def is_open(provider: ProviderSettings) -> bool:
    """Does the configuration say how the provider proves itself?"""
    if provider.kind == "ses":
        return bool(topics_of(provider))
    return bool(provider.webhook_secret or provider.inbound_secret)


def topics_of(provider: ProviderSettings) -> frozenset[str]:
    """Those whose messages count: of events, and of inbound mail."""
    return frozenset({provider.webhook_topic, provider.inbound_topic} - {""})


async def _sendgrid(
    hooks: Hooks, provider: ProviderSettings, request: Request, body: bytes
) -> Sequence[Happened]:
    """Events as JSON, or a mail that Inbound Parse posts as a form."""
    key, kind = provider.webhook_secret.reveal(), request.headers.get("content-type", "")
    if "form" in kind:
        secret = provider.inbound_secret.reveal()
        _must(signed=signature.signs_parse(secret, request.headers, body, hooks.now(), key))
        return events_reply.sendgrid(dict(form_of(body, kind)), hooks.deployment)
    signed = signature.signs_ecdsa(
        key,
        request.headers.get(signature.SENDGRID_SIGNATURE, ""),
        request.headers.get(signature.SENDGRID_TIMESTAMP, ""),
        body,
        hooks.now(),
    )
    _must(signed=signed)
    return events_mail.sendgrid(orjson.loads(body), hooks.deployment)


async def _ses(
    hooks: Hooks, provider: ProviderSettings, _request: Request, body: bytes
) -> Sequence[Happened]:
    envelope = _strings(orjson.loads(body))
    topics = hooks.topics(provider)
    try:
        at = parse_instant(envelope.get("Timestamp", ""))
    except ValueError as error:
        raise Forged("signature") from error
    _must(signed=await topics.signs(envelope, hooks.now(), at))
    match envelope["Type"]:
        case "SubscriptionConfirmation":
            _must(signed=await topics.confirm(envelope))
            log.info("hook.confirmed", provider=provider.name)
            return []
        case "UnsubscribeConfirmation":
            log.warning("hook.ended", provider=provider.name)
            return []
    try:
        event = orjson.loads(envelope.get("Message", ""))
    except orjson.JSONDecodeError:  # SES says in plain words that it has found the topic
        log.info("hook.tried", provider=provider.name)
        return []
    return events_mail.ses(event, hooks.deployment)


async def _postmark(
    hooks: Hooks, provider: ProviderSettings, request: Request, body: bytes
) -> Sequence[Happened]:
    authorization = request.headers.get("authorization", "")
    _must(signed=signature.signs_basic(provider.webhook_secret.reveal(), authorization))
    return events_mail.postmark(orjson.loads(body), hooks.deployment)


async def _mailgun(
    hooks: Hooks, provider: ProviderSettings, request: Request, body: bytes
) -> Sequence[Happened]:
    """A webhook as JSON, or a mail that a route posts as a form."""
    kind = request.headers.get("content-type", "")
    is_json = "json" in kind
    document = orjson.loads(body) if is_json else dict(form_of(body, kind))
    words = _strings(document)
    if is_json and isinstance(document, dict):
        words = _strings(document.get("signature"))
    token = words.get("token", "")
    signed = signature.signs_mailgun(
        provider.webhook_secret.reveal(),
        words.get("timestamp", ""),
        token,
        words.get("signature", ""),
        hooks.now(),
    )
    _must(signed=signed and hooks.is_its_own(token, id_of(document)))
    if is_json:
        return events_mail.mailgun(document.get("event-data"), hooks.deployment)
    return events_reply.mailgun(document, hooks.deployment)


async def _resend(
    hooks: Hooks, provider: ProviderSettings, request: Request, body: bytes
) -> Sequence[Happened]:
    """Of a mail that came in only its beginning is told; its headers are asked for."""
    _standard(hooks, provider, request, body)
    event = orjson.loads(body)
    if isinstance(event, dict) and event.get("type") == "email.received":
        mail_id = text(inner(event, "data"), "email_id")
        mail = await hooks.ask(provider, mail_id) if MAIL_ID.fullmatch(mail_id) else {}
        return events_reply.resend(event, mail, hooks.deployment)
    return events_mail.resend(event, hooks.deployment)


async def _twilio(
    hooks: Hooks, provider: ProviderSettings, request: Request, body: bytes
) -> Sequence[Happened]:
    form = form_of(body)
    query = f"?{request.url.query}" if request.url.query else ""
    url = (
        f"{hooks.public_url or str(request.base_url).rstrip('/')}/hooks/{provider.name}{query}"
    )
    given = request.headers.get("x-twilio-signature", "")
    signed = signature.signs_twilio(provider.webhook_secret.reveal(), given, url, form)
    _must(signed=signed)
    return events_other.twilio(dict(form), hooks.deployment)


async def _generic(
    hooks: Hooks, provider: ProviderSettings, request: Request, body: bytes
) -> Sequence[Happened]:
    _standard(hooks, provider, request, body)
    own_id = f"id:{request.headers.get('webhook-id') or request.headers.get('svix-id')}"
    return events_other.generic(orjson.loads(body), own_id)


def _standard(hooks: Hooks, provider: ProviderSettings, request: Request, body: bytes) -> None:
    secret = provider.webhook_secret.reveal()
    _must(signed=signature.signs_standard(secret, request.headers, body, hooks.now()))


def _must(*, signed: bool) -> None:
    if not signed:
        raise Forged("signature")


def _strings(document: object) -> dict[str, str]:
    """The fields of an object that are text, or numbers, which are then written."""
    if not isinstance(document, dict):
        return {}
    return {k: str(v) for k, v in document.items() if isinstance(v, str | int)}


READERS: Mapping[str, Reader] = {
    "sendgrid": _sendgrid,
    "ses": _ses,
    "postmark": _postmark,
    "mailgun": _mailgun,
    "resend": _resend,
    "twilio": _twilio,
}
"""How each kind of provider is read; any other speaks Standard Webhooks."""


async def fetch_from_amazon(url: str) -> bytes:
    """A body, over TLS, without redirects. Raises `StoreUnavailable`: the same may be sent again."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=FETCH_S) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        raise StoreUnavailable("Amazon cannot be reached", code="sns_unreachable") from error
    if answer.status_code != 200:
        raise StoreUnavailable("Amazon did not answer", code="sns_unreachable")
    return answer.content


async def ask_api(provider: ProviderSettings, mail_id: str) -> Json:
    """An inbound mail as Resend's API has it.

    Raises `StoreUnavailable` where that cannot be reached: the event comes again. Where the key
    may not read, or the mail is gone, the event itself must do.
    """
    url = f"{provider.base_url or BASE_URL}/emails/receiving/{mail_id}"
    key = provider.secrets["api_key"].reveal() if "api_key" in provider.secrets else ""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=FETCH_S) as client:
            answer = await client.get(url, headers={"Authorization": f"Bearer {key}"})
            told = orjson.loads(answer.content) if answer.is_success else {}
    except (httpx.HTTPError, orjson.JSONDecodeError) as error:
        raise StoreUnavailable("the provider cannot be reached", code="unreachable") from error
    if answer.status_code == 429 or answer.is_server_error:
        raise StoreUnavailable("the provider did not answer", code="unreachable")
    if not answer.is_success:
        log.warning("hook.unread", provider=provider.name, reason=f"http_{answer.status_code}")
    return told if isinstance(told, dict) else {}
