"""How many mails a second over SMTP? The engine end to end, to a stand-in with PIPELINING.

As `batch`, with a provider of kind `smtp` over 32 sessions: each mail is built, its
envelope and body pipelined, and every final dot answered on its own. The stand-in is a
process of its own that reads lines and keeps nothing.
"""

from __future__ import annotations

from bench.batch import Counting, drained
from dripd.channels.base import ProviderSettings
from dripd.config import Config


def run(
    config: Config, dsn: str, n: int | None, processes: int | None = None
) -> dict[str, object]:
    """One drain of *n* steps (default 20,000) on the fresh database of *dsn*, by a daemon in
    this process or by as many *processes*."""
    return drained(config, dsn, n or 20_000, processes, Mailroom, settings_of)


def settings_of(port: int) -> ProviderSettings:
    return ProviderSettings(
        name="post", kind="smtp", base_url=f"smtp://127.0.0.1:{port}", max_connections=32
    )


class Mailroom(Counting):
    """The server's side of a session."""

    def __init__(self) -> None:
        super().__init__()
        self._is_body = False

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # as asyncio calls it
        self._transport.write(b"220 ready\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        out: list[bytes] = []
        while True:
            if self._is_body:
                end = self._buffer.find(b"\r\n.\r\n")
                if end < 0:
                    break
                self._buffer, self._is_body = self._buffer[end + 5 :], False
                Counting.seen += 1
                out.append(b"250 2.0.0 Ok: queued as %d\r\n" % (10**9 + Counting.seen))
                continue
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                break
            self._buffer = rest
            out.append(self._command(line[:4].upper()))
        self._transport.write(b"".join(out))

    def _command(self, verb: bytes) -> bytes:
        if verb == b"EHLO":
            return b"250-ready\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        if verb == b"DATA":
            self._is_body = True
            return b"354 go on\r\n"
        return b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n"
