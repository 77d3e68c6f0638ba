"""What others left behind: dead daemons' claims, leases whose acknowledgement was lost.

What a dead daemon leased is judged by its journal: what provably did not leave becomes due
again, what was answered is recorded, the rest is `unknown` and never sent on a guess. An
internal step did nothing that its record does not do: it becomes due again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import trio

from dripd.campaigns.enrollment import FLAG_AMBIGUOUS, FLAG_SUSPECT, Leased, Needs
from dripd.campaigns.event import Accepted, Deferred, Held, Retryable, StepEvent
from dripd.campaigns.version import Version
from dripd.clock import DAY, Instant, Millis
from dripd.engine import doubt
from dripd.engine.individual import state_of, tell_ends
from dripd.engine.intent import Past, alone, judge, judge_key, mark_of
from dripd.engine.pipeline import Pipeline
from dripd.engine.pools import choose_senders
from dripd.engine.quarantine import REASON
from dripd.engine.send import message_of, settle_unreadable
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy.advance import Sent, advance
from dripd.policy.facts import address_of
from dripd.policy.perform import Rendered, perform
from dripd.store.protocol import IndividualEnd, LostSend

SWEEP_S = 2.0

TESTIMONY_MOST = 1_000
"""Deliveries a statement, when a journal settles what was unknown."""

RECOVERED_WITHIN = Millis(3 * DAY)

DEATHS_MOST = 3
"""Daemons that may die over one step within that time: then it is set aside."""

DEADLY = f"daemon_died: {DEATHS_MOST} times within 72 h while it was performed"

NEVER = Millis(7 * DAY)
"""Silence that is not counted."""

Words: TypeAlias = tuple[str, dict[str, object]]
"""The provider that has seen a message, and what that said."""

log = get("sweep")


async def sweep(pipe: Pipeline, deployment: str) -> None:
    """Sweep, for ever."""
    while True:
        try:
            await sweep_once(pipe, deployment)
            pipe.journal.tidy(pipe.claims)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
        await trio.sleep(SWEEP_S)  # noqa: TID251 - a poll in real time


async def sweep_once(pipe: Pipeline, deployment: str) -> int:
    """One pass; returns how many steps were taken over."""
    gone = pipe.journal.abandoned()
    with trio.CancelScope(shield=True):
        adopted = await pipe.store.reap(pipe.incarnation, _silence_ms(pipe), gone)
        orphans = await pipe.store.orphans(pipe.incarnation, list(pipe.claims), adopted)
        await pipe.store.sweep(pipe.tuning.retention_days)
        await pipe.store.remind()
        await pipe.store.finish_drained()
        await tell_ends(pipe)
        await settle_lost(pipe)
        await close_journals(pipe, pipe.journal.unattended())
    if not orphans:
        return 0
    await pipe.directory.load_accounts({leased.account_id for leased in orphans})
    await pipe.directory.load_versions({leased.cv_id for leased in orphans})
    past = pipe.journal.past({holder for leased in orphans for holder in leased.holders})
    found = await find_words(pipe, orphans, past, deployment)
    # last: it counts, and where anything after it failed it would count the same death again
    killers = await find_killers(pipe, orphans, past)
    for leased in orphans:
        pipe.claims[leased.claim_id] = pipe.claims.get(leased.claim_id, 0) + 1
    pipe.unsent += len(orphans)
    for leased in orphans:
        words = found.get(leased.enrollment_id)
        _settle(pipe, leased, past, killers.get(leased.enrollment_id, 0), words)
    pipe.metrics["dripd_claims_swept_total"].add(n=len(orphans))
    log.warning("lease.swept", n=len(orphans))
    n_dead = sum(len(leased.holders) > 1 for leased in orphans)
    if n_dead:
        pipe.lately.befell("claims_swept", f"took over {n_dead} steps that dead daemons held")
    if n_dead < len(orphans):
        lost = len(orphans) - n_dead
        pipe.lately.befell("claims_swept", f"found {lost} steps whose lease was never answered")
    return len(orphans)


def _silence_ms(pipe: Pipeline) -> Millis:
    """How long a daemon must have been silent to be dead."""
    limit = pipe.tuning.node_timeout_ms
    hears = pipe.watch.hears_silence(trio.current_time(), limit / 1000)
    return limit if hears else NEVER


async def settle_lost(pipe: Pipeline) -> None:
    """Say of the individual messages of dead daemons what their journals say of them, and of our
    own that were given up before they had left."""
    lost = await pipe.store.lost_individuals(pipe.incarnation)
    lost = [
        one for one in lost if one.incarnation != pipe.incarnation or _is_given_up(pipe, one)
    ]
    if not lost:
        return
    past = pipe.journal.past({one.incarnation for one in lost})
    ends = []
    for one in lost:
        event = judge_key(past, [one.incarnation], alone(one.id))
        if isinstance(event, Deferred):
            # nobody tries it again but who asked for it
            is_ours = one.incarnation == pipe.incarnation
            event = Retryable(reason="store_lost" if is_ours else "daemon_died")
        state, provider_id, reason = state_of(event)
        ends.append(
            IndividualEnd(
                account_id=one.account_id,
                id=one.id,
                state=state,
                provider_id=provider_id,
                reason=reason,
                segments=None,
            )
        )
    await pipe.store.end_lost(ends)


def _is_given_up(pipe: Pipeline, one: LostSend) -> bool:
    """Did the database take it without our hearing of that? Not told while any begins."""
    return not pipe.alone.starting and one.id not in pipe.alone.in_hand


async def close_journals(pipe: Pipeline, left: list[int]) -> None:
    """Throw journals away of whose claims none is open. What they still know goes on record:
    a daemon elsewhere, which could not read them, may have called an accepted message unknown.
    """
    done = await pipe.store.at_rest(left) if left else []
    if not done:
        return
    accepted = [
        (*key, word.provider_id or None)
        for testimony in pipe.journal.past(done).values()
        for key, word in testimony.words.items()
        if isinstance(word, Accepted)
    ]
    for at in range(0, len(accepted), TESTIMONY_MOST):
        await pipe.store.testify(accepted[at : at + TESTIMONY_MOST])
    pipe.journal.forget(done)


async def find_killers(pipe: Pipeline, orphans: Sequence[Leased], past: Past) -> dict[int, int]:
    """Which daemons died over which steps? Enrollment to how often of late.

    With the first death all that was in hand unperformed is suspect; from then on a step that
    is suspect counts only if the daemon died in its midst, as its journal has it: who is killed
    from outside, again and again, blames nobody. Where no journal is to be had, nobody knows.
    """
    counted = [leased for leased in orphans if _is_blamed(leased, past)]
    for leased in counted:
        leased.flags |= FLAG_SUSPECT
    if not counted:
        return {}
    steps = [(leased.account_id, leased.enrollment_id, leased.seq) for leased in counted]
    deaths: dict[int, int] = {}
    try:
        with trio.CancelScope(shield=True):
            deaths = await pipe.store.count_recoveries(steps, RECOVERED_WITHIN)
    except StoreError as error:  # nothing is blamed this time
        log.warning("store.lost", reason=error.code)
    return deaths


def _is_blamed(leased: Leased, past: Past) -> bool:
    dead = leased.holders[:-1]
    key = (leased.enrollment_id, leased.seq)
    if not dead or any((one := past.get(d)) and key in one.words for d in dead):
        return False
    if not leased.flags & FLAG_SUSPECT:
        return True
    last = past.get(dead[-1])
    return last is not None and last.tried == key


async def find_words(
    pipe: Pipeline, orphans: Sequence[Leased], past: Past, deployment: str
) -> dict[int, Words]:
    """By enrollment, what messages said that a provider has seen, and that only their dead
    daemons knew: rendered as of when they left, where that is the same to the byte."""
    if pipe.directory.pooled:
        await choose_senders(pipe, _left(pipe, orphans, past), has_left=True)
    wanted = [
        leased
        for leased in orphans
        if not leased.flags & FLAG_AMBIGUOUS
        and _sends(pipe, leased)
        and doubt.is_seen(judge(past, leased.holders, leased))
    ]
    if not wanted:
        return {}
    await pipe.store.add_facts(wanted)
    found = {
        leased.enrollment_id: _words(pipe, leased, mark_of(past, leased), deployment)
        for leased in wanted
    }
    return {enrollment: words for enrollment, words in found.items() if words is not None}


def _left(pipe: Pipeline, orphans: Sequence[Leased], past: Past) -> list[Leased]:
    """Messages that left, or may have."""
    return [
        leased
        for leased in orphans
        if _sends(pipe, leased)
        and not isinstance(judge(past, leased.holders, leased), Deferred)
    ]


def _sends(pipe: Pipeline, leased: Leased) -> bool:
    version = pipe.directory.versions.get(leased.cv_id)
    if version is None or leased.step_no >= len(version.steps):
        return False
    return version.sends(leased.step_no, leased.flags)


def _words(pipe: Pipeline, leased: Leased, mark: str, deployment: str) -> Words | None:
    """What the message of *leased* said; None where it cannot be said again."""
    kept, version = leased.kept, pipe.directory.versions[leased.cv_id]
    if kept is not None and kept.words is not None:
        return kept.provider, kept.words
    if not mark:
        return None
    at = doubt.rendered_at(mark)
    try:
        rendered = perform(leased, version, at, pipe.directory)
    except Exception:
        log.exception("step.failed", enrollment_id=leased.enrollment_id, step_no=leased.step_no)
        return None
    if not isinstance(rendered, Rendered):
        return None
    message = message_of(rendered, deployment)
    is_same = doubt.mark(message, at) == mark
    return (rendered.sender.provider, doubt.words_of(message, rendered)) if is_same else None


def _settle(
    pipe: Pipeline, leased: Leased, past: Past, deaths: int, words: Words | None
) -> None:
    version = pipe.directory.versions.get(leased.cv_id)
    if version is None or leased.step_no >= len(version.steps):
        leased.counted = False  # it may have left: nothing is given back
        settle_unreadable(pipe, leased)
        return
    step = version.steps[leased.step_no]
    event: StepEvent = Deferred(reason="daemon_died", until=None)
    sent, kept = None, None
    now = Instant(max(pipe.clock.now(), leased.leased_at))
    if version.sends(leased.step_no, leased.flags) and not _is_refused(leased, version):
        event = judge(past, leased.holders, leased)
    if deaths >= DEATHS_MOST and isinstance(event, Deferred):
        log.error("step.failed", enrollment_id=leased.enrollment_id, step_no=leased.step_no)
        event = Held(reason=REASON, failed=DEADLY)
    if version.sends(leased.step_no, leased.flags):
        to = address_of(leased, step.channel, version.definition.field_map)
        sender = pipe.directory.sender(
            leased.account_id, step.channel, step.sender, leased.contact_id
        )
        owed = "" if step.is_notice else step.channel
        sent = Sent(owed, to or "", "", None, None if sender is None else sender.id)
        provider, said = words or ("" if sender is None else sender.provider, None)
        policy = pipe.doubts.get(provider, doubt.AT_ONCE) if owed else doubt.NOTICE
        event, kept = doubt.judged(policy, provider, leased, event, now, said)
    change = advance(leased, version, event, now, pipe.directory, sent)
    doubt.keep(change, kept)
    pipe.settle(change)


def _is_refused(leased: Leased, version: Version) -> bool:
    """A mail that took none of the cap was granted to be recorded as suppressed: it never left."""
    step = version.steps[leased.step_no]
    counts = step.kind == "email" and version.mask(step.kind) & Needs.COUNTED
    return bool(counts) and not leased.counted and not leased.flags & FLAG_AMBIGUOUS
