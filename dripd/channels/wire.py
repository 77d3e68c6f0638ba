"""What has left? A trio stream over a socket that counts its bytes.

Whether a message can have reached its provider is decided by this number alone.
"""

from __future__ import annotations

import ssl
from typing import Final

import trio

RECEIVE_BYTES: Final = 16_384
"""Larger buffers are mapped and unmapped at every call: twice the CPU (PERFORMANCE.md C)."""

LOST: Final = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError)
"""How a stream, TLS or not, says that its connection is gone."""


class CountingStream(trio.abc.Stream):
    """A socket that counts what left it: under TLS nothing else can tell.

    Whatever goes wrong with the connection is a `trio.BrokenResourceError`.
    """

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket
        self.n_sent = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        left = memoryview(data)
        try:
            while left:
                n = await self._socket.send(left)
                self.n_sent += n
                left = left[n:]
        except OSError as error:
            raise trio.BrokenResourceError("cannot write") from error

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await self._socket.wait_writable()
        except OSError as error:
            raise trio.BrokenResourceError("cannot write") from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            return await self._socket.recv(max_bytes or RECEIVE_BYTES)
        except OSError as error:
            raise trio.BrokenResourceError("cannot read") from error

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._socket.close()

    def is_readable(self) -> bool:
        return self._socket.is_readable()
