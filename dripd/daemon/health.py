"""Who answers `/livez`, `/readyz` and `/metrics`? A thread that needs nothing of the loop.

It reads the daemon's stamps and its registry, so it answers as well when the event loop is
stuck, and then says so. Eight requests at once, five seconds each; nobody who asks can send
more than a request line and headers, and nothing personal is in any answer.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

from dripd.config import Config
from dripd.daemon.gauges import describe, page
from dripd.daemon.vitals import Vitals
from dripd.errors import ConfigError, Conflict, DripdError
from dripd.log import get
from dripd.metrics import Registry

AT_ONCE: Final = 8
REQUEST_S: Final = 5.0

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
JSON: Final = "application/json"

log = get("health")

Page: TypeAlias = tuple[int, str, str]
"""Status, content type, body."""


def pages(vitals: Vitals, render: Callable[[], str]) -> Mapping[str, Callable[[], Page]]:
    """What each path answers."""

    def livez() -> Page:
        live = vitals.is_live()
        return (200 if live else 503), TEXT, "live\n" if live else "the event loop is stuck\n"

    def readyz() -> Page:
        report = vitals.report()
        return (200 if report["ready"] else 503), JSON, json.dumps(report) + "\n"

    def metrics() -> Page:
        return 200, TEXT, render()

    return {"/livez": livez, "/readyz": readyz, "/metrics": metrics}


class Server(ThreadingHTTPServer):
    """Serves fixed paths; more than `AT_ONCE` requests at once are hung up on."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], paths: Mapping[str, Callable[[], Page]]) -> None:
        self.paths = paths
        self._room = threading.Semaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, Handler)

    def server_bind(self) -> None:
        """Bind, without asking the name service who we are, as `HTTPServer` would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up or sends no request is nobody's concern."""

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host, port = self.server_name, self.server_port
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the server's `paths`."""

    timeout = REQUEST_S
    server: Server

    def do_GET(self) -> None:
        page = self.server.paths.get(self.path.partition("?")[0])
        status, kind, body = page() if page is not None else (404, TEXT, "no such page\n")
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_HEAD = do_GET

    def version_string(self) -> str:
        return "dripd"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing: a scrape every few seconds is not worth a line."""


def open_server(
    listen: str, vitals: Vitals, render: Callable[[], str], *, or_any: bool
) -> Server | None:
    """A server bound to `HOST:PORT`, None for "".

    *or_any*: a free port is taken where that one is in use (nobody asked for it by name).
    Raises `Conflict` `port_in_use`, `ConfigError` where it is no address of this machine.
    """
    if not listen:
        return None
    host, _, port = listen.rpartition(":")
    place = (host.strip("[]"), int(port))
    try:
        return Server(place, pages(vitals, render))
    except OSError as error:
        if or_any and error.errno == errno.EADDRINUSE and place[1]:
            return open_server(f"{host}:0", vitals, render, or_any=False)
        raise refusal(listen, error) from error


def refusal(listen: str, error: OSError) -> DripdError:
    hint = 'choose another HOST:PORT, port 0 for a free one, or "" for none'
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"{listen} is in use by another process",
            code="port_in_use",
            path="metrics.listen",
            hint=hint,
        )
    return ConfigError(f"metrics.listen: {listen} cannot be used: {error.strerror}", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What of a daemon is there before everything else, and after."""

    vitals: Vitals
    metrics: Registry
    server: Server | None

    @property
    def url(self) -> str | None:
        return None if self.server is None else self.server.url


def open_health(config: Config, version: str) -> Health:
    """Answer from before the database is asked until after it is left. Raises as `open_server`."""
    metrics, vitals = Registry(config.metrics_campaigns), Vitals(node=config.daemon.node)
    vitals.looped_at = time.monotonic()
    describe(metrics, version, {name: one.rate for name, one in config.providers.items()})
    server = open_server(
        config.metrics_listen,
        vitals,
        partial(page, metrics),
        or_any=config.is_default("metrics.listen"),
    )
    if server is not None:
        log.info("metrics.listening", url=server.url)
    return Health(vitals=vitals, metrics=metrics, server=server)


@contextmanager
def serving(server: Server | None) -> Iterator[None]:
    """Answer in a thread of its own for as long as the block runs."""
    if server is None:
        yield
        return
    thread = threading.Thread(
        target=server.serve_forever, args=(0.1,), name="dripd-health", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
