"""A small scripted SMTP server: a model sans I/O, and trio sockets around it.

What it does with a letter is told by the recipient: `r450@...` is refused with 450 at RCPT,
`d452@...` after DATA, `b554@...` after the body, `m421@...` at MAIL is not possible (the
recipient is not known there). `lost@...` takes the letter and hangs up without a word,
`cut@...` hangs up after its 354, `stall@...` says nothing any more after the body.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from tests.support.tls import server_context


@dataclass(slots=True, kw_only=True)
class Rules:
    """What the server offers and does; shared by its connections."""

    offers: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 1000000")
    greeting: str = "220 mx ready"
    ehlo_code: int = 250
    user: tuple[str, str] | None = None
    letters_per_session: int = 1_000_000
    multiline: bool = False


@dataclass(slots=True, kw_only=True)
class Taken:
    """One letter that the server took, dots unstuffed."""

    sender: str
    recipient: str
    data: bytes
    was_8bit: bool


@dataclass(slots=True)
class Mailroom:
    """Everything that all sessions of a server took, and what was said to them."""

    rules: Rules
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    n_sessions: int = 0
    port: int = 0


class SmtpModel:
    """The server's side of one session: bytes in, bytes out."""

    def __init__(self, room: Mailroom, *, is_tls: bool = False) -> None:
        self.room = room
        self.is_tls = is_tls
        self.hangs_up = False
        self.wants_tls = False
        self.out = self.reply(room.rules.greeting)
        self._in = b""
        self._body: list[bytes] | None = None
        self._mail = self._rcpt = ""
        self._params = ""
        self._login: list[str] | None = None
        self._n_taken = 0
        self._stalled = False
        self.hangs_up = not room.rules.greeting.startswith("2")

    def reply(self, line: str) -> bytes:
        if not self.room.rules.multiline:
            return f"{line}\r\n".encode()
        code = line[:3]
        return f"{code}-first\r\n{code}-\r\n{line}\r\n".encode()

    def receive(self, data: bytes) -> bytes:
        self._in += data
        while b"\r\n" in self._in and not self.hangs_up and not self.wants_tls:
            line, _, self._in = self._in.partition(b"\r\n")
            if not self._stalled:
                self._line(line)
        out, self.out = self.out, b""
        return out

    def secured(self) -> None:
        self.is_tls = True
        self.wants_tls = False
        self._in = b""

    def _line(self, line: bytes) -> None:
        if self._body is not None:
            self._body_line(line)
        elif self._login is not None:
            self._login_line(line)
        else:
            self._command(line.decode())

    def _command(self, line: str) -> None:
        self.room.commands.append(line)
        verb, _, rest = line.partition(" ")
        self.out += getattr(self, f"_do_{verb.lower()}")(rest)

    def _do_ehlo(self, rest: str) -> bytes:
        if self.room.rules.ehlo_code != 250:
            return self.reply(f"{self.room.rules.ehlo_code} no")
        offers = [
            offer for offer in self.room.rules.offers if offer != "STARTTLS" or not self.is_tls
        ]
        lines = [f"mx greets {rest}", *offers]
        marks = ["-"] * (len(lines) - 1) + [" "]
        return "".join(
            f"250{m}{text}\r\n" for m, text in zip(marks, lines, strict=True)
        ).encode()

    def _do_helo(self, rest: str) -> bytes:
        return self.reply(f"250 mx greets {rest}")

    def _do_starttls(self, _: str) -> bytes:
        self.wants_tls = True
        return b"220 go ahead\r\n"

    def _do_auth(self, rest: str) -> bytes:
        way, _, token = rest.partition(" ")
        if way == "LOGIN":
            self._login = []
            return b"334 VXNlcm5hbWU6\r\n"
        _, user, password = b64decode(token).decode().split("\0")
        return self._verdict(user, password)

    def _login_line(self, line: bytes) -> None:
        assert self._login is not None
        self._login.append(b64decode(line).decode())
        if len(self._login) == 1:
            self.out += b"334 UGFzc3dvcmQ6\r\n"
            return
        user, password = self._login
        self._login = None
        self.out += self._verdict(user, password)

    def _verdict(self, user: str, password: str) -> bytes:
        is_right = self.room.rules.user == (user, password)
        return b"235 welcome\r\n" if is_right else b"535 5.7.8 no\r\n"

    def _do_mail(self, rest: str) -> bytes:
        if self._n_taken >= self.room.rules.letters_per_session:
            self.hangs_up = True
            return self.reply("421 too many letters")
        if self._mail:
            return self.reply("503 a letter is open")
        path, _, self._params = rest.removeprefix("FROM:").partition(" ")
        if path.startswith("<bad"):
            return self.reply("550 not you")
        self._mail = path[1:-1]
        return self.reply("250 ok")

    def _do_rcpt(self, rest: str) -> bytes:
        if not self._mail:
            return self.reply("503 whose letter")
        recipient = rest.removeprefix("TO:")[1:-1]
        if recipient.startswith("r"):
            return self.reply(f"{recipient[1:4]} no")
        self._rcpt = recipient
        return self.reply("250 ok")

    def _do_data(self, _: str) -> bytes:
        if not self._rcpt:
            return self._data_for_nobody()
        if self._rcpt.startswith("d"):
            return self.reply(f"{self._rcpt[1:4]} not now")
        self._body = []
        self.hangs_up = self._rcpt.startswith("cut")
        return b"354 go ahead\r\n"

    def _data_for_nobody(self) -> bytes:
        if self._mail and "LETS_DATA_THROUGH" in self.room.rules.offers:
            self._body = []
            return b"354 go ahead\r\n"
        return self.reply("503 for whom")

    def _do_rset(self, _: str) -> bytes:
        self._mail = self._rcpt = ""
        return self.reply("250 ok")

    def _do_quit(self, _: str) -> bytes:
        self.hangs_up = True
        return self.reply("221 bye")

    def _body_line(self, line: bytes) -> None:
        assert self._body is not None
        if line != b".":
            self._body.append(line.removeprefix(b"."))
            return
        self.out += self._decide(b"".join(part + b"\r\n" for part in self._body))
        self._body = None
        self._mail = self._rcpt = ""

    def _decide(self, data: bytes) -> bytes:
        recipient = self._rcpt
        if not recipient:
            return self.reply("554 no valid recipients")
        if recipient.startswith("b"):
            return self.reply(f"{recipient[1:4]} no")
        self.room.taken.append(
            Taken(
                sender=self._mail,
                recipient=recipient,
                data=data,
                was_8bit="8BITMIME" in self._params,
            )
        )
        self._n_taken += 1
        self.hangs_up = recipient.startswith("lost")
        self._stalled = recipient.startswith("stall")
        if self.hangs_up or self._stalled:
            return b""
        return self.reply(f"250 2.0.0 Ok: queued as Q{len(self.room.taken):06d}")


@asynccontextmanager
async def smtp_server(rules: Rules, *, is_tls: bool = False) -> AsyncIterator[Mailroom]:
    """Run the model for every connection until the block is left."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    room = Mailroom(rules, port=listeners[0].socket.getsockname()[1])

    async def handle(raw: trio.SocketStream) -> None:
        room.n_sessions += 1
        try:
            await converse(raw, SmtpModel(room))
        except trio.BrokenResourceError:
            return  # the client may go away at any point
        finally:
            raw.socket.close()

    async def converse(raw: trio.SocketStream, model: SmtpModel) -> None:
        stream: trio.abc.Stream = raw
        if is_tls:
            stream = secure(raw)
            model.is_tls = True
        data: bytes | bytearray = b""
        while True:
            if out := model.receive(bytes(data)):
                await stream.send_all(out)
            if model.hangs_up:
                return
            if model.wants_tls:
                stream = secure(raw)
                model.secured()
            if not (data := await stream.receive_some(65_536)):
                return

    def secure(raw: trio.SocketStream) -> trio.abc.Stream:
        return trio.SSLStream(raw, server_context(), server_side=True, https_compatible=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield room
        nursery.cancel_scope.cancel()
