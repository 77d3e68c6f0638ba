"""What an erasure takes away, as `dripd.erase_contact` does: rows stay, words and addresses go."""

from __future__ import annotations

from dataclasses import replace

from dripd.campaigns.address import address_form
from dripd.campaigns.enrollment import FLAG_ERASED
from dripd.store.memory_changes import free_time
from dripd.store.memory_rows import EventIn
from dripd.store.memory_tables import Tables

OURS = frozenset({"list_added", "list_removed", "task_closed"})
"""Kinds of events whose payload is an id."""


def erase_words(tables: Tables, account_id: int, contact_id: int) -> None:
    """Empty what stands of a contact beside its own row, its tags and its lists."""
    contact = tables.contacts[account_id, contact_id]
    known = {
        form
        for word in (contact.email, contact.phone)
        if (form := address_form(word or ""))
        and tables.contacts_at(account_id, form) == [contact_id]
    }
    runs = {run for _, run in tables.runs_of.at((account_id, contact_id))}
    talks = {tables.runs[account_id, run].conversation_ref for run in runs} - {None}
    _erase_events(tables, account_id, contact_id, known, runs, talks)
    _forget_addresses(tables, account_id, contact_id)
    _forget_deliveries(tables, account_id, contact_id)
    for key in tables.runs_of.at((account_id, contact_id)):
        if key in tables.due:
            tables.due.change(key, flags=tables.due[key].flags | FLAG_ERASED)
        tables.runs.change(key, vars=None, frozen=None, conversation_ref=None)
    for place, kept in list(tables.kept.items()):
        if (kept.account_id, kept.contact_id) == (account_id, contact_id):
            tables.kept.change(place, message=None)
    for task_key, task in list(tables.tasks.items()):
        if (task.account_id, task.contact_id) == (account_id, contact_id):
            free_time(tables, task)
            tables.tasks.change(task_key, title="", payload={})
    for note_key, note in list(tables.notifications.items()):
        if note.account_id == account_id and note.enrollment_id in runs:
            tables.notifications.change(note_key, payload={})
    for number, request in list(tables.requests.items()):
        if request.account_id == account_id and request.contact_id == contact_id:
            tables.requests.change(number, vars=None, external_id=None, conversation_ref=None)


def _forget_deliveries(tables: Tables, account_id: int, contact_id: int) -> None:
    """What was sent stays on record, not to whom nor under which subject."""
    for place, alone in list(tables.individuals.items()):
        if (alone.account_id, alone.contact_id, alone.notice) == (
            account_id,
            contact_id,
            False,
        ):
            tables.individuals.change(place, to_address=None, subject=None)
    for run in tables.runs_of.at((account_id, contact_id)):
        for number in tables.log_of.at(run):
            told = replace(tables.step_log[number].row, to_address=None, subject=None)
            tables.step_log.change(number, row=told)


def _forget_addresses(tables: Tables, account_id: int, contact_id: int) -> None:
    for key, mark in list(tables.mapped_addresses.items()):
        if (mark.account_id, mark.contact_id) == (account_id, contact_id):
            tables.mapped_addresses.drop(key)


def _erase_events(
    tables: Tables,
    account_id: int,
    contact_id: int,
    known: set[str],
    runs: set[int],
    talks: set[str | None],
) -> None:
    """Empty events that wait and those on record; those that wait go on as the contact's."""
    for number, event in list(tables.events.items()):
        if event.account_id == account_id and _concerns(event, contact_id, known, runs, talks):
            whose = contact_id if event.contact_id is None else event.contact_id
            payload = event.payload if event.kind in OURS else {}
            tables.events.change(
                number, contact_id=whose, address=None, conversation_ref=None, payload=payload
            )
    for place, line in list(tables.event_log.items()):
        if (line.account_id, line.contact_id) == (account_id, contact_id):
            tables.event_log.change(place, payload={}, address=None, conversation_ref=None)


def _concerns(
    event: EventIn, contact_id: int, known: set[str], runs: set[int], talks: set[str | None]
) -> bool:
    delivered = (event.delivery_id or "").split("-")[0]
    return (
        event.contact_id == contact_id
        or (delivered.isdigit() and int(delivered) in runs)
        or address_form(event.address or "") in known
        or (event.conversation_ref is not None and event.conversation_ref in talks)
    )
