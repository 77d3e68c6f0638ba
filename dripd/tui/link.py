"""How does the console reach the daemon? The only file of it with I/O.

One connection, found again by itself when it is lost; every string is made safe as it is
decoded. Nothing that was asked is asked twice: a changing call carries a request_id, and if
the connection breaks while it runs, the same call is repeated under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from dripd.admin import wire
from dripd.admin.client import unreachable
from dripd.admin.safe import clean
from dripd.errors import (
    Conflict,
    DripdError,
    NotPermitted,
    PeerWireError,
    TimedOut,
    Unreachable,
)
from dripd.tui.watch import Watch

HELLO_S: Final = 5.0
FIRST_REST_S: Final = 0.2
LONGEST_REST_S: Final = 5.0
CALL_S: Final = 30.0
"""How long an answer is waited for."""

VERBATIM: Final = frozenset({"campaign.export"})
"""Methods whose answers go into a file as they are, and are never shown."""

SILENT_S: Final = 20.0
"""A daemon says something each 15 s; one that does not is none, whatever its socket does."""

HANGS: Final = "the daemon hangs, or its machine has no time for it; it is looked for"

AGAIN_S: Final = 5.0
"""After it a view that could not be opened is tried again."""

AT_ONCE: Final = 4
"""Calls that a daemon answers at once on a connection; further ones wait here."""

CHUNK: Final = 65_536


class Tape(Protocol):
    """Where what is seen is written down: `dripd.tui.tape.Recorder`. `fault`: why no longer."""

    fault: str

    def hello(self, hello: Mapping[str, Any]) -> None: ...

    def opened(self, watch: Watch, reply: Mapping[str, Any]) -> None: ...

    def told(self, watch: Watch, method: str, params: Mapping[str, Any]) -> None: ...


class Link:
    """The connection to the daemon at *path*; `changed` is called when its state changes."""

    def __init__(
        self, path: Path, changed: Callable[[], None], *, tape: Tape | None = None
    ) -> None:
        self._path = path
        self._changed = changed
        self._tape = tape
        self.hello: dict[str, Any] = {}
        self.up = False
        self.trouble: DripdError | None = None
        self.lost_at: float | None = None
        self.is_past = False
        self._writer: asyncio.StreamWriter | None = None
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._watches: list[Watch] = []
        self._openings: set[asyncio.Task[None]] = set()
        self._is_up = asyncio.Event()
        self._turns = asyncio.Semaphore(AT_ONCE)

    @property
    def word(self) -> str:
        if self._tape is None:
            return "LIVE"
        return "LIVE, NOT RECORDED" if self._tape.fault else "LIVE REC"

    def jump(self, by_s: float) -> bool:
        return False

    async def run(self) -> None:
        """Stay connected, for ever."""
        rest = FIRST_REST_S
        while True:
            try:
                await self._connected()
                rest = FIRST_REST_S
            except DripdError as error:
                self.trouble = error
            except OSError as error:
                self.trouble = unreachable(self._path, error)
            self._down()
            await asyncio.sleep(rest)
            rest = min(LONGEST_REST_S, rest * 2)

    async def call(
        self, method: str, params: Mapping[str, object] | None = None, *, once: bool = False
    ) -> Any:
        """The result of *method*. *once*: it changes something and gets a request_id.

        Raises the daemon's `DripdError`; `TimedOut` after 30 s; `Unreachable` at once if there is
        no connection, if it broke twice, or if it broke and the daemon that comes back does not know
        the plan any more: the one before may have carried it out.
        """
        given = dict(params or {})
        if not self.up:
            raise Unreachable("there is no daemon; nothing was done", hint="it is looked for")
        if once:
            given["request_id"] = str(uuid.uuid4())
        for is_again in (False, True):
            try:
                async with asyncio.timeout(CALL_S):
                    await self._is_up.wait()
                    return await self._ask(method, given)
            except TimeoutError as error:
                raise TimedOut(
                    f"{method} was not answered within {CALL_S:.0f} s",
                    hint="it may still take effect; look before you repeat it",
                ) from error
            except Unreachable:
                if not once:
                    raise
            except Conflict as error:
                if is_again and error.code == "plan_expired":
                    raise _in_doubt(
                        "the daemon ended meanwhile, and its plans with it"
                    ) from error
                raise
        raise _in_doubt("the connection broke twice")

    def watch(self, watch: Watch) -> None:
        """Keep *watch* up to date from now on."""
        self._watches.append(watch)
        if self.up:
            self._open(watch)

    def unwatch(self, watch: Watch) -> None:
        """No longer; what it shows stays as it is."""
        if watch in self._watches:
            self._watches.remove(watch)
        if self.up and watch.sub is not None:
            closing = "tail.close" if watch.request()[0] == "tail.open" else "view.close"
            self._later(self._quietly(closing, {"sub": watch.sub}))
        watch.sub = None

    def pace(self, watch: Watch, hz: float) -> None:
        """Look as often as *hz* from now on."""
        watch.hz = hz
        if self.up and watch.sub is not None:
            self._later(self._quietly("view.pace", {"sub": watch.sub, "hz": hz}))

    async def close(self) -> None:
        """Hang up."""
        for task in list(self._openings):
            task.cancel()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):  # it was gone already
                await self._writer.wait_closed()

    async def _connected(self) -> None:
        """One connection, from greeting to end."""
        reader, writer = await asyncio.open_unix_connection(self._path, limit=CHUNK)
        self._writer = writer
        decoder = wire.Decoder()
        try:
            async with asyncio.timeout(HELLO_S):
                rest = await self._shake_hands(reader, decoder)
        except TimeoutError as error:
            raise Unreachable(
                f"nobody answers on {self._path}, though it is open", hint=HANGS
            ) from error
        self.up, self.trouble, self.lost_at = True, None, None
        self._is_up.set()
        for watch in self._watches:
            self._open(watch)
        self._changed()
        for message in rest:
            self._take(message)
        while data := await self._heard(reader):
            for message in decoder.feed(data):
                self._take(message)

    async def _heard(self, reader: asyncio.StreamReader) -> bytes:
        """What the daemon says next, b"" at the end. Raises `Unreachable` if that is nothing."""
        try:
            async with asyncio.timeout(SILENT_S):
                return await reader.read(CHUNK)
        except TimeoutError as error:
            raise Unreachable(
                f"the daemon has said nothing for {SILENT_S:.0f} s",
                hint=HANGS,
            ) from error

    async def _shake_hands(
        self, reader: asyncio.StreamReader, decoder: wire.Decoder
    ) -> list[wire.Message | wire.WireFault]:
        """Greet; returns what came with the greeting. Raises what the daemon's farewell means."""
        messages: list[wire.Message | wire.WireFault] = []
        while not messages:
            data = await reader.read(CHUNK)
            if not data:
                raise Unreachable(f"the daemon on {self._path} hung up at once")
            messages = decoder.feed(data)
        hello, *rest = messages
        if isinstance(hello, wire.Notice) and hello.method == "bye":
            raise farewell(hello)
        if not isinstance(hello, wire.Notice) or hello.method != "hello":
            raise PeerWireError(f"{self._path} does not greet as dripd does")
        self.hello = shown(hello.params)
        self._judge_version()
        greeting = {"proto": list(wire.PROTO), "client": "console", "pid": os.getpid()}
        self._send(wire.Notice(method="client.hello", params=greeting))
        if self._tape is not None:
            self._tape.hello(self.hello)
        return rest

    def _judge_version(self) -> None:
        proto = self.hello.get("proto")
        if not isinstance(proto, list) or proto[:1] != [wire.PROTO[0]]:
            older = isinstance(proto, list) and proto < list(wire.PROTO)
            raise PeerWireError(
                f"the daemon {self.hello.get('server')} speaks protocol {proto}, "
                f"this console {list(wire.PROTO)}",
                hint=f"upgrade the {'daemon' if older else 'console'}: it is the older of the two",
            )

    def _down(self) -> None:
        if self.up or self.lost_at is None:
            self.lost_at = asyncio.get_running_loop().time()
        self.up = False
        self._is_up.clear()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unreachable("the connection was lost"))
        self._waiting.clear()
        for watch in self._watches:
            watch.sub = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.trouble is None:
            self.trouble = Unreachable("the daemon hung up", hint="it may be restarting")
        self._changed()

    def _take(self, message: wire.Message | wire.WireFault) -> None:
        if isinstance(message, wire.WireFault):
            raise PeerWireError(f"the daemon broke the protocol: {message.message}")
        if isinstance(message, wire.Notice):
            self._notice(message)
        elif isinstance(message, wire.Reply | wire.Failure):
            self._answered(message)

    def _notice(self, notice: wire.Notice) -> None:
        if notice.method == "bye":
            raise farewell(notice)
        sub = notice.params.get("sub")
        for watch in self._watches:
            if watch.sub == sub and sub is not None:
                params = shown(notice.params)
                if self._tape is not None:
                    self._tape.told(watch, notice.method, params)
                watch.took(notice.method, params)

    def _answered(self, answer: wire.Reply | wire.Failure) -> None:
        waiting = self._waiting.pop(answer.id, None) if isinstance(answer.id, int) else None
        if waiting is None or waiting.done():
            return
        if isinstance(answer, wire.Failure):
            waiting.set_exception(readable(wire.unpack_error(answer)))
        else:
            waiting.set_result(answer.result)

    async def _ask(self, method: str, params: dict[str, object]) -> Any:
        async with self._turns:
            if not self.up:
                raise Unreachable("the connection was lost")
            return await self._answer_to(method, params)

    async def _answer_to(self, method: str, params: dict[str, object]) -> Any:
        self._last_id += 1
        number = self._last_id
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(wire.Request(id=number, method=method, params=params))
        try:
            answer = await waiting
            return answer if method in VERBATIM else clean(answer)
        except asyncio.CancelledError:
            self._send(wire.Notice(method="cancel", params={"id": number}))
            raise
        finally:
            self._waiting.pop(number, None)

    def _send(self, message: wire.Message) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(wire.encode(message))

    def _open(self, watch: Watch) -> None:
        self._later(self._opening(watch))

    async def _opening(self, watch: Watch) -> None:
        reply = await self._opened(watch)
        if reply is None:
            return
        if watch not in self._watches:
            await self._quietly("view.close", {"sub": reply.get("sub")})
            return
        if self._tape is not None:
            self._tape.opened(watch, reply)
        watch.opened(reply)

    async def _opened(self, watch: Watch) -> Mapping[str, Any] | None:
        """The answer to *watch*, asked for until there is one; None: nobody wants it any more."""
        connection = self._writer
        while True:
            try:
                reply: Mapping[str, Any] = await self.call(*watch.request())
                return reply
            except DripdError as error:
                watch.failed(error)
            await asyncio.sleep(AGAIN_S)
            is_wanted = watch in self._watches and watch.sub is None
            if not is_wanted or self._writer is not connection:
                return None

    async def _quietly(self, method: str, params: Mapping[str, object]) -> None:
        """A call whose failure means nothing: what it is about is gone with the connection."""
        try:
            await self.call(method, params)
        except DripdError as error:
            self.trouble = self.trouble or (None if self.up else error)

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)


def shown(params: Mapping[str, object]) -> dict[str, Any]:
    """*params* made safe."""
    found = clean(dict(params))
    return found if isinstance(found, dict) else {}


def readable(error: DripdError) -> DripdError:
    """*error* with texts that may be shown."""
    error.message, error.hint = str(clean(error.message)), str(clean(error.hint))
    error.path, error.args = str(clean(error.path)), (error.message,)
    return error


def farewell(bye: wire.Notice) -> DripdError:
    """What the daemon's last words mean."""
    reason, message = bye.params.get("reason"), str(clean(bye.params.get("message", "")))
    if reason == "denied":
        return NotPermitted(message, hint="ask an admin for a role: [admin.roles]")
    if reason == "proto":
        return PeerWireError(message, hint="upgrade the older of the two packages")
    return Unreachable(message or "the daemon hung up")


def _in_doubt(why: str) -> Unreachable:
    return Unreachable(
        f"{why}; the change may have been made", hint="look before you repeat it: 9, a"
    )
