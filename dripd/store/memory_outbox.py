"""The outbox in memory: the twin of `outbox.sql`."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence

from dripd.campaigns.action import CallOut
from dripd.campaigns.enrollment import Change, RunStatus
from dripd.campaigns.version import TASK_CLOSED
from dripd.store.memory_rows import Call, Run
from dripd.store.memory_tables import Tables
from dripd.store.protocol import CallEnd, CallRow
from dripd.store.unit_outbox import COLUMNS


def call_out(tables: Tables, change: Change, effect: CallOut) -> None:
    """A call that a step asks for, once; one that had its answer begins anew."""
    leased = change.leased
    step = (leased.account_id, leased.enrollment_id, effect.seq)
    in_run = leased.run_id is not None
    known = tables.call_of_step.get(step) if in_run else None
    if known is None:
        row = Call(
            account_id=leased.account_id,
            id=tables.next_id(),
            enrollment_id=leased.run_id,
            contact_id=leased.contact_id,
            cv_id=leased.cv_id,
            step_no=None if in_run else leased.step_no,
            seq=effect.seq,
            step_key=effect.step_key,
            kind=effect.kind,
            target=effect.target,
            awaited=effect.awaited,
            due_at=tables.now(),
            created_at=tables.now(),
        )
        tables.calls.add((row.account_id, row.id), row)
        if in_run:
            tables.call_of_step.add(step, row.id)
    elif tables.calls[leased.account_id, known].state != "open":
        tables.calls.change(
            (leased.account_id, known),
            state="open",
            reason=None,
            attempt=0,
            taken_until_ms=None,
            due_at=tables.now(),
        )


def take_calls(
    tables: Tables, incarnation: int, n: int, of_a_target: int, patience_ms: int
) -> list[CallRow]:
    now, until = tables.now(), tables.real_ms() + patience_ms
    seen: Counter[tuple[int, str, str]] = Counter()
    found: list[CallRow] = []
    for row in sorted(tables.calls, key=lambda call: (call.due_at, call.id)):
        target = (row.account_id, row.kind, row.target)
        if row.state != "open" or row.due_at > now or seen[target] >= of_a_target:
            continue
        seen[target] += 1
        if len(found) < n and not _is_in_hand(tables, row):
            key, reason = (row.account_id, row.id), row.reason
            tables.calls.change(
                key,
                taken_until_ms=until,
                taken_by=incarnation,
                attempt=row.attempt + 1,
                reason=None,
            )
            found.append(_row(tables, tables.calls[key], reason))
    return sorted(found, key=lambda call: (call.account_id, call.id))


def _is_in_hand(tables: Tables, row: Call) -> bool:
    """Does somebody who lives make it, within his patience?"""
    if row.taken_until_ms is None or row.taken_until_ms < tables.real_ms():
        return False
    node = tables.nodes.get(row.taken_by or 0)
    return node is not None and not node.dead


def _row(tables: Tables, call: Call, reason: str | None) -> CallRow:
    run = _run_of(tables, call)
    contact = tables.contacts.get((call.account_id, call.contact_id))
    columns = {name: getattr(contact, name, None) for name in COLUMNS}
    connector = tables.connectors.get((call.account_id, call.target))
    if call.kind == "script":
        connector = None
    return CallRow(
        account_id=call.account_id,
        id=call.id,
        enrollment_id=call.enrollment_id,
        contact_id=call.contact_id,
        cv_id=call.cv_id,
        step_no=call.step_no,
        seq=call.seq,
        step_key=call.step_key,
        kind=call.kind,
        target=call.target,
        awaited=call.awaited,
        attempt=call.attempt,
        reason=reason,
        account_key=tables.accounts[call.account_id].key,
        campaign_key=tables.campaign_of_version(call.cv_id).key,
        run_no=0 if run is None else run.run_no,
        vars={} if run is None else copy.deepcopy(run.vars or {}),
        url=None if connector is None else connector.url,
        secret=None if connector is None else connector.secret,
        contact={
            **columns,
            "attrs": copy.deepcopy(contact.attrs if contact is not None else {}),
        },
    )


def _run_of(tables: Tables, call: Call) -> Run | None:
    if call.enrollment_id is None:
        return None
    return tables.runs[call.account_id, call.enrollment_id]


def holds_call(tables: Tables, account_id: int, call_id: int, attempt: int) -> bool:
    """Has nobody taken the call over since that attempt began?"""
    row = tables.calls.get((account_id, call_id))
    return row is not None and row.state == "open" and row.attempt == attempt


def end_calls(tables: Tables, ends: Sequence[CallEnd]) -> None:
    for end in ends:
        row = tables.calls.get((end.account_id, end.id))
        if row is None or not holds_call(tables, end.account_id, end.id, end.attempt):
            continue
        if not row.awaited and end.state != "open":
            _forget(tables, row, end)
            continue
        due_at = row.due_at if end.again is None else end.again
        tables.calls.change(
            (row.account_id, row.id),
            state=end.state,
            reason=end.reason,
            taken_until_ms=None,
            due_at=due_at,
        )
        run = _run_of(tables, row)
        if end.state != "open" and run is not None and run.status is RunStatus.LIVE:
            tables.tell(
                row.account_id,
                TASK_CLOSED,
                contact_id=run.contact_id,
                payload={},
                delivery_id=f"{row.enrollment_id}-{row.seq}",
            )


def _forget(tables: Tables, row: Call, end: CallEnd) -> None:
    """A call that nobody waits for is gone with its end; one that failed is noted."""
    tables.calls.drop((row.account_id, row.id))
    if row.enrollment_id is not None:
        tables.call_of_step.drop((row.account_id, row.enrollment_id, row.seq))
    if end.state == "failed":
        detail: dict[str, object] = {
            "step_key": row.step_key,
            "target": row.target,
            "reason": end.reason,
        }
        tables.write_journal(
            row.account_id, row.enrollment_id, row.contact_id, "call_failed", detail
        )


def sweep(tables: Tables) -> None:
    """Answers that have been read: the run is past the step, or over."""
    for row in list(tables.calls):
        due = tables.due.get((row.account_id, row.enrollment_id or 0))
        if row.state != "open" and (due is None or due.seq > row.seq):
            tables.calls.drop((row.account_id, row.id))
            tables.call_of_step.drop((row.account_id, row.enrollment_id, row.seq))
