"""The inbox in memory: the twin of `unit_inbox`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from dripd.campaigns.enrollment import (
    CHANNEL_NO,
    CHANNEL_OF,
    FLAG_AMBIGUOUS,
    FLAG_POKED,
    FLAG_VARS,
    FLAG_WAITING,
    HELD_LANE,
    Change,
    DueKey,
    End,
    LogState,
    RunStatus,
)
from dripd.campaigns.version import (
    ALWAYS,
    COMPANY_CHANGED,
    ENTER,
    INTERNAL_KINDS,
    KIND_BITS,
)
from dripd.clock import MINUTE, Instant
from dripd.policy.heard import occurred, refusals, staying, unresolved
from dripd.policy.inbox_rows import (
    Act,
    ContactRow,
    EndRun,
    EnterLater,
    EnterSequence,
    EventRow,
    ForgetRuns,
    InboxEffect,
    Judge,
    MoveDue,
    Poke,
    Release,
    Request,
    RunRow,
    Suppress,
    TellOpened,
    changes_in,
    one_by_one,
)
from dripd.policy.rooms import MissingAccount
from dripd.policy.suppression import MAY_FORBID
from dripd.store.memory_admit import new_request
from dripd.store.memory_changes import (
    add_suppression,
    change_contact,
    forget_runs,
    release_run,
)
from dripd.store.memory_desk import stop_run
from dripd.store.memory_directory import read_accounts
from dripd.store.memory_record import WRITERS
from dripd.store.memory_reputation import judge_senders
from dripd.store.memory_rows import (
    Contact,
    EventIn,
    EventLog,
    Individual,
    Run,
)
from dripd.store.memory_tables import COMPANY_ID, DELIVERY_ID, Tables
from dripd.store.memory_task import notify
from dripd.store.protocol import Digest, Digested


def runs_to_lock(
    tables: Tables, account_id: int, ids: Sequence[int], interest: int
) -> list[int]:
    """The live runs whose rows a digest of the events *ids* would lock."""
    events = [tables.events[one] for one in ids if one in tables.events]
    contacts = {c for e in events for c in _contacts_of(tables, account_id, e, interest)}
    return [run.id for run in _live_runs(tables, account_id, contacts)]


def digest(
    tables: Tables,
    account_id: int,
    taken: Sequence[int],
    decide: Digest,
    interest: int,
    listens: str | None,
    *,
    bare: bool = False,
) -> Digested:
    """Apply what *decide* says of the events *taken* of *account_id*."""
    ids = [one for one in taken if one in tables.events]
    if not ids:
        return Digested(taken=0)
    if listens is not None and [listens] != [
        row.listens() for row in read_accounts(tables, [account_id])
    ]:
        raise MissingAccount(account_id)
    now = tables.now()
    rows = [tables.events[event_id] for event_id in ids]
    if bare:
        rows = [replace(row, payload=None) for row in rows]
    seen = _seen(tables, account_id, rows)
    events = [
        one
        for row in rows
        for one in one_by_one(
            _event(tables, row, account_id, interest, duplicate=row.id in seen)
        )
    ]
    contacts = {contact for event in events for contact in event.contact_ids}
    runs = [_run_row(tables, run) for run in _live_runs(tables, account_id, contacts)]
    runs.sort(key=lambda run: (run.lane, run.due_at, run.enrollment_id))
    effects = decide([event for event in events if not event.duplicate], runs, now)
    events = _leave(tables, account_id, events, effects)
    left = staying(effects)
    done = Digested(taken=len(events), left=left, accounts={account_id})
    _react(tables, [effect for effect in effects if isinstance(effect, Act)])
    _apply(tables, account_id, effects, runs, done)
    for effect in effects:
        if isinstance(effect, Release) and effect.enrollment_id not in done.stopped:
            _release(tables, account_id, effect, done)
        elif isinstance(effect, EnterSequence) and effect.enrollment_id not in done.stopped:
            _enter(tables, account_id, effect, done)
        elif isinstance(effect, Poke):
            _poke(tables, account_id, effect)
        elif isinstance(effect, Judge):
            done.paused += judge_senders(tables, account_id, effect.marks, effect.guard)
    _tell_again(tables, account_id, effects)
    _log(tables, events, effects)
    return done


def _tell_again(tables: Tables, account_id: int, effects: Sequence[InboxEffect]) -> None:
    """Entries that wait for the steps their runs have begun with."""
    for one in effects:
        if isinstance(one, EnterLater):
            tables.tell(account_id, ENTER, contact_id=one.contact_id, payload=one.payload())


def read_contacts(tables: Tables, account_id: int, ids: Sequence[int]) -> list[ContactRow]:
    found = (tables.contacts.get((account_id, contact)) for contact in ids)
    return [_contact_row(tables, contact) for contact in found if contact is not None]


def _contact_row(tables: Tables, contact: Contact) -> ContactRow:
    key = (contact.account_id, contact.id)
    company = tables.companies.get((contact.account_id, contact.company_id or 0))
    places = tables.places_of.at(key)
    return ContactRow(
        id=contact.id,
        external_id=contact.external_id,
        email=contact.email,
        phone=contact.phone,
        timezone=contact.timezone,
        owner=contact.owner,
        service_owner=contact.service_owner,
        attrs=copy.deepcopy(contact.attrs),
        company={} if company is None else copy.deepcopy(company.attrs),
        tags=frozenset(tag for _, _, tag in tables.tags_of.at(key)),
        lists=frozenset(tables.lists[place[0], place[2]].key for place in places),
    )


def _react(tables: Tables, acts: Sequence[Act]) -> None:
    for act in acts:
        leased = act.leased
        if act.once is not None:
            once = (leased.account_id, act.campaign_id, leased.contact_id, act.once)
            if once in tables.reactions:
                continue
            tables.reactions.add(once, True)
        for effect in act.effects:
            WRITERS[type(effect)](tables, Change(leased=leased, log=[]), effect)


def take(
    tables: Tables, account_id: int, n: int, after: tuple[int, int]
) -> tuple[list[int], tuple[int, int]]:
    """Up to *n* events behind *after*: those that stop runs, else the others; up to where.

    Account 0 stands for rows that name none.
    """
    stop, other = after
    stops = tables.stops_by_account.at(account_id)
    if ids := list(islice((one for (one,) in stops if one > stop), n)):
        return ids, (ids[-1], other)
    others = (
        one
        for (one,) in tables.events_by_account.at(account_id or None)
        if one > other and not (account_id and tables.events[one].kind_bit & ALWAYS)
    )
    ids = list(islice(others, n))
    return ids, (stop, ids[-1] if ids else other)


def pending(tables: Tables, account_id: int, n: int) -> list[int]:
    """What stands in an account's queue, stops first."""
    ids = [entry[0] for entry in tables.events_by_account.at(account_id or None)]
    return sorted(ids, key=lambda one: (not tables.events[one].kind_bit & ALWAYS, one))[:n]


def _seen(tables: Tables, account_id: int, rows: Sequence[EventIn]) -> set[int]:
    """Events whose dedup_key came before, here or earlier in this batch."""
    seen = set()
    for row in rows:
        if not row.dedup_key or not account_id:  # an empty key is none
            continue
        key = (account_id, row.dedup_key)
        if key in tables.seen_events:
            seen.add(row.id)
        else:
            tables.seen_events.add(key, True)
    return seen


def _event(
    tables: Tables, row: EventIn, account_id: int, interest: int, *, duplicate: bool
) -> EventRow:
    payload = copy.deepcopy(row.payload) if isinstance(row.payload, dict) else {}
    list_key = _list_key(tables, row, account_id)
    if list_key is not None:
        payload["list"] = list_key
    contacts = tuple(_contacts_of(tables, account_id, row, interest))
    sent = _sent(tables, row, account_id)
    now = tables.now()
    return EventRow(
        id=row.id,
        account_id=account_id,
        kind=row.kind or "",
        contact_ids=contacts,
        enrollment_id=_enrollment_of(row),
        step_key=sent.step_key,
        campaign_id=sent.campaign_id,
        cv_id=sent.cv_id,
        named=row.contact_id,
        delivery_id=row.delivery_id,
        dedup_key=row.dedup_key,
        conversation_ref=row.conversation_ref,
        address=row.address or sent.to_address,
        channel=CHANNEL_OF[sent.channel] or None,
        occurred_at=occurred(row.occurred_at, now),
        payload=payload,
        newcomer=_newcomer(tables, row, interest, now),
        own=_own(tables, row),
        asked=_asked(tables, row, account_id, interest, contacts),
        duplicate=duplicate,
        unresolved=unresolved(
            row.kind,
            contacts,
            is_internal=row.internal,
            is_wanted=bool(row.kind_bit & interest),
            has_account=row.account_id is not None and row.account_id in tables.accounts,
        ),
    )


def _asked(
    tables: Tables, row: EventIn, account_id: int, interest: int, contacts: Sequence[int]
) -> list[int]:
    """The live versions of what its contacts were to be enrolled into before it, undecided."""
    if not row.kind_bit & interest:
        return []
    ids = {*(tables.asked_in.at(row.conversation_ref) if row.conversation_ref else ())}
    for contact_id in contacts:
        ids.update(tables.asked_of.at(contact_id))
        contact = tables.contacts.get((account_id, contact_id))
        if contact is not None and contact.external_id is not None:
            ids.update(tables.asked_of.at(contact.external_id))
    found = []
    for request in (tables.requests[one] for one in sorted(ids)):
        account = tables.account_of(request.account_id, request.account_key)
        if account is None or account.id != account_id or request.queued_for is not None:
            continue
        is_by_event = (request.source or "").startswith("trigger:")
        if (
            not is_by_event
            and row.occurred_at is not None
            and request.inserted_at > row.occurred_at
        ):
            continue
        campaign = tables.campaign_of(account_id, request.campaign_key)
        if campaign is not None and campaign.live_cv_id is not None:
            found.append(campaign.live_cv_id)
    return found


def _newcomer(tables: Tables, row: EventIn, interest: int, now: Instant) -> bool:
    if row.kind != "list_added" or not interest & KIND_BITS["contact_created"]:
        return False
    contact = tables.contacts.get((row.account_id or 0, row.contact_id or 0))
    return contact is not None and contact.created_at > now - MINUTE


def _own(tables: Tables, row: EventIn) -> Sequence[str | None]:
    """The contact's address and number, where an event that forbids names neither those nor a
    delivery."""
    if row.kind not in MAY_FORBID or row.address is not None or row.delivery_id is not None:
        return ()
    contact = tables.contacts.get((row.account_id or 0, row.contact_id or 0))
    return () if contact is None else (contact.email, contact.phone)


BIG: Final = 1e18
"""No list has such a number; JSON may say one, and even one without end."""


def _list_key(tables: Tables, row: EventIn, account_id: int) -> str | None:
    if row.kind not in {"list_added", "list_removed"} or not isinstance(row.payload, dict):
        return None
    number = row.payload.get("list_id")
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < BIG:
        return None
    found = tables.lists.get((account_id, round(number)))
    return found.key if found is not None else None


def _enrollment_of(row: EventIn) -> int | None:
    """The run that the event names by a delivery."""
    found = DELIVERY_ID.match(row.delivery_id or "")
    return int(found[1]) if found else None


def _contacts_of(tables: Tables, account_id: int, row: EventIn, interest: int) -> Iterable[int]:
    """Whom the event concerns: by id, else delivery, else conversation, else address."""
    wanted = row.kind_bit & interest or row.kind in INTERNAL_KINDS
    if not wanted or not account_id:
        return []
    if row.contact_id is not None:
        return [row.contact_id] if (account_id, row.contact_id) in tables.contacts else []
    individual = _individual_of(tables, row, account_id)
    if individual is not None:
        return [individual.contact_id]
    if row.delivery_id is not None:
        run = tables.runs.get((account_id, _enrollment_of(row) or 0))
        return [run.contact_id] if run is not None else []
    if row.conversation_ref is not None:
        keys = tables.run_conversation.at((account_id, row.conversation_ref))
        return sorted({tables.runs[key].contact_id for key in keys})
    if row.kind == COMPANY_CHANGED:
        return _staff_of(tables, account_id, row.address or "")
    return tables.contacts_at(account_id, row.address or "")


def _staff_of(tables: Tables, account_id: int, number: str) -> list[int]:
    """The contacts of a company of whom a run is held, waits or is judged."""
    if not COMPANY_ID.match(number):
        return []
    staff = tables.company_staff.at((account_id, int(number)))
    return sorted(who for _, who in staff if _stands(tables, account_id, who))


def _stands(tables: Tables, account_id: int, contact_id: int) -> bool:
    for key in tables.runs_of.at((account_id, contact_id)):
        row = tables.due.get(key)
        if row is not None and (row.flags & FLAG_WAITING or row.claim_id is not None):
            return True
        if row is not None and tables.runs[key].hold_reason is not None:
            return True
    return False


def _individual_of(tables: Tables, row: EventIn, account_id: int) -> Individual | None:
    """The individual message that the event names; none that went to the house."""
    number = (row.delivery_id or "").removeprefix("i-")
    if number == row.delivery_id or not number.isdecimal():
        return None
    found = tables.individuals.get((account_id, int(number)))
    return None if found is None or found.notice else found


class _Sent(NamedTuple):
    """What the delivery was that an event names."""

    step_key: str | None = None
    campaign_id: int | None = None
    cv_id: int | None = None
    channel: int = 0
    to_address: str | None = None


def _sent(tables: Tables, row: EventIn, account_id: int) -> _Sent:
    individual = _individual_of(tables, row, account_id)
    if individual is not None:
        return _Sent(channel=CHANNEL_NO[individual.channel], to_address=individual.to_address)
    enrollment_id = _enrollment_of(row)
    if enrollment_id is None or row.delivery_id is None:
        return _Sent()
    seq = row.delivery_id.split("-")[1]
    keys = tables.log_of.at((account_id, enrollment_id))
    logged = [log for log in map(tables.step_log.__getitem__, keys) if str(log.row.seq) == seq]
    if not logged:
        return _Sent()
    last = max(logged, key=lambda log: log.row.at)
    version = tables.versions[last.cv_id]
    step_key = version.steps[last.row.step_no][0]
    return _Sent(
        step_key, version.campaign_id, last.cv_id, last.row.channel, last.row.to_address
    )


def _live_runs(tables: Tables, account_id: int, contacts: Iterable[int]) -> list[Run]:
    return [
        tables.runs[key]
        for contact_id in sorted(contacts)
        for key in tables.runs_of.at((account_id, contact_id))
        if tables.runs[key].status is RunStatus.LIVE and key in tables.due
    ]


def _run_row(tables: Tables, run: Run) -> RunRow:
    step = tables.due[run.account_id, run.id]
    contact = tables.contacts.get((run.account_id, run.contact_id))
    return RunRow(
        account_id=run.account_id,
        enrollment_id=run.id,
        contact_id=run.contact_id,
        campaign_id=run.campaign_id,
        cv_id=run.cv_id,
        run_no=run.run_no,
        step_no=step.step_no,
        seq=step.seq,
        lane=step.lane,
        due_at=step.due_at,
        started_at=run.started_at,
        leased=step.claim_id is not None,
        hold_reason=run.hold_reason,
        flags=step.flags,
        attempt=step.attempt,
        entered=run.entered or 0,
        conversation_ref=run.conversation_ref,
        timezone=contact.timezone if contact is not None else None,
        soft_bounces=_soft_bounces(tables, run),
        parked=any((run.account_id, lane) in tables.parks for lane in (step.lane, -1)),
    )


def _soft_bounces(tables: Tables, run: Run) -> int:
    logged = tables.logged_of.at((run.account_id, run.contact_id))
    return sum(
        _is_soft(event, run.started_at) for event in map(tables.event_log.__getitem__, logged)
    )


def _is_soft(event: EventLog, since: Instant) -> bool:
    return (
        event.kind == "bounce"
        and isinstance(event.payload, dict)
        and event.payload.get("type") == "soft"
        and event.occurred_at is not None
        and event.occurred_at >= since
        and event.refused_reason is None
    )


def _apply(
    tables: Tables,
    account_id: int,
    effects: Sequence[InboxEffect],
    runs: Sequence[RunRow],
    done: Digested,
) -> None:
    """Changes in one order: ends, resets, suppressions, then new requests."""
    ends = [effect for effect in effects if isinstance(effect, EndRun)]
    for end in ends:
        _end(tables, account_id, end, done)
    done.stopped = [end.enrollment_id for end in ends]
    moves = {effect.enrollment_id: effect for effect in effects if isinstance(effect, MoveDue)}
    before = {run.enrollment_id: run for run in runs}
    for move in moves.values():
        _move(tables, before.get(move.enrollment_id), move, done)
    for effect in effects:
        if isinstance(effect, TellOpened):
            _tell_opened(tables, account_id, effect)
    for effect in effects:
        if isinstance(effect, ForgetRuns):
            campaign = tables.campaign_of(account_id, effect.campaign_key)
            if campaign is not None:
                forget_runs(tables, account_id, effect.contact_id, campaign.id)
    for effect in effects:
        if isinstance(effect, Suppress):
            add_suppression(
                tables, account_id, effect.channel, effect.address, reason=effect.reason
            )
    for effect in effects:
        if isinstance(effect, Request):
            made = new_request(
                tables, account_id, effect.campaign_key, effect.contact_id, effect.source
            )
            tables.requests.change(made.id, entry=effect.entry or None)
            done.requested += 1


def _end(tables: Tables, account_id: int, end: EndRun, done: Digested) -> None:
    key = (account_id, end.enrollment_id)
    if not stop_run(tables, key, End(end.status, end.reason)):
        return
    if end.set:
        change_contact(tables, account_id, end.contact_id, end.set, {})
    if end.notify is not None:
        recipient, campaign = end.notify
        payload: dict[str, object] = {"campaign": campaign, "reason": end.reason}
        notify(tables, account_id, "ended", recipient, end.enrollment_id, payload)
    if end.since is not None:
        done.regret += _regret(tables, account_id, end, end.since)


def _regret(tables: Tables, account_id: int, end: EndRun, since: Instant) -> int:
    """How many messages of the run left since what ends it happened; the journal is told."""
    keys = tables.log_of.at((account_id, end.enrollment_id))
    rows = [tables.step_log[key].row for key in keys]
    sent = {
        row.seq
        for row in rows
        if row.sent_at is not None
        and row.sent_at > since
        and row.channel
        and row.state in {LogState.ACCEPTED, LogState.UNKNOWN}
    }
    if sent:
        detail: dict[str, object] = {
            "event_id": end.event_id,
            "reason": end.reason,
            "sent": len(sent),
            "late_ms": tables.now() - since,
        }
        tables.write_journal(account_id, end.enrollment_id, end.contact_id, "regret", detail)
    return len(sent)


def _move(tables: Tables, before: RunRow | None, move: MoveDue, done: Digested) -> None:
    """Reset on interaction: only while it waits."""
    if before is None:
        return
    key = (before.account_id, move.enrollment_id)
    row = tables.due.get(key)
    if row is None or row.claim_id is not None or row.lane < 0:
        return
    detail: dict[str, object] = {
        "old_due_ms": row.due_at,
        "new_due_ms": move.due_at,
        "event_id": move.event_id,
    }
    tables.due.change(key, due_at=move.due_at)
    done.moved.append(
        DueKey(row.account_id, row.lane, row.due_at, row.enrollment_id, row.cv_id)
    )
    tables.write_journal(
        row.account_id, row.enrollment_id, row.contact_id, "delay_reset", detail
    )


def _release(tables: Tables, account_id: int, release: Release, done: Digested) -> None:
    """A run whose hold was put right, or whose answer came, comes up at once in its lane: the
    one as late as it is, the other due now."""
    key = (account_id, release.enrollment_id)
    number = tables.lane_of(account_id, release.lane)
    row = tables.due.get(key)
    if row is None or row.claim_id is not None:
        return
    if row.lane != HELD_LANE and not row.flags & FLAG_WAITING:
        return
    now = tables.now()
    due_at = now if row.flags & FLAG_WAITING else min(row.due_at, now)
    tables.due.change(key, lane=number, due_at=due_at)
    release_run(tables, key, row.seq)
    done.moved.append(DueKey(account_id, number, row.due_at, row.enrollment_id, row.cv_id))


def _leave(
    tables: Tables, account_id: int, events: list[EventRow], effects: Sequence[InboxEffect]
) -> list[EventRow]:
    """Those of *events* that are processed now; the others stay, as if not seen yet."""
    later = set(staying(effects))
    for event_id in later:
        key = (account_id, tables.events[event_id].dedup_key or "")
        if key in tables.seen_events:
            tables.seen_events.drop(key)
    return [event for event in events if event.id not in later]


def _enter(tables: Tables, account_id: int, entry: EnterSequence, done: Digested) -> None:
    """A run that an event moves into a sequence stands before the first step there."""
    key = (account_id, entry.enrollment_id)
    lane = tables.lane_of(account_id, entry.lane)
    row = tables.due.get(key)
    if row is not None and row.claim_id is None:
        tables.due.change(
            key,
            step_no=entry.step_no,
            due_at=entry.due_at,
            lane=lane,
            attempt=0,
            flags=row.flags & FLAG_VARS,
            seq=row.seq + bool(row.flags & FLAG_AMBIGUOUS),
        )
        done.moved.append(DueKey(account_id, lane, entry.due_at, row.enrollment_id, row.cv_id))
        detail: dict[str, object] = {"step_no": entry.step_no}
        tables.write_journal(account_id, row.enrollment_id, row.contact_id, "entered", detail)
    tables.runs.change(key, entered=entry.entered, hold_reason=None, release_at=None)


def _tell_opened(tables: Tables, account_id: int, opened: TellOpened) -> None:
    """Once for a delivery."""
    for row in tables.notifications:
        same = row.payload.get("delivery_id") == opened.delivery_id and row.kind == "opened"
        if row.account_id == account_id and same:
            return
    run = tables.runs.get((account_id, opened.enrollment_id))
    contact = tables.contacts.get((account_id, run.contact_id)) if run is not None else None
    if contact is not None:
        person = str(contact.attrs.get(opened.field) or opened.owner)
        payload: dict[str, object] = {"delivery_id": opened.delivery_id}
        notify(tables, account_id, "opened", person, opened.enrollment_id, payload)


def _poke(tables: Tables, account_id: int, poke: Poke) -> None:
    """What a step waits for came while it is leased: record will let it be judged again."""
    key = (account_id, poke.enrollment_id)
    row = tables.due.get(key)
    if row is not None and row.claim_id is not None:
        tables.due.change(key, flags=row.flags | FLAG_POKED)


def _log(tables: Tables, events: Sequence[EventRow], effects: Sequence[InboxEffect]) -> None:
    """Processed events leave the queue in the unit that applies them."""
    refused = refusals(events, effects)
    for event in {event.id: event for event in events}.values():
        row = tables.events.drop(event.id)
        line = _line(tables, row, refused.get(event.id))
        line.contact_id, line.enrollment_id = _named(tables, event, row), event.enrollment_id
        for n, payload in enumerate(changes_in(row.kind, row.payload) or [row.payload]):
            tables.event_log.add((row.id, n), replace(line, payload=payload))


def _line(tables: Tables, row: EventIn, refused_reason: str | None) -> EventLog:
    """An event as it is logged, of whom it names itself."""
    return EventLog(
        id=row.id,
        account_id=row.account_id,
        contact_id=row.contact_id,
        enrollment_id=None,
        kind=row.kind,
        delivery_id=row.delivery_id,
        conversation_ref=row.conversation_ref,
        address=row.address,
        dedup_key=row.dedup_key,
        occurred_at=occurred(row.occurred_at, tables.now()),
        payload=row.payload,
        processed_at=tables.now(),
        refused_reason=refused_reason,
    )


def refuse(tables: Tables, ids: Sequence[int], reason: str) -> list[int]:
    """Events are logged, and have no effect; never those that stop runs."""
    there = [tables.events[one] for one in ids if one in tables.events]
    rows = [row for row in there if not row.kind_bit & ALWAYS]
    for row in rows:
        tables.events.drop(row.id)
        tables.event_log.add((row.id, 0), _line(tables, row, reason))
    return [row.id for row in rows]


def _named(tables: Tables, event: EventRow, row: EventIn) -> int | None:
    """Whom the event names, also where nothing listened and nobody was looked up."""
    if event.contact_ids:
        return event.contact_ids[0]
    if row.contact_id is not None:
        return row.contact_id
    run = tables.runs.get((event.account_id, event.enrollment_id or 0))
    return run.contact_id if run is not None else None
