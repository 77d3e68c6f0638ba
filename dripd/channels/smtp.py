"""Mail through an SMTP server: sessions over trio, kept and used again.

The words are `dialogue`'s. Here are the connections: a LIFO stack of idle sessions, one
deadline for each step of the talk, and the number of bytes that left, by which a letter
whose session is lost is `Unknown` or provably unsent. What is provably unsent because the
server ended a session (421, or an idle one gone stale) goes once more over a fresh one.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import trio

from dripd.campaigns.event import Outcome, Rejected, Retryable
from dripd.channels.base import (
    EMAIL,
    Channel,
    Message,
    ProviderSettings,
    Repeats,
    Resources,
    Settle,
)
from dripd.channels.dialogue import Dialogue, Letter, Login, Phase, Starttls
from dripd.channels.dkim import Signer
from dripd.channels.mime import Unsendable, address, build
from dripd.channels.options import expect_only, refusal, text
from dripd.channels.wire import LOST, RECEIVE_BYTES, CountingStream
from dripd.clock import MINUTE, Clock, Millis

BATCH: Final = 20
"""Letters of one call: pipelining pays from the second on, lateness grows with each."""

IDLE_MS: Final = Millis(10_000)
"""How long an idle session is trusted; servers hang up after one to five minutes."""

QUIT_MS: Final = Millis(500)
RECORD_BYTES: Final = 16_384
"""Under TLS a piece of this size counts as left as soon as any of it has."""

ENDED: Final = frozenset({"lost", "smtp_421"})
"""Sessions that end so after some letters have a limit, or a timeout: the next may serve."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Server(NamedTuple):
    """Where the mail goes, and how one introduces oneself."""

    host: str
    port: int
    is_tls: bool
    starttls: Starttls
    helo: str
    login: Login | None


class SmtpChannel:
    """Carries mail to one server over at most *max_connections* sessions.

    *timeout_ms* bounds the opening of a session, and then the time from one settled letter
    to the next. *tls* makes the context for TLS when first it is needed.
    """

    kinds: Final = frozenset({EMAIL})
    repeats: Final = Repeats(evidence_ms=Millis(15 * MINUTE))

    def __init__(
        self,
        name: str,
        server: Server,
        *,
        clock: Clock,
        timeout_ms: Millis,
        max_connections: int,
        batch: int = BATCH,
        signer: Signer | None = None,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.name: Final = name
        self.batch: Final = batch
        self.concurrency: Final = max_connections
        self._server = server
        self._clock = clock
        self._timeout_s = timeout_ms / 1_000
        self._slots = trio.Semaphore(max_connections)
        self._signer = signer
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._idle: list[_Session] = []
        self._open: set[_Session] = set()

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        left = _Left(messages, settle)
        try:
            async with self._slots:
                while left.messages:
                    await self._carry(left)
        finally:
            left.settle_rest(Retryable(reason="cancelled"))

    async def dial(self) -> None:
        """Greet and log in on as many sessions as may be open and are not in use."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._slots.value - len(self._idle)):
                nursery.start_soon(self._dial_one)

    async def aclose(self) -> None:
        """Say QUIT on idle sessions, half a second for all, and close every connection."""
        idle, self._idle = self._idle, []
        try:
            with trio.move_on_after(QUIT_MS / 1_000):
                for session in idle:
                    with suppress(*LOST):
                        await session.write(b"QUIT\r\n")
        finally:
            for session in tuple(self._open):
                self._drop(session)

    async def _carry(self, left: _Left) -> None:
        """Bring what is left over one session; what it must not try again is settled."""
        n_before = len(left.messages)
        session = self._take_idle()
        was_idle = session is not None
        if session is None:
            session = await self._connect(left)
        if session is None:
            return
        unsent = await self._talk(session, left)
        if unsent is None:
            return
        progressed = was_idle or len(left.messages) < n_before
        if not progressed or unsent.reason not in ENDED:
            left.settle_rest(unsent)

    async def _talk(self, session: _Session, left: _Left) -> Retryable | None:
        """Returns why the session ended early, None if it is kept."""
        unsent: Retryable | None = None
        try:
            letters = self._write_letters(session.dialogue, left)
            left.settle(session.dialogue.submit(letters))
            await self._exchange(session, left)
        finally:
            if session.dialogue.phase is Phase.READY and not session.dialogue.is_busy:
                self._keep(session)
            else:
                self._drop(session)
                unsent = left.settle_lost(session.dialogue.lost(session.n_left, "cancelled"))
        return unsent

    async def _exchange(self, session: _Session, left: _Left) -> None:
        dialogue = session.dialogue
        with trio.move_on_after(self._timeout_s) as scope:
            while dialogue.is_busy and dialogue.phase is Phase.READY:
                if settled := await session.turn():
                    left.settle(settled)
                    deadline = trio.current_time() + self._timeout_s
                    if deadline - scope.deadline > self._timeout_s / 8:  # moving it costs 6 us
                        scope.deadline = deadline
        if scope.cancelled_caught:
            dialogue.closed_by = "timeout"

    def _write_letters(self, dialogue: Dialogue, left: _Left) -> list[Letter]:
        letters: list[Letter] = []
        for message in tuple(left.messages.values()):
            try:
                data = build(message, date=self._clock.now(), allow_8bit=dialogue.allows_8bit)
                sender, recipient = address(message.sender), address(message.to)
                if self._signer is not None and self._signer.signs(sender):
                    data = self._signer.sign(data, self._clock.now())
            except Unsendable:
                left.settle_one(message, Rejected(reason="malformed"))
                continue
            letters.append(Letter(ref=message, sender=sender, recipient=recipient, data=data))
        return letters

    async def _dial_one(self) -> None:
        async with self._slots:
            session = await self._connect(_Left((), lambda message, outcome: None))
            if session is not None:
                self._keep(session)

    def _take_idle(self) -> _Session | None:
        while self._idle:
            session = self._idle.pop()
            if session.until > trio.current_time() and not session.is_readable():
                return session
            self._drop(session)
        return None

    def _keep(self, session: _Session) -> None:
        if session not in self._open:
            return
        now = trio.current_time()
        session.until = now + IDLE_MS / 1_000
        while self._idle and self._idle[0].until <= now:
            self._drop(self._idle.pop(0))
        self._idle.append(session)

    def _drop(self, session: _Session) -> None:
        self._open.discard(session)
        session.close()

    async def _connect(self, left: _Left) -> _Session | None:
        """A session that is ready for letters, or None: then all that is left is settled."""
        session: _Session | None = None
        is_ready = False
        reason = "connect_timeout"
        try:
            with trio.move_on_after(self._timeout_s):
                session = await self._reach()
                self._open.add(session)
                reason = await self._open_session(session)
                is_ready = not reason
        except (OSError, UnicodeError, *LOST):
            reason = "connect" if session is None else "tls"
        finally:
            if session is not None and not is_ready:
                self._drop(session)
        if is_ready:
            return session
        left.settle_rest(Retryable(reason=reason))
        return None

    async def _reach(self) -> _Session:
        server = self._server
        dialogue = Dialogue(
            helo=server.helo,
            login=server.login,
            starttls=server.starttls,
            is_secure=server.is_tls,
            may_login_plainly=server.starttls is Starttls.NEVER or server.host in LOOPBACK,
        )
        raw = await trio.open_tcp_stream(server.host, server.port)
        return _Session(CountingStream.over(raw), dialogue)

    async def _open_session(self, session: _Session) -> str:
        """Greet and log in; returns the reason word of a refusal, empty if ready."""
        if self._server.is_tls:
            await self._secure(session)
        while session.dialogue.phase not in {Phase.READY, Phase.CLOSED}:
            if session.dialogue.phase is Phase.HANDSHAKE:
                await self._secure(session)
                session.dialogue.secured()
            await session.turn()
        return session.dialogue.closed_by

    async def _secure(self, session: _Session) -> None:
        self._tls = self._tls or self._make_tls()
        await session.secure(self._tls, self._server.host)


class _Left:
    """The messages of one call that have no outcome yet, in order."""

    def __init__(self, messages: Sequence[Message], settle: Settle) -> None:
        self.messages = {id(message): message for message in messages}
        self._settle = settle

    def settle_one(self, message: Message, outcome: Outcome) -> None:
        if self.messages.pop(id(message), None) is not None:
            self._settle(message, outcome)

    def settle(self, letters: Sequence[Letter]) -> None:
        for letter in letters:
            if letter.outcome is not None and isinstance(letter.ref, Message):
                self.settle_one(letter.ref, letter.outcome)

    def settle_lost(self, letters: Sequence[Letter]) -> Retryable | None:
        """Settle those of a lost session that may have arrived; returns why the others did not."""
        why: Retryable | None = None
        for letter in letters:
            if isinstance(letter.outcome, Retryable):
                why = letter.outcome
            else:
                self.settle([letter])
        return why

    def settle_rest(self, outcome: Outcome) -> None:
        for message in tuple(self.messages.values()):
            self.settle_one(message, outcome)


class _Session:
    """A connection and what is being said on it."""

    def __init__(self, raw: CountingStream, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.until = math.inf
        self._raw = raw
        self._stream: trio.abc.Stream = raw
        self._n_secret = 0

    @property
    def n_left(self) -> int:
        """Bytes of ours that left, before encryption; under TLS rounded up to the record."""
        return self._raw.n_sent if self._is_plain else self._n_secret

    async def turn(self) -> list[Letter]:
        """Say what is to be said, hear what comes; returns the letters now settled."""
        data: bytes | bytearray = b""
        try:  # noqa: SIM105 - a context manager costs 2 us a letter
            await self.write(self.dialogue.to_send())
        except LOST:
            pass  # it may have said why before it hung up: still listen
        try:
            data = await self._stream.receive_some(RECEIVE_BYTES)
        except LOST:
            data = b""  # nothing more comes: the dialogue hears an end
        return self.dialogue.receive(bytes(data))

    async def write(self, data: bytes) -> None:
        if self._is_plain:
            await self._raw.send_all(data)
            return
        for at in range(0, len(data), RECORD_BYTES):
            piece = data[at : at + RECORD_BYTES]
            n_raw = self._raw.n_sent
            try:
                await self._stream.send_all(piece)
            finally:
                self._n_secret += len(piece) * (self._raw.n_sent > n_raw)

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        self._n_secret = self.n_left
        stream = trio.SSLStream(
            self._stream, context, server_hostname=host, https_compatible=True
        )
        await stream.do_handshake()
        self._stream = stream

    def is_readable(self) -> bool:
        return self._raw.is_readable()

    def close(self) -> None:
        self._raw.close()

    @property
    def _is_plain(self) -> bool:
        return self._stream is self._raw


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `smtp`. `base_url` is `smtp://host[:25]` or `smtps://host[:465]`.

    Options `username`, `helo` (our name, default the machine's), `ca_file` (authorities in
    PEM, default the system's) and `starttls`: `require`, `offer` (where the server has it),
    `never`; default `require` with a username, `offer` without. Secret `password`. A password
    is spoken over TLS only, except to the own machine or where `starttls = "never"`.
    Secret `dkim_key` (a private key in PEM) with `dkim_domain` and `dkim_selector`: mail from
    that domain is signed.

    Raises `ConfigError` for anything else.
    """
    options = ("username", "helo", "ca_file", "starttls", "dkim_domain", "dkim_selector")
    expect_only(settings, options=options, secrets=("password", "dkim_key"))
    ca_file = text(settings, "ca_file") or None
    return SmtpChannel(
        settings.name,
        _server(settings),
        clock=resources.clock,
        timeout_ms=settings.timeout_ms,
        max_connections=settings.max_connections,
        batch=settings.batch or BATCH,
        signer=_signer(settings),
        tls=lambda: ssl.create_default_context(cafile=ca_file),
    )


def _signer(settings: ProviderSettings) -> Signer | None:
    key = settings.secrets.get("dkim_key")
    domain, selector = text(settings, "dkim_domain"), text(settings, "dkim_selector")
    if not key and not domain and not selector:
        return None
    try:
        return Signer(domain, selector, key.reveal() if key else "")
    except ValueError as error:
        hint = "dkim_key, dkim_domain and dkim_selector go together"
        raise refusal(settings, "dkim_key", f"signs nothing: {error}", hint) from error


def _server(settings: ProviderSettings) -> Server:
    url = urlsplit(settings.base_url)
    port = _port(settings, url)
    if url.scheme not in {"smtp", "smtps"} or not url.hostname or url.username is not None:
        message = "must be smtp://HOST:PORT or smtps://HOST:PORT"
        raise refusal(settings, "base_url", message, "such as smtp://mx.example.com:587")
    login = _login(settings)
    is_tls = url.scheme == "smtps"
    return Server(
        host=url.hostname,
        port=port or (465 if is_tls else 25),
        is_tls=is_tls,
        starttls=_starttls(settings, login, url.hostname),
        helo=text(settings, "helo") or socket.gethostname() or "localhost",
        login=login,
    )


def _port(settings: ProviderSettings, url: SplitResult) -> int | None:
    try:
        return url.port
    except ValueError as error:
        raise refusal(settings, "base_url", "has a port that is none") from error


def _login(settings: ProviderSettings) -> Login | None:
    username = text(settings, "username")
    password = settings.secrets.get("password")
    if bool(username) != bool(password):
        raise refusal(settings, "username", "and password go together", "give both or neither")
    return Login(username=username, password=password) if username and password else None


def _starttls(settings: ProviderSettings, login: Login | None, host: str) -> Starttls:
    is_strict = login is not None and host not in LOOPBACK
    word = text(settings, "starttls") or ("require" if is_strict else "offer")
    try:
        return Starttls(word)
    except ValueError as error:
        hint = 'use "require", "offer" or "never"'
        raise refusal(settings, "starttls", f"{word!r} is unknown", hint) from error
