"""What would a provider that misbehaves have received? HTTP and SMTP, with a log that is truth.

A line is on disk before the answer to it leaves, so that whatever the client makes of an
answer, the log says what was accepted. Every fault is drawn from a seed. A path that begins
with `/keyed` honours `Idempotency-Key` as a good provider does; any other takes each request
for a new one. It shares no code with the daemon: it must not share its mistakes.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import trio

HEAD_MOST: Final = 65_536
BODY_MOST: Final = 32 << 20

FAULTS: Final = (
    "accept_close",  # taken, and the connection ends without an answer
    "accept_reset",  # the same, cut off hard
    "accept_slow",  # taken, and the answer comes after any patience
    "accept_500",  # taken, and an error is answered
    "accept_garbage",  # taken, and what is answered is no HTTP
    "refuse_close",  # not taken, and the connection ends without an answer
    "refuse_503",  # not taken, and said so
    "refuse_429",  # too fast, and said so
)
"""What may befall a request; the name says whether it was accepted."""

SLOW_S: Final = 5.0

SMTP_FAULTS: Final = ("drop_after_dot", "refuse_rcpt", "refuse_dot", "drop_after_data")


@dataclass(slots=True)
class Log:
    """Lines that are on disk before anybody is told. One fsync serves all who wait."""

    path: Path
    fd: int
    waiting: list[str] = field(default_factory=list)
    written: trio.Event = field(default_factory=trio.Event)
    wanted: trio.Event = field(default_factory=trio.Event)

    @classmethod
    def open(cls, path: Path) -> Log:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return cls(path, fd)

    async def add(self, **entry: object) -> None:
        """Returns once the entry is on disk."""
        self.waiting.append(json.dumps({"at": time.time_ns() // 1_000_000, **entry}) + "\n")  # noqa: TID251 - the sink has a clock of its own
        written = self.written
        self.wanted.set()
        await written.wait()

    async def write(self) -> None:
        """Write what is waited for, for ever."""
        while True:
            await self.wanted.wait()
            self.wanted, written, self.written = trio.Event(), self.written, trio.Event()
            lines, self.waiting = self.waiting, []
            data = "".join(lines).encode()
            await trio.to_thread.run_sync(self._sync, data)
            written.set()

    def _sync(self, data: bytes) -> None:
        os.write(self.fd, data)
        os.fsync(self.fd)


class Sink:
    """Takes requests, decides by `dice` what befalls them, and remembers the keys it honours."""

    def __init__(self, log: Log, *, faults: float, seed: int) -> None:
        self.log = log
        self.faults = faults
        self.dice = random.Random(seed)
        self.keys: set[str] = set()

    async def take(self, request: Request) -> str:
        """Log *request*; returns the fault that befalls its answer, "" for none."""
        key, is_keyed = request.key(), request.path.startswith("/keyed")
        fault = self.dice.choice(FAULTS) if self.dice.random() < self.faults else ""
        is_repeat = is_keyed and key in self.keys
        accepted = not fault.startswith("refuse") and not is_repeat
        if accepted:
            self.keys.add(key)
        await self.log.add(
            key=key,
            path=request.path,
            accepted=accepted,
            repeat=is_repeat,
            fault=fault,
            sha=sha256(request.body).hexdigest()[:16],
        )
        return fault


@dataclass(slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    def key(self) -> str:
        """The idempotency key, of the header or of a mail's own fields."""
        return self.headers.get("idempotency-key", "")


async def serve(
    log: Path,
    *,
    port: int,
    smtp_port: int,
    faults: float,
    seed: int,
    task_status: trio.TaskStatus[tuple[int, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve for ever on 127.0.0.1; `started` tells the ports. Port 0 takes a free one."""
    sink = Sink(Log.open(log), faults=faults, seed=seed)
    http = await trio.open_tcp_listeners(port, host="127.0.0.1")
    smtp = await trio.open_tcp_listeners(smtp_port, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.log.write)
        nursery.start_soon(trio.serve_listeners, _guarded(sink, _http), http)
        nursery.start_soon(trio.serve_listeners, _guarded(sink, _smtp), smtp)
        task_status.started((_port_of(http), _port_of(smtp)))


def _port_of(listeners: list[trio.SocketListener]) -> int:
    found: int = listeners[0].socket.getsockname()[1]
    return found


Handler = Callable[[Sink, "Lines"], Awaitable[None]]


def _guarded(sink: Sink, handler: Handler) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def handle(stream: trio.SocketStream) -> None:
        try:
            await handler(sink, Lines(stream))
        except (trio.BrokenResourceError, trio.ClosedResourceError, ValueError):
            return  # the client went away, or sent what is no request
        finally:
            stream.socket.close()

    return handle


class Lines:
    """One connection, read in lines and in lengths."""

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
        while len(self._buffer) < n:
            if not await self._more():
                raise ValueError("cut short")
        found, self._buffer = self._buffer[:n], self._buffer[n:]
        return found

    async def say(self, text: str) -> None:
        await self.stream.send_all(text.encode())

    def reset(self) -> None:
        """End with a reset instead of a farewell."""
        linger = (1).to_bytes(4, "little") + bytes(4)
        self.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)

    async def _more(self) -> bool:
        data = await self.stream.receive_some(65_536)
        self._buffer += data
        return bool(data)


async def _http(sink: Sink, link: Lines) -> None:
    while (request := await _read_request(link)) is not None:
        fault = await sink.take(request)
        if not await _answer(link, fault):
            return


async def _read_request(link: Lines) -> Request | None:
    head = await link.until(b"\r\n\r\n", HEAD_MOST)
    if head is None:
        return None
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if length > BODY_MOST:
        raise ValueError("too large")
    return Request(first.split(" ")[1], headers, await link.exactly(length))


async def _answer(link: Lines, fault: str) -> bool:
    """Answer one request; False where the connection ends with it."""
    if fault == "accept_reset":
        link.reset()
    if fault in {"accept_close", "accept_reset", "refuse_close"}:
        return False
    if fault == "accept_garbage":
        await link.say("HTTP/9.9 what\r\n\r\n")
        return False
    if fault == "accept_slow":
        await trio.sleep(SLOW_S)  # noqa: TID251 - the fault itself
    status, more = {
        "accept_500": ("500 Broken", ""),
        "refuse_503": ("503 Busy", "Retry-After: 1\r\n"),
        "refuse_429": ("429 Slow", "Retry-After: 1\r\n"),
    }.get(fault, ("200 OK", ""))
    name = f"sink-{random.getrandbits(48):012x}"
    body = json.dumps({"id": name})
    await link.say(
        f"HTTP/1.1 {status}\r\n{more}X-Message-Id: {name}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    return True


async def _smtp(sink: Sink, link: Lines) -> None:
    await link.say("220 sink\r\n")
    while (line := await link.until(b"\r\n", HEAD_MOST)) is not None:
        verb = line[:4].upper()
        if verb == b"QUIT":
            await link.say("221 bye\r\n")
            return
        fault = sink.dice.choice(SMTP_FAULTS) if sink.dice.random() < sink.faults else ""
        if verb == b"EHLO":
            await link.say("250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
        elif verb == b"RCPT" and fault == "refuse_rcpt":
            await link.say("450 4.2.1 later\r\n")
        elif verb == b"DATA":
            if not await _take_mail(sink, link, fault):
                return
        else:
            await link.say("250 ok\r\n")


async def _take_mail(sink: Sink, link: Lines, fault: str) -> bool:
    """DATA to the final dot and its answer; False where the connection ends."""
    if fault == "drop_after_data":
        return False
    await link.say("354 go on\r\n")
    text = await link.until(b"\r\n.\r\n", BODY_MOST)
    if text is None:
        return False
    accepted = fault != "refuse_dot"
    await sink.log.add(
        key=_message_id(text),
        path="smtp",
        accepted=accepted,
        repeat=False,
        fault=fault,
        sha=sha256(text).hexdigest()[:16],
    )
    if fault == "drop_after_dot":
        return False
    await link.say("250 2.0.0 taken\r\n" if accepted else "451 4.3.0 later\r\n")
    return True


def _message_id(text: bytes) -> str:
    for line in text.split(b"\r\n\r\n", 1)[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"message-id":
            return value.strip().decode("latin-1")
    return ""


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every entry that was finished, in order."""
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]
