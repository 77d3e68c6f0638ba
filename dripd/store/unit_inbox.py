"""The inbox as a unit of work: take an account's events, decide, apply, move them to the log.

One worker an account at a time. Stop looks first (rows locked in the order of their key), then
marks what is leased and deletes what is not, so that no give-back slips in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from dripd.campaigns.enrollment import CHANNEL_OF, Change, DueKey
from dripd.clock import Instant
from dripd.policy.heard import occurred, refusals, staying, unresolved
from dripd.policy.inbox_rows import (
    Act,
    ContactRow,
    EndRun,
    EnterLater,
    EnterSequence,
    EventRow,
    ForgetRuns,
    InboxEffect,
    Judge,
    MoveDue,
    Poke,
    Release,
    Request,
    RunRow,
    Suppress,
    TellOpened,
    one_by_one,
)
from dripd.policy.rooms import MissingAccount
from dripd.store.connect import Conn, parse_object
from dripd.store.lanes import LaneBook, Wanted
from dripd.store.protocol import Digest, Digested
from dripd.store.statements import sql
from dripd.store.unit_record import WRITERS
from dripd.store.unit_reputation import judge_senders


class Wish(NamedTuple):
    """What is asked of `Store.digest`."""

    n: int
    interest: int
    listens: str | None
    only: list[int]
    bare: bool
    after: tuple[int, int]


async def digest(
    conn: Conn, book: LaneBook, account_id: int, wish: Wish, decide: Digest
) -> tuple[Digested | None, dict[Wanted, int]]:
    """Take events of *account_id* and apply what *decide* says."""
    interest, listens = wish.interest, wish.listens
    if not await conn.fetchval(sql("own_inbox"), account_id):
        return None, {}
    ids, after = await _take(conn, account_id, wish)
    if not ids:
        return Digested(taken=0), {}
    rows = await conn.fetch(sql("read_events"), account_id, ids, interest, wish.bare)
    if listens is not None and listens != await conn.fetchval(sql("listens"), account_id):
        raise MissingAccount(account_id)
    now = await conn.fetchval("SELECT dripd.now()")
    seen = await _seen(conn, account_id, rows)
    events = [
        one
        for row in rows
        for one in one_by_one(_event(row, account_id, now, interest, row["id"] in seen))
    ]
    contacts = sorted({contact for event in events for contact in event.contact_ids})
    runs = []
    if contacts:
        runs = [
            _run(row, account_id)
            for row in await conn.fetch(sql("lock_runs"), account_id, contacts)
        ]
    effects = decide([event for event in events if not event.duplicate], runs, now)
    events = await _leave(conn, account_id, rows, events, effects)
    left = staying(effects)
    done = Digested(taken=len(events), left=left, after=after, accounts={account_id})
    await _apply(conn, account_id, effects, runs, done)
    for effect in effects:
        if isinstance(effect, Judge):
            done.paused += await judge_senders(conn, account_id, effect.marks, effect.guard)
    lanes = await _release(conn, book, account_id, effects, done)
    lanes |= await _enter(conn, book, account_id, effects, runs, done)
    later = [one for one in effects if isinstance(one, EnterLater)]
    if later:
        payloads = [orjson.dumps(one.payload()).decode() for one in later]
        await conn.execute(
            sql("enter_later"), account_id, [one.contact_id for one in later], payloads
        )
    if events:
        await _log(conn, account_id, events, effects)
    return done, lanes


async def _take(conn: Conn, account_id: int, wish: Wish) -> tuple[list[int], tuple[int, int]]:
    """The events that are named, else some: those that stop runs, or the others; up to where."""
    if wish.only:
        return wish.only, wish.after
    stop, other = wish.after
    if rows := await conn.fetch(sql("take_stops"), account_id, wish.n, stop):
        return [row["id"] for row in rows], (rows[-1]["id"], other)
    rows = await conn.fetch(sql("take_events"), account_id, wish.n, other)
    ids = [row["id"] for row in rows]
    return ids, (stop, max(ids, default=other))


async def _leave(
    conn: Conn,
    account_id: int,
    rows: Sequence[Any],
    events: list[EventRow],
    effects: Sequence[InboxEffect],
) -> list[EventRow]:
    """Those of *events* that are processed now; the others stay, as if not seen yet."""
    later = set(staying(effects))
    if not later:
        return events
    keys = [row["dedup_key"] for row in rows if row["id"] in later and row["dedup_key"]]
    if keys:
        await conn.execute(sql("unsee_events"), account_id, keys)
    return [event for event in events if event.id not in later]


async def _seen(conn: Conn, account_id: int, rows: Sequence[Any]) -> set[int]:
    """Events whose dedup_key came before, here or earlier in this batch."""
    keyed = [row for row in rows if row["dedup_key"]]  # an empty key is none
    if not keyed or not account_id:
        return set()
    keys = [row["dedup_key"] for row in keyed]
    hashes = [row["h"] for row in await conn.fetch(sql("hash_keys"), keys)]
    fresh = {row["dedup_h"] for row in await conn.fetch(sql("see_events"), account_id, keys)}
    seen = set()
    for row, h in zip(keyed, hashes, strict=True):
        if h not in fresh:
            seen.add(row["id"])
        fresh.discard(h)
    return seen


def _event(row: Any, account_id: int, now: Instant, interest: int, duplicate: bool) -> EventRow:
    payload = parse_object(row["payload"])
    if row["list_key"] is not None:
        payload = {**payload, "list": row["list_key"]}
    return EventRow(
        id=row["id"],
        account_id=account_id,
        kind=row["kind"] or "",
        contact_ids=tuple(row["contact_ids"]),
        enrollment_id=row["enrollment_id"],
        step_key=row["step_key"],
        campaign_id=row["campaign_id"],
        cv_id=row["cv_id"],
        named=row["contact_id"],
        delivery_id=row["delivery_id"],
        dedup_key=row["dedup_key"],
        conversation_ref=row["conversation_ref"],
        address=row["address"] or row["to_address"],
        channel=CHANNEL_OF[row["channel"] or 0] or None,
        occurred_at=occurred(row["occurred_at"], now),
        payload=payload,
        newcomer=row["newcomer"],
        own=row["own"] or (),
        asked=row["asked"],
        duplicate=duplicate,
        unresolved=unresolved(
            row["kind"],
            row["contact_ids"],
            is_internal=row["internal"],
            is_wanted=bool(row["kind_bit"] & interest),
            has_account=row["known"],
        ),
    )


def _run(row: Any, account_id: int) -> RunRow:
    return RunRow(
        account_id=account_id,
        enrollment_id=row["enrollment_id"],
        contact_id=row["contact_id"],
        campaign_id=row["campaign_id"],
        cv_id=row["cv_id"],
        run_no=row["run_no"],
        step_no=row["step_no"],
        seq=row["seq"],
        lane=row["lane"],
        due_at=row["due_at"],
        started_at=row["started_at"],
        leased=row["leased"],
        hold_reason=row["hold_reason"],
        flags=row["flags"],
        attempt=row["attempt"],
        parked=row["parked"],
        entered=row["entered"] or 0,
        conversation_ref=row["conversation_ref"],
        timezone=row["timezone"],
        soft_bounces=row["soft_bounces"],
        attrs=parse_object(row["attrs"]),
    )


async def _apply(
    conn: Conn,
    account_id: int,
    effects: Sequence[InboxEffect],
    runs: Sequence[RunRow],
    done: Digested,
) -> None:
    """Changes in one order: actions, ends, resets, suppressions, then new requests."""
    await _react(conn, [effect for effect in effects if isinstance(effect, Act)])
    ends = [effect for effect in effects if isinstance(effect, EndRun)]
    if ends:
        await _end(conn, account_id, ends, done)
    moves = [effect for effect in effects if isinstance(effect, MoveDue)]
    if moves:
        await _move(conn, account_id, moves, runs, done)
    opened = [effect for effect in effects if isinstance(effect, TellOpened)]
    if opened:
        told = [(one.enrollment_id, one.delivery_id, one.field, one.owner) for one in opened]
        await conn.execute(
            sql("notify_opened"), account_id, *map(list, zip(*told, strict=True))
        )
    forgotten = [effect for effect in effects if isinstance(effect, ForgetRuns)]
    if forgotten:
        pairs = [(one.contact_id, one.campaign_key) for one in forgotten]
        await conn.execute(sql("forget_runs"), account_id, *map(list, zip(*pairs, strict=True)))
    stops = [effect for effect in effects if isinstance(effect, Suppress)]
    if stops:
        rows = [(stop.channel, stop.address, stop.reason) for stop in stops]
        await conn.execute(sql("suppress"), account_id, *map(list, zip(*rows, strict=True)))
    requests = [effect for effect in effects if isinstance(effect, Request)]
    if requests:
        asked = [(o.campaign_key, o.contact_id, o.source, o.entry) for o in requests]
        await conn.execute(
            sql("request_runs"), account_id, *map(list, zip(*asked, strict=True))
        )
        done.requested = len(requests)


async def read_contacts(conn: Conn, account_id: int, ids: list[int]) -> list[ContactRow]:
    return [
        ContactRow(
            id=row["id"],
            external_id=row["external_id"],
            email=row["email"],
            phone=row["phone"],
            timezone=row["timezone"],
            owner=row["owner"],
            service_owner=row["service_owner"],
            attrs=parse_object(row["attrs"]),
            company=parse_object(row["company"]),
            tags=frozenset(row["tags"]),
            lists=frozenset(row["lists"]),
        )
        for row in await conn.fetch(sql("read_contacts"), account_id, ids)
    ]


async def _react(conn: Conn, acts: Sequence[Act]) -> None:
    """Write the effects of actions, each contact's in their order."""
    for act in acts:
        leased = act.leased
        if act.once is not None:
            where = (leased.account_id, act.campaign_id, leased.contact_id, act.once)
            if await conn.fetchval(sql("react_once"), *where) is None:
                continue
        for effect in act.effects:
            await WRITERS[type(effect)](conn, [(Change(leased=leased, log=[]), effect)])


async def _end(conn: Conn, account_id: int, ends: list[EndRun], done: Digested) -> None:
    ids = [end.enrollment_id for end in ends]
    rows = [(account_id, end.enrollment_id, int(end.status), end.reason) for end in ends]
    ended = {
        row["id"]
        for row in await conn.fetch(sql("end_runs"), *map(list, zip(*rows, strict=True)))
    }
    await conn.execute(sql("mark_stopped"), account_id, ids)
    await conn.execute(sql("delete_stopped"), account_id, ids)
    await conn.execute(sql("cancel_awaited"), account_id, ids)
    done.stopped = ids
    done.regret = await _regret(
        conn, account_id, [end for end in ends if end.enrollment_id in ended]
    )
    for end in ends:
        if end.set and end.enrollment_id in ended:
            kept = {key: value for key, value in end.set.items() if value is not None}
            cleared = [key for key, value in end.set.items() if value is None]
            await conn.execute(
                sql("set_contact"),
                account_id,
                end.contact_id,
                orjson.dumps(kept).decode(),
                cleared,
                "{}",
            )
    told = [
        (
            account_id,
            end.enrollment_id,
            end.notify[0],
            orjson.dumps({"campaign": end.notify[1], "reason": end.reason}).decode(),
        )
        for end in ends
        if end.notify is not None and end.enrollment_id in ended
    ]
    if told:
        await conn.execute(sql("notify_ended"), *map(list, zip(*told, strict=True)))


async def _regret(conn: Conn, account_id: int, ends: Sequence[EndRun]) -> int:
    """How many messages of runs left since what ends them happened; the journal is told."""
    late = [
        (end.enrollment_id, end.contact_id, end.event_id, end.reason, end.since)
        for end in ends
        if end.since is not None
    ]
    if not late:
        return 0
    told = await conn.fetch(sql("regret"), account_id, *map(list, zip(*late, strict=True)))
    return sum(row["sent"] for row in told)


async def _move(
    conn: Conn, account_id: int, moves: list[MoveDue], runs: Sequence[RunRow], done: Digested
) -> None:
    before = {run.enrollment_id: run for run in runs}
    latest = {move.enrollment_id: move for move in moves}
    rows = await conn.fetch(
        sql("move_due"), account_id, list(latest), [move.due_at for move in latest.values()]
    )
    done.moved = [
        DueKey(
            row["account_id"], row["lane"], row["due_at"], row["enrollment_id"], row["cv_id"]
        )
        for row in rows
    ]
    told = [
        (
            account_id,
            move.enrollment_id,
            before[move.enrollment_id].contact_id,
            "delay_reset",
            orjson.dumps(
                {
                    "old_due_ms": before[move.enrollment_id].due_at,
                    "new_due_ms": move.due_at,
                    "event_id": move.event_id,
                }
            ).decode(),
        )
        for move in moves
        if move.enrollment_id in {row["enrollment_id"] for row in rows}
    ]
    if told:
        await conn.execute(sql("journal"), *map(list, zip(*told, strict=True)))


async def _release(
    conn: Conn, book: LaneBook, account_id: int, effects: Sequence[InboxEffect], done: Digested
) -> dict[Wanted, int]:
    """Runs whose hold was put right, or whose answer came, come up at once in their lane."""
    poked = [one.enrollment_id for one in effects if isinstance(one, Poke)]
    if poked:
        await conn.execute(sql("poke_leased"), account_id, poked)
    free = {one.enrollment_id: one.lane for one in effects if isinstance(one, Release)}
    free = {e: lane for e, lane in free.items() if e not in done.stopped}
    if not free:
        return {}
    lanes = await book.resolve(conn, {(account_id, lane) for lane in free.values()})
    numbers = [lanes[account_id, lane] for lane in free.values()]
    rows = await conn.fetch(sql("release_steps"), account_id, list(free), numbers)
    await conn.execute(sql("release_runs"), account_id, [row["enrollment_id"] for row in rows])
    done.moved += [DueKey(*row) for row in rows]
    return lanes


async def _enter(
    conn: Conn,
    book: LaneBook,
    account_id: int,
    effects: Sequence[InboxEffect],
    runs: Sequence[RunRow],
    done: Digested,
) -> dict[Wanted, int]:
    """Runs that events move into sequences stand before the first step there."""
    entries = {one.enrollment_id: one for one in effects if isinstance(one, EnterSequence)}
    entries = {e: one for e, one in entries.items() if e not in done.stopped}
    if not entries:
        return {}
    lanes = await book.resolve(conn, {(account_id, one.lane) for one in entries.values()})
    moved = await conn.fetch(
        sql("enter_sequences"),
        account_id,
        list(entries),
        [one.step_no for one in entries.values()],
        [one.due_at for one in entries.values()],
        [lanes[account_id, one.lane] for one in entries.values()],
        [one.entered for one in entries.values()],
        [one.goal for one in entries.values()],
    )
    done.moved += [DueKey(*row) for row in moved]
    contacts = {run.enrollment_id: run.contact_id for run in runs}
    told = [
        (account_id, e, contacts[e], "entered", orjson.dumps({"step_no": one.step_no}).decode())
        for e, one in entries.items()
    ]
    await conn.execute(sql("journal"), *map(list, zip(*told, strict=True)))
    return lanes


async def _log(
    conn: Conn, account_id: int, events: list[EventRow], effects: Sequence[InboxEffect]
) -> None:
    refused = refusals(events, effects)
    await conn.execute(
        sql("log_events"),
        [event.id for event in events],
        [event.contact_ids[0] if event.contact_ids else None for event in events],
        [event.enrollment_id for event in events],
        [refused.get(event.id) for event in events],
        account_id,
    )
