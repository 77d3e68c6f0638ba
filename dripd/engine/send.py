"""Leased to done: what a step is gets judged again, then it is performed or sent.

Internal steps are performed at once, in chains. Messages wait in a queue of their provider;
an idle sender pulls the next few, judges and renders them within milliseconds of the send,
and hands them to its channel under one deadline. What the channel does not settle is unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from decimal import Decimal

import trio

from dripd.billing.ledger import Ask, owed
from dripd.billing.price import FREE
from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import FLAG_AMBIGUOUS, FLAG_SUSPECT, Change, Kept, Leased, Next
from dripd.campaigns.event import (
    Accepted,
    Deferred,
    Held,
    Outcome,
    StepEvent,
    Uncertain,
    Unknown,
)
from dripd.campaigns.version import Version
from dripd.channels.base import Channel, Message
from dripd.clock import HOUR, MINUTE, SECOND, Instant, SystemClock
from dripd.engine import doubt, tally
from dripd.engine.files import enclose
from dripd.engine.headway import Headway
from dripd.engine.intent import Leave
from dripd.engine.outgoing import line_up
from dripd.engine.pipeline import Pipeline
from dripd.engine.quarantine import REASON, said, set_aside
from dripd.engine.toll import ask_for_step, ask_of, quota_of, toll
from dripd.engine.turns import take_turns
from dripd.log import get
from dripd.policy import gate
from dripd.policy.advance import Sent, advance
from dripd.policy.facts import address_of
from dripd.policy.frequency import release_at
from dripd.policy.gate import CLEARED, Gate
from dripd.policy.perform import (
    CHAIN_MOST,
    Rendered,
    chain,
    perform,
    quiet,
)
from dripd.store.protocol import SenderRow

IN_HAND_MS = 1_000
"""When a message is asked for again that has to wait for what another daemon has in hand."""

SENDERLESS_MS = HOUR
"""When a step without a usable sender is asked for again, where its lane is not shut for it."""

UNCHOSEN_MS = SECOND
"""When a message of a pool is asked for again that came to no sender, all having been spoken for."""

LOAD_ENOUGH = 8 * 1024 * 1024
"""Bytes of attachments in one call after which nothing is added: with the last of 25 MiB it stays
below what providers take in a request, and encodes in little memory."""

log = get("send")


def dispatch(pipe: Pipeline, granted: list[Leased]) -> list[tuple[Leased, Ask]]:
    """Perform what is internal, and queue messages for the provider of their sender.

    Returns the internal steps that count towards a quota: they are to be asked for first.
    """
    now = pipe.clock.now()
    counted: list[tuple[Leased, Ask]] = []
    fresh: dict[str, list[Leased]] = {}
    for leased in granted:
        version = pipe.directory.versions.get(leased.cv_id)
        if version is None or leased.step_no >= len(version.steps):
            why = pipe.directory.broken.get(leased.cv_id, "its version has no such step")
            pipe.settle(set_aside(leased, f"the version cannot be read: {why}", now))
            continue
        if not version.sends(leased.step_no, leased.flags):
            quota = quota_of(pipe, leased, version)
            if quota is None:
                _perform(pipe, leased, now)
            else:
                counted.append((leased, ask_for_step(leased, version, quota)))
            continue
        provider = _provider_of(pipe, leased, version, now)
        if provider is not None:
            fresh.setdefault(provider, []).append(leased)
    for provider, messages in fresh.items():
        line_up(pipe.leased[provider], messages, now)
        pipe.arrived[provider].set()
        pipe.arrived[provider] = trio.Event()
    return counted


def _provider_of(pipe: Pipeline, leased: Leased, version: Version, now: Instant) -> str | None:
    """Where a message is to leave through now; None: it has been settled otherwise."""
    if leased.flags & FLAG_AMBIGUOUS:
        return _look(pipe, leased, version, now)
    step = version.steps[leased.step_no]
    sender = pipe.directory.sender(
        leased.account_id, step.channel, step.sender, leased.contact_id
    )
    provider = sender.provider if sender is not None else ""
    if provider not in pipe.leased:  # no such provider here: its steps are held, with a reason
        _settle(pipe, leased, _senderless(pipe, leased, version, now), now)
        return None
    shut = _shut(pipe, leased, version, sender, now)
    if shut is not None:
        _settle(pipe, leased, shut, now)
        return None
    return provider


def _senderless(pipe: Pipeline, leased: Leased, version: Version, now: Instant) -> Deferred:
    """No sender may be used any more. One that the whole lane has keeps the lease from asking;
    where others of the lane may have another, the step alone is asked for later."""
    step = version.steps[leased.step_no]
    address = version.sole_sender(step.channel)
    is_watched = pipe.flow.concerns(pipe.directory.account(leased.account_id))
    if is_watched and address and "," not in address and not step.is_notice:
        return Deferred(reason="no_sender", until=None)
    return Deferred(reason="no_sender", until=Instant(now + SENDERLESS_MS), alone=True)


def _look(pipe: Pipeline, leased: Leased, version: Version, now: Instant) -> str | None:
    """A message in doubt comes up: it is known what became of it, or it is sent again."""
    event = _doubted(pipe, leased, version, now)
    if event is None and leased.kept is not None:
        until = pipe.flow.take_again(leased, leased.kept, now)
        if until is None:
            return leased.kept.provider
        event = doubt.wait(leased, until)
    if event is not None:
        _settle(pipe, leased, event, now)
    return None


async def perform_counted(pipe: Pipeline, counted: list[tuple[Leased, Ask]]) -> None:
    """Internal steps of which the account may perform so many: one a pass."""
    refused = await toll(pipe, counted)
    now = pipe.clock.now()
    for leased, _ in counted:
        reason = refused.get(leased.enrollment_id)
        if reason is None:
            _perform(pipe, leased, now, most=1)
        else:
            _settle(pipe, leased, Deferred(reason=reason, until=None), now)


def _shut(
    pipe: Pipeline, leased: Leased, version: Version, sender: SenderRow | None, now: Instant
) -> Deferred | None:
    """What of the limits of its sender and provider holds a leased message; None: it is taken."""
    account = pipe.directory.account(leased.account_id)
    step = version.steps[leased.step_no]
    if sender is None or step.is_notice:
        return None
    if leased.attempt <= 0 and not pipe.flow.concerns(account):
        return None
    to = address_of(leased, step.kind, version.definition.field_map)
    alone = not version.is_sole(step.kind, sender.address)
    shut = pipe.flow.take(leased, sender, to, alone=alone, now=now)
    if shut is None and not pipe.directory.is_chosen(leased, step.sender, sender):
        return Deferred(reason="rate", until=Instant(now + UNCHOSEN_MS), alone=True)
    return shut


def _perform(pipe: Pipeline, leased: Leased, now: Instant, *, most: int = CHAIN_MOST) -> None:
    version = pipe.directory.versions[leased.cv_id]
    if leased.flags & FLAG_SUSPECT:
        pipe.journal.begin(leased)
    try:
        at = Instant(max(now, leased.due_at))
        change = chain(leased, version, at, pipe.directory, most)
    except Exception as error:
        log.exception("step.failed", enrollment_id=leased.enrollment_id, step_no=leased.step_no)
        _settle(pipe, leased, Held(reason=REASON, failed=said(error)), now)
        return
    finally:
        if leased.flags & FLAG_SUSPECT:
            pipe.journal.survive(leased)
    change.metered = version.metered
    pipe.settle(change)


def settle_unreadable(pipe: Pipeline, leased: Leased) -> None:
    """A version that this dripd cannot read, of a step that may have left: the run is held."""
    held = Next(
        due_at=leased.due_at,
        lane=None,
        step_no=leased.step_no,
        seq=leased.seq,
        flags=leased.flags,
        hold_reason=REASON,
    )
    pipe.settle(Change(leased=leased, log=[], next=held, refund=True))


def give_back(pipe: Pipeline, leased: Leased, why: Deferred) -> None:
    """A leased step is not performed now; its version is loaded."""
    _settle(pipe, leased, why, pipe.clock.now())


def _settle(
    pipe: Pipeline,
    leased: Leased,
    event: StepEvent,
    now: Instant,
    sent: Sent | None = None,
    kept: Kept | None = None,
) -> None:
    version = pipe.directory.versions[leased.cv_id]
    pipe.flow.settled(leased.enrollment_id, event)
    if pipe.written and not isinstance(event, Accepted | Unknown | Uncertain):
        pipe.written.drop(leased)
    change = advance(leased, version, event, now, pipe.directory, sent)
    change.metered = version.metered
    doubt.keep(change, kept)
    if sent is not None and version.billed and leased.paid:
        change.money_back = _overpaid(leased, version, event, sent)
    pipe.settle(change)


def _overpaid(leased: Leased, version: Version, event: StepEvent, sent: Sent) -> Decimal | None:
    """What the message was charged beyond what it came to."""
    if not isinstance(event, Accepted | Unknown | Uncertain):
        return None
    key = version.steps[leased.step_no].key
    rest = owed(leased.paid.get(key), FREE, sent.segments)
    return -rest if rest < 0 else None


async def send(pipe: Pipeline, channel: Channel, deployment: str) -> None:
    """One sender of *channel*: pull, judge, send, for ever."""
    queue, provider = pipe.leased[channel.name], channel.name
    while True:
        if not queue:
            await pipe.arrived[provider].wait()
            continue
        await trio.lowlevel.checkpoint_if_cancelled()  # what is queued is nobody's promise
        if provider in pipe.flow.opened:
            _give_back(pipe, queue, provider)
            continue
        batch = await _pull(pipe, queue, channel)
        _measure(pipe, provider, len(batch))
        batch = await _prepare(pipe, batch)
        if not batch:
            continue
        messages = [message_of(rendered, deployment) for rendered in batch]
        if may_leave(pipe, batch, doubt.marks(messages)):
            await _call(pipe, channel, messages)


def _give_back(pipe: Pipeline, queue: deque[Leased], provider: str) -> None:
    """The provider's breaker has opened: nothing that waits for it burns an attempt."""
    pipe.flow.opened.discard(provider)
    waiting = list(queue)
    queue.clear()
    for leased in waiting:
        now = pipe.clock.now()
        event = Deferred(reason="breaker", until=None)
        if leased.flags & FLAG_AMBIGUOUS:
            event = doubt.wait(leased, Instant(now + MINUTE))
        _settle(pipe, leased, event, now)


async def _pull(pipe: Pipeline, queue: deque[Leased], channel: Channel) -> list[Rendered]:
    """The next messages that may leave now; the rest of what was pulled is settled."""
    most = _most_at_once(channel)
    batch: list[Rendered] = []
    gates = Gates(pipe)
    load = 0
    while queue and len(batch) < most and load < LOAD_ENOUGH:
        now = pipe.clock.now()
        wait_ms = queue[0].due_at - now
        if wait_ms > 0:
            if batch:
                break
            # leased ahead of its instant: held until then, or until one comes that is due before
            with trio.move_on_after(wait_ms / 1000):
                await pipe.arrived[channel.name].wait()
            gates = Gates(pipe)
            continue  # meanwhile another sender may have taken it: look again
        rendered = judge(pipe, queue.popleft(), now, gates)
        if rendered is not None:
            batch.append(rendered)
            if rendered.version.attaches:
                load += sum(one.size for one in _step(rendered).attachments)
    return batch


def _measure(pipe: Pipeline, provider: str, n: int) -> None:
    """So many messages were pulled: what waits may be few enough for another lease."""
    queue = pipe.leased[provider]
    is_dry = not queue or queue[0].due_at > pipe.clock.now()
    pipe.headways.of[provider].took(n, trio.current_time(), is_dry=is_dry)
    if len(pipe.ready) and pipe.lack(provider):
        pipe.wake("lease")


def _most_at_once(channel: Channel) -> int:
    return max(channel.batch, 1)


async def _prepare(pipe: Pipeline, batch: list[Rendered]) -> list[Rendered]:
    """Those of *batch* that were granted what they need, and may leave still: however long the
    database took to say so, no window has closed meanwhile and nobody has stopped."""
    attaches = any(rendered.version.attaches for rendered in batch)
    asks = any(rendered.ask is not None for rendered in batch)
    if not (attaches or asks or pipe.directory.turning):
        return batch
    if attaches:
        batch = await _enclose(pipe, batch)
    if pipe.directory.turning:
        batch = await _turn(pipe, batch)
    if any(rendered.ask is not None for rendered in batch):
        batch = await _pay(pipe, batch)
    gates = Gates(pipe)
    return [rendered for rendered in batch if _may_still(pipe, rendered, gates)]


def _may_still(pipe: Pipeline, rendered: Rendered, gates: Gates) -> bool:
    """Is nothing in the way by now of what was judged a while ago? Else it has been given back."""
    now = pipe.clock.now()
    held = _held(pipe, rendered.leased, now, gates)
    if held is None and not rendered.leased.flags & FLAG_AMBIGUOUS:
        held = quiet(rendered.leased, rendered.version, now, pipe.directory)
    if held is not None:
        _settle(pipe, rendered.leased, held, now)
    return held is None


async def _turn(pipe: Pipeline, batch: list[Rendered]) -> list[Rendered]:
    """Those of *batch* whose sender may send them now; the others are given back. What is in
    doubt has had its turn."""
    fresh = [rendered for rendered in batch if not rendered.leased.flags & FLAG_AMBIGUOUS]
    return _unheld(pipe, batch, await take_turns(pipe, fresh) if fresh else {})


async def _pay(pipe: Pipeline, batch: list[Rendered]) -> list[Rendered]:
    """Those of *batch* that were granted what they need; the others are given back."""
    asked = [(rendered.leased, rendered.ask) for rendered in batch if rendered.ask is not None]
    refused = await toll(pipe, asked)
    held = {number: Deferred(reason=why, until=None) for number, why in refused.items()}
    return _unheld(pipe, batch, held)


async def _enclose(pipe: Pipeline, batch: list[Rendered]) -> list[Rendered]:
    """Those of *batch* that have what goes with them; the others are given back, or held."""
    return _unheld(pipe, batch, await enclose(pipe.directory.files, batch))


def _unheld(
    pipe: Pipeline, batch: list[Rendered], held: Mapping[int, Deferred | Held]
) -> list[Rendered]:
    """Those of *batch* that are not *held*, by enrollment; what is, is settled so."""
    if not held:
        return batch
    now = pipe.clock.now()
    free: list[Rendered] = []
    for rendered in batch:
        event = held.get(rendered.leased.enrollment_id)
        if event is None:
            free.append(rendered)
        else:
            _settle(pipe, rendered.leased, event, now)
    return free


def judge(pipe: Pipeline, leased: Leased, now: Instant, gates: Gates) -> Rendered | None:
    """A message that may leave now, rendered; None: it has been settled otherwise."""
    version = pipe.directory.versions[leased.cv_id]
    held = _held(pipe, leased, now, gates)
    if held is not None:
        _settle(pipe, leased, held, now)
        return None
    if leased.flags & FLAG_SUSPECT:
        pipe.journal.begin(leased)
    try:
        verdict = (
            doubt.said(leased, version)
            if leased.flags & FLAG_AMBIGUOUS
            else perform(leased, version, now, pipe.directory)
        )
    except Exception as error:
        log.exception("step.failed", enrollment_id=leased.enrollment_id, step_no=leased.step_no)
        verdict = Held(reason=REASON, failed=said(error))
    if leased.flags & FLAG_SUSPECT:
        pipe.journal.survive(leased)
    if isinstance(verdict, Held) and verdict.reason == "no_sender":
        verdict = _senderless(pipe, leased, version, now)
    if not isinstance(verdict, Rendered):
        _settle(pipe, leased, verdict, now)
        return None
    if leased.flags & FLAG_AMBIGUOUS:
        return verdict
    verdict.at = now
    limited = leased.account_id in pipe.directory.frequent and not _step(verdict).is_notice
    if limited and not _may_write(pipe, verdict, now):
        return None
    if version.billed or version.metered:
        verdict.ask = ask_of(pipe, verdict)
    return verdict


def _held(pipe: Pipeline, leased: Leased, now: Instant, gates: Gates) -> StepEvent | None:
    """What keeps a leased message from leaving at *now*, whatever it says; None: nothing."""
    if leased.enrollment_id in pipe.stopped:
        return Deferred(reason="stopped", until=None)
    shut = gates.of(leased, now)
    if isinstance(shut, Deferred):
        return shut
    if _has_moved(pipe, leased):
        return Deferred(reason="moved", until=None)
    if leased.flags & FLAG_AMBIGUOUS:  # its lane has no window, and its key may be over by now
        version = pipe.directory.versions[leased.cv_id]
        return _doubted(pipe, leased, version, now)
    return None


def _has_moved(pipe: Pipeline, leased: Leased) -> bool:
    """Is the contact in another zone than the lane whose window is open? The step goes to the
    lane of that zone when it is given back, and is judged there."""
    version = pipe.directory.versions[leased.cv_id]
    if version.definition.timezone != "contact":
        return False
    lane = pipe.lanes.get(leased.account_id, leased.lane)
    zones, step_no = pipe.directory.zones, leased.step_no
    own = version.lane_key(step_no, leased.timezone, zones, leased.flags)
    return lane is not None and lane.key.zone != own.zone


def _doubted(
    pipe: Pipeline, leased: Leased, version: Version, now: Instant
) -> StepEvent | None:
    margin = pipe.tuning.window_margin_ms
    return doubt.look(leased, version, now, pipe.directory, pipe.leased, margin)


def _may_write(pipe: Pipeline, rendered: Rendered, now: Instant) -> bool:
    """Is the contact not written to too often? Else the step has been held, alone."""
    leased, limit = rendered.leased, rendered.version.frequency
    sent = pipe.written.to(leased)
    until = None if limit is None else release_at(limit, sent, now)
    if until is None and limit is not None and leased.in_hand:
        # an account that changes hands: soon it is known what became of those
        most = [*sent, *[now] * leased.in_hand]
        soon = Instant(now + IN_HAND_MS + leased.enrollment_id % 1_000)
        until = soon if release_at(limit, most, now) is not None else None
    if until is None:
        pipe.written.note(leased, now)
        return True
    _settle(pipe, leased, Deferred(reason="frequency", until=until, alone=True), now)
    return False


class Gates:
    """What the gate says of each lane, asked anew with every instant."""

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._at = Instant(-1)
        self._said: dict[tuple[int, int], Gate] = {}

    def of(self, leased: Leased, now: Instant) -> Gate:
        if now != self._at:
            self._at, self._said = now, {}
        place = leased.account_id, leased.lane
        found = self._said.get(place)
        if found is None:
            found = self._said[place] = self._judge(*place, now)
        return found

    def _judge(self, account_id: int, lane: int, now: Instant) -> Gate:
        state = self._pipe.lanes.get(account_id, lane)
        if state is None:
            return CLEARED
        directory = self._pipe.directory
        window, zone = directory.lane_window(account_id, state.key)
        account = directory.account_status(account_id)
        margin = self._pipe.tuning.window_margin_ms
        return gate.judge(now, window=window, zone=zone, account=account, margin=margin)


def may_leave(pipe: Pipeline, batch: list[Rendered], marks: list[str]) -> bool:
    """Write down that *batch* leaves. False: it may not, and has been given back.

    Who was silent for long may have been declared dead, by somebody who cannot seal its journal;
    a database that lacks what it had committed may lack this lease.
    """
    leave = Leave.UNHEARD
    if pipe.is_heard and "adopt" not in pipe.barred:
        leave = pipe.journal.intend([rendered.leased for rendered in batch], marks)
    if leave is Leave.YES:
        return True
    if leave is Leave.FENCED:
        pipe.buried.set()
    elif leave is Leave.UNWRITABLE:
        pipe.barred["journal"] = pipe.journal.fault()
        log.error("journal.refused", error=pipe.barred["journal"])
    now = pipe.clock.now()
    for rendered in batch:
        _settle(pipe, rendered.leased, Deferred(reason=leave, until=None), now)
    return False


def message_of(rendered: Rendered, deployment: str) -> Message:
    """*rendered* as its channel takes it."""
    leased, version = rendered.leased, rendered.version
    step = version.steps[leased.step_no]
    key = rendered.key or (
        f"dripd:{deployment}:{leased.enrollment_id}:{leased.run_no}:{step.key}"
    )
    return Message(
        ref=rendered,
        channel=rendered.channel,
        account_id=leased.account_id,
        enrollment_id=leased.enrollment_id,
        step_key=step.key,
        sender=rendered.sender.address,
        to=rendered.to,
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        headers=_headers(rendered),
        idempotency_key=key,
        attachments=rendered.files,
    )


def _headers(rendered: Rendered) -> dict[str, str]:
    """One-click unsubscribing as RFC 8058 has it: one https address, and that a POST suffices."""
    if not rendered.unsubscribe:
        return {}
    return {
        "List-Unsubscribe": f"<{rendered.unsubscribe}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


async def _call(pipe: Pipeline, channel: Channel, messages: list[Message]) -> None:
    """One call of a channel: each message gets exactly one outcome."""
    settled: dict[int, Outcome] = {}
    sent_at, began = pipe.clock.now(), trio.current_time()

    def settle(message: Message, outcome: Outcome) -> None:
        if id(message) in settled:
            return
        settled[id(message)] = outcome
        _answer(pipe, channel.name, message, outcome, sent_at)

    reason = "no_answer"
    calling = pipe.flow.calling
    calling[channel.name] = calling.get(channel.name, 0) + len(messages)
    try:
        deadline = trio.current_time() + pipe.tuning.send_timeout_ms / 1000
        with trio.CancelScope(shield=True, deadline=deadline) as scope:
            await channel.send(messages, settle)
        if scope.cancelled_caught:
            reason = "deadline"
    except Exception:
        log.exception("channel.failed", provider=channel.name, n=len(messages))
        reason = "channel_failed"
    finally:
        calling[channel.name] -= len(messages)
        if len(settled) < len(messages):
            for message in messages:
                settle(message, Unknown(reason=reason))
        _count(pipe, channel.name, messages, settled, trio.current_time() - began)


def _count(
    pipe: Pipeline,
    provider: str,
    messages: list[Message],
    settled: Mapping[int, Outcome],
    seconds: float,
) -> None:
    outcomes = [(message.channel, settled[id(message)]) for message in messages]
    tally.called(pipe.metrics, provider, outcomes, seconds)
    by_sender = [
        ((message.account_id, message.ref.sender.id), outcome)
        for message, (_, outcome) in zip(messages, outcomes, strict=True)
        if isinstance(message.ref, Rendered)
    ]
    passed = [place for place, outcome in by_sender if isinstance(outcome, Accepted)]
    pipe.flow.budgets[provider].earn(len(messages))
    pipe.flow.ended(provider, len(passed), passed, pipe.clock.now())
    refusals = tally.refusals(by_sender) if len(passed) < len(by_sender) else ()
    pipe.lately.traffic.note(passed, refusals, seconds, SystemClock().now())


def _step(rendered: Rendered) -> Step:
    return rendered.version.steps[rendered.leased.step_no]


def _answer(
    pipe: Pipeline, provider: str, message: Message, outcome: Outcome, sent_at: Instant
) -> None:
    rendered = message.ref
    assert isinstance(rendered, Rendered)
    channel = "" if _step(rendered).is_notice else rendered.channel
    sent = Sent(
        channel, rendered.to, rendered.subject, rendered.segments, rendered.sender.id, sent_at
    )
    now = pipe.clock.now()
    pipe.journal.answer(rendered.leased, outcome)
    pipe.counters.regret += rendered.leased.enrollment_id in pipe.stopped
    if isinstance(outcome, Accepted):
        pipe.counters.accepted += 1
        _settle(pipe, rendered.leased, outcome, now, sent)
        return
    pipe.counters.unknown += isinstance(outcome, Unknown)
    event = pipe.flow.failed(provider, message.account_id, rendered.sender.id, outcome, now)
    policy = pipe.doubts[provider] if channel else doubt.NOTICE
    words = doubt.words_of(message, rendered)
    judged, kept = doubt.judged(policy, provider, rendered.leased, outcome, now, words)
    if not isinstance(event, Deferred) or rendered.leased.flags & FLAG_AMBIGUOUS:
        event = judged  # else an open breaker explains it
    _settle(pipe, rendered.leased, event, now, sent, kept)


def queues(pipe: Pipeline, channels: Mapping[str, Channel]) -> None:
    """A queue, an event and limits for each provider."""
    for name, channel in channels.items():
        if name not in pipe.flow.providers:
            pipe.flow.add_provider(name)
        if name not in pipe.doubts:
            pipe.doubts[name] = doubt.policy_of(channel)
        pipe.leased[name] = deque()
        pipe.headways.of[name] = Headway(_most_at_once(channel))
        pipe.arrived[name] = trio.Event()
