"""One message about one contact, asked for by a person or an action: no cap, no window."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

import trio

from dripd.campaigns.event import Accepted, Outcome, Retryable, Unknown
from dripd.campaigns.sms import segments
from dripd.campaigns.template import Kind, Missing, compile_template, render
from dripd.channels.base import Attachment, Channel, Message
from dripd.clock import SystemClock
from dripd.engine import tally
from dripd.engine.intent import Leave
from dripd.engine.pipeline import Pipeline
from dripd.errors import BadRequest, Conflict, NotFound, StoreUnavailable, TemplateError
from dripd.log import get
from dripd.policy.facts import lookup
from dripd.policy.inbox_rows import ContactRow
from dripd.store.protocol import CallRow, IndividualEnd, IndividualSend, SenderRow

log = get("individual")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One message that is wanted. `sender` "" is one of the account's pool; `to` None is the
    contact, else somebody of the house, whom nothing that protects contacts concerns."""

    account_id: int
    contact_id: int
    channel: str
    sender: str
    subject: str
    text: str
    html: str
    requested_by: str
    to: str | None = None
    call: CallRow | None = None
    """The call of the outbox that it answers."""
    files: tuple[Attachment, ...] = ()


async def fill(pipe: Pipeline, channels: Mapping[str, Channel], wish: Wish) -> Wish:
    """*wish* with its merge tags filled from its contact, ready to be sent.

    Raises `BadRequest` where nothing is said or a tag cannot be read, `Conflict`
    `missing_tag:NAME` where the contact has no value for one, `NotFound` without a sender.
    """
    if not (wish.text or (wish.html and wish.channel == "email")):
        raise BadRequest("the message is empty", path="text", hint="give it a --text")
    rows = await pipe.store.read_contacts(wish.account_id, [wish.contact_id])
    if not rows:
        raise NotFound(f"there is no contact #{wish.contact_id}", hint="dripd contact list")
    await pipe.directory.refresh([wish.account_id])
    contact = rows[0]
    zone = _zone(pipe, wish.account_id, contact)
    _sender(pipe, channels, wish)
    return replace(
        wish,
        subject=_filled("subject", wish.subject, "header", contact, zone),
        text=_filled("text", wish.text, "text", contact, zone),
        html=_filled("html", wish.html, "html", contact, zone),
    )


def _zone(pipe: Pipeline, account_id: int, contact: ContactRow) -> tzinfo:
    own = contact.timezone
    known = own is not None and own in pipe.directory.zones
    return pipe.directory.zone(account_id, own if own is not None and known else "account")


def _filled(part: str, source: str, kind: Kind, contact: ContactRow, zone: tzinfo) -> str:
    try:
        template = compile_template(source, kind=kind)
    except TemplateError as error:
        raise BadRequest(str(error), path=part, hint=error.hint) from error
    rendered = render(template, lookup(contact), zone)
    if isinstance(rendered, str):
        return rendered
    if isinstance(rendered, Missing):
        raise Conflict(
            f"the contact has no {rendered.tag!r}", code=f"missing_tag:{rendered.tag}", path=part,
            hint=f"{{{rendered.tag}|there}} says what stands for it",
        )  # fmt: skip
    raise Conflict(f"the {part} cannot be filled", code=rendered.reason, path=part)


async def send_individual(
    pipe: Pipeline, channels: Mapping[str, Channel], deployment: str, wish: Wish
) -> tuple[str, Outcome]:
    """Send it once, and answer with its delivery id and the outcome.

    Raises `NotFound` without a usable sender, `Conflict` where the contact has no address or
    is suppressed.
    """
    if pipe.barred:
        word, why = next(iter(pipe.barred.items()))
        raise Conflict(f"nothing is sent: {why}", code=f"barred:{word}", hint="dripd ready")
    await pipe.directory.refresh([wish.account_id])
    found = _sender(pipe, channels, wish)
    # given up half-way it would stand as leased while this daemon lives
    with trio.CancelScope(shield=True):
        number, outcome = await _send(pipe, channels[found.provider], deployment, wish, found)
    return f"i-{number}", outcome


def _sender(pipe: Pipeline, channels: Mapping[str, Channel], wish: Wish) -> SenderRow:
    found = pipe.directory.sender(wish.account_id, wish.channel, wish.sender, wish.contact_id)
    if found is None or found.provider not in channels:
        raise NotFound(
            f"no usable {wish.channel} sender",
            code="no_sender",
            hint="`dripd sender set` makes one",
        )
    return found


async def _send(
    pipe: Pipeline, channel: Channel, deployment: str, wish: Wish, sender: SenderRow
) -> tuple[int, Outcome]:
    number, address = await _start(pipe, wish, sender.id)
    message = Message(
        ref=None,
        channel=wish.channel,
        account_id=wish.account_id,
        enrollment_id=None,
        step_key="",
        sender=sender.address,
        to=address,
        subject=wish.subject,
        text=wish.text,
        html=wish.html,
        attachments=wish.files,
        idempotency_key=f"dripd:{deployment}:i-{number}",
    )
    outcome = await _leave(pipe, channel, message, number, sender.id)
    state, provider_id, reason = state_of(outcome)
    n = segments(wish.text).n if wish.channel == "sms" else None
    end = IndividualEnd(
        account_id=wish.account_id,
        id=number,
        state=state,
        provider_id=provider_id,
        reason=reason,
        segments=n,
    )
    await _end(pipe, end)
    return number, outcome


async def tell_ends(pipe: Pipeline) -> None:
    """Write what came of messages while the database was away. Raises `StoreUnavailable`."""
    while pipe.untold:
        end = pipe.untold[0]
        await pipe.store.end_individual(end)
        pipe.untold.popleft()
        _forget(pipe, end.id)


async def _end(pipe: Pipeline, end: IndividualEnd) -> None:
    """Write what came of a message, or leave that to the sweep: whoever asked is told now."""
    try:
        await pipe.store.end_individual(end)
    except StoreUnavailable as error:
        log.warning("store.lost", reason=error.code)
        pipe.untold.append(end)
    else:
        _forget(pipe, end.id)


def _forget(pipe: Pipeline, number: int) -> None:
    pipe.journal.keep(number)
    pipe.alone.in_hand.discard(number)


async def _leave(
    pipe: Pipeline, channel: Channel, message: Message, number: int, sender_id: int
) -> Outcome:
    """Send what is written down first, as all that leaves; its answer is written down too."""
    may = pipe.is_heard and "adopt" not in pipe.barred
    leave = pipe.journal.depart(number) if may else Leave.UNHEARD
    if leave is Leave.FENCED:
        pipe.buried.set()
    if leave is not Leave.YES:
        return Retryable(reason=leave)
    outcome = await _call(pipe, channel, message, sender_id)
    pipe.journal.arrive(number, outcome, message.to)
    return outcome


async def _start(pipe: Pipeline, wish: Wish, sender_id: int) -> tuple[int, str]:
    """Its number and address, written down before a byte leaves. Raises `Conflict`, and
    `StoreUnavailable`: then nothing leaves, and the sweep says so of what was written."""
    meant = IndividualSend(
        account_id=wish.account_id,
        contact_id=wish.contact_id,
        incarnation=pipe.incarnation,
        sender_id=sender_id,
        channel=wish.channel,
        requested_by=wish.requested_by,
        subject=wish.subject,
        to=wish.to,
        call_id=None if wish.call is None else wish.call.id,
        attempt=0 if wish.call is None else wish.call.attempt,
    )
    pipe.alone.starting += 1
    try:
        number, address, suppressed, fenced = await pipe.store.start_individual(meant)
        if number is not None:
            pipe.alone.in_hand.add(number)
    finally:
        pipe.alone.starting -= 1
    if fenced:
        raise Conflict("another daemon has taken this over", code="fenced")
    if number is None or address is None:
        lacks = "no_address" if wish.channel == "email" else "no_phone"
        why = "suppressed" if suppressed else lacks
        raise Conflict(f"the contact cannot be reached: {why}", code=why)
    return number, address


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
    outcome = await _call(pipe, channels[sender["provider"]], message, sender["id"])
    state, provider_id, reason = state_of(outcome)
    return {"state": state, "provider_id": provider_id, "reason": reason}


async def _call(pipe: Pipeline, channel: Channel, message: Message, sender_id: int) -> Outcome:
    """One call of *channel*, which counts for its sender as any other."""
    began = trio.current_time()
    outcome = await _sole_outcome(channel, message, pipe.tuning.send_timeout_ms)
    place = (message.account_id, sender_id)
    passed = [place] if isinstance(outcome, Accepted) else []
    refusals = tally.refusals([(place, outcome)])
    pipe.lately.traffic.note(passed, refusals, trio.current_time() - began, SystemClock().now())
    return outcome


async def _sole_outcome(channel: Channel, message: Message, most_ms: int) -> Outcome:
    outcomes: list[Outcome] = []
    try:
        with trio.move_on_after(most_ms / 1000, shield=True):
            await channel.send([message], lambda _, outcome: outcomes.append(outcome))
    except Exception:
        log.exception("channel.failed", provider=channel.name, n=1)
        return outcomes[0] if outcomes else Unknown(reason="channel_failed")
    return outcomes[0] if outcomes else Unknown(reason="no_answer")


def state_of(outcome: Outcome) -> tuple[str, str | None, str | None]:
    """State, provider's id and reason, as a delivery shows them."""
    if isinstance(outcome, Accepted):
        return "accepted", outcome.provider_id or None, None
    if isinstance(outcome, Unknown):
        return "unknown", None, outcome.reason
    return "failed", None, outcome.reason
