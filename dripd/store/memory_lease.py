"""The lease in memory: the same verdicts, in the same order, as the statements `lease`,
`refusals` and `more_facts` give them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from dripd.campaigns.address import address_form
from dripd.campaigns.enrollment import (
    FLAG_ASKED,
    FLAG_COUNTED,
    FLAG_PUT_OFF,
    FLAG_TRIED,
    FLAG_VARS,
    HELD_LANE,
    Asked,
    DueKey,
    Kept,
    Leased,
    LogRow,
    LogState,
    Needs,
    Recent,
    RunStatus,
)
from dripd.clock import Instant
from dripd.store.memory_rows import AccountDay, Claim, Contact, DueStep, EventLog, StepLog
from dripd.store.memory_tables import Tables
from dripd.store.protocol import (
    READS,
    WHOLE_ACCOUNT,
    LeaseGroup,
    LeaseKey,
    LeaseResult,
    MayReset,
    Refusal,
    SetAside,
)

SENT_MOST = 100
"""Of a contact's messages, that the frequency of writing to it is judged by."""

KIND_MASK = (1 << 16) - 1


def lease(
    tables: Tables, incarnation: int, groups: Sequence[LeaseGroup], ahead_ms: int
) -> LeaseResult:
    """Take what *groups* name under a new claim, and say why of the rest."""
    claim_id = tables.next_id("claim")
    now = tables.now()
    node = tables.nodes.get(incarnation)
    alive = node is not None and not node.dead
    claim = Claim(
        claim_id=claim_id,
        incarnation=incarnation,
        leased_at=now,
        claimed_at=tables.real_ms(),
        n=0,
    )
    result = LeaseResult(claim_id=claim_id, granted=[], refused=[])
    missing: list[tuple[LeaseGroup, LeaseKey]] = []
    for group in groups:
        day = _open_day(tables, group, now) if alive else None
        for key in group.keys:
            leased = None
            if day is not None:
                leased = _grant(tables, group, key, day, claim, Instant(now + ahead_ms))
            if leased is None:
                missing.append((group, key))
            elif (leased.account_id, leased.contact_id) in tables.unreadable:
                result.unreadable.append((leased, "the contact's attrs cannot be read"))
            else:
                result.granted.append(leased)
    if claim.n:
        tables.claims.add(claim_id, claim)
    result.refused = [
        (group.account_id, key, _refusal(tables, group, key, now)) for group, key in missing
    ]
    return result


def await_resets(
    tables: Tables, keys: Sequence[DueKey], resetters: Sequence[MayReset]
) -> set[int]:
    """The enrollments whose step waits for one that may reset their campaign."""
    known = set(resetters)
    waiting = set()
    for key in keys:
        lane = tables.lanes.get((key.account_id, key.lane))
        due = tables.due.get((key.account_id, key.enrollment_id))
        if lane is None or due is None or (due.lane, due.due_at) != (key.lane, key.due_at):
            continue
        for run in tables.runs_of.at((key.account_id, due.contact_id)):
            other = tables.due.get(run)
            if (
                other is not None
                and other.due_at <= key.due_at
                and MayReset(key.account_id, other.cv_id, lane.key.campaign_id) in known
                and _sends_nothing(tables, other)
            ):
                waiting.add(key.enrollment_id)
    return waiting


def _sends_nothing(tables: Tables, due: DueStep) -> bool:
    """Does it stand in an open lane without a channel?"""
    lane = tables.lanes.get((due.account_id, due.lane))
    if lane is None or lane.key.channel:
        return False
    return not any((due.account_id, one) in tables.parks for one in (WHOLE_ACCOUNT, due.lane))


def set_aside(tables: Tables, steps: Sequence[SetAside]) -> int:
    """Hold steps that nobody has leased as `quarantined`, each with its error."""
    n = 0
    for step in sorted(steps):
        key = (step.account_id, step.enrollment_id)
        row = tables.due.get(key)
        if row is None or (row.lane, row.due_at) != step[1:3] or row.claim_id is not None:
            continue
        n += 1
        failed = LogRow(seq=row.seq, step_no=row.step_no, state=LogState.FAILED, at=tables.now(),
                        attempt=row.attempt + 1, reason=step.why)  # fmt: skip
        log = StepLog(account_id=row.account_id, enrollment_id=row.enrollment_id, claim_id=0,
                      leased_at=tables.now(), cv_id=row.cv_id, run_no=row.run_no, row=failed)  # fmt: skip
        tables.step_log.add(tables.next_id(), log)
        tables.due.change(key, lane=HELD_LANE, seq=row.seq + 1)
        if tables.runs[key].status is RunStatus.LIVE:
            told = {"reason": "quarantined", "seq": row.seq}
            tables.write_journal(*key, row.contact_id, "held", told)
            tables.runs.change(key, hold_reason="quarantined", release_at=None)
    return n


def _today(tables: Tables, group: LeaseGroup, now: Instant) -> AccountDay | None:
    day = tables.days.get((group.account_id, group.local_date))
    return day if day is not None and day.starts_at <= now < day.ends_at else None


def _open_day(tables: Tables, group: LeaseGroup, now: Instant) -> AccountDay | None:
    """The day row where the account may lease at all."""
    day = _today(tables, group, now)
    if day is None or day.held or tables.locked_days[group.account_id]:
        return None
    return None if _has_stray_event(tables, group.account_id) else day


def _grant(
    tables: Tables,
    group: LeaseGroup,
    key: LeaseKey,
    day: AccountDay,
    claim: Claim,
    until: Instant,
) -> Leased | None:
    row = _row_of(tables, group.account_id, key)
    if row is None or row.claim_id is not None or tables.locked_rows[row.enrollment_id]:
        return None
    contact = tables.contacts.get((row.account_id, row.contact_id))
    if contact is None or row.due_at > until or row.cv_id in day.paused:
        return None
    if _has_event(tables, row, contact, key.mask):
        return None
    suppressed = _suppressed(tables, contact, key.mask)
    counted = bool(key.mask & Needs.COUNTED) and not suppressed
    if counted and not day.remains:
        return None
    if counted:
        tables.days.change((day.account_id, day.local_date), used=day.used + 1)
    leased = leased_of(row, contact, claim, day.local_date)
    flags = row.flags | FLAG_COUNTED if counted else row.flags
    where = (row.account_id, row.enrollment_id)
    tables.due.change(where, claim_id=claim.claim_id, flags=flags)
    claim.n += 1
    leased.counted = counted
    leased.suppressed = suppressed
    _complete(tables, leased, contact, key.mask)
    if key.mask & Needs.SENT:
        leased.in_hand = _in_hand(tables, leased, claim.incarnation)
    return leased


def add_facts(tables: Tables, steps: Sequence[Leased]) -> None:
    """Whatever a lease may bring of *steps* beside the contact."""
    for leased in steps:
        contact = tables.contacts[leased.account_id, leased.contact_id]
        _complete(tables, leased, contact, READS & ~Needs.SENT)


def _complete(tables: Tables, leased: Leased, contact: Contact, mask: int) -> None:
    _add_facts(tables, leased, contact, mask)
    if leased.flags & FLAG_TRIED:
        leased.kept = kept_of(tables, leased)


def kept_of(tables: Tables, leased: Leased) -> Kept:
    """What is known of the attempts before."""
    place = (leased.account_id, leased.enrollment_id)
    known = {LogState.ACCEPTED, LogState.FAILED, LogState.UNKNOWN}
    logs = [tables.step_log[key].row for key in tables.log_of.at(place)]
    rows = [row for row in logs if row.seq == leased.seq and row.state in known]
    row = max(rows, key=lambda one: one.at, default=None)
    found = (
        Kept() if row is None else Kept(since=row.at, state=row.state, reason=row.reason or "")
    )
    kept = tables.kept.get((*place, leased.seq))
    if kept is not None:
        found.provider, found.since, found.until = kept.provider, kept.since, kept.until
        found.words = copy.deepcopy(kept.message)
    return found


def leased_of(row: DueStep, contact: Contact, claim: Claim, local_date: date) -> Leased:
    """A step under *claim* with the facts that every step has."""
    return Leased(
        account_id=row.account_id,
        lane=row.lane,
        due_at=row.due_at,
        enrollment_id=row.enrollment_id,
        contact_id=row.contact_id,
        cv_id=row.cv_id,
        seq=row.seq,
        step_no=row.step_no,
        run_no=row.run_no,
        attempt=row.attempt,
        flags=row.flags & ~FLAG_COUNTED,
        claim_id=claim.claim_id,
        leased_at=claim.leased_at,
        counted=bool(row.flags & FLAG_COUNTED),
        local_date=local_date,
        email=contact.email,
        phone=contact.phone,
        timezone=contact.timezone,
        attrs=copy.deepcopy(contact.attrs),
        owner=contact.owner,
        service_owner=contact.service_owner,
        external_id=contact.external_id,
    )


def _row_of(tables: Tables, account_id: int, key: LeaseKey) -> DueStep | None:
    row = tables.due.get((account_id, key.enrollment_id))
    return row if row is not None and (row.lane, row.due_at) == key[:2] else None


def _has_stray_event(tables: Tables, account_id: int) -> bool:
    """Is there an event of which only the inbox can tell whom it concerns?"""
    return tables.events_by_subject.has((account_id, None))


def _has_event(tables: Tables, row: DueStep, contact: Contact, mask: int) -> bool:
    return any(
        tables.events[event_id].kind_bit & mask & KIND_MASK
        for subject in _subjects(row, contact)
        for event_id in tables.events_by_subject.keys((row.account_id, subject))
    )


def know_address(
    tables: Tables, account_id: int, contact_id: int, address: str, mask: int
) -> bool:
    """The address is the contact's; does an event of it wait that its step must not pass?"""
    tables.know_address(account_id, contact_id, address)
    subject = ("address", address_form(address))
    return any(
        tables.events[event_id].kind_bit & mask & KIND_MASK
        for event_id in tables.events_by_subject.keys((account_id, subject))
    )


def _subjects(row: DueStep, contact: Contact) -> Iterator[tuple[str, int | str]]:
    yield ("contact", row.contact_id)
    yield ("run", row.enrollment_id)
    for address in (contact.email, contact.phone):
        if address is not None:
            yield ("address", address_form(address))


def _suppressed(tables: Tables, contact: Contact, mask: int) -> bool:
    if mask & Needs.EMAIL:
        return tables.is_suppressed(contact.account_id, "email", contact.email)
    if mask & Needs.SMS:
        return tables.is_suppressed(contact.account_id, "sms", contact.phone)
    return False


def _add_facts(tables: Tables, leased: Leased, contact: Contact, mask: int) -> None:
    """What the versions of some steps look at beyond the contact."""
    if not mask & READS and not leased.flags & (FLAG_VARS | FLAG_ASKED):
        return
    run = tables.runs[leased.account_id, leased.enrollment_id]
    who = (leased.account_id, leased.contact_id)
    if mask & Needs.PAID and run.paid is not None:
        messages: Any = run.paid["messages"]
        leased.paid = copy.deepcopy(messages)
        leased.frozen = copy.deepcopy(run.frozen) if run.frozen else {}
    leased.started_at, leased.run_owner = run.started_at, run.owner
    leased.due_was = run.due_was if leased.flags & FLAG_PUT_OFF else None
    if leased.flags & FLAG_ASKED:
        leased.asked = _asked_of(tables, leased)
    leased.vars = copy.deepcopy(run.vars or {})
    company = tables.companies.get((leased.account_id, contact.company_id or 0))
    if mask & Needs.COMPANY and company is not None:
        leased.company = copy.deepcopy(company.attrs)
    if mask & Needs.TAGS:
        leased.tags = frozenset(key[2] for key in tables.tags_of.at(who))
    if mask & Needs.LISTS:
        lists = tables.places_of.at(who)
        leased.lists = frozenset(tables.lists[key[0], key[2]].key for key in lists)
    if mask & Needs.RECENT:
        leased.recent = _recent_of(tables, leased, run.started_at)
    if mask & Needs.SENT:
        leased.sent = _sent_to(tables, leased)
    if mask & Needs.EVENTS:
        leased.events = _events_of(tables, leased, run.started_at)


def _asked_of(tables: Tables, leased: Leased) -> Asked | None:
    """The call that this step made, else the latest task of the run up to it."""
    call_id = tables.call_of_step.get((leased.account_id, leased.enrollment_id, leased.seq))
    call = None if call_id is None else tables.calls[leased.account_id, call_id]
    if call is not None and call.awaited:
        return Asked(call.state, {"reason": call.reason}, call.created_at)
    for seq in range(leased.seq, 0, -1):
        task_id = tables.task_of_step.get((leased.account_id, leased.enrollment_id, seq))
        if task_id is not None:
            task = tables.tasks[leased.account_id, task_id]
            return Asked(task.state, copy.deepcopy(task.payload), task.created_at)
    return None


def _recent_of(tables: Tables, leased: Leased, start: Instant) -> tuple[Recent, ...]:
    """What the contact did since the step before was leased, in the order of the events."""
    logs = [
        tables.step_log[key]
        for key in tables.log_of.at((leased.account_id, leased.enrollment_id))
    ]
    since = max((log.leased_at for log in logs if log.row.state), default=start)
    steps = {
        f"{leased.enrollment_id}-{log.row.seq}": tables.versions[log.cv_id].steps[
            log.row.step_no
        ][0]
        for log in logs
    }
    return tuple(
        Recent(event.kind or "", payload, steps.get(event.delivery_id or ""))
        for event in _own_events(tables, leased, since)
        for payload in [event.payload if isinstance(event.payload, dict) else {}]
    )


def _sent_to(tables: Tables, leased: Leased) -> tuple[tuple[int, int, Instant], ...]:
    """The contact's last hundred messages, of whatever campaign, the latest first."""
    runs = tables.runs_of.at((leased.account_id, leased.contact_id))
    logs = (tables.step_log[key] for run in runs for key in tables.log_of.at(run))
    found = [
        (log.enrollment_id, log.row.seq, log.row.at)
        for log in logs
        if log.row.channel and log.row.state in {LogState.ACCEPTED, LogState.UNKNOWN}
    ]
    return tuple(sorted(found, key=lambda one: -one[2])[:SENT_MOST])


def _in_hand(tables: Tables, leased: Leased, own: int) -> int:
    """Messages to the contact that daemons other than *own* have leased."""
    theirs = {one.claim_id for one in tables.claims if one.incarnation != own}
    runs = tables.runs_of.at((leased.account_id, leased.contact_id)) if theirs else ()
    rows = [
        tables.due[run] for run in runs if run in tables.due and run[1] != leased.enrollment_id
    ]
    rows = [row for row in rows if row.claim_id in theirs]
    return sum(bool(tables.lanes[row.account_id, row.lane].key.channel) for row in rows)


def _events_of(tables: Tables, leased: Leased, since: Instant) -> frozenset[str]:
    """Kinds that the contact did since the run began, but not to another run's message."""
    return frozenset(event.kind or "" for event in _own_events(tables, leased, since))


def _own_events(tables: Tables, leased: Leased, since: Instant) -> list[EventLog]:
    logged = tables.logged_of.at((leased.account_id, leased.contact_id))
    return [
        event
        for event in map(tables.event_log.__getitem__, logged)
        if event.kind is not None
        and event.occurred_at is not None
        and event.occurred_at >= since
        and event.refused_reason is None
        and event.enrollment_id in {None, leased.enrollment_id}
    ]


def _refusal(tables: Tables, group: LeaseGroup, key: LeaseKey, now: Instant) -> Refusal:
    """Why a key was not granted, judged after the lease."""
    row = _row_of(tables, group.account_id, key)
    if row is None or row.claim_id is not None:
        return Refusal.GONE
    day = _today(tables, group, now)
    if day is None:
        return Refusal.NO_DAY
    if day.held or row.cv_id in day.paused:
        return Refusal.HELD
    contact = tables.contacts.get((row.account_id, row.contact_id))
    if _has_stray_event(tables, row.account_id) or (
        contact is not None and _has_event(tables, row, contact, key.mask)
    ):
        return Refusal.EVENT
    if key.mask & Needs.COUNTED and not day.remains:
        return Refusal.CAP
    return Refusal.LOCKED
