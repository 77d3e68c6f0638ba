"""What is a channel? The message, the protocol of every adapter, and what adapters are given.

An adapter turns messages into a provider's requests and the provider's answers into
outcomes. It knows neither accounts' rules nor the store, and never retries by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, runtime_checkable

from dripd.campaigns.event import Outcome
from dripd.clock import HOUR, Clock, Millis

EMAIL: Final = "email"
SMS: Final = "sms"

DEFAULT_TIMEOUT_MS: Final = Millis(30_000)

MAX_RETRY_AFTER_MS: Final = Millis(6 * 3_600_000)
"""A provider's wish for patience is clamped to six hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes with a mail; `media_type` such as `application/pdf`."""

    name: str
    media_type: str
    data: bytes


@dataclass(slots=True, kw_only=True)
class Message:
    """One message to one recipient, rendered; made a thousand times a second, hence mutable.

    `ref` is opaque: a channel hands it back untouched. `channel` is `email` or `sms`.
    `enrollment_id` is None for an individual send. `headers` are further mail headers
    (List-Unsubscribe, Reply-To ...), never one that a field here gives.
    `idempotency_key` is the same for every attempt of the same delivery; `message_id` is the
    mail's Message-ID with its angle brackets, or empty to have it made from the key.
    `attachments` are for mail alone.
    """

    ref: object
    channel: str
    account_id: int
    enrollment_id: int | None
    step_key: str
    sender: str
    to: str
    subject: str = ""
    text: str = ""
    html: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    idempotency_key: str
    message_id: str = ""
    attachments: tuple[Attachment, ...] = ()


Settle: TypeAlias = Callable[[Message, Outcome], None]
"""Takes the outcome of one message; must not raise, must not wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """What a provider does with a second request that carries a key it has seen.

    `key_ms`: how long it remembers a key and answers for the first request; 0: it honours
    none, and a message of unknown outcome must not be sent again. `sticks_5xx`: a stored
    failure is the answer to every repeat, so that repeating tells nothing.
    `evidence_ms`: how long after a message its fate may still come to light by itself.
    """

    key_ms: Millis = Millis(0)
    evidence_ms: Millis = HOUR
    sticks_5xx: bool = False


NO_REPEATS: Final = Repeats()
"""The provider honours no idempotency key."""


class Channel(Protocol):
    """One provider, ready to take messages.

    `kinds` says which of `email` and `sms` it carries, `batch` the most messages that one
    call of `send` takes, `concurrency` the most calls that may be under way at once,
    `repeats` what becomes of a message that is sent again under its key.
    """

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> frozenset[str]: ...

    @property
    def batch(self) -> int: ...

    @property
    def concurrency(self) -> int: ...

    @property
    def repeats(self) -> Repeats: ...

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        """Send *messages*, at least 1 and at most `batch` of them, and settle each.

        `settle` is called at most once per message, as soon as its outcome is known. A
        message that is not settled when the call returns, raises or is cancelled is taken
        as `Unknown`: some of its bytes may have left. What provably did not leave is
        therefore settled by the adapter. The caller bounds the call with one deadline (a
        cancel scope); an adapter that is cancelled at any await gives up the connection in
        use, settles what it had not begun to write, and stays usable.
        """

    async def aclose(self) -> None:
        """Close every connection; what is under way then comes out as lost."""


@runtime_checkable
class Dials(Protocol):
    """A channel that can open its connections before it is sent anything."""

    @property
    def name(self) -> str: ...

    async def dial(self) -> None:
        """Open what a great many messages would open; what fails is left for them to meet."""


@dataclass(slots=True, kw_only=True)
class SinkRow:
    """One message as the embedded sink records it in `dripd.sink_message`."""

    account_id: int
    channel: str
    sender: str
    recipient: str
    subject: str
    body: str
    headers: dict[str, str]
    idempotency_key: str
    enrollment_id: int | None
    step_key: str


class SinkWriter(Protocol):
    """Where the embedded sink records what reached it, and who decides how it answers."""

    async def write(self, rows: Sequence[SinkRow]) -> list[str]:
        """Record *rows* in one transaction and answer once it is committed.

        Returns one word a row, in their order, as `dripd.sink_rule` says: `accepted`
        (also where no rule applies), `permanent`, `temporary`, `throttle`, `ambiguous`.
        """


class Secret:
    """A password or key that no log, traceback or dump shows; `reveal()` is its one reader."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself: call it where it goes on the wire, and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """`[provider.NAME]` of the configuration, read and bounded.

    `timeout_ms` bounds one request from its first byte to its last, `max_connections` the
    connections that are open at once. `batch` 0 leaves the number of messages a call to the
    adapter. `rate` is a token bucket as written (`"20/s"`), empty for none, `domains` such
    rates by the recipient's domain, `*` for each that is not named; the engine keeps them. `options` and `secrets` belong to the kind.
    """

    name: str
    kind: str
    base_url: str = ""
    timeout_ms: Millis = DEFAULT_TIMEOUT_MS
    max_connections: int = 8
    batch: int = 0
    rate: str = ""
    retry_share: int = 10
    """Retries, in percent of first tries; above them, `retry_floor` a second."""
    retry_floor: int = 5
    domains: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    webhook_secret: Secret = field(default_factory=lambda: Secret(""))
    """Proves what comes in at `/hooks/NAME`; empty: nothing is taken there."""
    webhook_topic: str = ""
    """For ses: the SNS topic whose messages count."""
    inbound_secret: Secret = field(default_factory=lambda: Secret(""))
    """For sendgrid: proves inbound mail; a password, or the key of a security policy."""
    inbound_topic: str = ""
    """For ses: the SNS topic to which a receipt rule publishes inbound mail."""
    unknown: str = ""
    """What is done about a message that may have left: `retry presume ask`, "" by its keys."""
    unknown_after_ms: Millis | None = None
    """How long it is waited for; None: as the adapter knows its provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the daemon lends to adapters. A third party's adapter gets the same.

    `clock` is real time, also under a manual clock: a provider's `Retry-After` knows no other.
    `sink_writer` is None where nothing is to be recorded.
    """

    clock: Clock
    sink_writer: SinkWriter | None = None


class Factory(Protocol):
    """Makes a channel of its settings; the entry points of `dripd.channels` name such."""

    def __call__(self, settings: ProviderSettings, resources: Resources) -> Channel:
        """Raises `ConfigError` where the settings are unusable. Opens no connection yet, and
        needs no event loop: whoever checks a configuration calls it too."""
