"""Unsubscribing: only a POST acts, and it needs nothing but the link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from dripd.gateway.intake import Intake
from dripd.gateway.unsubscribe import Unsubscribe
from tests.gateway.world import KEY, LINKS, TOLD, Kept, asking

URL = LINKS.unsubscribe_url(*TOLD[:3])
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@asynccontextmanager
async def leaving(kept: Kept) -> AsyncIterator[httpx.AsyncClient]:
    intake = Intake(kept)
    async with asking(Unsubscribe(KEY, intake).routes(), intake) as client:
        yield client


@pytest.mark.trio
async def test_scanners_that_look_change_nothing() -> None:
    kept = Kept()
    kept.away = True
    async with leaving(kept) as client:
        page = await client.get(URL)
        head = await client.head(URL)
        options = await client.options(URL)

    assert [200, 200, 405] == [page.status_code, head.status_code, options.status_code]
    assert '<form method="post">' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert [] == kept.rows()


@pytest.mark.trio
async def test_a_mail_client_unsubscribes_by_one_post_without_cookies() -> None:
    kept = Kept()
    async with leaving(kept) as client:
        answer = await client.post(URL, data=ONE_CLICK)
        form = await client.post(URL, files={"List-Unsubscribe": (None, "One-Click")})

    assert [200, 200] == [answer.status_code, form.status_code]
    assert "set-cookie" not in answer.headers
    assert [("unsubscribe", "70-2", {"via": "one_click"})] * 2 == kept.rows()


@pytest.mark.trio
async def test_the_button_of_the_page_unsubscribes() -> None:
    kept = Kept()
    async with leaving(kept) as client:
        answer = await client.post(URL, data={"confirm": "yes"})

    assert "You are unsubscribed" in answer.text
    assert [("unsubscribe", "70-2", {"via": "page"})] == kept.rows()


@pytest.mark.trio
async def test_it_is_not_answered_before_it_is_kept() -> None:
    kept = Kept()
    kept.away = True
    async with leaving(kept) as client:
        answer = await client.post(URL, data=ONE_CLICK)

    assert (503, "5") == (answer.status_code, answer.headers["retry-after"])


@pytest.mark.trio
async def test_a_forged_link_or_one_for_another_use_unsubscribes_nobody() -> None:
    kept = Kept()
    other = URL.replace("/u/", "/o/"), LINKS.open_url(TOLD).replace("/o/", "/u/")
    async with leaving(kept) as client:
        answers = [await client.post(url) for url in (URL, URL[:-1], *other)]
        page = await client.get(URL + "x")

    assert [200, 404, 404, 404] == [answer.status_code for answer in answers]
    assert 404 == page.status_code
    assert 1 == len(kept.rows())
