"""Recording in memory: the twin of `unit_record`, in the same order."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby
from typing import Any

from dripd.billing.meter import actions, period
from dripd.campaigns.action import (
    AddTag,
    AddToList,
    CallOut,
    CancelTask,
    CountNotice,
    MakeTask,
    MoveTo,
    Note,
    RemoveFromList,
    RemoveTag,
    ResetRuns,
    UpdateCompany,
    UpdateContact,
    WatchReply,
)
from dripd.campaigns.enrollment import (
    CHANNEL_NO,
    FLAG_AMBIGUOUS,
    FLAG_ERASED,
    FLAG_HELD,
    FLAG_POKED,
    FLAG_VARS,
    FLAG_WAITING,
    HELD_LANE,
    Change,
    DueKey,
    Leased,
    LogRow,
    LogState,
    Next,
    RunStatus,
)
from dripd.campaigns.version import RESET
from dripd.store.memory_admit import decide_requests, new_request
from dripd.store.memory_changes import (
    add_place,
    add_tag,
    change_company,
    change_contact,
    close_task,
    end_run,
    forget_runs,
    make_list,
    release_run,
    remove_place,
    remove_tag,
)
from dripd.store.memory_money import (
    count_actions,
    drop_held,
    refund_unsent,
    step_key,
    write,
)
from dripd.store.memory_outbox import call_out
from dripd.store.memory_rows import (
    Beginning,
    Campaign,
    Evidence,
    JournalLine,
    KeptMessage,
    ReplyWatch,
    StepLog,
)
from dripd.store.memory_tables import Tables
from dripd.store.memory_task import make_task, notify
from dripd.store.protocol import FIRST, Decide, FirstSteps, Recorded
from dripd.store.unit_admit import Losers


@dataclass(slots=True)
class _Unit:
    tables: Tables
    losers: Losers
    decide: Decide
    done: Recorded


def record(
    tables: Tables,
    losers: Losers,
    changes: Sequence[Change],
    decide: Decide,
    closed: Sequence[int],
) -> Recorded:
    """Write *changes*; *closed* are claims that have no step left after them."""
    unit = _Unit(tables, losers, decide, Recorded(moved=[]))
    applied: list[Change] = []
    late: list[Change] = []
    for change in sorted(changes, key=Change.lock_order):
        (applied if _settle(unit, change) else late).append(change)
    stopped = set(unit.done.stopped)
    for change in applied:
        for row in change.log:
            _log(tables, change, row, stopped=change.leased.enrollment_id in stopped)
        _keep(tables, change, stopped=change.leased.enrollment_id in stopped)
    for change in applied:
        if change.end is not None or change.leased.enrollment_id in stopped:
            refund_unsent(tables, change.leased.account_id, change.leased.enrollment_id)
    for change in applied:
        if change.metered:
            _count(tables, change, stopped=change.leased.enrollment_id in stopped)
        if change.money_back:
            _pay_back(tables, change, change.money_back)
    _refund(unit, applied)
    _effects(unit, [c for c in applied if c.leased.enrollment_id not in stopped])
    for change in late:
        _keep_evidence(tables, change)
        unit.done.late.append(change.leased.enrollment_id)
    for claim_id in closed:
        if claim_id in tables.claims:
            tables.claims.drop(claim_id)
    return unit.done


def _settle(unit: _Unit, change: Change) -> bool:
    """Move or end the row under its claim. False: the claim was lost."""
    leased, tables = change.leased, unit.tables
    key = (leased.account_id, leased.enrollment_id)
    row = tables.due.get(key)
    if row is None or (row.lane, row.due_at) != (leased.lane, leased.due_at):
        return False
    if row.claim_id != leased.claim_id:
        return False
    if row.flags & FLAG_ERASED:
        change.forget()
    if row.attempt < 0:
        tables.due.drop(key)
        unit.done.stopped.append(leased.enrollment_id)
    elif change.next is not None:
        _move(unit, change, change.next)
    else:
        tables.due.drop(key)
        if change.end is not None:
            end_run(tables, leased.account_id, leased.enrollment_id, change.end)
    return True


def _move(unit: _Unit, change: Change, step: Next) -> None:
    leased, tables = change.leased, unit.tables
    key = (leased.account_id, leased.enrollment_id)
    lane = HELD_LANE
    if step.lane is not None:
        lane = tables.lane_of(leased.account_id, step.lane)
    flags, is_same = tables.due[key].flags, step.step_no == leased.step_no
    poked = flags & FLAG_POKED if is_same or step.lane is None else 0
    tables.due.change(
        key,
        due_at=step.due_at,
        lane=lane,
        step_no=step.step_no,
        seq=step.seq,
        attempt=step.attempt,
        flags=step.flags | (leased.flags & FLAG_VARS) | poked | flags & FLAG_ERASED,
        claim_id=None,
    )
    if step.lane is not None:
        unit.done.moved.append(
            DueKey(leased.account_id, lane, step.due_at, leased.enrollment_id, leased.cv_id)
        )
    is_told = step.hold_reason is not None or leased.flags & FLAG_HELD
    if (is_told or step.due_was is not None) and tables.runs[key].status is RunStatus.LIVE:
        reason = step.hold_reason
        is_new = reason is not None and reason != tables.runs[key].hold_reason
        if is_new and not step.flags & FLAG_HELD:
            told = (*key, leased.contact_id)
            tables.write_journal(*told, "held", {"reason": reason, "seq": step.seq})
        was = tables.runs[key].due_was if step.due_was is None else step.due_was
        tables.runs.change(key, hold_reason=reason, release_at=step.release_at, due_was=was)
    elif leased.flags & FLAG_WAITING:
        release_run(tables, key, leased.seq)
    if poked and (step.is_mendable or (is_same and step.flags & FLAG_WAITING)):
        _wake(unit, change, leased.lane)


def _wake(unit: _Unit, change: Change, lane: int) -> None:
    """What the step waits for came while it was leased: it is judged again at once."""
    leased, tables = change.leased, unit.tables
    key = (leased.account_id, leased.enrollment_id)
    row = tables.due[key]
    now = tables.now()
    due = now if row.flags & FLAG_WAITING else min(row.due_at, now)
    tables.due.change(key, due_at=due, lane=lane, flags=row.flags & ~FLAG_POKED)
    release_run(tables, key, row.seq)
    unit.done.moved.append(
        DueKey(leased.account_id, lane, due, leased.enrollment_id, leased.cv_id)
    )


def _log(tables: Tables, change: Change, row: LogRow, *, stopped: bool) -> None:
    leased, row = change.leased, replace(row)
    if leased.flags & FLAG_AMBIGUOUS and row.seq == leased.seq:
        _settle_log(tables, leased, row)
        return
    if stopped and row.state is LogState.AGAIN:  # it will not be tried again
        row.state = LogState.CANCELLED
    tables.step_log.add(
        tables.next_id(),
        StepLog(
            account_id=leased.account_id,
            enrollment_id=leased.enrollment_id,
            claim_id=leased.claim_id,
            leased_at=leased.leased_at,
            cv_id=leased.cv_id,
            run_no=leased.run_no,
            row=row,
        ),
    )


def _settle_log(tables: Tables, leased: Leased, row: LogRow) -> None:
    """A later attempt at a message in doubt: accepted, or as unknown as before."""
    for number in tables.log_of.at((leased.account_id, leased.enrollment_id)):
        before = tables.step_log[number].row
        if before.seq != leased.seq or before.state is not LogState.UNKNOWN:
            continue
        after = replace(
            before,
            attempt=max(before.attempt, row.attempt),
            provider_id=row.provider_id or before.provider_id,
            reason=row.reason or before.reason,
        )
        if row.state is LogState.ACCEPTED:
            after.state, after.reason = LogState.ACCEPTED, None
        tables.step_log.change(number, row=after)


def _keep(tables: Tables, change: Change, *, stopped: bool) -> None:
    """What the next attempts at a message need; what is settled needs nothing."""
    leased, keep = change.leased, change.keep
    place = (leased.account_id, leased.enrollment_id, leased.seq)
    if (keep is not None or change.is_past) and place in tables.kept:
        tables.kept.drop(place)
    if keep is None or keep.until is None:
        return
    tables.kept.add(
        place,
        KeptMessage(
            account_id=leased.account_id,
            enrollment_id=leased.enrollment_id,
            seq=leased.seq,
            contact_id=leased.contact_id,
            provider=keep.provider,
            since=keep.since,
            until=keep.until,
            message=None if stopped else copy.deepcopy(keep.words),
        ),
    )


def _count(tables: Tables, change: Change, *, stopped: bool) -> None:
    """Automation actions that the change comes to; one of a quota is held no longer."""
    leased = change.leased
    n = actions(change.log, None if stopped else change.end)
    if n:
        count_actions(tables, leased.account_id, period(leased.local_date), n)
    if leased.tolled:
        drop_held(tables, leased.account_id, leased.enrollment_id)


def _pay_back(tables: Tables, change: Change, amount: Decimal) -> None:
    """The message came out shorter than it was charged."""
    leased = change.leased
    key = step_key(tables, leased.cv_id, change.log[-1].step_no)
    write(
        tables, leased.account_id, "refund", amount, enrollment_id=leased.enrollment_id,
        step_key=key,
    )  # fmt: skip


def _refund(unit: _Unit, changes: list[Change]) -> None:
    """Give back on the day of the lease, never below nothing; capped lanes open again."""
    tables = unit.tables
    back = Counter(
        (change.leased.account_id, change.leased.local_date)
        for change in changes
        if change.refund and change.leased.counted
    )
    for key, n in back.items():
        day = tables.days.get(key)
        if day is not None:
            tables.days.change(key, used=max(day.used - n, 0))
    unit.done.refunded = {account_id for account_id, _ in back}
    for park in list(tables.parks):
        if park.reason == "cap" and park.account_id in unit.done.refunded:
            tables.parks.drop((park.account_id, park.lane))


def _keep_evidence(tables: Tables, change: Change) -> None:
    leased = change.leased
    contact = tables.contacts.get((leased.account_id, leased.contact_id))
    if contact is not None and contact.erased_at is not None:
        change.forget()
    for row in change.log:
        if row.channel in (CHANNEL_NO["email"], CHANNEL_NO["sms"]):
            tables.evidence.add(
                tables.next_id(),
                Evidence(
                    at=tables.now(),
                    account_id=leased.account_id,
                    enrollment_id=leased.enrollment_id,
                    claim_id=leased.claim_id,
                    seq=row.seq,
                    state=int(row.state),
                    provider_id=row.provider_id,
                    reason=row.reason,
                ),
            )


def _effects(unit: _Unit, changes: list[Change]) -> None:
    """In waves, as Postgres writes them: each contact's own in their order."""
    waves = [
        (change, [list(run) for _, run in groupby(change.effects, type)])
        for change in changes
        if change.effects
    ]
    for level in range(max((len(runs) for _, runs in waves), default=0)):
        moves: list[tuple[Change, MoveTo]] = []
        for change, runs in waves:
            for effect in runs[level] if level < len(runs) else ():
                if isinstance(effect, MoveTo):
                    moves.append((change, effect))
                else:
                    WRITERS[type(effect)](unit.tables, change, effect)
        if moves:
            _move_to(unit, moves)
    unit.done.told |= {change.leased.account_id for change, _ in waves}
    unit.done.called = any(
        isinstance(effect, CallOut) for change, _ in waves for effect in change.effects
    )


def _who(change: Change) -> tuple[int, int]:
    return (change.leased.account_id, change.leased.contact_id)


def _add_tag(tables: Tables, change: Change, effect: AddTag) -> None:
    add_tag(tables, *_who(change), effect.tag)


def _remove_tag(tables: Tables, change: Change, effect: RemoveTag) -> None:
    remove_tag(tables, *_who(change), effect.tag)


def _add_to_list(tables: Tables, change: Change, effect: AddToList) -> None:
    account_id, contact_id = _who(change)
    found = tables.list_of(account_id, effect.list_key)
    if found is not None:
        add_place(tables, account_id, contact_id, found.id)
    elif effect.create:
        add_place(
            tables, account_id, contact_id, make_list(tables, account_id, effect.list_key)
        )
    else:
        run = change.leased.run_id
        told: dict[str, object] = {"reason": "no_list", "list": effect.list_key}
        tables.write_journal(account_id, run, contact_id, "noop", told)


def _remove_from_list(tables: Tables, change: Change, effect: RemoveFromList) -> None:
    account_id, contact_id = _who(change)
    found = tables.list_of(account_id, effect.list_key)
    if found is not None:
        remove_place(tables, account_id, contact_id, found.id)


def _update_contact(tables: Tables, change: Change, effect: UpdateContact) -> None:
    change_contact(tables, *_who(change), effect.attrs, effect.columns)


def _update_company(tables: Tables, change: Change, effect: UpdateCompany) -> None:
    account_id, contact_id = _who(change)
    contact = tables.contacts.get((account_id, contact_id))
    if contact is not None and contact.company_id is not None:
        change_company(tables, account_id, contact.company_id, effect.attrs)


def _cancel_task(tables: Tables, change: Change, effect: CancelTask) -> None:
    leased = change.leased
    task_id = tables.task_of_step.get((leased.account_id, leased.enrollment_id, effect.seq))
    if task_id is not None:
        close_task(tables, leased.account_id, task_id, "cancelled")


def _write_note(tables: Tables, change: Change, effect: Note) -> None:
    leased = change.leased
    detail = copy.deepcopy(dict(effect.detail))
    tables.write_journal(
        leased.account_id, leased.run_id, leased.contact_id, effect.kind, detail
    )


def _reset_runs(tables: Tables, change: Change, effect: ResetRuns) -> None:
    """A run's own campaign at once; another one's runs end by the inbox."""
    account_id, contact_id = _who(change)
    if not effect.own:
        payload = {"campaign": effect.campaign_key}
        tables.tell(account_id, RESET, contact_id=contact_id, payload=payload)
        return
    own = tables.runs[account_id, change.leased.enrollment_id]
    forget_runs(tables, account_id, contact_id, own.campaign_id)
    tables.runs.change(
        (account_id, own.id),
        reset_at=tables.now(),
        entered=None,
        reentry=2 if own.reentry is not None and own.status is RunStatus.LIVE else None,
    )


def _count_notice(tables: Tables, change: Change, effect: CountNotice) -> None:
    day = tables.days.get((change.leased.account_id, change.leased.local_date))
    if day is not None:
        key = (day.account_id, day.local_date)
        tables.days.change(key, individual=day.individual + 1)


def _watch_reply(tables: Tables, change: Change, effect: WatchReply) -> None:
    leased = change.leased
    key = (leased.account_id, leased.enrollment_id, effect.seq)
    if key not in tables.watches:
        row = ReplyWatch(
            account_id=leased.account_id,
            enrollment_id=leased.enrollment_id,
            seq=effect.seq,
            contact_id=leased.contact_id,
            step_key=effect.step_key,
            recipient=effect.recipient,
            since=tables.now(),
            due_at=effect.due_at,
        )
        tables.watches.add(key, row)


WRITERS: dict[type, Callable[[Tables, Change, Any], None]] = {
    AddTag: _add_tag,
    RemoveTag: _remove_tag,
    AddToList: _add_to_list,
    RemoveFromList: _remove_from_list,
    UpdateContact: _update_contact,
    UpdateCompany: _update_company,
    MakeTask: make_task,
    CancelTask: _cancel_task,
    ResetRuns: _reset_runs,
    CountNotice: _count_notice,
    WatchReply: _watch_reply,
    CallOut: call_out,
    Note: _write_note,
}


def _move_to(unit: _Unit, moves: list[tuple[Change, MoveTo]]) -> None:
    """Begin the runs that moves lead to, decided like any request, in this unit."""
    ids: dict[int, Change] = {}
    for change, effect in moves:
        if change.end is None or change.end.status is not RunStatus.REMOVED:
            continue
        account_id, contact_id = _who(change)
        request = new_request(
            unit.tables, account_id, effect.campaign_key, contact_id, change.end.reason
        )
        run = unit.tables.runs[account_id, change.leased.enrollment_id]
        unit.tables.requests.change(
            request.id, conversation_ref=run.conversation_ref, vars=run.vars
        )
        ids[request.id] = change
    admitted = decide_requests(unit.tables, unit.losers, list(ids), unit.decide)
    unit.done.started += admitted.started
    for asked, change in ids.items():
        request = unit.tables.requests[asked]
        if request.status == "rejected":
            _refuse_move(unit.tables, change, f"unable:{request.reject_reason}")


def _refuse_move(tables: Tables, change: Change, why: str) -> None:
    """The run did not move: step and run end by why."""
    key = (change.leased.account_id, change.leased.enrollment_id)
    for number in tables.log_of.at(key):
        row = tables.step_log[number].row
        if row.seq == change.log[-1].seq and row.state is LogState.DONE:
            failed = replace(row, state=LogState.FAILED, reason=why)
            tables.step_log.change(number, row=failed)
    tables.runs.change(key, end_reason=why)
    refund_unsent(tables, *key)


def count_first(tables: Tables, rows: Sequence[FirstSteps]) -> list[FirstSteps]:
    """Add to the first steps of versions; how many there are of each by now."""
    found = []
    for row in rows:
        before = tables.beginnings.get(row.cv_id) or tables.beginnings.add(
            row.cv_id, Beginning()
        )
        failed = before.failed + (row.failed if before.done < FIRST else 0)
        total = row._replace(done=before.done + row.done, failed=failed)
        tables.beginnings.change(row.cv_id, done=total.done, failed=total.failed)
        found.append(total)
    return found


def pause_failing(tables: Tables, first: FirstSteps) -> bool:
    """Pause the campaign of which this is the live version, unless it does not run."""
    for campaign in tables.campaigns:
        is_live = (campaign.account_id, campaign.live_cv_id) == first[:2]
        if is_live and campaign.status in {"active", "draining"}:
            tables.beginnings.drop(first.cv_id)
            tables.campaigns.change((campaign.account_id, campaign.id), status="paused")
            tables.nudge(campaign.account_id)
            tables.refresh_gates([campaign.account_id])
            _tell_of_pause(tables, campaign, first)
            return True
    return False


def _tell_of_pause(tables: Tables, campaign: Campaign, first: FirstSteps) -> None:
    detail: dict[str, object] = {"campaign": campaign.key, "status": "paused"}
    detail |= {"failed": first.failed, "of": first.done}
    notify(tables, campaign.account_id, "paused", campaign.owner or "", None, detail)
    line = JournalLine(at=tables.now(), account_id=campaign.account_id, enrollment_id=None,
                       contact_id=None, kind="paused", detail=detail)  # fmt: skip
    tables.journal.add(tables.next_id(), line)
