"""One task drives all connections: what leaves, what is known of it, and by whose hand."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import h11
import pytest
import trio

from dripd.campaigns.event import Outcome, Retryable, Unknown
from dripd.channels.drive import Call, Driver, Job, _Wire
from dripd.clock import Millis
from tests.support.http_server import Peer, answer, answering, http_server
from tests.support.tls import client_context, server_context

pytestmark = pytest.mark.trio

OK = answer(200, body=b"hello")
POST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"


@asynccontextmanager
async def driver_of(
    port: int,
    *,
    most: int = 4,
    timeout_ms: int = 5_000,
    keepalive_ms: int = 4_000,
    tls: Callable[[], ssl.SSLContext] | None = None,
) -> AsyncIterator[Driver]:
    host = "localhost" if tls else "127.0.0.1"
    driver = Driver(
        host,
        port,
        max_connections=most,
        timeout_ms=Millis(timeout_ms),
        keepalive_ms=Millis(keepalive_ms),
        tls=tls,
    )
    try:
        yield driver
    finally:
        await driver.aclose()


async def carry(driver: Driver, n: int = 1, body: bytes = b"x") -> list[Job]:
    jobs = [Job(POST % (len(body), body)) for _ in range(n)]
    seen: list[Job] = []
    await driver.carry(jobs, Call(n, seen.extend))

    assert sorted(map(id, seen)) == sorted(map(id, jobs))
    return jobs


def statuses(jobs: list[Job]) -> list[int | Outcome | None]:
    return [job.reply.status if job.reply is not None else job.outcome for job in jobs]


async def test_jobs_share_as_few_connections_as_there_may_be() -> None:
    async with answering(OK) as server, driver_of(server.port, most=3) as driver:
        assert [200] * 20 == statuses(await carry(driver, 20))
        assert server.n_connections == 3
        await carry(driver)
        assert server.n_connections == 3


async def test_calls_that_overlap_drive_for_each_other() -> None:
    async with answering(OK) as server, driver_of(server.port, most=2) as driver:
        async with trio.open_nursery() as nursery:
            for n in (1, 30, 5, 30):
                nursery.start_soon(carry, driver, n)

        assert len(server.asked) == 66


async def test_a_call_that_is_cancelled_leaves_the_others_whole() -> None:
    """Whoever drives may be cancelled: somebody else drives on."""
    async with answering(OK) as server, driver_of(server.port, most=1) as driver:
        for k in range(30):
            done: list[int] = []

            async def carry_on(done: list[int] = done) -> None:
                done.append(len(await carry(driver, 3)))

            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def carry_until(scope: trio.CancelScope = scope) -> None:
                    with scope:
                        await driver.carry([Job(POST % (1, b"x"))] * 1, Call(1, lambda _: None))

                nursery.start_soon(carry_until)
                nursery.start_soon(carry_on)
                for _ in range(k):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            assert done == [3]


async def test_connections_can_be_made_before_they_are_needed() -> None:
    async with answering(OK) as server, driver_of(server.port) as driver:
        await driver.dial()
        await carry(driver, 3)
        await trio.sleep(0.01)

        assert server.n_connections == 4


async def test_connection_closed_while_idle_is_replaced_unnoticed() -> None:
    async with answering(OK, keep=False) as server, driver_of(server.port) as driver:
        for _ in range(3):
            assert [200] == statuses(await carry(driver))
            await trio.sleep(0.01)

        assert server.n_connections == 3


async def test_idle_connection_grows_too_old() -> None:
    async with (
        answering(OK) as server,
        driver_of(server.port, keepalive_ms=1) as driver,
    ):
        await carry(driver)
        await trio.sleep(0.01)
        await carry(driver)

        assert server.n_connections == 2


SAID_UNASKED = [OK, b"H", answer(408), b"HTTP/1.1 408 X\r\nConnection: close\r\n\r\n", b"\r\n"]


def may_be_used_again(said: bytes) -> bool:
    """What h11 says of a connection on which *said* follows a full answer."""
    conn = h11.Connection(h11.CLIENT)
    conn.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    conn.send(h11.EndOfMessage())
    conn.receive_data(OK)
    while not isinstance(conn.next_event(), h11.EndOfMessage):
        pass
    conn.receive_data(said)
    return conn.next_event() is not h11.PAUSED


@pytest.mark.parametrize("said", [b"", *SAID_UNASKED])
async def test_what_comes_before_a_request_is_no_answer_to_it(said: bytes) -> None:
    """Whether it comes between the answer and the next request, or while nothing is asked."""
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        while await peer.ask() is not None:
            await peer.stream.send_all(answer(200 + len(peers), body=b"hello"))

    def say(_: Sequence[Job]) -> None:
        stream = peers[0].stream
        assert isinstance(stream, trio.SocketStream)
        if len(peers) == 1 and said:
            os.write(stream.socket.fileno(), said)

    async with http_server(script) as server, driver_of(server.port, most=1) as driver:
        jobs = [Job(POST % (1, b"x")) for _ in range(2)]
        await driver.carry(jobs, Call(2, say))
        if said:
            stream = peers[1].stream
            assert isinstance(stream, trio.SocketStream)
            os.write(stream.socket.fileno(), said)
        more = await carry(driver)

        assert may_be_used_again(said) == (server.n_connections == 1)
        assert ([201, 201, 201] if not said else [201, 202, 203]) == statuses(jobs + more)


@pytest.mark.interpreted
async def test_a_queue_shorter_than_the_dials_under_way_is_waited_for() -> None:
    """The dials that a queue asked for are not yet made when others have emptied it."""
    gate = trio.Event()

    class Gated(Driver):
        async def _reach(self) -> _Wire:
            if self._wires:
                await gate.wait()
            return await super()._reach()

    async with answering(OK) as server:
        driver = Gated("127.0.0.1", server.port, max_connections=8, timeout_ms=Millis(5_000))
        await carry(driver)
        with trio.fail_after(60):
            assert [200] * 4 == statuses(await carry(driver, 4))
        await driver.aclose()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 O", b"garbage\r\n\r\n"])
async def test_answer_that_does_not_come_in_full_is_ambiguous(said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.ask()
        if said:
            await peer.stream.send_all(said)

    async with http_server(script) as server, driver_of(server.port) as driver:
        assert [Unknown(reason="lost")] == statuses(await carry(driver))
        assert server.n_connections == 1


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX: "])
async def test_one_deadline_covers_an_answer_that_drips(said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.ask()
        while said:
            await peer.stream.send_all(said)
            await trio.sleep(0.01)
        await trio.sleep_forever()

    async with http_server(script) as server, driver_of(server.port, timeout_ms=500) as driver:
        assert [Unknown(reason="timeout")] == statuses(await carry(driver))


async def test_refused_connection_is_provably_unsent() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with driver_of(port) as driver:
        assert [Retryable(reason="connect")] * 6 == statuses(await carry(driver, 6))


async def test_large_request_goes_out_in_pieces() -> None:
    async with answering(OK) as server, driver_of(server.port, timeout_ms=60_000) as driver:
        body = b"y" * 8_000_000
        assert [200] == statuses(await carry(driver, body=body))
        assert len(server.asked[0].body) == len(body)


async def test_early_refusal_of_a_large_request_is_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive_some(1_000)
        await peer.stream.send_all(answer(413, [("Connection", "close")]))
        assert isinstance(peer.stream, trio.SocketStream)
        await peer.stream.send_eof()
        while await peer.stream.receive_some(1_000_000):
            pass

    async with http_server(script) as server, driver_of(server.port) as driver:
        assert [413] == statuses(await carry(driver, body=b"x" * 8_000_000))


async def test_what_a_call_is_spared_needs_no_connection() -> None:
    async with answering(answer(429), keep=False) as server:
        async with driver_of(server.port, most=1) as driver:
            jobs = [Job(POST % (1, b"x")) for _ in range(5)]
            call = Call(5, lambda _: setattr(call, "rest", Retryable(reason="spared")))
            await driver.carry(jobs, call)

        assert [429, *[Retryable(reason="spared")] * 4] == statuses(jobs)
        assert server.n_connections == 1


async def test_closing_it_ends_what_is_under_way() -> None:
    asked = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.ask()
        asked.set()
        await trio.sleep_forever()

    async with http_server(script) as server, driver_of(server.port, most=1) as driver:
        jobs: list[Job] = []

        async def lose() -> None:
            jobs.extend(await carry(driver, 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            await asked.wait()
            await driver.aclose()

        assert statuses(jobs) == [Unknown(reason="lost"), Retryable(reason="cancelled")]


def tls(stream: trio.SocketStream) -> trio.abc.Stream:
    return trio.SSLStream(stream, server_context(), server_side=True, https_compatible=True)


async def answer_all(peer: Peer) -> None:
    while await peer.ask():
        await peer.stream.send_all(answer(200, body=b"z" * 40_000))


async def test_tls_carries_large_requests_and_answers() -> None:
    async with (
        http_server(answer_all, tls) as server,
        driver_of(server.port, tls=client_context) as driver,
    ):
        for _ in range(3):
            jobs = await carry(driver, 8, body=b"y" * 300_000)
            assert [200] * 8 == statuses(jobs)
            assert {40_000} == {len(job.reply.body) for job in jobs if job.reply is not None}

        assert server.n_connections == 4


async def test_untrusted_certificate_is_provably_unsent() -> None:
    async with (
        http_server(answer_all, tls) as server,
        driver_of(server.port, tls=ssl.create_default_context) as driver,
    ):
        assert [Retryable(reason="connect")] == statuses(await carry(driver))
