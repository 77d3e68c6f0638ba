"""Which messages will this run send, and when, as far as can be told now?

The run is played through by the rules that will perform it: `perform`, `chain` and `advance`
on today's facts, every message accepted and no event coming. Windows are kept, nothing
competes for caps. What a person or an event must decide is taken as decided at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from dripd.billing.price import Priced, price_of
from dripd.campaigns.enrollment import FLAG_WAITING, Change, Leased
from dripd.campaigns.event import Accepted, Held, Skipped
from dripd.campaigns.version import Version
from dripd.clock import FAR_FUTURE, Instant, Millis
from dripd.policy.advance import advance
from dripd.policy.gate import goes_at, missed_by
from dripd.policy.perform import Rendered, chain, perform
from dripd.policy.rooms import Rooms, step_times

STEPS_MOST = 20_000
"""Steps of one run that are looked at; no run goes in circles, this is for the unforeseen."""


@dataclass(slots=True)
class Foreseen:
    """A message that the run will send at `at`; `held` is what would hold it today, `missed_ms`
    how long its window has closed when it comes due (None: it waits for none)."""

    step_key: str
    channel: str
    segments: int | None
    at: Instant
    subject: str = ""
    text: str = ""
    html: str = ""
    held: str | None = None
    missed_ms: Millis | None = None


def foresee(
    leased: Leased, version: Version, rooms: Rooms, margin: Millis = Millis(0)
) -> list[Foreseen]:
    """The messages that a run which stands at *leased* still owes, in their order.

    The facts of *leased* are not changed. *margin* is that of `gate.judge`.
    """
    here = _copy(leased)
    found: list[Foreseen] = []
    for _ in range(STEPS_MOST):
        at = _opens(here, version, rooms, margin)
        if at is None:
            break
        following = _play(here, version, at, rooms, margin, found).next
        if following is not None and following.lane is None:
            here.step_no, here.seq = following.step_no, following.seq
            following = advance(here, version, Skipped(reason="foreseen"), at, rooms).next
        if following is None:
            break
        here.step_no, here.seq = following.step_no, following.seq
        here.due_at = Instant(max(following.due_at, at))
        here.attempt, here.flags = 0, following.flags & FLAG_WAITING
    return found


def priced(messages: list[Foreseen], prices: Mapping[str, Decimal]) -> list[Priced]:
    """*messages* with what each costs."""
    return [
        Priced(
            one.step_key, one.channel, one.segments,
            price_of(prices, one.channel, one.segments),
        )
        for one in messages
    ]  # fmt: skip


def _copy(leased: Leased) -> Leased:
    """Facts that the play may change, as the effects of its steps would."""
    return replace(
        leased,
        attrs=dict(leased.attrs),
        company=dict(leased.company),
        vars=dict(leased.vars),
    )


def _opens(here: Leased, version: Version, rooms: Rooms, margin: Millis) -> Instant | None:
    """When the step may be performed: due, and its window open; None: never."""
    _, zone, window = step_times(rooms, version, here.step_no, here.account_id, here.timezone)
    if here.due_at >= FAR_FUTURE:
        return None
    return goes_at(window, zone, here.due_at, margin)


def _play(
    here: Leased,
    version: Version,
    at: Instant,
    rooms: Rooms,
    margin: Millis,
    found: list[Foreseen],
) -> Change:
    """Perform the step at *at*; a message goes into *found*, and is accepted."""
    step = version.steps[here.step_no]
    if step.is_notice:
        return advance(here, version, Accepted(), at, rooms)
    if not step.is_message:
        return chain(here, version, at, rooms)
    verdict = perform(here, version, at, rooms)
    if isinstance(verdict, Rendered):
        one = Foreseen(
            step.key, step.kind, verdict.segments, at, verdict.subject, verdict.text,
            verdict.html,
        )  # fmt: skip
    elif isinstance(verdict, Held):
        segments = 1 if step.kind == "sms" else None
        one = Foreseen(step.key, step.kind, segments, at, held=verdict.reason)
    else:
        return advance(here, version, verdict, at, rooms)
    if at > here.due_at:
        _, zone, window = step_times(
            rooms, version, here.step_no, here.account_id, here.timezone
        )
        one.missed_ms = missed_by(window, zone, here.due_at, margin)
    found.append(one)
    return advance(here, version, Accepted(), at, rooms)
