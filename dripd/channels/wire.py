"""What has left? A trio stream over a socket that counts its bytes.

Whether a message can have reached its provider is decided by this number alone.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

import trio

RECEIVE_BYTES: Final = 16_384
"""Larger buffers are mapped and unmapped at every call: twice the CPU."""

LOST: Final = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError)
"""How a stream, TLS or not, says that its connection is gone."""


class CountingStream(trio.abc.Stream):
    """A socket that counts what left it: under TLS nothing else can tell.

    Whatever goes wrong with the connection is a `trio.BrokenResourceError`.
    """

    def __init__(self, raw: socket.socket) -> None:
        self._socket = raw
        self.n_sent = 0

    @classmethod
    def over(cls, stream: trio.SocketStream) -> CountingStream:
        """The same connection without trio's own stream, which is of no more use then."""
        raw = socket.socket(fileno=stream.socket.detach())
        raw.setblocking(False)
        return cls(raw)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As trio has it, but that it is no checkpoint where the system takes all at once."""
        left = memoryview(data)
        try:
            while left:
                try:
                    n = self._socket.send(left)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket)
                    continue
                self.n_sent += n
                if n == len(left):
                    return
                left = left[n:]
        except OSError as error:
            raise trio.BrokenResourceError("cannot write") from error

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._socket)
        except OSError as error:
            raise trio.BrokenResourceError("cannot write") from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    return self._socket.recv(max_bytes or RECEIVE_BYTES)
                except BlockingIOError:
                    continue
        except OSError as error:
            raise trio.BrokenResourceError("cannot read") from error

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def is_readable(self) -> bool:
        """Has an idle connection something to say, if only that it has ended?"""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True
