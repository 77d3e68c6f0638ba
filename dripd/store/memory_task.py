"""Making tasks in memory: the twin of `unit_task`."""

from __future__ import annotations

import copy

from dripd.campaigns.action import MakeTask, Rota, Slot
from dripd.campaigns.enrollment import Change
from dripd.clock import Instant, format_instant
from dripd.scheduler.diary import Span, first_free, next_in_turn
from dripd.store.memory_rows import Busy, Notification, Task
from dripd.store.memory_tables import Tables


def make_task(tables: Tables, change: Change, effect: MakeTask) -> None:
    """A task, once for its step, and the notification about it."""
    leased = change.leased
    step = (leased.account_id, leased.enrollment_id, effect.seq)
    if step in tables.task_of_step:
        return
    payload = copy.deepcopy(dict(effect.payload))
    campaign = str(payload.pop("campaign", "")) or None
    assignee, due_at = effect.assignee, effect.due_at
    if effect.rota is not None:
        assignee = _take_turn(tables, leased.account_id, campaign or "", effect.rota)
    recipient = assignee if effect.recipient == "" else effect.recipient
    reminder_at, told = effect.reminder_at, {}
    if effect.slot is not None and assignee is not None:
        span = _reserve(tables, leased.account_id, assignee, effect.slot)
        if span is None:
            payload["no_free_time"] = told["no_free_time"] = True
            recipient, reminder_at = recipient or assignee, None
            who = (leased.account_id, leased.enrollment_id, leased.contact_id)
            tables.write_journal(*who, "no_free_time", {"seq": effect.seq})
        else:
            due_at = span[0]
            begins, ends = map(format_instant, span)
            payload["slot"] = {"from": begins, "to": ends, "person": assignee}
    task = Task(
        account_id=leased.account_id,
        id=tables.next_id(),
        enrollment_id=leased.enrollment_id,
        contact_id=leased.contact_id,
        seq=effect.seq,
        campaign_key=campaign,
        step_key=effect.step_key,
        kind=effect.kind,
        title=effect.title,
        assignee=assignee,
        due_at=due_at,
        reminder_at=reminder_at,
        payload=payload,
        created_at=tables.now(),
        recipient=recipient if reminder_at is not None else None,
        awaited=effect.awaited,
        category=effect.category,
    )
    tables.task_of_step.add(step, task.id)
    tables.tasks.add((leased.account_id, task.id), task)
    if recipient is not None and reminder_at is None:
        notify(tables, task.account_id, "task_due", recipient, task.enrollment_id,
               {"title": task.title, **told}, task_id=task.id)  # fmt: skip


def rings(task: Task, now: Instant) -> bool:
    """Whether somebody is to be told of it by *now*: its snooze is over, or it has none and is due."""
    if task.state != "open":
        return False
    if task.snoozed_until is not None:
        return task.snoozed_until <= now
    return is_due(task, now)


def is_due(task: Task, now: Instant) -> bool:
    """Whether its reminder has come, and nobody was told yet."""
    at = task.reminder_at
    return task.recipient is not None and at is not None and at <= now


def _take_turn(tables: Tables, account_id: int, campaign: str, rota: Rota) -> str:
    keys = {member: (account_id, campaign, rota.category, member) for member in rota.members}
    given = {member: tables.rota.get(key) or 0 for member, key in keys.items()}
    member = next_in_turn(given, rota.members)
    if keys[member] in tables.rota:
        tables.rota.drop(keys[member])
    tables.rota.add(keys[member], given[member] + 1)
    return member


def _reserve(tables: Tables, account_id: int, person: str, slot: Slot) -> Span | None:
    mine = (row for row in tables.diary if (row.account_id, row.person) == (account_id, person))
    span = first_free(slot.openings, [(row.begins, row.ends) for row in mine], slot.length_ms)
    if span is not None:
        row = Busy(account_id=account_id, person=person, begins=span[0], ends=span[1])
        tables.diary.add(tables.next_id(), row)
    return span


def notify(
    tables: Tables,
    account_id: int,
    kind: str,
    recipient: str,
    enrollment_id: int | None,
    payload: dict[str, object],
    *,
    task_id: int | None = None,
) -> None:
    row = Notification(
        account_id=account_id,
        id=tables.next_id(),
        kind=kind,
        recipient=recipient,
        enrollment_id=enrollment_id,
        task_id=task_id,
        payload=payload,
        created_at=tables.now(),
    )
    tables.notifications.add((account_id, row.id), row)
