"""Is the answer whole, and what does it say? One HTTP/1.1 answer, sans I/O.

Bytes in, an `httpx.Response` out; httptools parses. Interim answers (1xx) are passed over, a
body framed by the end of the stream ends with it, one framed otherwise is lost with it.
"""

from __future__ import annotations

from typing import Final

import httptools
import httpx

from dripd.clock import Millis

MAX_HEAD_BYTES: Final = 65_536
"""Bounds the head and all interim answers before it."""

MAX_BODY_BYTES: Final = 1_048_576
"""Where a body is cut off: what an adapter reads of it is far less."""


class Answer:
    """Collects the answer to *request*; httptools calls its `on_...`, which must not raise."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request
        self.done = False
        self.broken: Exception | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._version = b"HTTP/1.1"
        self._phrase = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._head_complete = False
        self._n_head = 0
        self._stays_open = False
        self._has_excess = False
        self._is_truncated = False

    def feed(self, data: bytes) -> None:
        """Take what was received, `b""` for the end of the stream.

        Raises `httpx.RemoteProtocolError` if that is no answer, or not all of one.
        """
        if not data:
            self._finish()
            return
        self._n_head += 0 if self._head_complete else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.done:
                raise self._fault(f"no HTTP answer: {error}") from error
            self._has_excess = True
        if not self._head_complete and self._n_head > MAX_HEAD_BYTES:
            raise self._fault("the head of the answer is too long")

    def response(self) -> httpx.Response:
        extensions: dict[str, object] = {
            "http_version": self._version,
            "reason_phrase": self._phrase,
        }
        if self._is_truncated:
            extensions["truncated"] = True
        del self._parser  # it knows us as we know it: do not leave that to the collector
        stream = httpx.ByteStream(bytes(self._body))
        return httpx.Response(
            self._status, headers=self._headers, stream=stream, extensions=extensions
        )

    def is_reusable(self) -> bool:
        return self._stays_open and not self._has_excess and self.broken is None

    def keepalive_ms(self, default_ms: Millis) -> Millis:
        """The server's own `Keep-Alive: timeout=`, less a second, where that is shorter."""
        for name, value in self._headers:
            if name.lower() == b"keep-alive":
                return min(default_ms, _keepalive_of(value, default_ms))
        return default_ms

    def on_message_begin(self) -> None:
        self._has_excess |= self.done

    def on_status(self, phrase: bytes) -> None:
        if not self.done:
            self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.done:
            return
        self._status = self._parser.get_status_code()
        self._version = b"HTTP/" + self._parser.get_http_version().encode()
        self._head_complete = self._status >= 200
        self.done = self._head_complete and self.request.method == "HEAD"

    def on_body(self, data: bytes) -> None:
        if self.done:
            return
        self._body += data[: MAX_BODY_BYTES - len(self._body)]
        self._is_truncated = self.done = len(self._body) == MAX_BODY_BYTES

    def on_message_complete(self) -> None:
        if self.done:
            return
        if self._status >= 200:
            self.done = True
            self._stays_open = self._parser.should_keep_alive()
            return
        self._phrase = b""
        self._headers.clear()

    def _finish(self) -> None:
        if not self._head_complete or self._is_framed():
            raise self._fault("disconnected before the end of the answer")
        self.done = True

    def _is_framed(self) -> bool:
        for name, value in self._headers:
            lower = name.lower()
            if lower == b"content-length":
                return True
            if lower == b"transfer-encoding" and value.lower().endswith(b"chunked"):
                return True
        return False

    def _fault(self, what: str) -> httpx.RemoteProtocolError:
        return httpx.RemoteProtocolError(what, request=self.request)


def _keepalive_of(value: bytes, default_ms: Millis) -> Millis:
    for part in value.split(b","):
        name, _, number = part.strip().partition(b"=")
        if name.lower() == b"timeout" and number.isdigit() and len(number) < 10:
            return Millis(max(int(number) - 1, 0) * 1_000)
    return default_ms
