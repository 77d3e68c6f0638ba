"""The listener as a client on a socket sees it: bounds, and what a port in use says."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from dripd.errors import ConfigError, Conflict, StoreUnavailable
from dripd.gateway import app


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await app.read_body(request))))


async def away(_request: Request) -> Response:
    raise StoreUnavailable("the database is away")


async def broken(_request: Request) -> Response:
    raise KeyError("a fault of ours")


ROUTES = [
    Route("/echo", echo, methods=["POST"]),
    Route("/away", away),
    Route("/broken", broken),
]


@asynccontextmanager
async def serving(routes: Sequence[BaseRoute] = ROUTES) -> AsyncIterator[httpx.AsyncClient]:
    site = app.open_site("127.0.0.1:0")
    assert site is not None
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(app.serve, site, routes))
        async with httpx.AsyncClient(base_url=site.url, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_body_of_one_mebibyte_is_taken_and_one_octet_more_refused() -> None:
    async with serving() as client:
        fits = await client.post("/echo", content=b"x" * app.MAX_BODY)
        announced = await raw(client, f"Content-Length: {app.MAX_BODY + 1}", b"")
        part = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        grown = await raw(client, "Transfer-Encoding: chunked", part * 17)

    assert (200, str(app.MAX_BODY)) == (fits.status_code, fits.text)
    assert [b"HTTP/1.1 413"] * 2 == [announced, grown]


async def raw(client: httpx.AsyncClient, header: str, body: bytes) -> bytes:
    """The status line of a POST whose body is never ended."""
    stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0)
    async with stream:
        await stream.send_all(f"POST /echo HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        await stream.send_all(body)
        return bytes(await stream.receive_some(12))


@pytest.mark.trio
async def test_a_database_that_is_away_asks_to_be_asked_again() -> None:
    async with serving() as client:
        answer = await client.get("/away")

    assert (503, "5") == (answer.status_code, answer.headers["retry-after"])


@pytest.mark.trio
async def test_a_fault_of_ours_says_nothing_about_itself() -> None:
    async with serving() as client:
        answer = await client.get("/broken")
        after = await client.post("/echo", content=b"1")

    assert (500, "failed\n") == (answer.status_code, answer.text)
    assert 200 == after.status_code


@pytest.mark.trio
async def test_no_answer_is_kept_or_says_what_served_it() -> None:
    async with serving() as client:
        answer = await client.get("/nowhere")

    assert 404 == answer.status_code
    assert "no-store" == answer.headers["cache-control"]
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "server" not in answer.headers


@pytest.mark.trio
async def test_a_slow_body_meets_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REQUEST_S", 0.1)
    async with serving() as client:

        async def slow() -> AsyncIterator[bytes]:
            yield b"x"
            await trio.sleep(1)
            yield b"y"

        answer = await client.post("/echo", content=slow(), headers={"content-length": "2"})

    assert 503 == answer.status_code


@pytest.mark.trio
async def test_beyond_the_limit_the_next_request_is_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "IN_FLIGHT", 1)
    release = trio.Event()

    async def wait(_request: Request) -> Response:
        await release.wait()
        return PlainTextResponse("done")

    answers: list[int] = []
    async with serving([Route("/wait", wait)]) as client, trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append((await client.get("/wait")).status_code)
            release.set()

        nursery.start_soon(ask)
        nursery.start_soon(ask)

    assert [503, 200] == answers


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Conflict) as caught:
            app.open_site(place)

    assert f"{place} is in use by another process" == str(caught.value)
    assert ("port_in_use", "gateway.listen", 6) == (
        caught.value.code, caught.value.path, caught.value.exit_code,
    )  # fmt: skip


def test_nothing_listens_where_nothing_is_configured() -> None:
    assert app.open_site("") is None


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gateway\.listen: 192\.0\.2\.1:80 "):
        app.open_site("192.0.2.1:80")
