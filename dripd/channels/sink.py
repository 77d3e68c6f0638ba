"""The embedded sink: a provider in the process that keeps what it is given.

It is a witness apart from dripd's own record: every message is committed through a
`SinkWriter` before it is answered. With `record = false` it only counts, for benchmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.channels.base import (
    EMAIL,
    SMS,
    Channel,
    Message,
    ProviderSettings,
    Repeats,
    Resources,
    Settle,
    SinkRow,
    SinkWriter,
)
from dripd.channels.mime import Unsendable, message_id
from dripd.channels.options import expect_only, flag, refusal
from dripd.clock import Millis

BATCH: Final = 500
CONCURRENCY: Final = 2
"""One batch is committed while the next is made."""

THROTTLE_MS: Final = Millis(60_000)
"""How long the sink asks for patience where a rule says `throttle`."""


class SinkChannel:
    """Carries mail and texts to `writer`; None counts only."""

    kinds: Final = frozenset({EMAIL, SMS})
    repeats: Final = Repeats(evidence_ms=Millis(0))
    """It knows no keys, and there is nobody who could tell more than it has told."""

    def __init__(
        self,
        name: str,
        writer: SinkWriter | None,
        batch: int = BATCH,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.name: Final = name
        self.batch: Final = batch
        self.concurrency: Final = concurrency
        self.count = 0
        """Messages answered `accepted` since the start."""
        self._writer = writer

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        if self._writer is None:
            self._count(messages, settle)
            return
        answers = await self._writer.write([_row(message) for message in messages])
        for message, answer in zip(messages, answers, strict=True):
            outcome = _outcome(message, answer)
            self.count += type(outcome) is Accepted
            settle(message, outcome)

    async def aclose(self) -> None:
        """Nothing is open: the writer belongs to whoever lent it."""

    def _count(self, messages: Sequence[Message], settle: Settle) -> None:
        for message in messages:
            self.count += 1
            settle(message, Accepted(provider_id=f"sink-{message.idempotency_key}"))


def create(settings: ProviderSettings, resources: Resources) -> Channel:
    """The factory of kind `sink`. Option `record` (true): write each message down.

    Raises `ConfigError` for a `record` that is no boolean, or that asks for a writer that
    this process does not have.
    """
    expect_only(settings, options=("record",))
    record = flag(settings, "record", default=True)
    if record and resources.sink_writer is None:
        hint = "set record = false to count"
        raise refusal(settings, "record", "needs a database to record into", hint)
    writer = resources.sink_writer if record else None
    concurrency = min(settings.max_connections, CONCURRENCY)
    return SinkChannel(settings.name, writer, settings.batch or BATCH, concurrency)


def _row(message: Message) -> SinkRow:
    return SinkRow(
        account_id=message.account_id,
        channel=message.channel,
        sender=message.sender,
        recipient=message.to,
        subject=message.subject,
        body=message.html or message.text,  # one column: the richer form
        headers=_headers(message),
        idempotency_key=message.idempotency_key,
        enrollment_id=message.enrollment_id,
        step_key=message.step_key,
    )


def _headers(message: Message) -> dict[str, str]:
    """The message's own headers and, for mail, the form that it would have on the wire."""
    if message.channel != EMAIL:
        return message.headers
    form = "multipart/alternative" if message.text else "text/html"
    headers = {**message.headers, "Content-Type": form if message.html else "text/plain"}
    if own_id := _own_id(message):
        headers["Message-ID"] = own_id
    if message.attachments:
        files = (f"{one.name} ({len(one.data)})" for one in message.attachments)
        headers["Attachments"] = ", ".join(files)
    return headers


def _own_id(message: Message) -> str:
    """Its Message-ID; empty where the sender is no address, which nobody but the sink takes."""
    try:
        return message.message_id or message_id(message.idempotency_key, message.sender)
    except Unsendable:
        return ""


def _outcome(message: Message, answer: str) -> Outcome:
    match answer:
        case "accepted":
            return Accepted(provider_id=f"sink-{message.idempotency_key}")
        case "permanent":
            return Rejected(reason="sink_permanent")
        case "temporary":
            return Retryable(reason="sink_temporary")
        case "throttle":
            return Throttled(after_ms=THROTTLE_MS)
        case _:
            return Unknown(reason="sink_ambiguous")
