"""Fills a `MemoryStore` from a snapshot: rows as they stand, without what doors would tell."""

from __future__ import annotations

from dripd.campaigns.address import address_form
from dripd.store.memory_money import write
from dripd.store.memory_tables import Tables
from dripd.store.snapshot import Snapshot


def load(tables: Tables, found: Snapshot) -> None:
    """Add every row; ids that are given from now on lie beyond those that there are."""
    account = found.account
    tables.plans[account.plan] = found.cap
    tables.quotas[account.plan] = found.quota
    tables.accounts.add(account.id, account)
    _load_senders(tables, found)
    for connector in found.connectors:
        tables.connectors.add((account.id, connector.key), connector)
    for contact in found.contacts:
        tables.contacts.add((account.id, contact.id), contact)
    for one in found.lists:
        tables.lists.add((account.id, one.id), one)
    for mark in found.tags:
        tables.tags.add((account.id, mark.contact_id, str(mark.what)), mark)
    for mark in found.places:
        tables.places.add((account.id, mark.contact_id, int(mark.what)), mark)
    for row in found.suppressions:
        tables.suppressions.add((address_form(row.address), row.account_id, row.channel), row)
    _load_campaigns(tables, found)
    for day in found.days:
        tables.days.add((account.id, day.local_date), day)
    for lane in found.lanes:
        tables.lanes.add((account.id, lane.lane), lane)
    for park in found.parks:
        tables.parks.add((account.id, park.lane), park)
    if found.balance:
        write(tables, account.id, "deposit", found.balance)
    tables.refresh_gates([account.id])
    tables.nudge(account.id)


def _load_senders(tables: Tables, found: Snapshot) -> None:
    for sender in found.senders:
        tables.senders.add((sender.account_id, sender.id), sender)
    for turn in found.turns:
        tables.turns.add((turn.account_id, turn.sender_id), turn)


def _load_campaigns(tables: Tables, found: Snapshot) -> None:
    account = found.account.id
    for campaign in found.campaigns:
        tables.campaigns.add((account, campaign.id), campaign)
    for version in found.versions:
        tables.versions.add(version.id, version)
    for template in found.templates:
        tables.templates.add((account, template.key), template)
    for run in found.runs:
        tables.runs.add((account, run.id), run)
    for step in found.due:
        tables.due.add((account, step.enrollment_id), step)
    tables.begin_at("run", max((run.id for run in found.runs), default=0) + 1)
