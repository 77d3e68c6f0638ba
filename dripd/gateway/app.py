"""Where does the gateway listen, and what holds for every request that reaches it?

Every request has a deadline, a body of at most 1 MiB (inbound mail apart) and an answer that
nobody keeps; beyond `IN_FLIGHT` of them the next is told to come again. A database that is away
answers 503, so that a provider delivers its events once more. TLS ends at a proxy in front.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.trio import serve as serve_http
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dripd.errors import ConfigError, Conflict, Fault, StoreError
from dripd.log import get

MAX_BODY = 1 << 20
"""Octets of a request's body: providers batch their events well below it."""

MAX_HEAD = 16 * 1024
"""Octets of a request's line and headers; a tracked link is far shorter."""

REQUEST_S = 10.0
"""Real time from the head of a request to the end of its answer."""

IDLE_S = 5.0
"""Real time that a connection may be silent between requests, and before its first."""

IN_FLIGHT = 200
"""Requests at once: what the database's few connections can answer within the deadline."""

AGAIN = {"Retry-After": "5"}

EVERYWHERE = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of every answer that does not give its own."""

log = get("gateway")


@dataclass(frozen=True, slots=True)
class Site:
    """A bound listener and the address at which this machine reaches it."""

    listener: socket.socket
    url: str

    def close(self) -> None:
        self.listener.close()


def open_site(listen: str) -> Site | None:
    """Bind `HOST:PORT` (port 0: a free one); None for "", which turns the gateway off.

    Raises `ConfigError` where it is no address or not this machine's, `Conflict` where it is in use.
    """
    if not listen:
        return None
    host, _, port = listen.rpartition(":")
    try:
        family, kind, proto, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise _refusal(listen, f"is no address of this machine: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            why = f"{listen} is in use by another process"
            raise Conflict(
                why, code="port_in_use", path="gateway.listen", hint=ANOTHER
            ) from error
        raise _refusal(listen, f"cannot be used: {error.strerror}") from error
    return Site(listener, _local_url(listener))


ANOTHER = "choose another HOST:PORT, port 0 for a free one, or nothing for no gateway"


def _refusal(listen: str, why: str) -> ConfigError:
    fault = Fault(
        code="bad_value", path="gateway.listen", message=f"{listen} {why}", hint=ANOTHER
    )
    return ConfigError(f"gateway.listen: {listen} {why}", faults=(fault,), hint=ANOTHER)


def _local_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def make_app(routes: Sequence[BaseRoute]) -> ASGIApp:
    """The application of *routes*, within the bounds that hold for all."""
    handlers = {StoreError: _unavailable, Exception: _broken}
    return Bounds(Starlette(routes=list(routes), exception_handlers=handlers))


async def _unavailable(_request: Request, error: Exception) -> Response:
    log.warning("store.lost", reason=getattr(error, "code", ""))
    return PlainTextResponse("try again\n", 503, headers=AGAIN)


async def _broken(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("failed\n", 500)


def length_of(request: Request) -> int:
    """The octets that the body is said to have; the server checked that it is a number."""
    return int(request.headers.get("content-length", "0"))


async def read_body(request: Request, most: int = MAX_BODY) -> bytes:
    """The body as it came. Raises `HTTPException` 413 beyond *most*."""
    if length_of(request) > most:
        raise HTTPException(413)
    body = bytearray()
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            body += part
            if len(body) > most:
                raise HTTPException(413)
    return bytes(body)


class Bounds:
    """The outermost layer: a deadline, a limit of what is under way, and the common headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        if self._under_way >= IN_FLIGHT:
            await PlainTextResponse("busy\n", 503, headers=AGAIN)(scope, receive, answer)
            return
        self._under_way += 1
        deadline = trio.move_on_after(REQUEST_S)
        try:
            with deadline:
                await self._app(scope, receive, answer)
        except Exception:  # answered 500 by now
            log.exception("gateway.failed", path=scope["path"].split("/")[1])
        finally:
            self._under_way -= 1
        if deadline.cancelled_caught and not answer.begun:
            await PlainTextResponse("too slow\n", 503, headers=AGAIN)(scope, receive, answer)


class _Answer:
    """Hands on an answer with the common headers, and knows whether one has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            given = {name.lower() for name, _ in message["headers"]}
            more = [(name, value) for name, value in EVERYWHERE if name not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)


async def serve(
    site: Site,
    routes: Sequence[BaseRoute],
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests at *site* until cancelled; the listener is closed with it."""
    await serve_http(
        make_app(routes),  # type: ignore[arg-type]  # ASGI, spelled by Starlette
        server_config(site),
        task_status=task_status,
        mode="asgi",
    )


def server_config(site: Site) -> ServerConfig:
    """What the HTTP server is told. It writes no line for a request: paths hold tokens."""
    config = ServerConfig()
    config.bind = [f"fd://{site.listener.detach()}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.h11_max_incomplete_size = MAX_HEAD
    config.keep_alive_timeout = IDLE_S
    config.read_timeout = int(REQUEST_S)
    config.graceful_timeout = 1.0
    return config
