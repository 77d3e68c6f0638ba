"""Who opened, who clicked? The pixel and the redirect; both answer whatever becomes of the event.

A signed token names the delivery, nothing else does. The reader is never made to wait for, or
to suffer from, a database that is away: then the event is lost, and the log says so.
"""

from __future__ import annotations

from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import quote

import trio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dripd.campaigns.links import PATHS, Told, Use, read_token, signing_key
from dripd.campaigns.tracking import is_web
from dripd.channels.base import Secret
from dripd.errors import StoreError
from dripd.gateway.intake import Intake
from dripd.gateway.machine import is_machine
from dripd.log import get
from dripd.store.desk_gateway import Signal

PATIENCE_S = 2.0
"""Real time that a reader waits for the event to be kept."""

EVENTS_MOST = 20
"""Of one kind and one delivery in `SPAN_S`: who loads a pixel in a loop fills no queue."""
SPAN_S = 3_600.0
REMEMBERED = 50_000
"""Deliveries whose events are counted: about 10 MB."""

GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A transparent pixel."""

SAFE = "!#$%&'()*+,/:;=?@[]~"
"""Characters of an address that stay as they are; others are written as octets."""

Age = Callable[[Told], int | None]

log = get("gateway")


class Tracking:
    """Routes of opens and clicks. `age` says how old a message is, None where time stands."""

    def __init__(self, key: Secret, intake: Intake, age: Age) -> None:
        self._key = signing_key(key.reveal())
        self._intake = intake
        self._age = age
        self._flood = Flood()

    def routes(self) -> list[Route]:
        return [
            Route(f"/{PATHS['open']}/{{token}}", self.opened, methods=["GET"]),
            Route(f"/{PATHS['click']}/{{token}}", self.clicked, methods=["GET"]),
        ]

    async def opened(self, request: Request) -> Response:
        """A pixel, also for a token that is none: a mail shows no broken picture."""
        told = self._read("open", request)
        if told is not None:
            await self._keep("open", told, request, {})
        return Response(GIF, media_type="image/gif")

    async def clicked(self, request: Request) -> Response:
        """On to where the link leads; 404 for a link that we did not make."""
        target, link = request.query_params.get("u", ""), request.query_params.get("l", "")
        told = self._read("click", request, link, target)
        if told is None or not is_web(target):
            return PlainTextResponse("This link is not valid.\n", 404)
        await self._keep("click", told, request, {"link": link} if link else {})
        return Response(status_code=302, headers={"location": quote(target, safe=SAFE)})

    def _read(self, use: Use, request: Request, *more: str) -> Told | None:
        token = request.path_params["token"]
        return read_token(self._key, use, token, *more)

    async def _keep(
        self, kind: str, told: Told, request: Request, payload: Mapping[str, object]
    ) -> None:
        if request.method == "HEAD" or not self._flood.lets(kind, told.delivery_id):
            return
        if is_machine(request.headers, self._age(told)):
            payload = {**payload, "machine": True}
        signal = Signal(
            account_id=told.account_id, kind=kind, delivery_id=told.delivery_id, payload=payload
        )
        try:
            with trio.move_on_after(PATIENCE_S) as patience:
                await self._intake.put([signal])
        except StoreError as error:
            log.warning("event.lost", kind=kind, reason=error.code)
            return
        if patience.cancelled_caught:
            log.warning("event.lost", kind=kind, reason="slow")


class Flood:
    """Counts events by delivery, so that one of them cannot fill the queue."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def lets(self, kind: str, delivery_id: str) -> bool:
        """May one more event of this delivery be kept?"""
        place, now = (kind, delivery_id), trio.current_time()
        since, n = self._seen.pop(place, (now, 0))
        if now - since > SPAN_S:
            since, n = now, 0
        self._seen[place] = (since, n + 1)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return n < EVENTS_MOST
