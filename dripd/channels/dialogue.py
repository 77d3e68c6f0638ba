"""What does one say next to an SMTP server? The client's side of a session, sans I/O.

Operations
    `receive(bytes)` takes what the server said, `to_send()` is what to say next, `submit`
    hands over letters once `phase` is READY. At STARTTLS the phase is HANDSHAKE: the driver
    makes the connection secure and calls `secured()`.
Guarantees
    A letter is settled by the reply to its own command, in order, at most once. `lost(n)`
    settles the rest when the connection is gone: a letter whose final dot is within the n
    bytes that left is `Unknown` (RFC 1047: the server may have it), any other is provably
    unsent. One recipient per transaction, so that a reply concerns one message.
Method
    A queue of expected replies. Where the server offers PIPELINING, a letter's body leaves
    together with the next one's envelope (RFC 2920 lets a body begin a group): one round
    trip a message. Commands that a server may no longer have, since it closed, are not
    sent again: a new session begins afresh.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Unknown
from dripd.channels.base import Secret

MAX_REPLY_BYTES: Final = 65_536
"""Of one reply with all its lines; RFC 5321 knows lines of 512."""

CODES: Final = {b"%d" % code: code for code in range(200, 600)}
QUEUED_AS: Final = re.compile(
    rb"(?:queued as\s+|\bid=|^(?:\d\.\d\.\d )?ok\s+(?!id=))<?([!-;=?-~]{6,128})",
    re.IGNORECASE,
)
"""Postfix, Exim and SES name the queue entry so; another server's is left unknown."""

SMOOTH: Final = re.compile(
    rb"2[0-9][0-9] ([^\r\n]*)\r\n(?:2[0-9][0-9] [^\r\n]*\r\n){2}354[ ][^\r\n]*\r\n"
)
"""One letter taken, and the envelope of the next let through: what a server says all day."""

CLOSING: Final = 421
AUTH_CODES: Final = frozenset({530, 534, 535, 538})
"""The account's fault, not the letter's."""


class Phase(Enum):
    """Where a session stands."""

    OPENING = auto()
    HANDSHAKE = auto()  # the driver makes the connection secure
    READY = auto()
    CLOSED = auto()


class Starttls(Enum):
    """Whether a plain connection is made secure."""

    REQUIRE = "require"
    OFFER = "offer"  # where the server has it
    NEVER = "never"


class Step(Enum):
    """A command whose reply is awaited."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    AUTH = auto()
    USERNAME = auto()
    PASSWORD = auto()
    RSET = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BODY = auto()
    NOTHING = auto()  # a lone dot, after DATA was let through without a recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who we are to the server."""

    username: str
    password: Secret


@dataclass(slots=True, kw_only=True)
class Letter:
    """One mail for one recipient. `data` has CRLF line ends and no stuffed dots."""

    ref: object
    sender: str
    recipient: str
    data: bytes
    outcome: Outcome | None = None
    dot_at: int | None = None
    """Offset of the final dot in all that was sent on this connection, once it is given out."""


class Dialogue:
    """One session. `helo` is our name; `is_secure` says that the connection is TLS already.

    `login` is spoken only on a secure connection, unless `may_login_plainly`.
    """

    def __init__(
        self,
        *,
        helo: str,
        login: Login | None = None,
        starttls: Starttls = Starttls.OFFER,
        is_secure: bool = False,
        may_login_plainly: bool = False,
    ) -> None:
        self.phase = Phase.OPENING
        self.closed_by = ""
        """Why the session is over, as a reason word; empty while it is not."""
        self._helo = helo
        self._login = login
        self._starttls = starttls
        self._is_secure = is_secure
        self._may_login_plainly = may_login_plainly
        self._offers: dict[str, str] = {}
        self._expected: deque[tuple[Step, Letter | None]] = deque([(Step.GREETING, None)])
        self._waiting: deque[Letter] = deque()
        self._begun: deque[Letter] = deque()
        self._settled: list[Letter] = []
        self._is_open = self._is_pipelined = False
        self._incoming = b""
        self._at = 0
        """How much of what came in has been read."""
        self._reply: list[bytes] = []
        self._out: list[bytes] = []
        self._n_out = 0

    @property
    def allows_8bit(self) -> bool:
        return "8BITMIME" in self._offers

    @property
    def is_busy(self) -> bool:
        """Whether letters are unsettled, or replies are still to come."""
        return bool(self._waiting or self._begun or self._expected)

    def to_send(self) -> bytes:
        """All that is to be said and was not given out yet."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def submit(self, letters: Sequence[Letter]) -> list[Letter]:
        """Take *letters* in order; those that are settled at once (too large) are returned."""
        for letter in letters:
            limit = self._offers.get("SIZE", "")
            if limit.isdigit() and 0 < int(limit) < len(letter.data):
                self._settle(letter, Rejected(reason="too_large"))
            else:
                self._waiting.append(letter)
        if not self._begun:
            self._begin_next()
        return self._take_settled()

    def secured(self) -> None:
        """The connection is TLS now: what the server said before counts for nothing."""
        self._is_secure = True
        self.phase = Phase.OPENING
        self._offers.clear()
        self._is_pipelined = False
        self._say(Step.EHLO, f"EHLO {self._helo}")

    def receive(self, data: bytes) -> list[Letter]:
        """Take what the server said, `b""` for its end; returns the letters now settled.

        What is no reply, or one that nobody asked for, closes the session (`protocol`).
        Once `phase` is CLOSED the driver drops the connection, and `lost` settles the rest.
        """
        if not data:
            self._close("lost")
        elif self._goes_smoothly(data):
            return self._take_settled()
        self._incoming += data
        while self.phase is not Phase.CLOSED:
            end = self._incoming.find(b"\n", self._at)
            if end < 0:
                break
            line, self._at = self._incoming[self._at : end], end + 1
            self._line(line.rstrip(b"\r"))
        self._incoming, self._at = self._incoming[self._at :], 0
        if len(self._incoming) + sum(map(len, self._reply)) > MAX_REPLY_BYTES:
            self._close("protocol")
        return self._take_settled()

    def lost(self, n_left: int, reason: str) -> list[Letter]:
        """The connection is gone after *n_left* bytes of ours: settle every letter."""
        why = self.closed_by or reason
        self._close(why)
        for letter in (*self._begun, *self._waiting):
            is_out = letter.dot_at is not None and n_left > letter.dot_at
            self._settle(letter, Unknown(reason=why) if is_out else Retryable(reason=why))
        self._begun.clear()
        self._waiting.clear()
        return self._take_settled()

    def _goes_smoothly(self, data: bytes) -> bool:
        """Take *data* at once where it is all that is awaited, each in one line, and good."""
        expected = self._expected
        is_idle = self.phase is Phase.READY and not self._incoming and not self._reply
        if len(expected) != 4 or not is_idle:
            return False
        (step, taken), _, _, (last, following) = expected
        if step is not Step.BODY or last is not Step.DATA or taken is None or following is None:
            return False
        found = SMOOTH.fullmatch(data)
        if found is None:
            return False
        expected.clear()
        self._finish(taken, Accepted(provider_id=_queue_id(found[1])))
        self._say_body(following)
        self._begin_next()
        return True

    def _line(self, line: bytes) -> None:
        code, sign = CODES.get(line[:3]), line[3:4]
        is_another = self._reply and line[:3] != self._reply[0][:3]
        if code is None or sign not in {b"", b" ", b"-"} or is_another:
            self._close("protocol")
            return
        self._reply.append(line)
        if sign != b"-":
            lines, self._reply = self._reply, []
            self._take_reply(code, lines)

    def _take_reply(self, code: int, lines: list[bytes]) -> None:
        if not self._expected:
            self._close(f"smtp_{CLOSING}" if code == CLOSING else "protocol")
            return
        step, letter = self._expected.popleft()
        if code == CLOSING and step is not Step.BODY:
            self._close(f"smtp_{CLOSING}")
        elif letter is not None:
            self._about_letter(step, letter, code, lines)
        elif step not in {Step.RSET, Step.NOTHING}:
            self._about_session(step, code, lines)

    def _about_session(self, step: Step, code: int, lines: list[bytes]) -> None:
        match step:
            case Step.EHLO if code >= 500:
                self._say(Step.HELO, f"HELO {self._helo}")
            case Step.USERNAME | Step.PASSWORD if code == 334:
                self._answer_login(step)
            case _ if not 200 <= code < 300:
                self._close("auth" if code in AUTH_CODES else f"smtp_{code}")
            case Step.GREETING:
                self._say(Step.EHLO, f"EHLO {self._helo}")
            case Step.EHLO | Step.HELO:
                self._greeted(lines[1:])
            case Step.STARTTLS:
                self._await_handshake()
            case _:
                self._ready()

    def _greeted(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            name, _, value = line[4:].decode("latin-1").upper().partition(" ")
            self._offers[name] = value
        self._is_pipelined = "PIPELINING" in self._offers
        if not self._is_secure and self._starttls is not Starttls.NEVER:
            if "STARTTLS" in self._offers:
                self._say(Step.STARTTLS, "STARTTLS")
                return
            if self._starttls is Starttls.REQUIRE:
                self._close("no_tls")
                return
        self._log_in()

    def _await_handshake(self) -> None:
        # words that somebody in between may have put in before TLS
        if self._at < len(self._incoming):
            self._close("protocol")
        else:
            self.phase = Phase.HANDSHAKE

    def _log_in(self) -> None:
        if self._login is None:
            self._ready()
        elif not self._is_secure and not self._may_login_plainly:
            self._close("no_tls")
        else:
            self._begin_login(self._login)

    def _begin_login(self, login: Login) -> None:
        ways = self._offers.get("AUTH", "").split()
        if "PLAIN" in ways:
            token = f"\0{login.username}\0{login.password.reveal()}"
            self._say(Step.AUTH, f"AUTH PLAIN {_base64(token)}")
        elif "LOGIN" in ways:
            self._say(Step.USERNAME, "AUTH LOGIN")
        else:
            self._close("auth")

    def _answer_login(self, step: Step) -> None:
        if self._login is None:
            self._close("protocol")
        elif step is Step.USERNAME:
            self._say(Step.PASSWORD, _base64(self._login.username))
        else:
            self._say(Step.AUTH, _base64(self._login.password.reveal()))

    def _ready(self) -> None:
        self.phase = Phase.READY
        self._begin_next()

    def _begin_next(self) -> None:
        """Say the next letter's envelope, after RSET where a refused one is still open."""
        if self.phase is not Phase.READY or not self._waiting:
            return
        letter = self._waiting.popleft()
        self._begun.append(letter)
        if self._is_open:
            self._say(Step.RSET, "RSET")
            self._is_open = False
        if not self._is_pipelined:
            self._say(Step.MAIL, self._mail_command(letter), letter)
            return
        steps = ((Step.MAIL, letter), (Step.RCPT, letter), (Step.DATA, letter))
        self._expected.extend(steps)
        mail = self._mail_command(letter)
        self._put(f"{mail}\r\nRCPT TO:<{letter.recipient}>\r\nDATA\r\n".encode("ascii"))

    def _mail_command(self, letter: Letter) -> str:
        command = f"MAIL FROM:<{letter.sender}>"
        if "SIZE" in self._offers:
            command += f" SIZE={len(letter.data)}"
        if self.allows_8bit and not letter.data.isascii():
            command += " BODY=8BITMIME"
        return command

    def _about_letter(self, step: Step, letter: Letter, code: int, lines: list[bytes]) -> None:
        if step is Step.MAIL or step is Step.RCPT:
            self._about_envelope(step, letter, code)
        elif step is Step.DATA:
            self._about_data(letter, code)
        else:
            self._about_body(letter, code, lines)

    def _about_envelope(self, step: Step, letter: Letter, code: int) -> None:
        if not 200 <= code < 300:
            self._refuse(letter, code)
            self._is_open |= step is Step.RCPT
            if not self._is_pipelined:
                self._begin_next()
        elif not self._is_pipelined and step is Step.MAIL:
            self._say(Step.RCPT, f"RCPT TO:<{letter.recipient}>", letter)
        elif not self._is_pipelined:
            self._say(Step.DATA, "DATA", letter)

    def _about_data(self, letter: Letter, code: int) -> None:
        if 200 <= code < 400 and code != 354:
            self._close("protocol")
            return
        if code != 354:
            self._is_open = True
            self._refuse(letter, code)
        elif letter.outcome is not None:
            self._is_open = False
            self._say(Step.NOTHING, ".")
        else:
            self._say_body(letter)
        if code != 354 or letter.outcome is not None or self._is_pipelined:
            self._begin_next()

    def _say_body(self, letter: Letter) -> None:
        text = letter.data.replace(b"\r\n.", b"\r\n..")
        stuffed = b"." + text if text.startswith(b".") else text
        self._put(stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n")
        letter.dot_at = self._n_out
        self._say(Step.BODY, ".", letter)

    def _about_body(self, letter: Letter, code: int, lines: list[bytes]) -> None:
        if 300 <= code < 400:
            self._close("protocol")
            return
        if code < 300:
            said = b" ".join([line[4:] for line in lines]) if lines[1:] else lines[0][4:]
            self._finish(letter, Accepted(provider_id=_queue_id(said)))
        else:
            self._refuse(letter, code)
        if code == CLOSING:
            self._close(f"smtp_{CLOSING}")
        elif not self._is_pipelined:
            self._begin_next()

    def _refuse(self, letter: Letter, code: int) -> None:
        if letter.outcome is None:
            self._finish(letter, _refusal(code))

    def _finish(self, letter: Letter, outcome: Outcome) -> None:
        self._begun.remove(letter)
        self._settle(letter, outcome)

    def _settle(self, letter: Letter, outcome: Outcome) -> None:
        letter.outcome = outcome
        self._settled.append(letter)

    def _take_settled(self) -> list[Letter]:
        settled, self._settled = self._settled, []
        return settled

    def _say(self, step: Step, command: str, letter: Letter | None = None) -> None:
        self._expected.append((step, letter))
        self._put(command.encode("ascii") + b"\r\n")

    def _put(self, data: bytes) -> None:
        self._out.append(data)
        self._n_out += len(data)

    def _close(self, why: str) -> None:
        self.phase = Phase.CLOSED
        self.closed_by = self.closed_by or why


def _queue_id(said: bytes) -> str:
    found = QUEUED_AS.search(said)
    return found[1].decode("ascii") if found else ""


def _refusal(code: int) -> Outcome:
    if code in AUTH_CODES:
        return Retryable(reason="auth")
    if 400 <= code < 500:
        return Retryable(reason=f"smtp_{code}")
    return Rejected(reason=f"smtp_{code}")


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")
