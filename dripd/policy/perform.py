"""What is a leased step, on its facts: a message to send, or something done here and now?

`perform` answers with a `Ready` message or with a step event. `chain` performs internal steps,
and those without delay behind them, in one pass: it breaks off before a message, and after a
step that makes an event its own version listens to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dripd.billing.ledger import Ask
from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import Change, End, Leased, LogRow, LogState, Next
from dripd.campaigns.event import Held, Rejected, Skipped, Stopped
from dripd.campaigns.links import Links, Told
from dripd.campaigns.sms import segments, truncate
from dripd.campaigns.template import render
from dripd.campaigns.version import Version
from dripd.clock import Instant
from dripd.policy.advance import COMPLETED, follow
from dripd.policy.deeds import PERFORMERS, Pass, unrendered
from dripd.policy.facts import address_of, condition_facts, is_address, lookup
from dripd.policy.rooms import Rooms, Sender, step_times
from dripd.policy.watching import own_words

CHAIN_MOST = 5_000
"""Internal steps performed in one pass: more go on in the next, so that none holds up a batch."""


@dataclass(slots=True)
class Ready:
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


Verdict: TypeAlias = Ready | Skipped | Held | Stopped | Rejected


def perform(leased: Leased, version: Version, now: Instant, rooms: Rooms) -> Verdict:
    """Judge and render a message step, in this order: its condition and its time, then
    suppression, address, sender, content. What is not to be performed is not judged further.
    """
    step = version.steps[leased.step_no]
    skipped = passed_over(step, leased, now)
    if skipped is not None:
        return skipped
    if leased.suppressed:
        return _suppressed(step)
    to = address_of(leased, step.kind, version.definition.field_map)
    if to is None:
        return _no_address(step)
    if not is_address(to, step.kind):
        return Rejected(reason="invalid_address")
    sender = rooms.sender(leased.account_id, step.kind, step.sender, leased.contact_id)
    if sender is None:
        return Held(reason="no_sender")
    return _render(leased, version, step, sender, to, now, rooms)


def _suppressed(step: Step) -> Stopped | Skipped:
    if step.on_unable == "skip":
        return Skipped(reason="suppressed")
    return Stopped(status="removed", reason="suppressed")


def _no_address(step: Step) -> Held | Skipped | Stopped:
    if step.kind == "email":
        return Held(reason="no_address")
    if step.on_no_phone == "skip":
        return Skipped(reason="no_phone")
    return Stopped(status="removed", reason="no_phone")


def passed_over(step: Step, leased: Leased, now: Instant) -> Skipped | None:
    """Is the step to be skipped: its condition false, its time over?"""
    return _passed_over(step, leased, now - leased.due_at)


def _passed_over(step: Step, leased: Leased, late: int) -> Skipped | None:
    if step.when is not None and not step.when(condition_facts(leased)):
        return Skipped(reason="condition_false")
    if step.expires_after_ms is not None and late > step.expires_after_ms:
        return Skipped(reason="expired")
    lateness = step.max_lateness
    if lateness is not None and lateness.then == "skip" and late > lateness.after_ms:
        return Skipped(reason="expired")
    return None


def _render(
    leased: Leased,
    version: Version,
    step: Step,
    sender: Sender,
    to: str,
    now: Instant,
    rooms: Rooms,
) -> Ready | Held:
    if leased.frozen.get(step.key):
        return _frozen(leased, version, step, sender, to)
    content = version.contents[leased.step_no]
    parts: list[str] = []
    reader = lookup(leased)
    _, zone, _ = step_times(rooms, version, leased.step_no, leased.account_id, leased.timezone)
    missing = version.definition.policy.missing_tag
    links = rooms.links(sender)
    if links is not None and content.tracked is not None:
        content = content.tracked
    if content.asks_ours:
        postal = rooms.postal_address(leased.account_id)
        told = Told(leased.account_id, leased.enrollment_id, leased.seq, now)
        own = own_words(content, reader, zone, missing, links, told, postal)
        if isinstance(own, Held):
            return own
        reader = own
    for template in (content.subject, content.text, content.html):
        part = render(template, reader, zone, missing=missing)
        if not isinstance(part, str):
            return unrendered(part)
        parts.append(part)
    subject, text, html = parts
    ready = Ready(leased, version, step.kind, sender, to, subject, text, html, None)
    if step.kind != "email":
        return _fit(ready, version)
    return _unsubscribable(ready, version.definition.klass, links)


def _unsubscribable(ready: Ready, klass: str, links: Links | None) -> Ready | Held:
    """Mail that somebody may want no more says how to end it; marketing leaves not without."""
    if klass == "transactional":
        return ready
    if links is not None:
        leased = ready.leased
        ready.unsubscribe = links.unsubscribe_url(
            leased.account_id, leased.enrollment_id, leased.seq
        )
    elif klass == "marketing":
        return Held(reason="missing_tag:Unsubscribe link")
    return ready


def _frozen(leased: Leased, version: Version, step: Step, sender: Sender, to: str) -> Ready:
    """The message as it stood when it was charged."""
    kept = leased.frozen[step.key]
    words = kept if isinstance(kept, dict) else {}
    subject, text, html = (str(words.get(part, "")) for part in ("subject", "text", "html"))
    n = segments(text).n if step.kind == "sms" else None
    return Ready(leased, version, step.kind, sender, to, subject, text, html, n)


def _fit(ready: Ready, version: Version) -> Ready | Held:
    """A text message within `max_sms_segments`, or as `sms_overflow` says."""
    policy = version.definition.policy
    most = policy.limits.max_sms_segments
    ready.segments = segments(ready.text).n
    if most is None or ready.segments <= most or policy.sms_overflow == "send":
        return ready
    if policy.sms_overflow == "hold":
        return Held(reason="too_long")
    ready.text = truncate(ready.text, most)
    ready.segments = segments(ready.text).n
    return ready


def chain(
    leased: Leased, version: Version, now: Instant, rooms: Rooms, most: int = CHAIN_MOST
) -> Change:
    """Perform the leased internal step, and those that follow without delay: *most* in all."""
    here = Pass(leased, version, now, rooms, [], [], leased.seq)
    step_no = leased.step_no
    while True:
        end = _perform_one(here, step_no)
        here.seq += 1
        if isinstance(end, Held):
            held = _held(here, step_no, end)
            return Change(leased=leased, log=here.log, next=held, effects=here.effects)
        if end is not None:
            return Change(leased=leased, log=here.log, end=end, effects=here.effects)
        after = follow(version, step_no, now, leased, rooms, here.seq)
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
        or version.steps[after.step_no].is_message
        or here.told & (version.stops_on | version.asks_of)
        or after.lane != _lane_of(here, step_no)
    )


def _held(here: Pass, step_no: int, event: Held) -> Next:
    """The step that cannot be performed waits by itself; those before it are done."""
    return Next(
        due_at=here.leased.due_at,
        lane=None,
        step_no=step_no,
        seq=here.seq - 1,
        flags=here.leased.flags,
        hold_reason=event.reason,
    )


def _lane_of(here: Pass, step_no: int) -> object:
    """The lane of the step just performed: a chain does not pass from one window to another."""
    lane, _, _ = step_times(
        here.rooms, here.version, step_no, here.leased.account_id, here.leased.timezone
    )
    return lane


def _perform_one(here: Pass, step_no: int) -> End | Held | None:
    """Perform one internal step; an `End` where the run ends with it."""
    step = here.version.steps[step_no]
    late = here.now - here.leased.due_at if step_no == here.leased.step_no else 0
    skipped = _passed_over(step, here.leased, late)
    if skipped is not None:
        here.log.append(_log(here, step_no, LogState.SKIPPED, skipped.reason))
        return None
    outcome = PERFORMERS[step.kind](here, step, step_no)
    if isinstance(outcome, Held):
        return outcome
    if isinstance(outcome, Skipped):
        here.log.append(_log(here, step_no, LogState.SKIPPED, outcome.reason))
        return None
    here.log.append(_log(here, step_no, LogState.DONE, outcome[0]))
    return outcome[1]


def _log(here: Pass, step_no: int, state: LogState, reason: str | None) -> LogRow:
    return LogRow(
        seq=here.seq, step_no=step_no, state=state, at=here.now, reason=reason or None
    )
