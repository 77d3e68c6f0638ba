"""What has a provider answered? An answer of the inner loop, read without a copy or a parser.

Nearly every answer arrives in one piece and is framed by its length: that is seen by a few
searches. Whatever is not plainly so goes through `Answer`, which reads all of HTTP/1.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import httpx

from dripd.channels.answer import Answer
from dripd.clock import Millis

LENGTH: Final = b"\r\ncontent-length:"
ODD: Final = re.compile(
    rb"\r\n(?:transfer-encoding|keep-alive|content-length:[^\r]*\r\n(?s:.*)content-length:"
    rb"|connection:(?![ \t]*keep-alive[ \t]*\r\n)|[^:\r]*[ \t\r])"
)
"""What makes a head (in lower case) other than plain: its framing is left to the parser. The
last is a name with a space in it, a folded line, a line without a colon. All alternatives begin
alike, so that `re` leaps from line to line: tried at every byte they cost four times as much."""

POST: Final = httpx.Request("POST", "http://provider.invalid")
"""All that `Answer` wants to know of a request is that it was no HEAD."""


class Reply:
    """A full answer. `stays_open`: the connection may carry another request."""

    __slots__ = ("_headers", "body", "keepalive_ms", "status", "stays_open")

    def __init__(
        self,
        status: int,
        headers: bytes | Mapping[str, str],
        body: bytes,
        *,
        stays_open: bool = True,
        keepalive_ms: Millis | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.stays_open = stays_open
        self.keepalive_ms = keepalive_ms
        self._headers = headers

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in lower case; of several of a name, the last."""
        if isinstance(self._headers, bytes):
            lines = self._headers.decode("latin-1").split("\r\n")[1:]
            pairs = (line.partition(":") for line in lines if line)
            self._headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return self._headers

    def header(self, name: str) -> str:
        """The value of one header, *name* in lower case, without reading the others."""
        head = self._headers
        if not isinstance(head, bytes):
            return head.get(name, "")
        found = head.lower().rfind(f"\r\n{name}:".encode())
        if found < 0:
            return ""
        return head[found + len(name) + 3 :].partition(b"\r\n")[0].decode("latin-1").strip()


def whole(data: bytes) -> Reply | None:
    """The answer that *data* is, if it is plainly one and nothing else."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or data[:9] != b"HTTP/1.1 " or data[12:13] != b" ":
        return None
    head = data[: end + 2].lower()
    at = head.find(LENGTH)
    if at < 0 or not has_plain_lines(head) or ODD.search(head) is not None:
        return None
    length = head[at + len(LENGTH) : head.index(b"\r\n", at + 2)].strip(b" \t")
    status = data[9:12]
    if not length.isdigit() or len(length) > 7 or not status.isdigit():
        return None
    code = int(status)
    if len(data) != end + 4 + int(length) or not 200 <= code < 600 or code in {204, 304}:
        return None
    return Reply(code, data[:end], data[end + 4 :])


def has_plain_lines(head: bytes) -> bool:
    """Whether every line ends in CR LF, neither stands alone, and nothing is NUL."""
    n = head.count(b"\r\n")
    return n == head.count(b"\n") == head.count(b"\r") and b"\0" not in head


class Reader:
    """Collects an answer that comes in pieces, or is framed in another way."""

    __slots__ = ("_answer", "_default_ms")

    def __init__(self, keepalive_ms: Millis) -> None:
        self._answer = Answer(POST)
        self._default_ms = keepalive_ms

    def feed(self, data: bytes) -> Reply | None:
        """Take what was received, `b""` for its end; the reply once it is whole.

        Raises `httpx.RemoteProtocolError` if that is no answer, or not all of one.
        """
        answer = self._answer
        answer.feed(data)
        if not answer.done:
            return None
        stays_open = bool(data) and answer.is_reusable()
        keepalive_ms = answer.keepalive_ms(self._default_ms)
        response = answer.response()
        stream = response.stream
        return Reply(
            response.status_code,
            dict(response.headers),
            b"".join(stream) if isinstance(stream, httpx.ByteStream) else b"",
            stays_open=stays_open,
            keepalive_ms=keepalive_ms,
        )
