"""What daemons read and lay down about accounts, in memory: the twin of `unit_directory`."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from dripd.campaigns.enrollment import DueKey, LaneKey, LogState
from dripd.channels.base import SinkRow
from dripd.clock import FAR_FUTURE, Instant
from dripd.ratelimit.caps import carried, is_rezoned
from dripd.spans import Spans
from dripd.store.memory_rows import Account, AccountDay, Park, SinkRule
from dripd.store.memory_tables import Tables
from dripd.store.protocol import (
    AccountRow,
    CampaignRow,
    DayRow,
    Head,
    LaneRow,
    Look,
    ParkRow,
    TriggerRow,
    VersionRow,
)
from dripd.store.unit_directory import NODE_TIMEOUT_MS, like

EVENT_ACCOUNTS_MOST = 500

NUDGES_MOST = 5000

LAST_ID = (1 << 63) - 1


def look(tables: Tables, seen: Spans, *, manual: bool) -> Look:
    """What is new since a moment ago."""
    told = sorted(account for account in tables.events_by_account.names() if account)
    stray = [0] if tables.events_by_account.at(None) else []
    fresh = ((n.id, n.account_id) for n in tables.nudges if n.id not in seen)
    now_ms = tables.real_ms()
    return Look(
        now=tables.now(),
        manual=manual,
        requests=any(True for _ in tables.ready_requests()),
        events=told[:EVENT_ACCOUNTS_MOST] + stray,
        usage=bool(tables.usage),
        nudges=list(islice(fresh, NUDGES_MOST)),
        drained={node.incarnation for node in tables.nodes if node.drain},
        nodes=[
            (node.incarnation, now_ms - node.beat_at < NODE_TIMEOUT_MS)
            for node in tables.nodes
            if not node.dead
        ],
    )


def account_ids(tables: Tables, after: int, n: int) -> list[int]:
    """The next *n* accounts by id."""
    return sorted(account.id for account in tables.accounts if account.id > after)[:n]


def read_accounts(tables: Tables, wanted: Sequence[int] | None) -> list[AccountRow]:
    """Accounts with their senders, campaigns and triggers; None = all."""
    chosen = [a for a in tables.accounts if wanted is None or a.id in set(wanted)]
    rows = {account.id: _account(tables, account) for account in chosen}
    for sender in tables.senders:
        if sender.account_id in rows:
            rows[sender.account_id].senders.append(replace(sender))
    for campaign in tables.campaigns:
        if campaign.account_id in rows:
            rows[campaign.account_id].campaigns.append(
                CampaignRow(
                    id=campaign.id,
                    account_id=campaign.account_id,
                    key=campaign.key,
                    status=campaign.status,
                    live_cv_id=campaign.live_cv_id,
                    owner=campaign.owner,
                )
            )
    for account_id, row in rows.items():
        found = tables.paused.get(account_id, ())
        row.standstills += sorted(
            one for one in found if one.until_at < FAR_FUTURE or one.sender_id
        )
    for trigger in tables.triggers:
        if trigger.account_id in rows:
            rows[trigger.account_id].triggers.append(
                TriggerRow(
                    id=trigger.id,
                    campaign_id=trigger.campaign_id,
                    campaign_key=trigger.campaign_key,
                    kind=trigger.kind,
                    match=copy.deepcopy(trigger.match),
                    after_event_id=trigger.after_event_id,
                    after_contact_id=trigger.after_contact_id,
                )
            )
    return list(rows.values())


def _account(tables: Tables, account: Account) -> AccountRow:
    return AccountRow(
        id=account.id,
        key=account.key,
        timezone=account.timezone,
        cap=tables.plans[account.plan],
        send_window=copy.deepcopy(account.send_window),
        rate=account.rate,
        status=account.status,
        subscription_active=account.subscription_active,
        postal_address=account.postal_address,
        prices=dict(account.prices),
        action_quota=tables.quotas.get(account.plan),
        connectors=frozenset(
            one.key for one in tables.connectors if one.account_id == account.id
        ),
        templates=_words(tables, account.id),
    )


def _words(tables: Tables, account_id: int) -> str:
    """Another text whenever one of the account's templates says something else."""
    own = {one.key: one.content for one in tables.templates if one.account_id == account_id}
    return repr(sorted(own.items(), key=lambda item: item[0])) if own else ""


def read_versions(tables: Tables, cv_ids: Sequence[int]) -> list[VersionRow]:
    found = [
        version for version in map(tables.versions.get, set(cv_ids)) if version is not None
    ]
    return [
        VersionRow(
            cv_id=version.id,
            account_id=version.account_id,
            campaign_id=version.campaign_id,
            campaign_key=version.campaign_key,
            campaign_owner=tables.campaign_of_version(version.id).owner,
            version=version.version,
            definition=copy.deepcopy(version.definition),
            shared=version.shared,
            current={
                key: shared.content.as_raw()
                for key in version.shared
                if (shared := tables.templates.get((version.account_id, key))) is not None
            },
            types=dict(tables.field_types.get(version.account_id) or {}),
        )
        for version in found
    ]


def read_lanes(tables: Tables, wanted: Sequence[int] | None) -> list[LaneRow]:
    return [
        LaneRow(account_id=lane.account_id, lane=lane.lane, key=lane.key)
        for lane in tables.lanes
        if wanted is None or lane.account_id in set(wanted)
    ]


def read_parks(tables: Tables, wanted: Sequence[int] | None) -> list[ParkRow]:
    return [
        ParkRow(park.account_id, park.lane, park.reason, park.release_at)
        for park in tables.parks
        if wanted is None or park.account_id in set(wanted)
    ]


def heads(tables: Tables, accounts: Sequence[int]) -> list[Head]:
    """The first unleased due instant of every lane of these accounts."""
    found = []
    for account_id in set(accounts):
        for key in tables.lanes_of.at(account_id):
            for due_at, enrollment_id in tables.due_by_lane.at(key):
                if tables.due[account_id, enrollment_id].claim_id is None:
                    found.append(Head(account_id, key[1], due_at, enrollment_id))
                    break
    return found


def load(
    tables: Tables, lanes: Sequence[tuple[int, int, Instant, int, int]], horizon: Instant
) -> list[DueKey]:
    """Keys that come up within *horizon*, lane by lane, in due order."""
    found: list[DueKey] = []
    for account_id, lane, due_at, enrollment_id, n in lanes:
        found += islice(
            _due_keys(tables, (account_id, lane), (due_at, enrollment_id), horizon), n
        )
    return found


def move_lanes(
    tables: Tables, keys: Sequence[DueKey], lanes: Sequence[LaneKey]
) -> list[DueKey]:
    """Let steps that nobody has leased stand in other lanes, as due as before."""
    moved = []
    for key, lane in zip(keys, lanes, strict=True):
        place = (key.account_id, key.enrollment_id)
        row = tables.due.get(place)
        is_there = row is not None and (row.lane, row.due_at) == (key.lane, key.due_at)
        is_locked = tables.locked_rows[key.enrollment_id]
        if row is not None and is_there and row.claim_id is None and not is_locked:
            number = tables.lane_of(key.account_id, lane)
            tables.due.change(place, lane=number)
            moved.append(key._replace(lane=number))
    return moved


def next_heads(tables: Tables, lanes: Sequence[tuple[int, int, Instant]]) -> list[Head]:
    """The first unleased due instant of lanes after what has been loaded of them."""
    found = []
    for account_id, lane, due_at in lanes:
        after = (due_at, LAST_ID)
        rows = _due_keys(tables, (account_id, lane), after, FAR_FUTURE)
        found += [
            Head(account_id, lane, key.due_at, key.enrollment_id) for key in islice(rows, 1)
        ]
    return found


def _due_keys(
    tables: Tables, lane: tuple[int, int], after: tuple[Instant, int], horizon: Instant
) -> Iterator[DueKey]:
    for due_at, enrollment_id in tables.due_by_lane.at(lane).after(after):
        if due_at > horizon:
            return
        row = tables.due[lane[0], enrollment_id]
        if row.claim_id is None:
            yield DueKey(*lane, due_at, enrollment_id, row.cv_id)


def park(tables: Tables, rows: Sequence[ParkRow]) -> None:
    """Hold lanes; what held them before gives way."""
    for row in rows:
        key = (row.account_id, row.lane)
        if key in tables.parks:
            tables.parks.change(key, reason=row.reason, release_at=row.release_at)
        else:
            new = Park(
                account_id=row.account_id,
                lane=row.lane,
                reason=row.reason,
                release_at=row.release_at,
            )
            tables.parks.add(key, new)


def count_sent(
    tables: Tables, account_id: int, sender_ids: Collection[int], since: Instant
) -> dict[int, int]:
    left = {LogState.ACCEPTED, LogState.UNKNOWN}
    return Counter(
        log.row.sender_id
        for log in tables.step_log
        if log.account_id == account_id
        and log.row.sender_id in sender_ids
        and log.row.sender_id is not None
        and log.row.state in left
        and log.row.at >= since
    )


def unpark(tables: Tables, lanes: Sequence[tuple[int, int]]) -> None:
    for key in lanes:
        if key in tables.parks:
            tables.parks.drop(key)


def unpark_reason(tables: Tables, accounts: Collection[int], reason: str) -> None:
    """A refund or a new plan opens what the cap had closed."""
    for row in list(tables.parks):
        if row.reason == reason and row.account_id in accounts:
            tables.parks.drop((row.account_id, row.lane))


def make_days(tables: Tables, days: Sequence[DayRow]) -> None:
    """Day rows that are missing; a new cap, and a new zone, of rows that are there."""
    by_account: dict[int, list[DayRow]] = {}
    for day in sorted(days, key=lambda day: (day.account_id, day.local_date)):
        by_account.setdefault(day.account_id, []).append(day)
    for account_id, wanted in by_account.items():
        _rezone(tables, account_id, wanted)
    made = {day.account_id for day in days if _make_day(tables, day)}
    capped = {day.account_id for day in days if _recap(tables, day)}
    tables.refresh_gates(made)
    unpark_reason(tables, capped, "cap")


def _make_day(tables: Tables, day: DayRow) -> bool:
    if (day.account_id, day.local_date) in tables.days:
        return False
    _lay(tables, day, day.starts_at)
    return True


def _lay(
    tables: Tables, day: DayRow, starts_at: Instant, *, used: int = 0, bulk: int = 0
) -> None:
    """Insert a day row, or give one that stands these bounds and counts."""
    key = (day.account_id, day.local_date)
    if key in tables.days:
        tables.days.change(key, starts_at=starts_at, ends_at=day.ends_at, used=used, bulk=bulk)
        return
    row = AccountDay(
        account_id=day.account_id,
        local_date=day.local_date,
        cap=day.cap,
        starts_at=starts_at,
        ends_at=day.ends_at,
        used=used,
        bulk=bulk,
    )
    tables.days.add(key, row)


def _recap(tables: Tables, day: DayRow) -> bool:
    key = (day.account_id, day.local_date)
    if tables.days[key].cap == day.cap:
        return False
    tables.days.change(key, cap=day.cap)
    return True


def _rezone(tables: Tables, account_id: int, wanted: list[DayRow]) -> None:
    """A zone that changed in mid-day: the old row ends now, what it had used goes along."""
    now = tables.now()
    rows = [tables.days[key] for key in tables.days_of.at(account_id)]
    standing = [row for row in rows if row.ends_at > now]
    held = [(row.local_date, row.starts_at, row.ends_at) for row in standing]
    if not is_rezoned(held, [(day.local_date, day.starts_at, day.ends_at) for day in wanted]):
        return
    current = next((row for row in standing if row.starts_at <= now), None)
    today = next((day for day in wanted if day.starts_at <= now < day.ends_at), None)
    if current is not None and today is not None:
        _carry(tables, current, today, now)
        for day in wanted:
            if day.local_date != today.local_date:
                _lay(tables, day, day.starts_at)


def _carry(tables: Tables, current: AccountDay, today: DayRow, now: Instant) -> None:
    there = tables.days.get((today.account_id, today.local_date))
    same = current.local_date == today.local_date
    existing = 0 if there is None or same or there.ends_at <= now else there.used
    used = current.used if same else carried(current.used, existing, today.cap)
    bulk = current.bulk
    if not same:
        tables.days.change((current.account_id, current.local_date), ends_at=now)
    _lay(tables, today, today.starts_at if same else now, used=used, bulk=bulk)


def write(tables: Tables, rows: Sequence[SinkRow]) -> list[str]:
    """Record what reached the built-in sink, and answer as its rules say.

    An ambiguous message did arrive: it is recorded, only the answer is lost.
    """
    answers = [_answer(tables, row) for row in rows]
    for row, answer in zip(rows, answers, strict=True):
        if answer in {"accepted", "ambiguous"}:
            kept = replace(row, headers=dict(row.headers))
            tables.sink.add(tables.next_id(), (tables.now(), kept))
    return answers


def _answer(tables: Tables, row: SinkRow) -> str:
    for rule in tables.sink_rules:
        concerns = rule.account_id in (0, row.account_id)
        if concerns and rule.times != 0 and like(rule.recipient_like, row.recipient):
            _spend(tables, rule)
            return rule.answer
    return "accepted"


def _spend(tables: Tables, rule: SinkRule) -> None:
    if rule.times is not None:
        tables.sink_rules.change(rule.id, times=rule.times - 1)
