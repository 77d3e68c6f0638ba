"""Who is alive, and what the dead left, in memory: the twin of `unit_node`.

Heartbeats are real time: trio's clock, which in a test may be virtual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    PRESUMED,
    WORDS_KEPT_MS,
    Leased,
    LogState,
    RunStatus,
)
from dripd.clock import DAY, Instant
from dripd.store.memory_individual import testify_alone
from dripd.store.memory_lease import leased_of
from dripd.store.memory_rows import (
    Campaign,
    Claim,
    EventLog,
    Node,
    Recovery,
    ReplyWatch,
)
from dripd.store.memory_tables import Tables
from dripd.store.memory_task import is_due, notify, rings
from dripd.store.protocol import NO_DAY, Outage, Standstill

CLAIMS_MOST = 100
"""How many claims one reaping takes over."""

FORGOTTEN_MS = 120_000
"""After so much real time a claim that its daemon does not know is one it never heard of."""

NUDGE_MS = 120_000
"""How long a nudge is kept, in real time: every daemon has seen it by then."""


def join(tables: Tables, incarnation: int, name: str, version: str) -> None:
    node = Node(incarnation=incarnation, name=name, version=version, beat_at=tables.real_ms())
    tables.nodes.add(incarnation, node)


def beat(
    tables: Tables, incarnation: int, accounts: int, state: str, figures: Mapping[str, object]
) -> bool:
    """False: this incarnation was declared dead, or is unknown."""
    node = tables.nodes.get(incarnation)
    if node is None or node.dead:
        return False
    tables.nodes.change(
        incarnation,
        beat_at=tables.real_ms(),
        accounts=accounts,
        state=state,
        figures=dict(figures),
    )
    return True


def acknowledge_clock(tables: Tables, incarnation: int, at: Instant) -> None:
    if incarnation in tables.nodes:
        tables.nodes.change(incarnation, clock_at=at)
    if tables.served_at is not None:
        tables.served_at = max(tables.served_at, at)


def note_served(tables: Tables, silence_ms: int) -> list[Standstill]:
    """Somebody is at work now; when nobody was."""
    now, last = tables.now(), tables.served_at
    if last is not None and now - last > silence_ms:
        tables.standstills.append(Standstill(last, now))
    tables.served_at = now if last is None else max(last, now)
    return list(tables.standstills)


def note_outages(tables: Tables, outages: Sequence[Outage]) -> None:
    for one in outages:
        row = Standstill(one.from_at, one.until_at, 0, one.sender_id, one.provider)
        found = (
            tables.paused.setdefault(one.account_id, [])
            if one.account_id
            else tables.standstills
        )
        if row not in found:
            found.append(row)


def leave(tables: Tables, incarnation: int) -> None:
    if incarnation in tables.nodes:
        tables.nodes.drop(incarnation)


def reap(
    tables: Tables, incarnation: int, timeout_ms: int, gone: Sequence[int] = ()
) -> list[int]:
    """Bury daemons whose heartbeat stopped, or that are *gone*, and take one page of the claims
    of the dead over: the new ids."""
    late = tables.real_ms() - timeout_ms
    for node in tables.nodes:
        is_over = node.beat_at < late or node.incarnation in gone
        if not node.dead and node.incarnation != incarnation and is_over:
            tables.nodes.change(node.incarnation, dead=True, state="dead")
    claims = [claim for claim in tables.claims if claim.incarnation != incarnation]
    page = list(
        islice((c for c in claims if not _is_alive(tables, c.incarnation)), CLAIMS_MOST)
    )
    return [_adopt(tables, incarnation, claim) for claim in page]


def _is_alive(tables: Tables, incarnation: int) -> bool:
    node = tables.nodes.get(incarnation)
    return node is not None and not node.dead


def _adopt(tables: Tables, incarnation: int, claim: Claim) -> int:
    """Claim anew: under the old id nothing can be changed any more."""
    new_id = tables.next_id("claim")
    for key in tables.due_by_claim.at(claim.claim_id):
        tables.due.change(key, claim_id=new_id)
    tables.claims.drop(claim.claim_id)
    adopted = replace(
        claim,
        claim_id=new_id,
        incarnation=incarnation,
        claimed_at=tables.real_ms(),
        adopted_from=(*claim.adopted_from, claim.incarnation),
    )
    tables.claims.add(new_id, adopted)
    return new_id


def orphans(
    tables: Tables, incarnation: int, known: set[int], adopted: set[int]
) -> list[Leased]:
    """Steps under claims of *incarnation* that nobody works on; empty such claims go.

    That is what of it is not *known* although it was *adopted* or leased long ago.
    """
    found: list[Leased] = []
    old = tables.real_ms() - FORGOTTEN_MS
    for claim in list(tables.claims):
        is_nobodys = claim.claimed_at < old or claim.adopted_from or claim.claim_id in adopted
        if claim.incarnation != incarnation or claim.claim_id in known or not is_nobodys:
            continue
        keys = tables.due_by_claim.at(claim.claim_id)
        if not keys:
            tables.claims.drop(claim.claim_id)
        found += [_orphan(tables, key, claim) for key in keys]
    return found


def _orphan(tables: Tables, key: tuple[int, int], claim: Claim) -> Leased:
    row = tables.due[key]
    day = tables.day_at(row.account_id, claim.leased_at)
    contact = tables.contacts[row.account_id, row.contact_id]
    leased = leased_of(row, contact, claim, NO_DAY if day is None else day.local_date)
    leased.attempt = max(row.attempt, 0)
    leased.holders = (*claim.adopted_from, claim.incarnation)
    return leased


def count_recoveries(
    tables: Tables, steps: Sequence[tuple[int, int, int]], within_ms: int
) -> dict[int, int]:
    """Note steps that were taken over, unperformed; enrollment to how often of late."""
    now = tables.real_ms()
    counts: dict[int, int] = {}
    for key in sorted(steps):
        before = tables.recoveries.get(key)
        kept = () if before is None else before.at
        at = (*(one for one in kept if one > now - within_ms), now)
        if before is None:
            tables.recoveries.add(key, Recovery(at=at))
        else:
            tables.recoveries.change(key, at=at)
        counts[key[1]] = len(at)
    return counts


def at_rest(tables: Tables, incarnations: Sequence[int]) -> list[int]:
    """Those of *incarnations* that are dead and have held no claim that is still open, nor an
    individual message of which nobody has said what became of it."""
    held = {one for claim in tables.claims for one in (claim.incarnation, *claim.adopted_from)}
    held |= {row.incarnation for row in tables.individuals if row.state == "leased"}
    return [one for one in incarnations if not _is_alive(tables, one) and one not in held]


def testify(tables: Tables, accepted: Sequence[tuple[int, int, str | None]]) -> int:
    """Deliveries that a journal says were accepted: those that are `unknown` are accepted."""
    told = {(enrollment_id, seq): provider_id for enrollment_id, seq, provider_id in accepted}
    found = [
        (number, log)
        for number, log in tables.step_log.items()
        if log.row.state is LogState.UNKNOWN and (log.enrollment_id, log.row.seq) in told
    ]
    for number, log in found:
        provider_id = told[log.enrollment_id, log.row.seq] or log.row.provider_id
        row = replace(log.row, state=LogState.ACCEPTED, provider_id=provider_id, reason=None)
        tables.step_log.change(number, row=row)
        wake_settled(tables, log.account_id, log.enrollment_id, log.row.seq)
    return len(found) + testify_alone(tables, accepted)


def wake_settled(tables: Tables, account_id: int, enrollment_id: int, seq: int) -> None:
    """What was in doubt is known: its run waits no longer."""
    place = (account_id, enrollment_id)
    row = tables.due.get(place)
    if row is None or row.seq != seq or row.claim_id is not None:
        return
    if row.flags & FLAG_AMBIGUOUS:
        tables.due.change(place, due_at=min(row.due_at, tables.now()))
        tables.nudge(account_id)


def presume_sent(tables: Tables) -> None:
    """Evidence is no longer to be expected; what was kept for another attempt goes, unless its
    run still waits for that one."""
    now = tables.now()
    over = sorted((one for one in tables.kept if one.until <= now), key=lambda one: one.until)
    for kept in over[:1_000]:
        run = (kept.account_id, kept.enrollment_id)
        logs = [
            one for one in tables.log_of.at(run) if tables.step_log[one].row.seq == kept.seq
        ]
        is_told = any(tables.step_log[one].row.state for one in logs)
        if not is_told and tables.runs[run].status is RunStatus.LIVE:
            tables.kept.change((*run, kept.seq), until=Instant(now + WORDS_KEPT_MS))
            continue
        tables.kept.drop((*run, kept.seq))
        for number in logs:
            row = tables.step_log[number].row
            if row.state is LogState.UNKNOWN:
                tables.step_log.change(number, row=replace(row, reason=PRESUMED))


def apply_evidence(tables: Tables) -> None:
    """Messages that turned out to be accepted, after others had called them unknown."""
    for number, told in tables.evidence.items():
        if told.applied_at is not None or told.state != LogState.ACCEPTED:
            continue
        testify(tables, [(told.enrollment_id, told.seq, told.provider_id)])
        logs = tables.log_of.at((told.account_id, told.enrollment_id))
        rows = [tables.step_log[log].row for log in logs]
        if any(row.seq == told.seq and row.state for row in rows):
            tables.evidence.change(number, applied_at=tables.now())


def sweep(tables: Tables) -> None:
    """Throw away what has served: old nudges, daemons long dead that own no claim."""
    apply_evidence(tables)
    presume_sent(tables)
    now_ms = tables.real_ms()
    for nudge in list(tables.nudges):
        if nudge.at < now_ms - NUDGE_MS:
            tables.nudges.drop(nudge.id)
    for key, row in list(tables.recoveries.items()):
        if row.at[-1] < now_ms - 7 * DAY:
            tables.recoveries.drop(key)
    owners = {claim.incarnation for claim in tables.claims}
    for node in list(tables.nodes):
        if node.dead and node.beat_at < now_ms - DAY and node.incarnation not in owners:
            tables.nodes.drop(node.incarnation)


def remind(tables: Tables) -> None:
    """Turn reminders whose instant has come into notifications."""
    now = tables.now()
    for task in [one for one in tables.tasks if rings(one, now)]:
        told = set[str]()
        if is_due(task, now):
            told.add(task.recipient or "")
        sleeper = task.assignee or task.snoozed_by
        if task.snoozed_until is not None and sleeper is not None:
            told.add(sleeper)
        tables.tasks.change(
            (task.account_id, task.id),
            recipient=None if is_due(task, now) else task.recipient,
            snoozed_until=None,
            snoozed_by=None,
        )
        for recipient in sorted(told):
            notify(
                tables,
                task.account_id,
                "task_due",
                recipient,
                task.enrollment_id,
                {"title": task.title},
                task_id=task.id,
            )


def miss_replies(tables: Tables) -> None:
    """Tell who waits for a reply that should have come by now, unless it has, or who owes it was
    erased."""
    now = tables.now()
    for watch in [one for one in tables.watches if one.due_at <= now]:
        tables.watches.drop((watch.account_id, watch.enrollment_id, watch.seq))
        contact = tables.contacts[watch.account_id, watch.contact_id]
        if contact.erased_at is None and not _has_replied(tables, watch):
            payload: dict[str, object] = {
                "delivery_id": f"{watch.enrollment_id}-{watch.seq}",
                "step_key": watch.step_key,
            }
            who = (watch.account_id, "no_reply", watch.recipient, watch.enrollment_id)
            notify(tables, *who, payload)


def _has_replied(tables: Tables, watch: ReplyWatch) -> bool:
    logged = tables.logged_of.at((watch.account_id, watch.contact_id))
    if any(_answers(event, watch) for event in map(tables.event_log.__getitem__, logged)):
        return True
    subjects = (("contact", watch.contact_id), ("run", watch.enrollment_id))
    return any(
        tables.events[key].kind == "reply"
        for subject in subjects
        for key in tables.events_by_subject.keys((watch.account_id, subject))
    )


def _answers(event: EventLog, watch: ReplyWatch) -> bool:
    payload = event.payload if isinstance(event.payload, dict) else {}
    return (
        event.kind == "reply"
        and event.occurred_at is not None
        and watch.since <= event.occurred_at <= watch.due_at
        and event.refused_reason is None
        and payload.get("auto") is not True
        and event.enrollment_id in {None, watch.enrollment_id}
    )


def drained(tables: Tables) -> list[Campaign]:
    """Draining campaigns without a live run."""
    alive = {tables.campaign_of_version(row.cv_id).id for row in tables.due}
    return [one for one in tables.campaigns if one.status == "draining" and one.id not in alive]


def finish_drained(tables: Tables) -> None:
    """Draining campaigns whose last run has ended become inactive."""
    for campaign in drained(tables):
        tables.campaigns.change((campaign.account_id, campaign.id), status="inactive")
        detail: dict[str, object] = {"campaign": campaign.key, "status": "inactive"}
        tables.write_journal(campaign.account_id, None, None, "deactivated", detail)
        tables.refresh_gates([campaign.account_id])
        tables.nudge(campaign.account_id)
