"""Making tasks in memory: the twin of `unit_task`."""

from __future__ import annotations

import copy

from dripd.campaigns.action import MakeTask, Rota, Slot
from dripd.campaigns.enrollment import Change
from dripd.clock import Instant
from dripd.policy.tasks import fitted
from dripd.scheduler.diary import Span, first_free, next_in_turn
from dripd.store.memory_rows import Busy, Notification, Task
from dripd.store.memory_tables import Tables


def make_task(tables: Tables, change: Change, effect: MakeTask) -> None:
    """A task, once for its step, and the notification about it."""
    leased = change.leased
    step = (leased.account_id, leased.enrollment_id, effect.seq)
    if step in tables.task_of_step:
        return
    campaign = str(effect.payload.get("campaign", "")) or None
    assignee, span = effect.assignee, None
    if effect.rota is not None:
        assignee = _take_turn(tables, leased.account_id, campaign or "", effect.rota)
    if effect.slot is not None and assignee is not None:
        span = _reserve(tables, leased.account_id, assignee, effect.slot)
    made = fitted(effect, assignee, span)
    payload = copy.deepcopy({k: v for k, v in made.payload.items() if k != "campaign"})
    busy = {"no_free_time": True} if "no_free_time" in payload else {}
    if busy:
        who = (leased.account_id, leased.run_id, leased.contact_id)
        tables.write_journal(*who, "no_free_time", {"seq": effect.seq})
    task = Task(
        account_id=leased.account_id,
        id=tables.next_id(),
        enrollment_id=leased.run_id,
        contact_id=leased.contact_id,
        seq=effect.seq,
        campaign_key=campaign,
        step_key=effect.step_key,
        kind=effect.kind,
        title=effect.title,
        assignee=made.assignee,
        due_at=made.due_at,
        reminder_at=made.reminder_at,
        payload=payload,
        created_at=tables.now(),
        recipient=made.recipient if made.reminder_at is not None else None,
        awaited=effect.awaited,
        category=effect.category,
    )
    tables.task_of_step.add(step, task.id)
    tables.tasks.add((leased.account_id, task.id), task)
    if made.recipient is not None and made.reminder_at is None:
        notify(tables, task.account_id, "task_due", made.recipient, task.enrollment_id,
               {"title": task.title, **busy}, task_id=task.id)  # fmt: skip


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
