"""What of the daemon do recipients and providers reach? The gateway, wired to the store.

Links are made for the public address; without one they are made for this machine alone, and
only in messages that stay on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import trio
from starlette.routing import BaseRoute

from dripd.campaigns.links import Links, Told, signing_key
from dripd.channels.base import Secret
from dripd.channels.happening import Happened
from dripd.clock import Clock, ManualClock, SystemClock
from dripd.config import Config
from dripd.daemon.asides import Refusals
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.gateway import app
from dripd.gateway.inbound import Hooks
from dripd.gateway.intake import Intake
from dripd.gateway.tracking import Tracking
from dripd.gateway.unsubscribe import Unsubscribe
from dripd.log import get
from dripd.store.desk import Desk
from dripd.store.desk_gateway import keep_happenings, keep_signals, match_parked

MATCH_S = 2.0
"""Real seconds between looks at parked events."""

log = get("gateway")


class House(Protocol):
    """The daemon, as its front needs it."""

    config: Config
    clock: Clock
    pipe: Pipeline
    deployment: str
    key: Secret
    site: app.Site | None


def links(
    config: Config, site: app.Site | None, key: Secret
) -> tuple[Links | None, Links | None]:
    """Who makes links that everybody can follow, and who those that this machine can."""
    octets, public = signing_key(key.reveal()), config.gateway.public_url
    return (
        Links(public, octets) if public else None,
        None if site is None else Links(site.url, octets),
    )


def sinks(config: Config) -> frozenset[str]:
    """The providers whose messages reach nobody."""
    return frozenset(n for n, one in config.providers.items() if one.kind == "sink")


async def open_front(house: House, desk: Desk, nursery: trio.Nursery) -> None:
    """Answer HTTP, where an address is configured, for as long as events can be kept.

    *desk* is the front's own: a flood from outside takes no connection from operators.
    """
    if house.site is None:
        return
    intake = Intake(partial(desk.run, keep_signals))
    nursery.start_soon(intake.run)
    nursery.start_soon(match_again, house, desk)
    await nursery.start(app.serve, house.site, routes(house, desk, intake))
    log.info("gateway.listening", url=house.site.url)
    if not house.config.gateway.public_url:
        log.info("gateway.private", url=house.site.url)


async def _keep(desk: Desk, deployment: str, provider: str, told: Sequence[Happened]) -> int:
    return await desk.run(keep_happenings, provider, deployment, told)


async def match_again(house: House, desk: Desk) -> None:
    """Events that came before our own record of their message find it soon."""
    while True:
        await trio.sleep(MATCH_S)  # noqa: TID251 - a poll in real time
        try:
            await desk.run(match_parked, house.deployment)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)


def routes(house: House, desk: Desk, intake: Intake) -> list[BaseRoute]:
    """What the gateway answers."""

    def age(told: Told) -> int | None:
        """Under a manual clock no time passes between a message and its opening."""
        return None if isinstance(house.clock, ManualClock) else house.clock.now() - told.at

    hooks = Hooks(
        house.config.providers,
        house.deployment,
        partial(_keep, desk, house.deployment),
        SystemClock(),
        public_url=house.config.gateway.public_url,
        refused=Refusals(house.pipe).note,
    )
    return [
        *hooks.routes(),
        *Tracking(house.key, intake, age).routes(),
        *Unsubscribe(house.key, intake).routes(),
    ]
