from __future__ import annotations

import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET

import httpx
import pytest
import trio

from dripd.campaigns.event import Outcome, Rejected, Retryable, Unknown
from dripd.channels.transport import TrioTransport, outcome_of, unsent
from dripd.clock import Millis
from tests.support.http_server import Peer, Server, answer, answering, http_server
from tests.support.tls import client_context, server_context

pytestmark = pytest.mark.trio

OK = answer(200, body=b"hello")


@asynccontextmanager
async def client_of(
    *,
    max_connections: int = 4,
    pool_s: float = 30,
    read_s: float = 30,
    keepalive_ms: int = 4_000,
) -> AsyncIterator[httpx.AsyncClient]:
    transport = TrioTransport(
        max_connections=max_connections,
        keepalive_ms=Millis(keepalive_ms),
        tls=client_context(),
    )
    timeout = httpx.Timeout(30, pool=pool_s, read=read_s)
    client = httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)
    async with client:
        yield client


def reset(stream: trio.abc.Stream) -> None:
    """Close so that the client reads ECONNRESET, not an end of stream."""
    assert isinstance(stream, trio.SocketStream)
    stream.socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def test_request_arrives_as_httpx_built_it() -> None:
    async with answering(OK) as server, client_of() as client:
        response = await client.post(
            f"{server.url}/a/b?c=d", json={"x": 1}, headers={"X-Y": "z"}
        )

        assert (200, b"hello") == (response.status_code, response.content)
        (asked,) = server.asked
        assert asked.head.startswith(b"POST /a/b?c=d HTTP/1.1\r\n")
        assert "z" == asked.header("x-y")
        assert f"127.0.0.1:{server.port}" == asked.header("host")
        assert b'{"x":1}' == asked.body


async def test_streamed_request_is_sent_with_its_length() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    async with answering(OK) as server, client_of() as client:
        await client.post(server.url, content=parts())

        (asked,) = server.asked
        assert ("", "3") == (asked.header("transfer-encoding"), asked.header("content-length"))
        assert b"abc" == asked.body


async def test_connection_is_used_again() -> None:
    async with answering(OK) as server, client_of() as client:
        for _ in range(5):
            await client.get(server.url)

        assert server.n_connections == 1


async def test_last_used_connection_goes_first() -> None:
    """So that those which are not needed grow old and are closed."""
    numbers: list[int] = []
    together = trio.Event()

    async def script(peer: Peer) -> None:
        while await peer.ask():
            numbers.append(peer.number)
            if len(numbers) == 2:
                together.set()
            await together.wait()
            await peer.stream.send_all(OK)

    async with http_server(script) as server, client_of() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.get, server.url)
            nursery.start_soon(client.get, server.url)
        for _ in range(3):
            await client.get(server.url)

    assert len(set(numbers[2:])) == 1


async def test_no_more_connections_than_allowed() -> None:
    busy = 0
    most = 0

    async def script(peer: Peer) -> None:
        nonlocal busy, most
        while await peer.ask():
            busy += 1
            most = max(most, busy)
            await trio.sleep(0.002)
            busy -= 1
            await peer.stream.send_all(OK)

    async with http_server(script) as server, client_of(max_connections=3) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(client.get, server.url)

        assert most == 3
        assert server.n_connections == 3


async def test_idle_connection_of_another_origin_makes_room() -> None:
    async with (
        answering(OK) as one,
        answering(OK) as two,
        client_of(max_connections=1) as client,
    ):
        for server in (one, two, one):
            await client.get(server.url)

        assert (2, 1) == (one.n_connections, two.n_connections)


async def test_every_answer_split_in_two_writes_is_read() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

    async def script(peer: Peer) -> None:
        for at in range(1, len(data)):
            await peer.ask()
            await peer.stream.send_all(data[:at])
            await trio.lowlevel.checkpoint()
            await peer.stream.send_all(data[at:])
        await peer.ask()

    async with http_server(script) as server, client_of() as client:
        for _ in range(1, len(data)):
            response = await client.post(server.url, content=b"x")
            assert b"hello" == response.content
        assert server.n_connections == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_answer_that_ends_its_connection_is_read_and_not_kept(data: bytes) -> None:
    async with answering(data, keep=False) as server, client_of() as client:
        for _ in range(2):
            assert b"hello" == (await client.get(server.url)).content

        assert server.n_connections == 2


async def test_interim_answer_is_passed_over() -> None:
    async with (
        answering(b"HTTP/1.1 100 Continue\r\n\r\n" + OK) as server,
        client_of() as client,
    ):
        assert (await client.get(server.url)).status_code == 200


async def test_connection_closed_while_idle_is_replaced_unnoticed() -> None:
    async with answering(OK, keep=False) as server, client_of() as client:
        for _ in range(3):
            await client.post(server.url, content=b"x")
            await trio.sleep(0.005)

        assert server.n_connections == 3


async def test_connection_that_spoke_while_idle_is_not_used_again() -> None:
    async def script(peer: Peer) -> None:
        while await peer.ask():
            await peer.stream.send_all(OK)
            await trio.sleep(0.001)
            await peer.stream.send_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    async with http_server(script) as server, client_of() as client:
        await client.get(server.url)
        await trio.sleep(0.01)

        assert (await client.get(server.url)).status_code == 200


async def test_idle_connection_grows_too_old() -> None:
    async with answering(OK) as server, client_of(keepalive_ms=1) as client:
        await client.get(server.url)
        await trio.sleep(0.005)
        await client.get(server.url)

        assert server.n_connections == 2


async def failure(client: httpx.AsyncClient, url: str, body: bytes = b"x") -> Outcome:
    request = client.build_request("POST", url, content=body)
    with pytest.raises(httpx.TransportError) as caught:
        await client.send(request)
    outcome = outcome_of(caught.value)
    assert unsent(request) == (not isinstance(outcome, Unknown))
    return outcome


async def test_refused_connection_is_provably_unsent() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with client_of() as client:
        assert Retryable(reason="connect") == await failure(client, f"http://127.0.0.1:{port}")


async def test_name_that_cannot_be_looked_up_is_provably_unsent() -> None:
    async with client_of() as client:
        url = f"http://{'x' * 70}.invalid"
        assert Retryable(reason="connect") == await failure(client, url)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"garbage\r\n\r\n",
    ],
)
@pytest.mark.parametrize("hard", [False, True])
async def test_answer_that_does_not_come_in_full_is_ambiguous(said: bytes, hard: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.ask()
        if said:
            await peer.stream.send_all(said)
            await trio.sleep(0.001)
        if hard:
            reset(peer.stream)

    async with http_server(script) as server, client_of() as client:
        assert Unknown(reason="lost") == await failure(client, server.url)
        assert server.n_connections == 1


async def test_request_is_not_written_twice_when_a_kept_connection_is_lost() -> None:
    """The request had left: only somebody who knows of its key may repeat it."""
    n_asked = 0

    async def script(peer: Peer) -> None:
        nonlocal n_asked
        while await peer.ask():
            n_asked += 1
            if n_asked == 2:
                return
            await peer.stream.send_all(OK)

    async with http_server(script) as server, client_of() as client:
        await client.get(server.url)

        assert Unknown(reason="lost") == await failure(client, server.url)
        assert n_asked == 2


async def test_early_refusal_of_a_large_request_is_read() -> None:
    refusal = answer(413, [("Connection", "close")])

    async def script(peer: Peer) -> None:
        await peer.stream.receive_some(1_000)
        await peer.stream.send_all(refusal)
        assert isinstance(peer.stream, trio.SocketStream)
        await peer.stream.send_eof()
        while await peer.stream.receive_some(1_000_000):
            pass

    async with http_server(script) as server, client_of() as client:
        response = await client.post(server.url, content=b"x" * 3_000_000)

        assert response.status_code == 413


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX: "])
async def test_one_deadline_covers_an_answer_that_drips(said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.ask()
        while said:
            await peer.stream.send_all(said)
            await trio.sleep(0.01)
        await trio.sleep_forever()

    async with http_server(script) as server, client_of(read_s=0.05) as client:
        assert Unknown(reason="timeout") == await failure(client, server.url)


async def test_request_that_cannot_be_written_in_time_is_ambiguous() -> None:
    async def script(peer: Peer) -> None:
        await trio.sleep_forever()

    async with http_server(script) as server, client_of(read_s=0.05) as client:
        outcome = await failure(client, server.url, b"x" * 20_000_000)

        assert Unknown(reason="timeout") == outcome


async def test_waiting_for_a_connection_is_bounded_and_unsent() -> None:
    asked = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.ask()
        asked.set()
        await trio.sleep_forever()

    async with (
        http_server(script) as server,
        client_of(max_connections=1, pool_s=0.03) as client,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.get, server.url)
            await asked.wait()
            outcome = await failure(client, server.url)
            nursery.cancel_scope.cancel()

        assert Retryable(reason="connect_timeout") == outcome


@pytest.mark.parametrize(
    "header", [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0"), ("X\r\n", "a")]
)
async def test_header_that_would_break_the_framing_is_refused(header: tuple[str, str]) -> None:
    async with answering(OK) as server, client_of() as client:
        request = client.build_request("POST", server.url, headers=[header])
        with pytest.raises(httpx.LocalProtocolError) as caught:
            await client.send(request)

        assert Rejected(reason="malformed") == outcome_of(caught.value)
        assert server.n_connections == 0


async def test_cancelled_request_gives_up_its_connection_and_its_place() -> None:
    under_way = trio.CancelScope()

    async def script(peer: Peer) -> None:
        await peer.ask()
        if peer.number == 1:
            under_way.cancel()
            await trio.sleep_forever()
        await peer.stream.send_all(OK)

    async with http_server(script) as server, client_of(max_connections=1) as client:
        request = client.build_request("POST", server.url, content=b"x")
        with under_way:
            await client.send(request)

        assert not unsent(request)
        assert (await client.get(server.url)).status_code == 200
        assert server.n_connections == 2


async def test_request_cancelled_before_its_connection_is_unsent() -> None:
    async with answering(OK) as server, client_of() as client:
        request = client.build_request("POST", server.url, content=b"x")
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.send(request)

        assert unsent(request)
        assert not server.asked


async def test_transport_stays_whole_whenever_it_is_cancelled() -> None:
    """Cancel at the k-th chance for every k, then all connections must still be there."""
    async with answering(OK) as server, client_of(max_connections=1) as client:
        for k in range(40):
            await run_cancelled(client.get(server.url), k)
            assert (await client.get(server.url)).status_code == 200


async def run_cancelled(awaitable: object, k: int) -> None:
    async def watch(scope: trio.CancelScope) -> None:
        for _ in range(k):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        await awaitable  # type: ignore[misc]  # any coroutine
        nursery.cancel_scope.cancel()


async def test_closing_the_transport_ends_what_is_under_way() -> None:
    async def script(peer: Peer) -> None:
        await peer.ask()
        await trio.sleep_forever()

    async with http_server(script) as server, client_of() as client:
        outcomes: list[Outcome] = []

        async def lose() -> None:
            outcomes.append(await failure(client, server.url))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            await trio.sleep(0.01)
            await client.aclose()

        assert outcomes == [Unknown(reason="lost")]


def tls(stream: trio.SocketStream) -> trio.abc.Stream:
    return trio.SSLStream(stream, server_context(), server_side=True, https_compatible=True)


@asynccontextmanager
async def tls_server(n_answers: int = 99) -> AsyncIterator[Server]:
    async def script(peer: Peer) -> None:
        for _ in range(n_answers):
            if await peer.ask() is None:
                return
            await peer.stream.send_all(OK)

    async with http_server(script, tls) as server:
        yield server


async def test_tls_connection_is_used_again() -> None:
    async with tls_server() as server, client_of() as client:
        for _ in range(3):
            url = f"https://localhost:{server.port}"
            assert b"hello" == (await client.post(url, content=b"x" * 100_000)).content

        assert server.n_connections == 1


async def test_tls_connection_closed_while_idle_is_replaced() -> None:
    async with tls_server(1) as server, client_of() as client:
        for _ in range(2):
            await client.get(f"https://localhost:{server.port}")
            await trio.sleep(0.005)

        assert server.n_connections == 2


async def test_untrusted_certificate_is_provably_unsent() -> None:
    transport = TrioTransport(max_connections=1, tls=ssl.create_default_context())
    async with tls_server() as server, httpx.AsyncClient(transport=transport) as client:
        outcome = await failure(client, f"https://localhost:{server.port}")

        assert Retryable(reason="connect") == outcome


async def test_server_that_speaks_no_tls_is_provably_unsent() -> None:
    async with answering(OK, keep=False) as server, client_of() as client:
        assert isinstance(await failure(client, f"https://localhost:{server.port}"), Retryable)
