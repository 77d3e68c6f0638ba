"""One task drives every connection to a provider: the inner loop of HTTP.

Wanted: requests that are ready as bytes, each carried once over one of at most so many
connections, at the cost of little more than its two system calls.
Guarantees
    As `transport`: a job whose bytes left and that has no full answer is `Unknown`, one of
    which not a byte left is `Retryable`; nothing is written twice. A job is answered at most
    once, and never by what its connection said before it was written. One deadline covers a
    request from its first byte to the last of its answer.
Method
    The sockets stand in an epoll set of their own, nested in trio's: one wake-up serves all
    that are ready, by plain calls: all are read, what they said is answered together, then
    one look tells which of them say more than that, and the others get their next job. Whoever
    waits in `carry` drives for all; when its own jobs are answered another takes over, so that
    no task outlives its caller. Idle connections are a stack, as in `transport`. Deadlines are
    stamps that a pass four times a second looks at. TLS is an `ssl.SSLSocket` that does not
    block.
Cost
    PERFORMANCE.md C and E4: 12-18 µs a request against 20-31 with a task per connection.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import httpx
import trio

from dripd.campaigns.event import Outcome, Retryable, Unknown
from dripd.channels.base import Message
from dripd.channels.reply import Reader, Reply, whole
from dripd.channels.transport import KEEPALIVE_MS
from dripd.channels.wire import RECEIVE_BYTES
from dripd.clock import Millis

SWEEP_S: Final = 0.25
"""Between two looks at the deadlines: how late a request may be given up."""

EVENTS_A_TURN: Final = 64
"""Sockets served before others have their turn: a few milliseconds with all that follows."""

DIAL_REST_S: Final = 1.0
"""After a connection could not be made, none is tried so long while others serve."""

TRIES: Final = 3
"""Connections that may break before a job's first byte until it is given up."""

AGAIN: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
IN: Final = getattr(select, "EPOLLIN", 1)
OUT: Final = getattr(select, "EPOLLOUT", 4)

Answered: TypeAlias = Callable[[Sequence["Job"]], None]
"""Takes jobs, each with its `reply` or its `outcome`; must not raise, must not wait."""


class Job:
    """One request as bytes. Once answered it has a `reply`, or the `outcome` of having none."""

    __slots__ = ("call", "data", "messages", "outcome", "reply", "request", "tries")

    def __init__(self, data: bytes, messages: Sequence[Message] = ()) -> None:
        self.data = data
        self.messages = messages
        self.request: httpx.Request
        self.reply: Reply | None = None
        self.outcome: Outcome | None = None
        self.tries = 0
        self.call: Call


class Call:
    """The jobs of one `carry`. `rest`: what becomes of those that have not begun."""

    __slots__ = ("answered", "left", "rest", "turn")

    def __init__(self, n: int, answered: Answered) -> None:
        self.left = n
        self.answered = answered
        self.rest: Outcome | None = None
        self.turn = trio.Event()

    def answer(self, jobs: Sequence[Job]) -> None:
        self.left -= len(jobs)
        if self.left == 0:
            self.turn.set()
        self.answered(jobs)

    def give_up(self, job: Job, outcome: Outcome) -> None:
        job.outcome = outcome
        self.answer([job])


class _Wire:
    """A connection: the job on it, what of it is still to be written, and its stamps.

    `is_broken`: it carries nothing more, though it may still be heard.
    """

    __slots__ = (
        "deadline",
        "fd",
        "is_broken",
        "job",
        "n_sent",
        "reader",
        "rest",
        "sock",
        "until",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.job: Job | None = None
        self.rest: memoryview | None = None
        self.reader: Reader | None = None
        self.n_sent = 0
        self.is_broken = False
        self.deadline = self.until = 0.0


class Driver:
    """Carries jobs to *host* over at most *max_connections* connections.

    *timeout_ms* bounds the making of a connection, and then each request. *tls* makes the
    context for TLS when first it is needed; None speaks plainly.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        max_connections: int,
        timeout_ms: Millis,
        keepalive_ms: Millis = KEEPALIVE_MS,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._place = (host, port)
        self._max = max_connections
        self._timeout_s = timeout_ms / 1_000
        self._keepalive_ms = keepalive_ms
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._epoll = select.epoll()
        self._wires: dict[int, _Wire] = {}
        self._idle: list[_Wire] = []
        self._queue: deque[Job] = deque()
        self._heard: list[tuple[_Wire, Job]] = []
        self._calls: dict[Call, None] = {}
        self._is_driven = False
        self._n_dialling = 0
        self._no_dial_until = 0.0
        self._now = 0.0

    async def carry(self, jobs: Sequence[Job], call: Call) -> None:
        """Carry *jobs*, the jobs of *call*, and have each answered.

        Cancelled, it gives up the connections in use by *jobs*: those that had not begun are
        answered, the others are not.
        """
        for job in jobs:
            job.call = call
        self._calls[call] = None
        self._queue.extend(jobs)
        try:
            self._pump()
            while self._queue and self._serve_idle():
                pass
            async with trio.open_nursery() as nursery:
                await self._drive(call, nursery)
                nursery.cancel_scope.cancel()
        finally:
            del self._calls[call]
            if call.left:
                self._abandon(call)
            self._hand_over()

    async def dial(self) -> None:
        """Open as many connections as there may be; failures are left for the jobs to meet."""
        async with trio.open_nursery() as nursery:
            self._dial(nursery, self._max - len(self._wires) - self._n_dialling)

    async def aclose(self) -> None:
        """Close every connection; what is under way is lost, what waits is not begun."""
        for wire in tuple(self._wires.values()):
            self._lose(wire)
        self._fail_queue(Retryable(reason="cancelled"))
        await trio.lowlevel.checkpoint()

    async def _drive(self, call: Call, nursery: trio.Nursery) -> None:
        while call.left:
            self._dial(nursery, self._n_wanted())
            if self._is_driven:
                call.turn = trio.Event()
                await call.turn.wait()
                continue
            self._is_driven = True
            try:
                with trio.move_on_after(SWEEP_S) as scope:
                    while call.left and not self._n_wanted():
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                        self._pump()
                if scope.cancelled_caught:
                    self._sweep()
            finally:
                self._is_driven = False

    def _hand_over(self) -> None:
        """Somebody who waits drives on."""
        if not self._is_driven and self._calls:
            next(iter(self._calls)).turn.set()

    def _abandon(self, call: Call) -> None:
        waiting = [job for job in self._queue if job.call is call]
        self._queue = deque(job for job in self._queue if job.call is not call)
        for wire in tuple(self._wires.values()):
            job = wire.job
            if job is not None and job.call is call:
                if wire.n_sent == 0:
                    waiting.append(job)
                self._drop(wire)
        for job in waiting:
            call.give_up(job, Retryable(reason="cancelled"))

    # Connections

    def _n_wanted(self) -> int:
        """How many connections more the queue could use now."""
        self._flush()
        n_open = len(self._wires) + self._n_dialling
        if not self._queue or n_open >= self._max:
            return 0
        if n_open and trio.current_time() < self._no_dial_until:
            return 0
        return max(0, min(len(self._queue) - self._n_dialling, self._max - n_open))

    def _dial(self, nursery: trio.Nursery, n: int) -> None:
        for _ in range(n):
            self._n_dialling += 1
            nursery.start_soon(self._connect)

    async def _connect(self) -> None:
        wire: _Wire | None = None
        reason = "connect_timeout"
        try:
            with trio.move_on_after(self._timeout_s):
                wire = await self._reach()
        except (OSError, UnicodeError):
            reason = "connect"
        finally:
            self._n_dialling -= 1
        if wire is not None:
            self._wires[wire.fd] = wire
            self._epoll.register(wire.fd, IN)
            self._now = trio.current_time()
            self._free(wire)
            return
        self._no_dial_until = trio.current_time() + DIAL_REST_S
        if not self._wires and not self._n_dialling:
            self._fail_queue(Retryable(reason=reason))

    async def _reach(self) -> _Wire:
        stream = await trio.open_tcp_stream(*self._place)
        raw = socket.socket(fileno=stream.socket.detach())
        try:
            raw.setblocking(False)
            if self._make_tls is not None:
                raw = await self._secure(raw)
        except BaseException:
            raw.close()
            raise
        return _Wire(raw)

    async def _secure(self, raw: socket.socket) -> ssl.SSLSocket:
        self._tls = self._tls or (self._make_tls or ssl.create_default_context)()
        name = self._place[0]
        secure = self._tls.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False)
        try:
            while True:
                try:
                    secure.do_handshake()
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(secure)
                except ssl.SSLWantWriteError:
                    await trio.lowlevel.wait_writable(secure)
                else:
                    return secure
        except BaseException:
            secure.close()
            raise

    def _drop(self, wire: _Wire) -> None:
        if self._wires.pop(wire.fd, None) is None:
            return
        if wire.job is None and wire in self._idle:
            self._idle.remove(wire)
        wire.job = None
        self._epoll.unregister(wire.fd)
        wire.sock.close()

    # Events

    def _pump(self) -> None:
        """Serve every socket that is ready, and those that become so meanwhile next time."""
        self._now = trio.current_time()
        for fd, event in self._epoll.poll(0, EVENTS_A_TURN):
            wire = self._wires.get(fd)
            if wire is None:
                continue
            if wire.job is None:
                self._hear_idle(wire)
                continue
            if event & OUT and wire.rest is not None:
                self._write_on(wire)
            if event & ~OUT and fd in self._wires:
                self._read(wire)
        if self._heard:
            self._tell()

    def _tell(self) -> None:
        """Answer what this turn has heard, then put the next jobs on its connections."""
        heard, self._heard = self._heard, []
        calls: dict[Call, list[Job]] = {}
        for _, job in heard:
            calls.setdefault(job.call, []).append(job)
        for call, jobs in calls.items():
            call.answer(jobs)
        loud = {fd for fd, _ in self._epoll.poll(0, max(1, len(self._wires)))}
        for wire, _ in heard:
            if wire.is_broken:
                self._drop(wire)
            elif wire.fd in self._wires:
                self._go_on(wire, is_loud=wire.fd in loud or _pending(wire.sock))

    def _hear_idle(self, wire: _Wire) -> None:
        """An idle connection that has ended, or says anything, is not used again."""
        if not _is_silent(wire.sock):
            self._drop(wire)

    def _serve_idle(self) -> bool:
        """Put the next job on the connection used last; False if there is none."""
        while self._idle:
            wire = self._idle.pop()
            if wire.until > self._now and _is_silent(wire.sock):
                self._next(wire)
                return True
            self._drop(wire)
        return False

    def _flush(self) -> None:
        """Jobs of a call that is to go no further need no connection."""
        while self._queue and (rest := self._queue[0].call.rest) is not None:
            job = self._queue.popleft()
            job.call.give_up(job, rest)

    def _free(self, wire: _Wire) -> None:
        """The new connection can take its first job."""
        wire.until = self._now + self._keepalive_ms / 1_000
        self._go_on(wire, is_loud=True)

    def _next(self, wire: _Wire) -> None:
        self._flush()
        if self._queue:
            self._begin(wire, self._queue.popleft())
        else:
            self._idle.append(wire)

    def _go_on(self, wire: _Wire, *, is_loud: bool) -> None:
        """The next job on a connection that has just answered, unless it says more than that:
        where it *is_loud*, it is heard out."""
        if not is_loud or _is_silent(wire.sock):
            self._next(wire)
            return
        self._drop(wire)
        self._serve_idle()

    def _begin(self, wire: _Wire, job: Job) -> None:
        wire.job, wire.reader, wire.n_sent = job, None, 0
        wire.deadline = self._now + self._timeout_s
        job.tries += 1
        self._write(wire, job.data)

    def _write_on(self, wire: _Wire) -> None:
        rest, wire.rest = wire.rest, None
        self._epoll.modify(wire.fd, IN)
        if rest is not None:
            self._write(wire, rest)

    def _write(self, wire: _Wire, data: bytes | memoryview) -> None:
        n = 0
        try:
            n = wire.sock.send(data)
        except AGAIN:
            wire.n_sent += wire.sock.__class__ is ssl.SSLSocket  # some of a record may be out
        except OSError:
            self._cannot_write(wire)
            return
        wire.n_sent += n
        if n < len(data):
            wire.rest = memoryview(data)[n:]
            self._epoll.modify(wire.fd, IN | OUT)

    def _cannot_write(self, wire: _Wire) -> None:
        """It may have refused us early: what it said is worth reading. If not a byte left, the
        job goes over another connection."""
        wire.is_broken = True
        if wire.n_sent == 0:
            self._lose(wire)

    def _read(self, wire: _Wire) -> None:
        try:
            data = wire.sock.recv(RECEIVE_BYTES)
        except AGAIN:
            return
        except OSError:
            self._lose(wire)
            return
        reply = whole(data) if wire.reader is None else None
        if reply is None:
            reply = self._read_piece(wire, data)
        if reply is not None:
            self._answered(wire, reply)

    def _read_piece(self, wire: _Wire, data: bytes) -> Reply | None:
        reader = wire.reader = wire.reader or Reader(self._keepalive_ms)
        reply: Reply | None = None
        try:
            while True:
                reply = reader.feed(data)
                if reply is not None or not data or not _pending(wire.sock):
                    break
                data = wire.sock.recv(RECEIVE_BYTES)
        except AGAIN:
            return None
        except (OSError, httpx.RemoteProtocolError):
            self._lose(wire)
        return reply

    def _answered(self, wire: _Wire, reply: Reply) -> None:
        job, wire.job = wire.job, None
        if job is None:
            self._drop(wire)
            return
        job.reply = reply
        wire.is_broken |= not reply.stays_open or wire.rest is not None
        keepalive_ms = self._keepalive_ms if reply.keepalive_ms is None else reply.keepalive_ms
        wire.until = self._now + keepalive_ms / 1_000
        self._heard.append((wire, job))

    def _lose(self, wire: _Wire) -> None:
        """The connection is gone: what had begun on it is unknown, what had not goes again."""
        job, n_sent = wire.job, wire.n_sent
        self._drop(wire)
        if job is None:
            return
        if n_sent:
            job.call.give_up(job, Unknown(reason="lost"))
        elif job.tries < TRIES:
            self._queue.appendleft(job)
            self._serve_idle()
        else:
            job.call.give_up(job, Retryable(reason="connect"))

    def _sweep(self) -> None:
        """Give up what is overdue, close what has been idle for too long."""
        self._now = trio.current_time()
        for wire in tuple(self._wires.values()):
            job = wire.job
            if job is None and wire.until <= self._now:
                self._drop(wire)
            elif job and wire.deadline <= self._now:
                left = wire.n_sent > 0
                self._drop(wire)
                late = Unknown(reason="timeout") if left else Retryable(reason="timeout")
                job.call.give_up(job, late)

    def _fail_queue(self, outcome: Outcome) -> None:
        waiting, self._queue = self._queue, deque()
        for job in waiting:
            job.call.give_up(job, outcome)


def _is_silent(sock: socket.socket) -> bool:
    """Has a connection on which nothing is awaited neither ended nor said anything?

    Whatever it says is an answer to nothing that will be asked: it is over with it.
    """
    try:
        sock.recv(1)
    except AGAIN:  # nothing, or a session ticket of TLS, which is nothing that was said
        return True
    except OSError:
        return False
    return False


def _pending(sock: socket.socket) -> bool:
    """Has TLS decrypted more than was read? Then no event will tell of it."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
