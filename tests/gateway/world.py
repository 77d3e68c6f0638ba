"""Routes over ASGI, and an inbox that only keeps what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import trio
from starlette.routing import BaseRoute

from dripd.campaigns.links import Links, Told, signing_key
from dripd.channels.base import Secret
from dripd.clock import Instant
from dripd.errors import StoreUnavailable
from dripd.gateway.app import make_app
from dripd.gateway.intake import Intake
from dripd.store.desk_gateway import Signal

BASE = "http://gateway.test"
KEY = Secret("k" * 32)
LINKS = Links(BASE, signing_key(KEY.reveal()))
TOLD = Told(3, 70, 2, Instant(1_772_445_600_000))
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Kept:
    """What was committed; `away`: the database is."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.batches: list[int] = []
        self.away = False

    async def __call__(self, signals: Sequence[Signal]) -> None:
        await trio.lowlevel.checkpoint()
        if self.away:
            raise StoreUnavailable("the database is away")
        self.signals += signals
        self.batches.append(len(signals))

    def rows(self) -> list[tuple[str, str, dict[str, object]]]:
        return [(one.kind, one.delivery_id, dict(one.payload)) for one in self.signals]


@asynccontextmanager
async def asking(
    routes: Sequence[BaseRoute], intake: Intake | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in front of *routes*, whose *intake* runs."""
    transport = httpx.ASGITransport(app=make_app(routes))  # type: ignore[arg-type]
    headers = {"User-Agent": BROWSER}
    async with trio.open_nursery() as nursery:
        if intake is not None:
            nursery.start_soon(intake.run)
        async with httpx.AsyncClient(
            transport=transport, base_url=BASE, headers=headers
        ) as client:
            yield client
        nursery.cancel_scope.cancel()
