"""One connection of the test provider, read in lines and in lengths."""

from __future__ import annotations

import trio


class Link:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def until(self, end: bytes, most: int) -> bytes | None:
        """What comes before *end*; None at the end of the stream. Raises `ValueError` beyond *most*."""
        while end not in self._buffer:
            if len(self._buffer) > most:
                raise ValueError("too long")
            if not await self._more():
                return None
        found, _, self._buffer = self._buffer.partition(end)
        return found

    async def exactly(self, n: int) -> bytes:
        """The next *n* bytes. Raises `ValueError` where the stream ends before."""
        while len(self._buffer) < n:
            if not await self._more():
                raise ValueError("cut short")
        found, self._buffer = self._buffer[:n], self._buffer[n:]
        return found

    async def say(self, text: str) -> None:
        await self.stream.send_all(text.encode())

    async def drip(self, text: str, pause_s: float) -> None:
        """A byte at a time."""
        for char in text:
            await self.say(char)
            await trio.sleep(pause_s)  # noqa: TID251 - the fault itself

    async def hold(self) -> None:
        """Say nothing until the client goes away."""
        while await self._more():
            self._buffer = b""

    def reset(self) -> None:
        """End with a reset instead of a farewell."""
        linger = (1).to_bytes(4, "little") + bytes(4)
        self.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)

    async def _more(self) -> bool:
        data = await self.stream.receive_some(65_536)
        self._buffer += data
        return bool(data)
