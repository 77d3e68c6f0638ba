"""The pixel and the redirect: readers are always served, forgers never believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from dripd.campaigns.links import Told
from dripd.channels.base import Secret
from dripd.gateway import tracking
from dripd.gateway.intake import Intake
from dripd.gateway.tracking import GIF, Tracking
from tests.gateway.world import KEY, LINKS, TOLD, Kept, asking

TARGET = "https://acme.test/a b?x=ü&y=1#z"
OPEN = LINKS.open_url(TOLD)
CLICK = LINKS.click_url(TOLD, TARGET, "offer")


@asynccontextmanager
async def reading(kept: Kept, age_ms: int | None = None) -> AsyncIterator[httpx.AsyncClient]:
    intake = Intake(kept)

    def age(_told: Told) -> int | None:
        return age_ms

    async with asking(Tracking(KEY, intake, age).routes(), intake) as client:
        yield client


@pytest.mark.trio
async def test_an_opening_is_an_event_of_its_delivery() -> None:
    kept = Kept()
    async with reading(kept) as client:
        answer = await client.get(OPEN)

    assert (200, "image/gif", GIF) == (
        answer.status_code,
        answer.headers["content-type"],
        answer.content,
    )
    assert [("open", "70-2", {})] == kept.rows()


@pytest.mark.trio
async def test_a_click_leads_on_and_tells_which_link() -> None:
    kept = Kept()
    async with reading(kept) as client:
        answer = await client.get(CLICK)
        plain = await client.get(LINKS.click_url(TOLD, "https://acme.test/", ""))

    assert 302 == answer.status_code
    assert "https://acme.test/a%20b?x=%C3%BC&y=1#z" == answer.headers["location"]
    assert "https://acme.test/" == plain.headers["location"]
    assert [("click", "70-2", {"link": "offer"}), ("click", "70-2", {})] == kept.rows()


@pytest.mark.trio
async def test_a_link_that_we_did_not_make_leads_nowhere() -> None:
    kept = Kept()
    forged = CLICK.replace("acme.test", "evil.test")
    async with reading(kept) as client:
        answers = [await client.get(url) for url in (forged, CLICK[:-1], CLICK + "&u=x")]
        pixel = await client.get(OPEN + "x")

    assert [404, 404, 404] == [answer.status_code for answer in answers]
    assert (200, GIF) == (pixel.status_code, pixel.content)
    assert [] == kept.rows()


@pytest.mark.trio
async def test_looking_at_a_link_is_no_click() -> None:
    kept = Kept()
    async with reading(kept) as client:
        head = await client.head(CLICK)
        options = await client.options(CLICK)

    assert [302, 405] == [head.status_code, options.status_code]
    assert [] == kept.rows()


@pytest.mark.trio
async def test_machines_are_told_from_people() -> None:
    kept = Kept()
    async with reading(kept) as client:
        await client.get(OPEN, headers={"User-Agent": "Mozilla/5.0"})
        await client.get(OPEN, headers={"Sec-Purpose": "prefetch;anonymous-client-ip"})
        await client.get(CLICK, headers={"User-Agent": "Barracuda Sentinel (EE)"})
    async with reading(kept, age_ms=100) as client:
        await client.get(OPEN)
    async with reading(kept, age_ms=60_000) as client:
        await client.get(OPEN)

    assert [True, True, True, True, None] == [
        payload.get("machine") for _, _, payload in kept.rows()
    ]


@pytest.mark.trio
async def test_a_reader_is_served_while_the_database_is_away() -> None:
    kept = Kept()
    kept.away = True
    async with reading(kept) as client:
        answers = [await client.get(url) for url in (OPEN, CLICK)]

    assert [200, 302] == [answer.status_code for answer in answers]


@pytest.mark.trio
async def test_a_pixel_in_a_loop_fills_no_queue() -> None:
    kept = Kept()
    async with reading(kept) as client:
        for _ in range(tracking.EVENTS_MOST + 5):
            await client.get(OPEN)
        await client.get(LINKS.open_url(TOLD._replace(seq=3)))

    assert tracking.EVENTS_MOST + 1 == len(kept.rows())


@pytest.mark.trio
async def test_a_key_of_another_deployment_opens_nothing() -> None:
    kept = Kept()
    intake = Intake(kept)
    other = Tracking(Secret("o" * 32), intake, lambda _told: None)
    async with asking(other.routes(), intake) as client:
        answer = await client.get(CLICK)

    assert 404 == answer.status_code
    assert [] == kept.rows()
