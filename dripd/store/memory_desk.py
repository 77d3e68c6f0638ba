"""What the desk does to live runs, in memory: the twin of `desk_run` and `desk_migrate`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    FLAG_ASKED,
    FLAG_HELD,
    FLAG_KEPT,
    FLAG_VARS,
    FLAG_WAITING,
    HELD_LANE,
    End,
    LogState,
    RunStatus,
)
from dripd.campaigns.migration import Migration, Place, ahead, place_of
from dripd.errors import Conflict
from dripd.store.memory_changes import cancel_awaited, end_run, release_run
from dripd.store.memory_money import refund_unsent
from dripd.store.memory_rows import DueStep
from dripd.store.memory_tables import Ids, Tables

BEGUN = FLAG_ASKED | FLAG_KEPT
"""What a step has that waited, was approved or was tried."""

COMPLETED = End(RunStatus.COMPLETED, "completed")


def stop_run(tables: Tables, key: Ids, end: End) -> bool:
    """End a run; a leased step is marked: its message may have left, and record will log it.
    False: it had ended."""
    ended = end_run(tables, *key, end)
    row = tables.due.get(key)
    if row is not None and row.claim_id is not None:
        tables.due.change(key, attempt=-1)
    elif row is not None:
        tables.due.drop(key)
    cancel_awaited(tables, *key)
    if ended:
        refund_unsent(tables, *key)
    return ended


def stop_runs(tables: Tables, keys: Iterable[Ids], end: End) -> list[int]:
    """End the live ones of *keys*, as an operator does; who was ended."""
    ended = []
    for account_id, enrollment_id in sorted(keys):
        run = tables.runs[account_id, enrollment_id]
        if run.status is RunStatus.LIVE and stop_run(tables, (account_id, enrollment_id), end):
            told: dict[str, object] = {"reason": end.reason}
            tables.write_journal(account_id, run.id, run.contact_id, "stopped", told)
            ended.append(enrollment_id)
    return ended


class _Group(NamedTuple):
    """Runs that wait alike."""

    cv_id: int
    step_no: int
    lane: int
    flags: int
    timezone: str


def migrate_runs(
    tables: Tables, account_id: int, campaign_id: int, cv_id: int, plan: Migration
) -> int:
    """Move the live runs of a campaign to the version *cv_id*; how many stay until they are
    asked again.

    Raises `Conflict` `would_resend:KEY`.
    """
    groups: dict[_Group, list[DueStep]] = {}
    for row in tables.due:
        version = tables.versions[row.cv_id]
        mine = (row.account_id, version.campaign_id) == (account_id, campaign_id)
        if mine and row.cv_id != cv_id and row.attempt >= 0:
            zone = tables.contacts[account_id, row.contact_id].timezone or ""
            group = _Group(row.cv_id, row.step_no, row.lane, row.flags, zone)
            groups.setdefault(group, []).append(row)
    for group, rows in sorted(groups.items()):
        if group.flags & FLAG_AMBIGUOUS:  # the version that sent it settles it
            continue
        keys = [key for key, _ in tables.versions[group.cv_id].steps]
        place = place_of(keys, group.step_no, plan.definition, plan.map)
        _refuse_sent(tables, account_id, group, place, plan)
        for row in rows:
            if row.claim_id is None:
                _move(tables, row, place, cv_id, plan)
    _free(tables, account_id, cv_id, plan.definition.policy.exclusivity.scope)
    tables.nudge(account_id)
    live = (row for row in tables.due if row.account_id == account_id and row.attempt >= 0)
    left = (tables.versions[row.cv_id] for row in live if row.cv_id != cv_id)
    return sum(version.campaign_id == campaign_id for version in left)


def _refuse_sent(
    tables: Tables, account_id: int, group: _Group, place: Place, plan: Migration
) -> None:
    """What a run of *group* was sent must not lie ahead of it. Raises `Conflict`."""
    if place.step_no is None:
        return
    coming = ahead(plan.definition, place.step_no)
    for row in tables.due:
        where = (row.account_id, row.cv_id, row.step_no, row.lane)
        if where != (account_id, group.cv_id, group.step_no, group.lane):
            continue
        for number in tables.log_of.at((account_id, row.enrollment_id)):
            log = tables.step_log[number]
            key = tables.versions[log.cv_id].steps[log.row.step_no][0]
            was_sent = log.row.state in {LogState.ACCEPTED, LogState.UNKNOWN}
            if log.row.channel and was_sent and key in coming:
                raise Conflict(f"{key!r} would be sent again", code=f"would_resend:{key}")


def _move(tables: Tables, row: DueStep, place: Place, cv_id: int, plan: Migration) -> None:
    key = (row.account_id, row.enrollment_id)
    if place.step_no is None:
        stop_run(tables, key, COMPLETED)
        return
    held, why = row.lane == HELD_LANE, tables.runs[key].hold_reason
    tables.runs.change(key, cv_id=cv_id)
    tables.due.change(key, cv_id=cv_id, step_no=place.step_no)
    if place.same and held and (row.flags & FLAG_WAITING or why == "quarantined"):
        return
    flags = row.flags if place.same else row.flags & FLAG_VARS
    zone = tables.contacts[row.account_id, row.contact_id].timezone
    lane = tables.lane_of(row.account_id, plan.lane(place.step_no, zone, flags))
    tables.due.change(key, lane=lane)
    if place.same and not held:
        return
    if row.flags & FLAG_HELD:
        tables.runs.change(key, hold_reason=None, release_at=None)
    release_run(tables, key, row.seq)
    if not place.same:
        begun = bool(row.flags & BEGUN)
        due_at = row.due_at if why is None else tables.now()
        tables.due.change(key, due_at=due_at, flags=flags, attempt=0, seq=row.seq + begun)
        cancel_awaited(tables, *key)


def _free(tables: Tables, account_id: int, cv_id: int, scope: str) -> None:
    """Who passed to a version that is not exclusive as theirs was is free for others."""
    for row in tables.due:
        key = (row.account_id, row.enrollment_id)
        run = tables.runs[key]
        if (row.account_id, row.cv_id, run.cv_id) != (account_id, cv_id, cv_id):
            continue
        if run.exclusive not in {None, scope}:
            tables.runs.change(key, exclusive=None)
            tables.free_contact(account_id, run.contact_id)
