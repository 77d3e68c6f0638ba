"""What an answer is: the readers of both HTTP paths against h11, split at every byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import h11
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dripd.channels.reply import Reader, Reply, whole
from dripd.clock import Millis


@dataclass(frozen=True)
class Read:
    status: int
    body: bytes
    stays_open: bool


def oracle(data: bytes, *, ended: bool) -> Read | str:
    """How h11 reads it: an answer, `fault`, or `more` where it is not whole."""
    conn = h11.Connection(h11.CLIENT)
    conn.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    conn.send(h11.EndOfMessage())
    conn.receive_data(data)
    if ended:
        conn.receive_data(b"")
    status, body = 0, b""
    try:
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return "more"
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                stays = conn.their_state is h11.DONE and not conn.trailing_data[0]
                return Read(status, body, stays and not conn.trailing_data[1])
    except h11.RemoteProtocolError:
        return "fault"


def read(pieces: Iterator[bytes]) -> Read | str:
    """How we read it, in these pieces."""
    reader, fast = Reader(Millis(4_000)), True
    reply: Reply | None = None
    try:
        for piece in pieces:
            reply = whole(piece) if fast else None
            fast = False
            reply = reply or reader.feed(piece)
            if reply is not None:
                return Read(reply.status, reply.body, reply.stays_open)
    except httpx.RemoteProtocolError:
        return "fault"
    return "more"


def ok(*lines: str, body: bytes = b"", version: str = "1.1", status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""])
    return head.encode("latin-1") + body


ENDLESS = [
    ok("Content-Length: 5", body=b"hello"),
    ok("content-length:5", "Connection: keep-alive", body=b"hello"),
    ok("Content-Length: 0", status="503 Service Unavailable"),
    ok("Content-Length: 5", "Connection: close", body=b"hello"),
    ok("Content-Length: 5", body=b"hello", version="1.0"),
    ok("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    ok("Transfer-Encoding: chunked", body=b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n"),
    ok(status="204 No Content"),
    ok(status="304 Not Modified"),
    ok(status="100 Continue") + ok("Content-Length: 2", body=b"ok"),
    ok("Link: </x>", status="103 Early Hints") + ok("Content-Length: 2", body=b"ok"),
    ok("Content-Length: 2", "X: a", "X: b", "Empty:", body=b"ok", status="429 Too Many"),
]
"""Answers whose end does not hang on the end of the stream."""

BY_END = [ok(body=b"hello"), ok("Connection: close", body=b"hello"), ok(body=b"")]

BROKEN = [
    ok("Content-Length: 5", body=b"hel"),
    ok("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"),
    b"HTTP/1.1 200 O",
    ok(status="100 Continue"),
]
"""Not whole when the stream ends."""

GARBAGE = [b"garbage\r\n\r\n", b"HTTP/9 what\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00"]


@pytest.mark.parametrize("data", ENDLESS)
def test_every_split_in_two_is_read_as_h11_reads_it(data: bytes) -> None:
    expected = oracle(data, ended=False)
    assert isinstance(expected, Read)

    for at in range(len(data)):
        assert expected == read(iter((data[:at], data[at:]) if at else (data,))), at


@pytest.mark.parametrize("data", ENDLESS)
def test_byte_by_byte_it_is_the_same(data: bytes) -> None:
    assert oracle(data, ended=False) == read(bytes([byte]) for byte in data)


@pytest.mark.parametrize("data", ENDLESS)
def test_no_part_of_an_answer_is_an_answer(data: bytes) -> None:
    """Whatever is cut off: never a reply; at its end a fault, and so `unknown`."""
    for at in range(1, len(data)):
        assert "more" == read(iter((data[:at],)))
        assert read(iter((data[:at], b""))) in {"fault", oracle(data[:at], ended=True)}


@pytest.mark.parametrize("data", BY_END)
def test_an_answer_that_ends_with_the_stream_is_whole_then(data: bytes) -> None:
    expected = oracle(data, ended=True)
    assert isinstance(expected, Read)

    for at in range(1, len(data)):
        found = read(iter((data[:at], data[at:], b"")))
        assert isinstance(found, Read)
        assert (expected.status, expected.body, False) == (
            found.status,
            found.body,
            found.stays_open,
        )


@pytest.mark.parametrize("data", BROKEN)
def test_what_ends_too_early_is_a_fault(data: bytes) -> None:
    assert oracle(data, ended=True) in {"fault", "more"}
    assert "fault" == read(iter((data, b"")))


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_is_a_fault(data: bytes) -> None:
    assert "fault" == read(iter((data, b"")))


def test_a_head_without_end_is_a_fault() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000

    assert "fault" == read(head[at : at + 16_384] for at in range(0, len(head), 16_384))


@pytest.mark.parametrize("data", ENDLESS)
def test_what_comes_after_the_answer_makes_its_connection_unfit(data: bytes) -> None:
    found = read(iter((data + b"HTTP/1.1 200 OK\r\n\r\n",)))

    assert isinstance(found, Read)
    assert not found.stays_open


@given(
    st.lists(
        st.sampled_from(
            [
                "Content-Length: 5", "Content-Length: 4", "Content-Length: -1", "X: y", " folded",
                "Transfer-Encoding: chunked", "Connection: close", "Connection: upgrade",
                "Keep-Alive: timeout=2", "Content-Length : 5", "content-length: 5, 5",
            ]
        ),
        max_size=4,
    ),
    st.sampled_from(["200 OK", "204 No", "304 No", "101 Switch", "600 X", "20 OK"]),
)  # fmt: skip
@example(["Content-Length: 5", "Content-Length : 5"], "200 OK")
def test_what_is_read_at_once_h11_reads_alike(lines: list[str], status: str) -> None:
    """The short way is taken only where nobody could read it otherwise."""
    data = ok(*lines, body=b"hello", status=status)
    reply = whole(data)

    if reply is not None:
        assert oracle(data, ended=False) == Read(reply.status, reply.body, reply.stays_open)


def test_one_header_is_read_as_among_all() -> None:
    head = (
        b"HTTP/1.1 202 X\r\nX-Message-Id: a\r\nx-message-id:  b \r\nContent-Length: 0\r\n\r\n"
    )
    reply = whole(head)
    assert reply is not None

    assert "b" == reply.header("x-message-id")
    assert "0" == reply.header("content-length")
    assert "" == reply.header("x-message") == reply.header("message-id")
    assert "b" == reply.headers["x-message-id"] == reply.header("x-message-id")
