"""What has a provider answered? An answer of the inner loop, read without a copy or a parser.

Nearly every answer arrives in one piece and is framed by its length: that is seen by one
expression. Whatever is not plainly so goes through `Answer`, which reads all of HTTP/1.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import httpx

from dripd.channels.answer import Answer
from dripd.clock import Millis

LINES: Final = (
    (
        rb"(?:(?![CcTtKk])NAME++:VALUE*+\r\n"
        rb"|(?!(?i:content-length|transfer-encoding|keep-alive|connection))NAME++:VALUE*+\r\n"
        rb"|(?i:connection:[ \t]*+keep-alive)[ \t]*+\r\n)*+"
    )
    .replace(b"NAME", rb"[!#-'*+\-.0-9A-Za-z^_`|~]")
    .replace(b"VALUE", rb"[^\r\n\0]")
)
"""Headers that say nothing of the framing. Their first letter decides for most of them."""

PLAIN: Final = re.compile(
    rb"HTTP/1\.1 (?!204|304)([2-5][0-9][0-9]) [^\r\n\0]*+\r\n"
    + LINES
    + rb"(?i:content-length):[ \t]*+([0-9]{1,7})[ \t]*+\r\n"
    + LINES
    + rb"\r\n"
)
"""The head of a plain answer: every line ends in CR LF, one says the length, none another way."""

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
    head = PLAIN.match(data)
    if head is None or len(data) != (end := head.end()) + int(head[2]):
        return None
    return Reply(int(head[1]), data[: end - 4], data[end:])


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
