"""What a change of a contact says to the inbox: the schema's triggers, in memory.

Used by the doors and by the effects of steps alike, as the triggers are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from dripd.campaigns.address import BLANKS, address_form
from dripd.campaigns.enrollment import End, RunStatus
from dripd.campaigns.version import COMPANY_CHANGED, TASK_CLOSED
from dripd.clock import Instant, parse_instant
from dripd.errors import StoreError
from dripd.store.memory_rows import Busy, Contact, ContactList, Mark, Suppression, Task
from dripd.store.memory_tables import Tables

FIELD_COLUMNS = ("email", "phone", "timezone", "owner", "company_id")

ADDRESS_COLUMNS = frozenset({"email", "phone"})


def add_tag(tables: Tables, account_id: int, contact_id: int, tag: str) -> None:
    key = (account_id, contact_id, tag)
    if key not in tables.tags:
        tables.tags.add(key, Mark(account_id=account_id, contact_id=contact_id, what=tag))
        tables.tell(account_id, "tag_added", contact_id=contact_id, payload={"tag": tag})


def remove_tag(tables: Tables, account_id: int, contact_id: int, tag: str) -> None:
    key = (account_id, contact_id, tag)
    if key in tables.tags:
        tables.tags.drop(key)
        tables.tell(account_id, "tag_removed", contact_id=contact_id, payload={"tag": tag})


def make_list(tables: Tables, account_id: int, key: str) -> int:
    """The id of a list, made if it is not there."""
    found = tables.list_of(account_id, key)
    if found is not None:
        return found.id
    number = tables.next_id()
    row = ContactList(account_id=account_id, id=number, key=key, kind="bucket")
    tables.lists.add((account_id, number), row)
    return number


def add_place(tables: Tables, account_id: int, contact_id: int, list_id: int) -> None:
    key = (account_id, contact_id, list_id)
    if key not in tables.places:
        tables.places.add(key, Mark(account_id=account_id, contact_id=contact_id, what=list_id))
        payload = {"list_id": list_id}
        tables.tell(account_id, "list_added", contact_id=contact_id, payload=payload)


def remove_place(tables: Tables, account_id: int, contact_id: int, list_id: int) -> None:
    key = (account_id, contact_id, list_id)
    if key in tables.places:
        tables.places.drop(key)
        payload = {"list_id": list_id}
        tables.tell(account_id, "list_removed", contact_id=contact_id, payload=payload)


def add_suppression(
    tables: Tables,
    account_id: int,
    channel: str,
    address: str,
    *,
    reason: str | None,
    expires_at: Instant | None = None,
) -> None:
    """One that ends sooner gives way; nothing happens otherwise where an order stands already.

    Raises `StoreError` without an address.
    """
    address = address.strip(BLANKS)
    form = address_form(address)
    if not form:
        raise StoreError("a suppression needs an address")
    key = (form, account_id, channel)
    former = tables.suppressions.get(key)
    if former is not None:
        ends = former.expires_at
        if ends is None or (expires_at is not None and expires_at <= ends):
            return
        tables.suppressions.drop(key)
        reason = former.reason if reason is None else reason
    row = Suppression(
        account_id=account_id,
        channel=channel,
        address=address,
        reason=reason,
        expires_at=expires_at,
    )
    tables.suppressions.add(key, row)


def change_contact(
    tables: Tables,
    account_id: int,
    contact_id: int,
    attrs: Mapping[str, object],
    columns: Mapping[str, str | int | None],
) -> None:
    """Merge *attrs* (None clears) and set *columns*; tells `field_changed` once."""
    contact = tables.contacts.get((account_id, contact_id))
    if contact is None:
        return
    before = _told_of(contact)
    after = merged(contact.attrs, attrs)
    tables.contacts.change((account_id, contact_id), attrs=after, **trimmed(columns))
    if contact.erased_at is None:
        _tell_changes(tables, contact, before)


def trimmed(columns: Mapping[str, str | int | None]) -> dict[str, str | int | None]:
    """*columns* of a contact, addresses among them without the blanks around."""
    return {
        name: value.strip(BLANKS)
        if name in ADDRESS_COLUMNS and isinstance(value, str)
        else value
        for name, value in columns.items()
    }


def change_company(
    tables: Tables, account_id: int, company_id: int, attrs: Mapping[str, object]
) -> None:
    """Merge *attrs* (None clears); tells `company_changed` where that changes anything."""
    key = (account_id, company_id)
    company = tables.companies.get(key)
    if company is None:
        return
    before, after = company.attrs, merged(company.attrs, attrs)
    tables.companies.change(key, attrs=after)
    if not same_json(before, after):
        tables.tell(account_id, COMPANY_CHANGED, address=str(company_id), payload={})


def close_task(tables: Tables, account_id: int, task_id: int, state: str) -> None:
    """An open task is closed, journaled; the inbox hears of one that a run waits for."""
    key = (account_id, task_id)
    task = tables.tasks[key]
    if task.state != "open":
        return
    free_time(tables, task)
    tables.tasks.change(key, state=state, closed_at=tables.now())
    told = {"task_id": task_id, "task": task.kind, "seq": task.seq, "step_key": task.step_key}
    whose = (account_id, task.enrollment_id, task.contact_id)
    tables.write_journal(*whose, f"task_{state}", told)
    if task.awaited:
        tables.tell(
            account_id,
            TASK_CLOSED,
            contact_id=task.contact_id,
            payload={"task_id": task_id},
            delivery_id=f"{task.enrollment_id}-{task.seq}",
        )


def free_time(tables: Tables, task: Task) -> None:
    """Of an open task that is closed, or says no more what time it took, the time is free."""
    slot = task.payload.get("slot")
    if task.state != "open" or not isinstance(slot, dict):
        return
    begins, ends = parse_instant(slot["from"]), parse_instant(slot["to"])
    row = Busy(account_id=task.account_id, person=slot["person"], begins=begins, ends=ends)
    for key in [key for key, one in tables.diary.items() if one == row]:
        if ends > tables.now():  # what is over stays
            tables.diary.drop(key)


def cancel_awaited(tables: Tables, account_id: int, enrollment_id: int) -> None:
    """Nobody waits any more for the tasks that an ended run waited for."""
    for key in tables.tasks_of.at((account_id, enrollment_id)):
        if tables.tasks[key].awaited:
            close_task(tables, *key, "cancelled")


def end_run(tables: Tables, account_id: int, enrollment_id: int, end: End) -> bool:
    """A live run reaches its end; what it kept busy is free. False: it had ended."""
    key = (account_id, enrollment_id)
    run = tables.runs.get(key)
    if run is None or run.status is not RunStatus.LIVE:
        return False
    was_exclusive = run.exclusive is not None
    tables.runs.change(
        key,
        status=end.status,
        end_reason=end.reason,
        ended_at=tables.now(),
        exclusive=None,
        hold_reason=None,
        release_at=None,
        reentry=None if run.reentry == 2 else run.reentry,
    )
    if was_exclusive:
        tables.free_contact(account_id, run.contact_id)
    return True


def release_run(tables: Tables, key: tuple[int, int], seq: int) -> None:
    """Nothing holds the run by itself any more; the journal says what did."""
    run = tables.runs[key]
    if run.hold_reason is not None and run.status is RunStatus.LIVE:
        told = (run.account_id, run.id, run.contact_id)
        tables.write_journal(*told, "released", {"reason": run.hold_reason, "seq": seq})
    tables.runs.change(key, hold_reason=None, release_at=None)


def forget_runs(tables: Tables, account_id: int, contact_id: int, campaign_id: int) -> None:
    """Ended runs of the contact no longer count as runs of the campaign."""
    for key in tables.runs_of.at((account_id, contact_id)):
        run = tables.runs[key]
        ended = run.status is not RunStatus.LIVE
        if run.campaign_id == campaign_id and ended and run.reset_at is None:
            tables.runs.change(key, reset_at=tables.now(), reentry=None)


def _told_of(contact: Contact) -> dict[str, object]:
    """What `field_changed` watches: attrs, with the columns that stand for fields."""
    columns = {name: getattr(contact, name) for name in FIELD_COLUMNS}
    return contact.attrs | {name: value for name, value in columns.items() if value is not None}


def _tell_changes(tables: Tables, contact: Contact, before: dict[str, object]) -> None:
    after = _told_of(contact)
    changes = [
        {"field": field, "from": before.get(field), "to": after.get(field)}
        for field in sorted(before.keys() | after.keys())
        if not (field in before and field in after and same_json(before[field], after[field]))
    ]
    if changes:
        payload = changes[0] if len(changes) == 1 else {"changes": changes}
        tables.tell(contact.account_id, "field_changed", contact_id=contact.id, payload=payload)


def merged(before: Mapping[str, object], attrs: Mapping[str, object]) -> dict[str, object]:
    """*before* with *attrs* merged into it; None clears a key."""
    after = {**before, **copy.deepcopy(dict(attrs))}
    return {key: value for key, value in after.items() if key not in attrs or value is not None}


def same_json(one: object, other: object) -> bool:
    """Are two JSON values equal as jsonb has it? `true` is no number, 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return one == other
