"""Reads a `Snapshot` of an account: what a run, and what competes with it, is played from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dripd.campaigns.definition import Content
from dripd.campaigns.enrollment import LaneKey
from dripd.clock import DAY, Instant
from dripd.store.connect import Conn
from dripd.store.desk_deed import Row, read_now
from dripd.store.memory_rows import (
    Account,
    AccountDay,
    Campaign,
    CampaignVersion,
    Connector,
    Contact,
    ContactList,
    DueStep,
    Lane,
    Mark,
    Park,
    Run,
    SenderTurn,
    Suppression,
    Template,
)
from dripd.store.protocol import SenderRow
from dripd.store.snapshot import Snapshot
from dripd.store.statements import sql

LANE_MOST = 400
"""Waiting runs of one lane that are played along, where they share a cap or a rate."""

COMPETE_MS = 14 * DAY
"""What comes up later does not compete for the days that are asked about."""


async def read_snapshot(
    conn: Conn, account_id: int, contact_id: int, enrollment: int | None, cv_ids: Sequence[int]
) -> Snapshot:
    """The account with one run (or a contact that has none yet) and what waits beside it."""
    now = await read_now(conn)
    account = await conn.fetchrow(sql("snapshot_account"), account_id)
    found = Snapshot(
        now=now,
        account=_account(account),
        cap=account["cap"],
        quota=account["quota"],
        balance=account["balance"],
        subject=contact_id,
    )
    await _add_senders(conn, found)
    most = LANE_MOST if found.is_bounded else 0
    until = Instant(now + COMPETE_MS)
    due = await conn.fetch(sql("snapshot_due"), account_id, most, until, enrollment)
    subject = await conn.fetchrow(sql("snapshot_contact"), account_id, contact_id)
    lanes = await conn.fetch(sql("snapshot_lanes"), account_id)
    counts = {lane["lane"]: sum(row["lane"] == lane["lane"] for row in due) for lane in lanes}
    found.whole = most == 0 or all(n < most for n in counts.values())
    found.contacts = _contacts(account_id, due, subject)
    found.runs = [_run(account_id, row) for row in due]
    found.due = [_due(account_id, row) for row in due]
    await _add_account(conn, found, sorted({*cv_ids, *(row["cv_id"] for row in due)}))
    campaigns = {campaign.id for campaign in found.campaigns}
    played = [lane for lane in lanes if lane["campaign_id"] in campaigns]
    found.lanes = [_lane(account_id, row) for row in played]
    found.parks = [
        Park(account_id=account_id, lane=row["lane"], reason=row["reason"],
             release_at=row["release_at"])
        for row in played
        if row["reason"] is not None
    ]  # fmt: skip
    await _add_contact(conn, found)
    return found


def _account(row: Row) -> Account:
    without = {"cap", "quota", "balance"}
    return Account(**{name: value for name, value in row.items() if name not in without})


def _contacts(account_id: int, due: Sequence[Row], subject: Row) -> list[Contact]:
    found = {row["contact_id"]: _contact(account_id, row["contact_id"], row) for row in due}
    found[subject["id"]] = _contact(account_id, subject["id"], subject)
    return list(found.values())


def _contact(account_id: int, contact_id: int, row: Row) -> Contact:
    return Contact(
        account_id=account_id,
        id=contact_id,
        external_id=row["external_id"],
        email=row["email"],
        phone=row["phone"],
        timezone=row["timezone"],
        owner=row["contact_owner"] if "contact_owner" in row else row["owner"],
        service_owner=row["service_owner"],
        company_id=None,
        attrs=row["attrs"] if isinstance(row["attrs"], dict) else {},
    )


def _run(account_id: int, row: Row) -> Run:
    names = (
        "campaign_id", "contact_id", "cv_id", "run_no", "started_at", "reentry", "exclusive",
        "owner", "source", "conversation_ref", "vars", "paid", "frozen", "hold_reason",
        "release_at", "due_was",
    )  # fmt: skip
    values: dict[str, Any] = {name: row[name] for name in names}
    return Run(account_id=account_id, id=row["enrollment_id"], **values)


def _due(account_id: int, row: Row) -> DueStep:
    names = (
        "enrollment_id", "contact_id", "cv_id", "run_no", "due_at", "lane", "step_no", "seq",
        "flags",
    )  # fmt: skip
    values: dict[str, Any] = {name: row[name] for name in names}
    return DueStep(account_id=account_id, **values)


def _lane(account_id: int, row: Row) -> Lane:
    key = LaneKey(
        row["campaign_id"], row["class"], row["channel"], row["calendar"], row["zone"]
    )
    return Lane(account_id=account_id, lane=row["lane"], key=key)


async def _add_senders(conn: Conn, found: Snapshot) -> None:
    """Senders, and how much of their day is used."""
    account_id = found.account.id
    senders = await conn.fetch(sql("read_senders"), [account_id])
    found.senders = [SenderRow(**dict(row)) for row in senders]
    turns = await conn.fetch(sql("snapshot_turns"), account_id)
    found.turns = [SenderTurn(account_id=account_id, **dict(row)) for row in turns]


async def _add_account(conn: Conn, found: Snapshot, cv_ids: list[int]) -> None:
    """Connectors, versions with their campaigns, days."""
    account_id = found.account.id
    keys = await conn.fetchval(sql("connector_keys"), account_id)
    found.connectors = [
        Connector(account_id=account_id, key=key, url="", secret=None) for key in keys
    ]
    rows = await conn.fetch(sql("snapshot_versions"), account_id, cv_ids)
    found.versions = [
        CampaignVersion(
            account_id=account_id,
            id=row["cv_id"],
            campaign_id=row["campaign_id"],
            campaign_key=row["campaign_key"],
            version=row["version"],
            definition=row["definition"],
            steps=list(zip(row["keys"], row["kinds"], strict=True)),
            shared=row["shared"],
        )
        for row in rows
    ]
    if used := {key for version in found.versions for key in version.shared}:
        shared = await conn.fetch(sql("snapshot_templates"), account_id, sorted(used))
        found.templates = [
            Template(account_id=account_id, key=key, content=Content(*words))
            for key, *words in shared
        ]
    campaigns = {row["campaign_id"]: row for row in rows}
    found.campaigns = [
        Campaign(
            account_id=account_id, id=number, key=row["campaign_key"], name=row["name"],
            status=row["status"], live_cv_id=row["live_cv_id"], owner=row["owner"], board=None,
        )
        for number, row in campaigns.items()
    ]  # fmt: skip
    days = await conn.fetch(sql("snapshot_days"), account_id)
    found.days = [AccountDay(account_id=account_id, **dict(row)) for row in days]


async def _add_contact(conn: Conn, found: Snapshot) -> None:
    """Tags, lists and standing orders."""
    who = (found.account.id, found.subject)
    marks = await conn.fetch(sql("snapshot_marks"), *who)
    found.tags = [
        Mark(account_id=who[0], contact_id=who[1], what=row["tag"])
        for row in marks
        if row["tag"] is not None
    ]
    listed = [row for row in marks if row["list_id"] is not None]
    found.lists = [
        ContactList(account_id=who[0], id=row["list_id"], key=row["list_key"]) for row in listed
    ]
    found.places = [
        Mark(account_id=who[0], contact_id=who[1], what=row["list_id"]) for row in listed
    ]
    addresses = {
        address for one in found.contacts for address in (one.email, one.phone) if address
    }
    rows = await conn.fetch(sql("snapshot_suppressions"), who[0], sorted(addresses))
    found.suppressions = [Suppression(**dict(row)) for row in rows]
