"""An HTTP server in a process of its own that accepts every POST, as a provider would.

`python -m bench.server SOCKET_PORT [LATENCY_MS]` answers 202 with an id, at once or after the
latency; `GET /` answers how many it has accepted. One uvloop protocol that reads nothing of
a request but its length: some 10 us of CPU each.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

ROOT = Path(__file__).resolve().parents[1]

LENGTH = b"content-length:"


class Accepting(asyncio.Protocol):
    """One connection."""

    accepted = 0
    latency_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            whole = head + 4 + _length(self._buffer[:head])
            if len(self._buffer) < whole:
                return
            is_post = self._buffer.startswith(b"POST")
            self._buffer = self._buffer[whole:]
            self._answer(is_post)

    def _answer(self, is_post: bool) -> None:
        if not is_post:
            body = b"%d" % Accepting.accepted
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            return
        Accepting.accepted += 1
        head = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: m%d\r\n" % Accepting.accepted
        answer = head + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        if self.latency_s:
            asyncio.get_running_loop().call_later(self.latency_s, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _length(head: bytes) -> int:
    at = head.lower().find(LENGTH)
    return int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process, and where it answers."""

    pid: int
    url: str

    def accepted(self) -> int:
        """How many requests it has answered `202`."""
        with urllib.request.urlopen(self.url, timeout=10) as answer:  # our own process
            return int(answer.read())


@contextmanager
def serving(latency_ms: int = 0) -> Iterator[Server]:
    """A server while inside."""
    words = [sys.executable, "-m", "bench.server", str(latency_ms)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        try:
            yield Server(process.pid, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


async def _serve(latency_ms: int) -> None:
    Accepting.latency_s = latency_ms / 1000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Accepting, "127.0.0.1", 0, backlog=2_048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
