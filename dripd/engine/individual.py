"""One message to one contact, asked for by a person: no campaign, no cap, no window."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import trio

from dripd.campaigns.event import Accepted, Outcome, Unknown
from dripd.campaigns.sms import segments
from dripd.channels.base import Channel, Message
from dripd.engine.pipeline import Pipeline
from dripd.errors import Conflict, NotFound
from dripd.store.protocol import IndividualEnd, IndividualSend


async def send_individual(  # noqa: PLR0913 - the words of one message
    pipe: Pipeline,
    channels: Mapping[str, Channel],
    deployment: str,
    *,
    account_id: int,
    contact_id: int,
    channel: str,
    sender: str | None,
    subject: str,
    text: str,
    html: str,
    requested_by: str,
) -> Mapping[str, object]:
    """Send it, and answer with its delivery id and the outcome.

    Raises `NotFound` without a usable sender, `Conflict` where the contact has no address or
    is suppressed, or the provider refused.
    """
    if pipe.barred:
        word, why = next(iter(pipe.barred.items()))
        raise Conflict(f"nothing is sent: {why}", code=f"barred:{word}", hint="dripd ready")
    await pipe.directory.refresh([account_id])
    found = pipe.directory.sender(account_id, channel, sender or "", contact_id)
    if found is None or found.provider not in channels:
        raise NotFound(
            f"no usable {channel} sender", code="no_sender", hint="`dripd sender set` makes one"
        )
    wish = IndividualSend(
        account_id=account_id,
        contact_id=contact_id,
        incarnation=pipe.incarnation,
        sender_id=found.id,
        channel=channel,
        requested_by=requested_by,
        subject=subject,
    )
    number, address, suppressed = await pipe.store.start_individual(wish)
    if number is None:
        why = (
            "suppressed" if suppressed else ("no_address" if channel == "email" else "no_phone")
        )
        raise Conflict(f"the contact cannot be reached: {why}", code=why)
    message = Message(
        ref=None,
        channel=channel,
        account_id=account_id,
        enrollment_id=None,
        step_key="",
        sender=found.address,
        to=address or "",
        subject=subject,
        text=text,
        html=html,
        idempotency_key=f"dripd:{deployment}:i-{number}",
    )
    outcome = await _sole_outcome(
        channels[found.provider], message, pipe.tuning.send_timeout_ms
    )
    state, provider_id, reason = _state(outcome)
    n = segments(text).n if channel == "sms" else None
    with trio.CancelScope(shield=True):
        await pipe.store.end_individual(
            IndividualEnd(
                account_id=account_id,
                id=number,
                state=state,
                provider_id=provider_id,
                reason=reason,
                segments=n,
            )
        )
    return {"delivery_id": f"i-{number}", "state": state, "reason": reason, "warning": None}


async def send_test(
    pipe: Pipeline,
    channels: Mapping[str, Channel],
    deployment: str,
    *,
    sender: Mapping[str, Any],
    to: str,
) -> Mapping[str, object]:
    """One message to *to* from a row of `dripd.sender`, and what its provider said.

    It stands in no delivery and counts against no cap. Raises `Conflict` where the daemon has
    no such provider.
    """
    if sender["provider"] not in channels:
        raise Conflict(
            f"this daemon has no provider {sender['provider']!r}",
            code="no_provider",
            hint=f"[provider.{sender['provider']}] in its configuration, then restart it",
        )
    message = Message(
        ref=None,
        channel=sender["channel"],
        account_id=sender["account_id"],
        enrollment_id=None,
        step_key="",
        sender=sender["address"],
        to=to,
        subject="A test by dripd",
        text="This is a test message: dripd can send from here.",
        html="",
        idempotency_key=f"dripd:{deployment}:test-{uuid.uuid4()}",
    )
    outcome = await _sole_outcome(
        channels[sender["provider"]], message, pipe.tuning.send_timeout_ms
    )
    state, provider_id, reason = _state(outcome)
    return {"state": state, "provider_id": provider_id, "reason": reason}


async def _sole_outcome(channel: Channel, message: Message, most_ms: int) -> Outcome:
    outcomes: list[Outcome] = []
    with trio.move_on_after(most_ms / 1000, shield=True):
        await channel.send([message], lambda _, outcome: outcomes.append(outcome))
    return outcomes[0] if outcomes else Unknown(reason="no_answer")


def _state(outcome: Outcome) -> tuple[str, str | None, str | None]:
    if isinstance(outcome, Accepted):
        return "accepted", outcome.provider_id or None, None
    if isinstance(outcome, Unknown):
        return "unknown", None, outcome.reason
    return "failed", None, outcome.reason
