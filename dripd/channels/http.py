"""Any provider with an HTTP API: what all of them have in common.

An `Api` is what differs: how a message is written, how many go into one request, what the
answer means. `HttpChannel` carries the requests: over a `Driver`, over stock httpx where a
proxy or HTTP/2 is asked for, and over httpx on our own transport where the system has no epoll
(macOS, the BSDs).
"""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar

import httpx
import orjson
import trio
from mypy_extensions import mypyc_attr

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import NO_REPEATS, Message, ProviderSettings, Repeats, Settle
from dripd.channels.drive import Call, Driver, Job
from dripd.channels.mime import Unsendable
from dripd.channels.options import expect_only, flag, refusal, text
from dripd.channels.reply import Reply
from dripd.channels.status import COMMON, StatusTable, classify
from dripd.channels.transport import TrioTransport, outcome_of
from dripd.clock import Clock

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

P = TypeVar("P")

CARRIAGE: Final = ("proxy", "http2")
"""Options of every HTTP kind: `proxy`, an address; `http2`, whether it is spoken."""

CALL: Final = 32
"""The most messages a call where a request carries one, as far as they keep the connections busy:
what is in hand stands before whatever comes due next."""

HAS_EPOLL: Final = hasattr(select, "epoll")

UNWRITABLE: Final = (Unsendable, UnicodeEncodeError, orjson.JSONEncodeError)
MAX_WORD: Final = 64


class Request:
    """One request of an API: POST to *target* with these headers beside the common ones."""

    __slots__ = ("body", "headers", "messages", "target")

    def __init__(
        self, target: bytes, body: bytes, messages: Sequence[Message], headers: Headers = ()
    ) -> None:
        self.target = target
        self.body = body
        self.messages = messages
        self.headers = headers


@mypyc_attr(allow_interpreted_subclasses=True)
class Api(ABC, Generic[P]):
    """One provider's API. `per_request` is the most messages that a request of it carries."""

    kinds: ClassVar[frozenset[str]]
    table: ClassVar[StatusTable] = COMMON

    def __init__(self, *, per_request: int = 1, repeats: Repeats = NO_REPEATS) -> None:
        self.per_request = per_request
        self.repeats = repeats

    @abstractmethod
    def part(self, message: Message) -> P:
        """What *message* is within a request. Raises `Unsendable` for what cannot be sent."""

    @abstractmethod
    def request(self, messages: Sequence[Message], parts: Sequence[P]) -> Request:
        """The request that carries *messages*, whose `shared` is the same."""

    @abstractmethod
    def accepted(self, messages: Sequence[Message], reply: Reply) -> Sequence[Outcome]:
        """What an answer of the 2xx kind says of each message, in their order.

        One that cannot be read is acceptance all the same.
        """

    def shared(self, message: Message) -> object:
        """What messages must have in common to go into one request."""
        return message.sender

    def refused(self, reply: Reply, outcome: Outcome) -> Outcome:
        """A refusal that the common rules call *outcome*, as this provider means it."""
        return outcome


class Carrier(Protocol):
    """Carries requests, and has each answered as `drive.Driver` does."""

    def job(self, request: Request) -> Job: ...

    async def carry(self, jobs: Sequence[Job], call: Call) -> None: ...

    async def dial(self) -> None: ...

    async def aclose(self) -> None: ...


class HttpChannel:
    """Sends through *api* by *carrier*; `batch` messages a call, `concurrency` calls at once.

    A failure that will meet the next request as well (no connection, no key, too fast) settles
    the rest of the call at once.
    """

    def __init__(
        self, name: str, api: Api[Any], carrier: Carrier, *, clock: Clock, max_connections: int
    ) -> None:
        self.name: Final = name
        self.kinds: Final = api.kinds
        self.repeats: Final = api.repeats
        in_hand = min(CALL, 2 * max_connections)
        self.batch: Final = api.per_request if api.per_request > 1 else in_hand
        in_calls = self.batch if api.per_request == 1 else 1
        self.concurrency: Final = 1 + -(-max_connections // in_calls)
        self._api = api
        self._carrier = carrier
        self._clock = clock

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        jobs = [self._carrier.job(request) for request in self._requests(messages, settle)]

        def answered(jobs: Sequence[Job]) -> None:
            for job in jobs:
                outcomes = self._outcomes(job.messages, job)
                for message, outcome in zip(job.messages, outcomes, strict=True):
                    settle(message, outcome)
                if outcomes[0].__class__ is not Accepted:
                    call.rest = call.rest or for_the_rest(outcomes[0])

        call = Call(len(jobs), answered)
        if jobs:
            await self._carrier.carry(jobs, call)

    async def dial(self) -> None:
        await self._carrier.dial()

    async def aclose(self) -> None:
        await self._carrier.aclose()

    def _requests(self, messages: Sequence[Message], settle: Settle) -> Iterator[Request]:
        """The requests for *messages*; what cannot be written is settled at once."""
        api = self._api
        written: list[tuple[Message, Any]] = []
        for message in messages:
            try:
                written.append((message, api.part(message)))
            except UNWRITABLE:
                settle(message, Rejected(reason="malformed"))
        if api.per_request == 1:
            for message, part in written:
                yield api.request([message], [part])
            return
        for _, group in groupby(written, key=lambda pair: api.shared(pair[0])):
            pairs = list(group)
            for at in range(0, len(pairs), api.per_request):
                some = pairs[at : at + api.per_request]
                yield api.request([m for m, _ in some], [part for _, part in some])

    def _outcomes(self, messages: Sequence[Message], job: Job) -> Sequence[Outcome]:
        reply = job.reply
        if reply is None:
            return [job.outcome or Unknown(reason="lost")] * len(messages)
        if 200 <= reply.status < 300:
            return self._api.accepted(messages, reply)
        outcome = classify(
            reply.status, reply.headers, now=self._clock.now(), table=self._api.table
        )
        return [self._api.refused(reply, outcome)] * len(messages)


def for_the_rest(outcome: Outcome) -> Outcome | None:
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


class Prepared:
    """Requests of which all but target, body and a few headers are laid down once."""

    def __init__(self, driver: Driver, base_url: httpx.URL, headers: Mapping[str, str]) -> None:
        host = base_url.netloc.decode("ascii")
        lines = [f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
        self._head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        self._prefix = base_url.raw_path.rstrip(b"/")
        self._driver = driver

    def job(self, request: Request) -> Job:
        target = self._prefix + request.target or b"/"
        extra = b"".join([b"%b: %b\r\n" % pair for pair in request.headers])
        body = request.body
        head = (target, self._head, extra, len(body))
        start = b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n" % head
        return Job(start + body, request.messages)

    async def carry(self, jobs: Sequence[Job], call: Call) -> None:
        await self._driver.carry(jobs, call)

    async def dial(self) -> None:
        await self._driver.dial()

    async def aclose(self) -> None:
        await self._driver.aclose()


class Stock:
    """Requests by an `httpx.AsyncClient`, one task each: where no `Driver` can carry them."""

    def __init__(self, client: httpx.AsyncClient, max_connections: int) -> None:
        self._client = client
        self._slots = trio.CapacityLimiter(max_connections)
        self._prefix = client.base_url.raw_path.rstrip(b"/")

    def job(self, request: Request) -> Job:
        target = self._prefix + request.target or b"/"
        url = self._client.base_url.copy_with(raw_path=target)
        job = Job(b"", request.messages)
        job.request = self._client.build_request(
            "POST", url, content=request.body, headers=list(request.headers)
        )
        return job

    async def carry(self, jobs: Sequence[Job], call: Call) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(self._ask, job, call)

    async def dial(self) -> None:
        """httpx opens a connection with the request that needs it, not before."""

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, job: Job, call: Call) -> None:
        began = False
        try:
            async with self._slots:
                if call.rest is not None:
                    began = True
                    call.give_up(job, call.rest)
                    return
                began = True
                await self._answer(job, call)
        finally:
            if not began:
                call.give_up(job, Retryable(reason="cancelled"))

    async def _answer(self, job: Job, call: Call) -> None:
        try:
            response = await self._client.send(job.request)
        except httpx.TransportError as error:
            call.give_up(job, outcome_of(error))
            return
        job.reply = Reply(response.status_code, dict(response.headers), response.content)
        call.answer([job])


def channel(
    settings: ProviderSettings,
    api: Api[Any],
    *,
    clock: Clock,
    base_url: str,
    headers: Mapping[str, str],
) -> HttpChannel:
    """The channel of an HTTP kind: *base_url* is the provider's own where none is set.

    Raises `ConfigError` where the address is not http(s), or HTTP/2 cannot be spoken here.
    """
    url = address_of(settings, base_url)
    carrier = _carrier(settings, url, {**COMMON_HEADERS, **headers})
    return HttpChannel(
        settings.name, api, carrier, clock=clock, max_connections=settings.max_connections
    )


COMMON_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "dripd",
}


def _carrier(settings: ProviderSettings, url: httpx.URL, headers: Mapping[str, str]) -> Carrier:
    proxy, http2 = text(settings, "proxy"), flag(settings, "http2", default=False)
    is_plain = not proxy and not http2
    if is_plain and HAS_EPOLL:
        return Prepared(_driver(settings, url), url, headers)
    try:
        client = httpx.AsyncClient(
            base_url=url,
            headers=dict(headers),
            timeout=settings.timeout_ms / 1_000,
            proxy=proxy or None,
            http2=http2,
            trust_env=False,
            limits=httpx.Limits(max_connections=settings.max_connections),
            transport=_transport(settings, url) if is_plain else None,
        )
    except ImportError as error:
        hint = "pip install h2"
        raise refusal(settings, "http2", "needs the package h2", hint) from error
    except (httpx.InvalidURL, ValueError) as error:
        raise refusal(settings, "proxy", "is no address", "such as http://host:3128") from error
    return Stock(client, settings.max_connections)


def _transport(settings: ProviderSettings, url: httpx.URL) -> TrioTransport:
    tls = httpx.create_ssl_context() if url.scheme == "https" else None
    return TrioTransport(max_connections=settings.max_connections, tls=tls)


def _driver(settings: ProviderSettings, url: httpx.URL) -> Driver:
    is_tls = url.scheme == "https"
    return Driver(
        url.raw_host.decode("ascii").strip("[]"),
        url.port or (443 if is_tls else 80),
        max_connections=settings.max_connections,
        timeout_ms=settings.timeout_ms,
        tls=httpx.create_ssl_context if is_tls else None,
    )


def address_of(settings: ProviderSettings, base_url: str) -> httpx.URL:
    """Where the provider answers. Raises `ConfigError` for what is no http(s) address."""
    try:
        url = httpx.URL(settings.base_url or base_url)
    except httpx.InvalidURL as error:
        raise refusal(settings, "base_url", "is no address", f"such as {base_url}") from error
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise refusal(settings, "base_url", "must be http(s)://host", f"such as {base_url}")
    return url


def check_options(
    settings: ProviderSettings, *, options: Sequence[str] = (), secrets: Sequence[str] = ()
) -> None:
    """Raise `ConfigError` for every key that neither the kind nor HTTP knows."""
    expect_only(settings, options=(*options, *CARRIAGE), secrets=secrets)


def secret_of(settings: ProviderSettings, name: str) -> str:
    """A secret that goes into a header. Raises `ConfigError` if it is missing or cannot."""
    found = settings.secrets.get(name)
    if not found:
        hint = f'such as "file:/etc/dripd/{settings.name}.key"'
        raise refusal(settings, name, "is missing", hint)
    if not found.reveal().isascii() or not found.reveal().isprintable():
        hint = "it has a line break or a control character"
        raise refusal(settings, name, "is no key", hint)
    return found.reveal()


def key_header(message: Message, name: bytes = b"Idempotency-Key") -> tuple[bytes, bytes]:
    """The header of the message's idempotency key. Raises `Unsendable` for a broken key."""
    key = message.idempotency_key
    if not key.isascii() or not key.isprintable():
        raise Unsendable("an idempotency key that no header can carry")
    return name, key.encode("ascii")


def read_object(reply: Reply) -> Mapping[str, object]:
    """The JSON object of an answer; empty where it is none."""
    try:
        found = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def word(value: object) -> str:
    """A provider's word or number for a reason; empty for what may hold an address."""
    shown = str(value) if isinstance(value, str | int) else ""
    is_word = shown.isascii() and shown.isprintable() and "@" not in shown
    return shown[:MAX_WORD] if is_word else ""


def named(outcome: Outcome, name: str) -> Outcome:
    """A rejection with the provider's own word for it."""
    if isinstance(outcome, Rejected) and name:
        return Rejected(reason=f"{outcome.reason}:{name}")
    return outcome


def all_accepted(messages: Sequence[Message], provider_id: object) -> list[Outcome]:
    """One acceptance for all."""
    found = provider_id if isinstance(provider_id, str) else ""
    return [Accepted(provider_id=found) for _ in messages]
