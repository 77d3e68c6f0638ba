"""What is a leased step, on its facts: a message to send, or something done here and now?

`perform` answers with a `Rendered` message or with a step event. `chain` performs internal steps,
and those without delay behind them, in one pass: it breaks off before a message, and after a
step that makes an event its own version listens to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dripd.billing.ledger import Ask
from dripd.campaigns.address import is_address
from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import (
    FLAG_APPROVED,
    FLAG_ASKED,
    MENDABLE,
    Change,
    LaneKey,
    Leased,
    LogRow,
    LogState,
    Next,
)
from dripd.campaigns.event import Deferred, Held, Rejected, Skipped, Stopped
from dripd.campaigns.links import Links
from dripd.campaigns.sms import segments, truncate
from dripd.campaigns.template import render
from dripd.campaigns.version import Version
from dripd.channels.base import Attachment
from dripd.clock import Instant
from dripd.policy.advance import COMPLETED, follow
from dripd.policy.deeds import PERFORMERS
from dripd.policy.facts import address_of, condition_facts, lookup
from dripd.policy.performance import Pass, Performed, Waiting, unrendered
from dripd.policy.quiet import quiet_until
from dripd.policy.rooms import Rooms, Sender, zone_of
from dripd.policy.tasks import approval
from dripd.policy.watching import Words, render_words

CHAIN_MOST = 5_000
"""Internal steps performed in one pass: more go on in the next, so that none holds up a batch."""


@dataclass(slots=True)
class Rendered:
    """A message, rendered and addressed: all it lacks is a moment to leave."""

    leased: Leased
    version: Version
    channel: str
    sender: Sender
    to: str
    subject: str
    text: str
    html: str
    segments: int | None
    ask: Ask | None = None
    """What must be granted before it leaves, where its version charges or counts."""
    unsubscribe: str = ""
    """The address of one-click unsubscribing; "" where the message owes none."""
    files: tuple[Attachment, ...] = ()
    """What goes with it; fetched just before it leaves."""
    at: Instant = Instant(0)
    """When it was rendered."""
    key: str = ""
    """The key of its attempts before; "" where there were none."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The sender of an attempt before, whatever has become of it since."""

    id: int
    address: str
    channel: str
    provider: str
    status: str = "active"


Verdict: TypeAlias = Rendered | Skipped | Held | Stopped | Rejected | Deferred


def perform(leased: Leased, version: Version, now: Instant, rooms: Rooms) -> Verdict:
    """Judge and render a message step, in this order: its condition and its time, then
    suppression, address, sender, content. What is not to be performed is not judged further.
    """
    step = version.steps[leased.step_no]
    skipped = passed_over(step, leased, now)
    if skipped is not None:
        return skipped
    if step.is_notice:
        return _notice(leased, version, step, now, rooms)
    if leased.suppressed:
        return suppressed(step)
    silent = quiet(leased, version, now, rooms)
    if silent is not None:
        return silent
    to = address_of(leased, step.kind, version.definition.field_map)
    if to is None:
        return _no_address(step)
    if not is_address(to, step.kind):
        return Rejected(reason="invalid_address")
    sender = rooms.sender(leased.account_id, step.kind, step.sender, leased.contact_id)
    if sender is None:
        return Held(reason="no_sender")
    return _render(leased, version, step, sender, to, now, rooms)


def quiet(leased: Leased, version: Version, now: Instant, rooms: Rooms) -> Deferred | None:
    """A text message waits for the hours that a jurisdiction allows, where its version heeds them."""
    step = version.steps[leased.step_no]
    if step.kind != "sms" or version.definition.policy.quiet_hours != "us_tcpa":
        return None
    until = quiet_until(leased, now, rooms)
    return None if until is None else Deferred(reason="window", until=until, alone=True)


def _notice(
    leased: Leased, version: Version, step: Step, now: Instant, rooms: Rooms
) -> Rendered | Held | Skipped | Rejected:
    """A message to somebody of the house: nothing that protects contacts stands in its way."""
    to = notice_to(leased, version, step, rooms)
    if not isinstance(to, str):
        return to
    sender = rooms.sender(leased.account_id, step.channel, step.sender, leased.contact_id)
    if sender is None:
        return Held(reason="no_sender")
    kept = again(leased, version)
    if kept is not None:
        return kept
    words = render_words(leased, version, now, rooms, None)
    if isinstance(words, Held):
        return words
    n = segments(words[1]).n if step.channel == "sms" else None
    return Rendered(leased, version, step.channel, sender, to, *words, n)


def notice_to(
    leased: Leased, version: Version, step: Step, rooms: Rooms
) -> str | Held | Skipped | Rejected:
    """Whom of the house the step tells, on the facts of the contact."""
    zone = zone_of(rooms, version, leased.account_id, leased.timezone)
    to = render(version.contents[leased.step_no].to, lookup(leased), zone, missing="empty")
    if not isinstance(to, str):
        return unrendered(to)
    if not to.strip():
        return Skipped(reason="no_address" if step.channel == "email" else "no_phone")
    if not is_address(to.strip(), step.channel):
        return Rejected(reason="invalid_address")
    return to.strip()


def _no_address(step: Step) -> Held | Skipped | Stopped:
    if step.kind == "email":
        return Held(reason="no_address")
    if step.on_no_phone == "skip":
        return Skipped(reason="no_phone")
    return Stopped(status="removed", reason="no_phone")


def passed_over(step: Step, leased: Leased, now: Instant) -> Skipped | None:
    """Is the step to be skipped: its condition false, its time over?"""
    return _passed_over(step, leased, now - leased.came_due)


def _passed_over(step: Step, leased: Leased, late: int) -> Skipped | None:
    if step.when is not None and not step.when(condition_facts(leased)):
        return Skipped(reason="condition_false")
    return Skipped(reason="expired") if step.expires(late) else None


def _render(
    leased: Leased,
    version: Version,
    step: Step,
    sender: Sender,
    to: str,
    now: Instant,
    rooms: Rooms,
) -> Rendered | Held:
    kept = again(leased, version)
    if kept is not None:
        return kept
    links = rooms.links(sender)
    draft = leased.asked.payload if leased.flags & FLAG_APPROVED and leased.asked else None
    if draft is None and leased.frozen.get(step.key):
        return _frozen(leased, version, step, sender, to)
    words: Words | Held | None = None if draft is None else _approved_words(draft)
    if words is None or words == render_words(leased, version, now, rooms, links):
        words = render_words(leased, version, now, rooms, links, watched=True)
    if isinstance(words, Held):
        return words
    subject, text, html = words
    rendered = Rendered(leased, version, step.kind, sender, to, subject, text, html, None)
    if step.kind != "email":
        return _fit(rendered, version)
    return _unsubscribable(rendered, version.definition.klass, links)


def again(leased: Leased, version: Version) -> Rendered | None:
    """The message of *leased* as its first attempt sent it; None where that is not kept."""
    match leased.kept.words if leased.kept is not None else None:
        case {"sender": [int(number), str(address)], "to": str(to), **words}:
            channel = version.steps[leased.step_no].channel
            provider = leased.kept.provider if leased.kept is not None else ""
            n = words.get("segments")
            subject, text, html, unsubscribe, key = (
                str(words.get(part) or "")
                for part in ("subject", "text", "html", "unsubscribe", "key")
            )
            sender = Origin(number, address, channel, provider)
            rendered = Rendered(leased, version, channel, sender, to, subject, text, html, None)
            rendered.segments = n if isinstance(n, int) else None
            rendered.unsubscribe, rendered.key = unsubscribe, key
            return rendered
    return None


def suppressed(step: Step) -> Stopped | Skipped:
    """What follows where the contact is never to be reached."""
    if step.on_unable == "skip":
        return Skipped(reason="suppressed")
    return Stopped(status="removed", reason="suppressed")


def _approved_words(draft: Mapping[str, object]) -> Words:
    """A message as it was approved, with what was edited; its subject stays one line."""
    subject, text, html = (str(draft.get(name) or "") for name in ("subject", "text", "html"))
    return " ".join(subject.split()), text, html


def _unsubscribable(rendered: Rendered, klass: str, links: Links | None) -> Rendered | Held:
    """Mail that somebody may want no more says how to end it; marketing leaves not without."""
    if klass == "transactional":
        return rendered
    if links is not None:
        leased = rendered.leased
        rendered.unsubscribe = links.unsubscribe_url(
            leased.account_id, leased.enrollment_id, leased.seq
        )
    elif klass == "marketing":
        return Held(reason="missing_tag:Unsubscribe link")
    return rendered


def _frozen(leased: Leased, version: Version, step: Step, sender: Sender, to: str) -> Rendered:
    """The message as it stood when it was charged."""
    kept = leased.frozen[step.key]
    words = kept if isinstance(kept, dict) else {}
    subject, text, html = (str(words.get(part, "")) for part in ("subject", "text", "html"))
    n = segments(text).n if step.kind == "sms" else None
    return Rendered(leased, version, step.kind, sender, to, subject, text, html, n)


def _fit(rendered: Rendered, version: Version) -> Rendered | Held:
    """A text message within `max_sms_segments`, or as `sms_overflow` says."""
    policy = version.definition.policy
    most = policy.limits.max_sms_segments
    rendered.segments = segments(rendered.text).n
    if most is None or rendered.segments <= most or policy.sms_overflow == "send":
        return rendered
    if policy.sms_overflow == "hold":
        return Held(reason="too_long")
    rendered.text = truncate(rendered.text, most)
    rendered.segments = segments(rendered.text).n
    return rendered


def chain(
    leased: Leased, version: Version, now: Instant, rooms: Rooms, most: int = CHAIN_MOST
) -> Change:
    """Perform the leased internal step, and those that follow without delay: *most* in all."""
    here = Pass(leased, version, now, rooms, [], [], leased.seq)
    step_no = leased.step_no
    while True:
        verdict = _perform_one(here, step_no)
        if isinstance(verdict, Held) and verdict.failed:
            failed = Performed(verdict.failed, state=LogState.FAILED)
            here.log.append(_log(here, step_no, failed))
            here.seq += 1
        if isinstance(verdict, Held | Waiting):
            stays = _held(here, step_no, verdict)
            return Change(leased=leased, log=here.log, next=stays, effects=here.effects)
        here.log.append(_log(here, step_no, verdict))
        here.seq += 1
        last = step_no if verdict.passes is None else verdict.passes
        if last != step_no:
            here.log.append(_log(here, last, verdict))
            here.seq += 1
        if verdict.end is not None:
            return Change(leased=leased, log=here.log, end=verdict.end, effects=here.effects)
        after = follow(version, last, now, leased, rooms, here.seq, to=verdict.to)
        if after is None:
            return Change(leased=leased, log=here.log, end=COMPLETED, effects=here.effects)
        if len(here.log) >= most or _breaks_off(here, step_no, after):
            return Change(leased=leased, log=here.log, next=after, effects=here.effects)
        step_no = after.step_no


def _breaks_off(here: Pass, step_no: int, after: Next) -> bool:
    """Is *after* not performed in this pass?"""
    version = here.version
    return bool(
        after.due_at > here.now
        or version.sends(after.step_no)
        or version.leased_alone(after.step_no)
        or here.told & (version.stops_on | version.asks_of)
        or after.lane != _lane_of(here, step_no)
    )


def _is_mendable(held: Held, step: Step) -> bool:
    """May an event put right what holds the step? Of an update also that it failed."""
    return held.reason.startswith(MENDABLE) or (held.reason == "step_failed" and bool(step.ops))


def _held(here: Pass, step_no: int, verdict: Held | Waiting) -> Next:
    """The step that cannot be performed yet waits; those before it are done.

    One that waits until some instant stands in its lane at that instant, any other by itself.
    """
    leased = here.leased
    held = Next(
        due_at=leased.due_at,
        lane=None,
        step_no=step_no,
        seq=here.seq,
        flags=leased.flags & ~FLAG_ASKED,
        hold_reason=verdict.reason,
        is_mendable=isinstance(verdict, Held)
        and _is_mendable(verdict, here.version.steps[step_no]),
    )
    if isinstance(verdict, Waiting):
        held.flags |= verdict.flags
        if verdict.until is not None:
            held.due_at = Instant(max(verdict.until, here.now))
            held.lane = _lane_of(here, step_no, verdict.flags)
            held.release_at = held.due_at if verdict.reason else None
    return held


def _lane_of(here: Pass, step_no: int, flags: int = 0) -> LaneKey:
    """The lane of a step: a chain does not pass from one window to another."""
    return here.version.lane_key(step_no, here.leased.timezone, here.rooms.zones, flags)


def _perform_one(here: Pass, step_no: int) -> Performed | Waiting | Held:
    """Perform one internal step; what has begun is not asked again whether it should."""
    step = here.version.steps[step_no]
    if not here.resumes(step_no):
        late = here.now - here.leased.came_due if step_no == here.leased.step_no else 0
        skipped = _passed_over(step, here.leased, late)
        if skipped is not None:
            return Performed(skipped.reason, state=LogState.SKIPPED)
    perform_it = approval if step.is_message else PERFORMERS[step.kind]
    verdict = perform_it(here, step, step_no)
    if isinstance(verdict, Skipped):
        return Performed(verdict.reason, state=LogState.SKIPPED)
    return verdict


def _log(here: Pass, step_no: int, performed: Performed) -> LogRow:
    return LogRow(
        seq=here.seq,
        step_no=step_no,
        state=performed.state,
        at=here.now,
        channel=performed.channel,
        reason=performed.reason or None,
    )
