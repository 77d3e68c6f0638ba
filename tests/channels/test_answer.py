from __future__ import annotations

from collections.abc import Sequence

import h11
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.channels.answer import MAX_BODY_BYTES, Answer
from dripd.clock import Millis

POST = httpx.Request("POST", "http://x/")
HEAD = httpx.Request("HEAD", "http://x/")

LENGTH = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: abc\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"

WHOLE = [LENGTH, CHUNKED, INTERIM + LENGTH, TO_THE_END, CLOSE, OLD, EMPTY, NOT_MODIFIED]


def read(pieces: Sequence[bytes], request: httpx.Request = POST) -> Answer:
    answer = Answer(request)
    for piece in pieces:
        if piece and not answer.done:
            answer.feed(piece)
    if not answer.done:
        answer.feed(b"")
    return answer


def seen(answer: Answer) -> tuple[int, bytes, list[tuple[bytes, bytes]], bytes, bool]:
    reusable = answer.is_reusable()
    response = answer.response()
    return (
        response.status_code,
        response.extensions["reason_phrase"],
        [(name.lower(), value) for name, value in response.headers.raw],
        response.read(),
        reusable,
    )


def as_h11_sees_it(data: bytes) -> tuple[int, bytes, list[tuple[bytes, bytes]], bytes]:
    conn = h11.Connection(h11.CLIENT)
    conn.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    conn.send(h11.EndOfMessage())
    conn.receive_data(data)
    conn.receive_data(b"")
    status, phrase, headers, body = 0, b"", [], b""
    while not isinstance(event := conn.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status, phrase, headers = event.status_code, event.reason, list(event.headers)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
    return status, phrase, headers, body


@pytest.mark.parametrize("data", WHOLE)
def test_answer_reads_what_h11_reads(data: bytes) -> None:
    assert as_h11_sees_it(data) == seen(read([data]))[:4]


@pytest.mark.parametrize("data", WHOLE)
def test_answer_is_the_same_split_at_every_byte(data: bytes) -> None:
    whole = seen(read([data]))
    for at in range(1, len(data)):
        assert whole == seen(read([data[:at], data[at:]]))
    assert whole == seen(read([data[i : i + 1] for i in range(len(data))]))


@pytest.mark.parametrize("data", WHOLE)
def test_answer_cut_off_before_its_end_is_refused(data: bytes) -> None:
    """Except where the end of the stream is the frame: there nobody can tell."""
    if data is TO_THE_END:
        return
    for at in range(len(data)):
        with pytest.raises(httpx.RemoteProtocolError):
            read([data[:at]])


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (LENGTH, True),
        (CHUNKED, True),
        (INTERIM + LENGTH, True),
        (EMPTY, True),
        (NOT_MODIFIED, True),
        (TO_THE_END, False),
        (CLOSE, False),
        (OLD, False),
        (LENGTH + b"HTTP/1.1 200 OK\r\n", False),
        (LENGTH + b"garbage", False),
        (CLOSE + b"garbage", False),
    ],
)
def test_connection_is_kept_only_where_nothing_is_left_on_it(
    data: bytes, reusable: bool
) -> None:
    assert reusable == read([data]).is_reusable()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"\x16\x03\x01\x00\x00",
        b"HTTP/1.1 99999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000,
        b"",
    ],
)
def test_what_is_no_answer_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        read([data[i : i + 16_384] for i in range(0, len(data), 16_384)])


def test_head_answer_has_no_body_and_ends_its_connection() -> None:
    answer = read([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"], HEAD)

    assert not answer.is_reusable()
    assert b"" == answer.response().read()


def test_endless_body_is_cut_off_and_marked() -> None:
    head = b"HTTP/1.1 202 Accepted\r\nContent-Length: 99999999\r\n\r\n"
    answer = read([head, *[b"x" * 16_384] * 100])
    response = answer.response()

    assert not answer.is_reusable()
    assert response.extensions["truncated"]
    assert len(response.read()) == MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        ("timeout=3", 2_000),
        ("max=5, timeout=1", 0),
        ("timeout=60", 4_000),
        ("timeout=x", 4_000),
    ],
)
def test_server_that_closes_early_says_so(value: str, expected_ms: int) -> None:
    data = f"HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\nContent-Length: 0\r\n\r\n".encode()

    assert expected_ms == read([data]).keepalive_ms(Millis(4_000))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.booleans())
def test_no_bytes_raise_anything_else(pieces: list[bytes], proper: bool) -> None:
    start = [b"HTTP/1.1 200 OK\r\n"] if proper else []
    try:
        answer = read([*start, *pieces])
    except httpx.RemoteProtocolError:
        return
    assert answer.done
