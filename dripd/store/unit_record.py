"""Recording as a unit of work: what leased steps came to, guarded by their claims.

Two writes a step and one log row. A row that does not come back under its claim had been
stopped while it was leased (then it is logged and ends) or was taken over (then what we know
is kept as evidence, and nothing is changed).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import orjson

from dripd.billing.meter import ACTION, actions, period
from dripd.campaigns.action import (
    AddTag,
    AddToList,
    CallOut,
    CancelTask,
    CountNotice,
    Effect,
    MakeTask,
    MoveTo,
    Note,
    RemoveFromList,
    RemoveTag,
    ResetRuns,
    UpdateCompany,
    UpdateContact,
    WatchReply,
)
from dripd.campaigns.enrollment import (
    CHANNEL_NO,
    FLAG_AMBIGUOUS,
    FLAG_HELD,
    FLAG_TRIED,
    FLAG_VARS,
    FLAG_WAITING,
    HELD_LANE,
    Change,
    DueKey,
    End,
    Leased,
    LogRow,
    LogState,
    RunStatus,
)
from dripd.store.connect import Conn, copy_rows
from dripd.store.lanes import LaneBook, Wanted
from dripd.store.protocol import Decide, Recorded
from dripd.store.statements import sql
from dripd.store.unit_admit import Losers, decide_requests
from dripd.store.unit_kept import keep
from dripd.store.unit_task import make_tasks

LOG_COLUMNS: Final = (
    "account_id",
    "enrollment_id",
    "claim_id",
    "leased_at",
    "at",
    "sent_at",
    "cv_id",
    "sender_id",
    "seq",
    "step_no",
    "run_no",
    "channel",
    "state",
    "attempt",
    "segments",
    "to_address",
    "subject",
    "provider_id",
    "reason",
)


async def record(
    conn: Conn,
    book: LaneBook,
    losers: Losers,
    changes: Sequence[Change],
    decide: Decide,
    closed: Sequence[int],
) -> tuple[Recorded, dict[Wanted, int]]:
    """Write *changes*; *closed* are claims that have no step left after them."""
    ordered = sorted(changes, key=Change.lock_order)
    lanes = await book.resolve(
        conn,
        {
            (change.leased.account_id, change.next.lane)
            for change in ordered
            if change.next is not None and change.next.lane is not None
        },
    )
    moving = [change for change in ordered if change.next is not None]
    ending = [change for change in ordered if change.next is None]
    moved, gone, erased = await _settle(conn, moving, ending, lanes)
    done = Recorded(moved=_keys(moving, moved, lanes))
    done.stopped = [e for e, attempt in gone.items() if attempt < 0]
    applied = [c for c in ordered if c.leased.enrollment_id in moved or _is_gone(c, gone)]
    _forget(applied, erased)
    await _log(conn, applied, set(done.stopped))
    tried = [c for c in applied if c.keep is not None or c.leased.flags & FLAG_TRIED]
    if tried:
        await keep(conn, tried, set(done.stopped))
    if done.stopped:
        await _give_back(conn, applied, set(done.stopped))
    await _count(conn, [c for c in applied if c.metered], set(done.stopped))
    await _pay_back(conn, [c for c in applied if c.money_back])
    done.refunded = await _refund(conn, applied)
    await _end_runs(conn, [c for c in ending if gone.get(c.leased.enrollment_id, -1) >= 0])
    await _hold(conn, [c for c in moving if c.leased.enrollment_id in moved])
    await _wait(conn, [c for c in moving if c.leased.enrollment_id in moved], done)
    stopped = set(done.stopped)
    alive = (
        [c for c in applied if c.leased.enrollment_id not in stopped] if stopped else applied
    )
    fresh = await _effects(conn, book, losers, alive, decide, done)
    late = _others(ordered, applied) if len(applied) < len(ordered) else []
    done.late = [change.leased.enrollment_id for change in late]
    await _keep_evidence(conn, late)
    if closed:
        await conn.execute(sql("drop_claims"), list(closed))
    return done, lanes | fresh


async def _settle(
    conn: Conn, moving: list[Change], ending: list[Change], lanes: dict[Wanted, int]
) -> tuple[set[int], dict[int, int], set[int]]:
    """Move rows and end rows: who goes on, who is gone (to its attempt), and of either those
    whose contact was erased while the step was leased."""
    erased: set[int] = set()
    moved = await _move(conn, moving, lanes, erased)
    left = [change for change in moving if change.leased.enrollment_id not in moved]
    both = sorted(ending + left, key=Change.lock_order) if left else ending
    gone = await _end(conn, both, erased)
    return moved, gone, erased


def _forget(changes: list[Change], erased: set[int]) -> None:
    for change in changes if erased else ():
        if change.leased.enrollment_id in erased:
            change.forget()


def _is_gone(change: Change, gone: dict[int, int]) -> bool:
    return change.leased.enrollment_id in gone


def _others(changes: list[Change], known: list[Change]) -> list[Change]:
    ids = set(map(id, known))
    return [change for change in changes if id(change) not in ids]


def _full_keys(changes: Sequence[Change]) -> list[list[Any]]:
    return [
        [change.leased.account_id for change in changes],
        [change.leased.lane for change in changes],
        [change.leased.due_at for change in changes],
        [change.leased.enrollment_id for change in changes],
        [change.leased.claim_id for change in changes],
    ]


async def _move(
    conn: Conn, changes: list[Change], lanes: dict[Wanted, int], erased: set[int]
) -> set[int]:
    """Who goes on; those whose contact was erased meanwhile are added to *erased*."""
    if not changes:
        return set()
    steps = [change.next for change in changes if change.next is not None]
    rows = await conn.fetch(
        sql("move_steps"),
        *_full_keys(changes),
        [step.due_at for step in steps],
        [_lane(change, lanes) for change in changes],
        [step.step_no for step in steps],
        [step.seq for step in steps],
        [step.attempt for step in steps],
        [
            step.flags | (change.leased.flags & FLAG_VARS)
            for change, step in zip(changes, steps, strict=True)
        ],
    )
    erased |= {row["enrollment_id"] for row in rows if row["erased"]}
    return {row["enrollment_id"] for row in rows}


def _lane(change: Change, lanes: dict[Wanted, int]) -> int:
    step = change.next
    if step is None or step.lane is None:
        return HELD_LANE
    return lanes[change.leased.account_id, step.lane]


def _keys(moving: list[Change], moved: set[int], lanes: dict[Wanted, int]) -> list[DueKey]:
    return [
        DueKey(
            change.leased.account_id,
            lanes[change.leased.account_id, change.next.lane],
            change.next.due_at,
            change.leased.enrollment_id,
            change.leased.cv_id,
        )
        for change in moving
        if change.leased.enrollment_id in moved
        and change.next is not None
        and change.next.lane is not None
    ]


async def _end(conn: Conn, changes: list[Change], erased: set[int]) -> dict[int, int]:
    """Delete rows that end, or were stopped: enrollment to its attempt (-1: had been stopped).

    A step that goes on is only deleted where it carries the stop mark.
    """
    if not changes:
        return {}
    rows = await conn.fetch(sql("end_steps"), *_full_keys(changes))
    erased |= {row["enrollment_id"] for row in rows if row["erased"]}
    return {row["enrollment_id"]: row["attempt"] for row in rows}


async def _log(conn: Conn, changes: list[Change], stopped: set[int]) -> None:
    rows = [
        _log_row(change, row, change.leased.enrollment_id in stopped)
        for change in changes
        for row in change.log
        if not change.leased.flags & FLAG_AMBIGUOUS or row.seq != change.leased.seq
    ]
    if rows:
        await copy_rows(conn, "step_log", LOG_COLUMNS, rows)


def _log_row(change: Change, row: LogRow, stopped: bool) -> tuple[Any, ...]:
    """In the order of `LOG_COLUMNS`."""
    leased, state = change.leased, row.state
    if stopped and state is LogState.AGAIN:  # it will not be tried again
        state = LogState.CANCELLED
    return (
        leased.account_id,
        leased.enrollment_id,
        leased.claim_id,
        leased.leased_at,
        row.at,
        row.sent_at,
        leased.cv_id,
        row.sender_id,
        row.seq,
        row.step_no,
        leased.run_no,
        row.channel,
        int(state),
        row.attempt,
        row.segments,
        row.to_address,
        row.subject,
        row.provider_id,
        row.reason,
    )


async def _refund(conn: Conn, changes: list[Change]) -> set[int]:
    back = Counter(
        (change.leased.account_id, change.leased.local_date)
        for change in changes
        if change.refund and change.leased.counted
    )
    if not back:
        return set()
    days = sorted(back)
    await conn.fetch(
        sql("refund_caps"),
        [a for a, _ in days],
        [d for _, d in days],
        [back[day] for day in days],
    )
    accounts = sorted({account for account, _ in days})
    await conn.fetch(sql("unpark_reason"), accounts, "cap")
    return set(accounts)


async def _count(conn: Conn, changes: list[Change], stopped: set[int]) -> None:
    """Automation actions that the changes come to; those of a quota are held no longer."""
    counts: Counter[tuple[int, str]] = Counter()
    for change in changes:
        over = change.leased.enrollment_id in stopped
        n = actions(change.log, None if over else change.end)
        if n:
            counts[change.leased.account_id, period(change.leased.local_date)] += n
    if counts:
        rows = [(account, month, n) for (account, month), n in sorted(counts.items())]
        await conn.execute(sql("count_actions"), ACTION, *map(list, zip(*rows, strict=True)))
    held = [change.leased for change in changes if change.leased.tolled]
    if held:
        await conn.execute(
            sql("drop_held_actions"),
            [leased.account_id for leased in held],
            [leased.enrollment_id for leased in held],
        )


async def _pay_back(conn: Conn, changes: list[Change]) -> None:
    """Messages that came out shorter than they were charged."""
    if not changes:
        return
    rows = [
        (c.leased.account_id, c.leased.enrollment_id, c.leased.cv_id, row.step_no, c.money_back)
        for c in changes
        for row in c.log[-1:]
    ]
    await conn.execute(sql("pay_back"), *map(list, zip(*rows, strict=True)))


async def _give_back(conn: Conn, changes: list[Change], stopped: set[int]) -> None:
    """Money for messages that were in flight when their run was stopped, and did not leave."""
    gone = [change.leased for change in changes if change.leased.enrollment_id in stopped]
    await conn.execute(
        sql("refund_stopped"),
        [leased.account_id for leased in gone],
        [leased.enrollment_id for leased in gone],
    )


async def _end_runs(conn: Conn, changes: list[Change]) -> None:
    """End runs, those that end alike together: nearly all are completed."""
    alike: dict[End, list[Leased]] = {}
    for change in changes:
        if change.end is not None:
            alike.setdefault(change.end, []).append(change.leased)
    for end, ended in alike.items():
        await conn.execute(
            sql("end_alike"),
            [leased.account_id for leased in ended],
            [leased.enrollment_id for leased in ended],
            int(end.status),
            end.reason,
        )


async def _hold(conn: Conn, changes: list[Change]) -> None:
    """Say why runs wait by themselves, and that those which did so no longer do; keep when what
    is put off came due."""
    holds = [
        (
            c.leased.account_id,
            c.leased.enrollment_id,
            c.next.hold_reason,
            c.next.release_at,
            None if c.next.flags & FLAG_HELD else c.next.seq,
            c.next.due_was,
        )
        for c in changes
        if c.next is not None
        and (
            c.next.hold_reason is not None
            or c.next.due_was is not None
            or c.leased.flags & FLAG_HELD
        )
    ]
    if holds:
        await conn.execute(sql("hold_runs"), *map(list, zip(*holds, strict=True)))


async def _wait(conn: Conn, changes: list[Change], done: Recorded) -> None:
    """Waits that are over are no holds; what came for a step while it was leased wakes it."""
    over = [
        (c.leased.account_id, c.leased.enrollment_id, c.leased.seq)
        for c in changes
        if c.leased.flags & FLAG_WAITING and c.next is not None and c.next.hold_reason is None
    ]
    if over:
        await conn.execute(sql("end_waits"), *map(list, zip(*over, strict=True)))
    begun = [
        (c.leased.account_id, c.leased.enrollment_id, c.leased.lane)
        for c in changes
        if c.next is not None
        and (
            c.next.is_mendable
            or (c.next.flags & FLAG_WAITING and c.next.step_no == c.leased.step_no)
        )
    ]
    if begun:
        rows = await conn.fetch(sql("wake_poked"), *map(list, zip(*begun, strict=True)))
        seqs = {c.leased.enrollment_id: c.next.seq for c in changes if c.next is not None}
        woken = [
            (row["account_id"], row["enrollment_id"], seqs[row["enrollment_id"]])
            for row in rows
        ]
        if woken:
            await conn.execute(sql("end_waits"), *map(list, zip(*woken, strict=True)))
        done.moved += [DueKey(*row) for row in rows]


async def _keep_evidence(conn: Conn, late: list[Change]) -> None:
    if late:
        whose = [(c.leased.account_id, c.leased.contact_id) for c in late]
        rows = await conn.fetch(sql("find_erased"), *map(list, zip(*whose, strict=True)))
        erased = {row["id"] for row in rows}
        for change in late:
            if change.leased.contact_id in erased:
                change.forget()
    rows = [
        (
            change.leased.account_id,
            change.leased.enrollment_id,
            change.leased.claim_id,
            row.seq,
            int(row.state),
            row.provider_id,
            row.reason,
        )
        for change in late
        for row in change.log
        if row.channel in (CHANNEL_NO["email"], CHANNEL_NO["sms"])
    ]
    if rows:
        await conn.execute(sql("keep_evidence"), *map(list, zip(*rows, strict=True)))


async def _effects(
    conn: Conn,
    book: LaneBook,
    losers: Losers,
    changes: list[Change],
    decide: Decide,
    done: Recorded,
) -> dict[Wanted, int]:
    """Write the effects in waves: each contact's own in their order, alike ones together."""
    waves = [
        (change, [list(run) for _, run in groupby(change.effects, type)])
        for change in changes
        if change.effects
    ]
    fresh: dict[Wanted, int] = {}
    depth = max((len(runs) for _, runs in waves), default=0)
    for level in range(depth):
        alike: dict[type, list[tuple[Change, Effect]]] = {}
        for change, runs in waves:
            for effect in runs[level] if level < len(runs) else ():
                alike.setdefault(type(effect), []).append((change, effect))
        for kind, pairs in alike.items():
            if kind is MoveTo:
                fresh |= await _move_to(conn, book, losers, pairs, decide, done)
            else:
                await WRITERS[kind](conn, pairs)
    done.told |= {change.leased.account_id for change, _ in waves}
    done.called = any(isinstance(e, CallOut) for change, _ in waves for e in change.effects)
    return fresh


Pairs = Iterable[tuple[Change, Any]]


async def _on_tags(conn: Conn, pairs: Pairs, statement: str) -> None:
    rows = [(c.leased.account_id, c.leased.contact_id, effect.tag) for c, effect in pairs]
    await conn.execute(sql(statement), *map(list, zip(*rows, strict=True)))


async def _add_tags(conn: Conn, pairs: Pairs) -> None:
    await _on_tags(conn, pairs, "add_tags")


async def _remove_tags(conn: Conn, pairs: Pairs) -> None:
    await _on_tags(conn, pairs, "remove_tags")


async def _add_to_lists(conn: Conn, pairs: Pairs) -> None:
    pairs = list(pairs)
    make = sorted({(c.leased.account_id, e.list_key) for c, e in pairs if e.create})
    if make:
        await conn.execute(sql("make_lists"), *map(list, zip(*make, strict=True)))
    rows = [
        (c.leased.account_id, c.leased.contact_id, e.list_key, c.leased.run_id)
        for c, e in pairs
    ]
    await conn.execute(sql("add_to_lists"), *map(list, zip(*rows, strict=True)))


async def _remove_from_lists(conn: Conn, pairs: Pairs) -> None:
    rows = [(c.leased.account_id, c.leased.contact_id, e.list_key) for c, e in pairs]
    await conn.execute(sql("remove_from_lists"), *map(list, zip(*rows, strict=True)))


def _merge(attrs: dict[str, object]) -> tuple[str, list[str]]:
    """What to merge into attrs as JSON, and the keys to clear."""
    kept = {key: value for key, value in attrs.items() if value is not None}
    return orjson.dumps(kept).decode(), [key for key, value in attrs.items() if value is None]


async def _update_contacts(conn: Conn, pairs: Pairs) -> None:
    for change, effect in pairs:
        merged, cleared = _merge(dict(effect.attrs))
        columns = orjson.dumps(dict(effect.columns)).decode()
        ids = (change.leased.account_id, change.leased.contact_id)
        await conn.execute(sql("set_contact"), *ids, merged, cleared, columns)


async def _update_companies(conn: Conn, pairs: Pairs) -> None:
    for change, effect in pairs:
        merged, cleared = _merge(dict(effect.attrs))
        ids = (change.leased.account_id, change.leased.contact_id)
        await conn.execute(sql("set_company"), *ids, merged, cleared)


async def _cancel_tasks(conn: Conn, pairs: Pairs) -> None:
    rows = [(c.leased.account_id, c.leased.enrollment_id, effect.seq) for c, effect in pairs]
    await conn.execute(sql("cancel_tasks"), *map(list, zip(*rows, strict=True)))


async def _call_out(conn: Conn, pairs: Pairs) -> None:
    rows = [
        (
            change.leased.account_id,
            change.leased.run_id,
            call.seq,
            call.step_key,
            call.kind,
            call.target,
            call.awaited,
            change.leased.contact_id,
            change.leased.cv_id,
            change.leased.step_no,
        )
        for change, call in pairs
    ]
    await conn.execute(sql("call_out"), *map(list, zip(*rows, strict=True)))


async def _write_notes(conn: Conn, pairs: Pairs) -> None:
    rows = [
        (
            change.leased.account_id,
            change.leased.run_id,
            change.leased.contact_id,
            note.kind,
            orjson.dumps(dict(note.detail)).decode(),
        )
        for change, note in pairs
    ]
    await conn.execute(sql("journal"), *map(list, zip(*rows, strict=True)))


async def _reset_runs(conn: Conn, pairs: Pairs) -> None:
    """A run's own campaign at once; another one's runs end by the inbox, which locks them."""
    pairs = list(pairs)
    own = [
        (c.leased.account_id, c.leased.contact_id, c.leased.enrollment_id)
        for c, effect in pairs
        if effect.own
    ]
    if own:
        await conn.execute(sql("reset_own_runs"), *map(list, zip(*own, strict=True)))
    told = [
        (c.leased.account_id, c.leased.contact_id, effect.campaign_key)
        for c, effect in pairs
        if not effect.own
    ]
    if told:
        await conn.execute(sql("tell_resets"), *map(list, zip(*told, strict=True)))


async def _count_notices(conn: Conn, pairs: Pairs) -> None:
    days = Counter((c.leased.account_id, c.leased.local_date) for c, _ in pairs)
    rows = [(account, day, days[account, day]) for account, day in sorted(days)]
    await conn.execute(sql("count_individual"), *map(list, zip(*rows, strict=True)))


async def _watch_replies(conn: Conn, pairs: Pairs) -> None:
    rows = [
        (
            c.leased.account_id,
            c.leased.enrollment_id,
            e.seq,
            c.leased.contact_id,
            e.step_key,
            e.recipient,
            e.due_at,
        )
        for c, e in pairs
    ]
    await conn.execute(sql("watch_replies"), *map(list, zip(*rows, strict=True)))


WRITERS: dict[type, Callable[[Conn, Pairs], Any]] = {
    AddTag: _add_tags,
    RemoveTag: _remove_tags,
    AddToList: _add_to_lists,
    RemoveFromList: _remove_from_lists,
    UpdateContact: _update_contacts,
    UpdateCompany: _update_companies,
    MakeTask: make_tasks,
    CancelTask: _cancel_tasks,
    ResetRuns: _reset_runs,
    CountNotice: _count_notices,
    WatchReply: _watch_replies,
    CallOut: _call_out,
    Note: _write_notes,
}


async def _move_to(
    conn: Conn, book: LaneBook, losers: Losers, pairs: Pairs, decide: Decide, done: Recorded
) -> dict[Wanted, int]:
    """Begin the runs that moves lead to, decided like any request, in this transaction.

    The run that moves has ended (`RunStatus.REMOVED`) in an earlier statement, so that its
    exclusive key is free; one that is not taken there ends by why, and its step failed.
    """
    moves: list[tuple[int, int, int, int]] = []
    for change, effect in pairs:
        if change.end is None or change.end.status is not RunStatus.REMOVED:
            continue
        leased = change.leased
        source = change.end.reason  # moved:KEY
        request = await conn.fetchval(
            sql("request_move"),
            leased.account_id,
            effect.campaign_key,
            leased.enrollment_id,
            source,
        )
        moves.append((leased.account_id, leased.enrollment_id, change.log[-1].seq, request))
    if not moves:
        return {}
    asked = list(map(list, zip(*moves, strict=True)))
    admitted, lanes = await decide_requests(conn, book, losers, asked[3], decide)
    done.started += admitted.started
    stayed = await conn.fetch(sql("refuse_moves"), *asked)
    if stayed:
        await conn.execute(sql("refund_stopped"), *map(list, zip(*stayed, strict=True)))
    return lanes
