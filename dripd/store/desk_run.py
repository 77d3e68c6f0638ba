"""Runs at the desk: stop, reset, move, release, skip.

A stop locks the due steps in the order of their key, ends the runs, marks what is leased
(`record` will log and drop it) and deletes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeAlias

from dripd.admin import params as p
from dripd.admin.messages import Call
from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    HELD_LANE,
    Change,
    LaneKey,
    Leased,
    RunStatus,
)
from dripd.clock import Instant
from dripd.errors import Conflict
from dripd.store.connect import Conn
from dripd.store.desk_deed import Deed, Result, Row, read_now
from dripd.store.desk_find import find_campaign
from dripd.store.desk_pick import Picked, confirm, missing, pick
from dripd.store.desk_role import refuse_stranger
from dripd.store.lanes import LaneBook
from dripd.store.statements import sql

SHOWN = 1000
"""Items in the reply to a change of many runs; all of them are changed."""

OTHERS_DECIDE = ("approval", "task")
"""Holds that a person's decision releases, and nothing else."""

MOVING = "its step is being performed, or it has ended"

UNREADABLE = "its version cannot be read by this dripd"

Waiting: TypeAlias = tuple[Leased, str | None]
"""A step that waits, as facts for a `Judge`, with the reason of its own hold."""


class Judge(Protocol):
    """What the engine knows of versions: pure, made for the versions it was asked for."""

    def skipped(self, leased: Leased, now: Instant) -> Change:
        """What it means that the waiting step is `cancelled`: its log row, where the run goes.

        Raises `KeyError` for a version that it was not made for.
        """
        ...

    def lane(self, leased: Leased) -> LaneKey:
        """The lane of the waiting step. Raises `KeyError` as above."""
        ...


async def stop_rows(
    conn: Conn, rows: Sequence[Row], status: RunStatus, reason: str, actor: str
) -> set[int]:
    """End the live ones of *rows* (account_id, id, campaign_id, contact_id); who was ended.

    locks: their due steps in the order of their key, then their runs
    """
    live = [row for row in rows if row["status"] == RunStatus.LIVE]
    accounts, ids = [row["account_id"] for row in live], [row["id"] for row in live]
    await conn.fetch(sql("lock_due"), accounts, ids)
    ended = {
        row["id"]
        for row in await conn.fetch(
            sql("end_runs"), accounts, ids, [status] * len(ids), [reason] * len(ids)
        )
    }
    for account, group in _by_account(live):
        some = [row["id"] for row in group]
        await conn.execute(sql("mark_stopped"), account, some)
        await conn.execute(sql("delete_stopped"), account, some)
        await conn.execute(sql("cancel_awaited"), account, some)
    gone = [row for row in live if row["id"] in ended]
    await note(conn, gone, actor, "stopped", {"reason": reason})
    campaigns = sorted({row["campaign_id"] for row in gone})
    await conn.execute(sql("finish_draining"), campaigns)
    return ended


def _by_account(rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
    ordered = sorted(rows, key=lambda row: (row["account_id"], row["id"]))
    return [(k, list(g)) for k, g in groupby(ordered, key=lambda row: int(row["account_id"]))]


async def note(
    conn: Conn, rows: Sequence[Row], actor: str, kind: str, detail: Mapping[str, object]
) -> None:
    """A line of the journal for each of *rows*."""
    await conn.execute(
        sql("note_runs"), actor, kind, dict(detail), [row["account_id"] for row in rows],
        [row["id"] for row in rows], [row["contact_id"] for row in rows],
    )  # fmt: skip


class _Tally:
    """What a change of many runs came to."""

    def __init__(self) -> None:
        self.changed = 0
        self.items: list[Result] = []
        self.before: Row = {}
        self.seen: set[int] = set()
        self.steps: set[str] = set()
        """The waiting steps that were meant, where steps are: what a plan is held to."""
        self.requests: set[str] = set()
        self.accounts: set[int] = set()

    def meant(self, waiting: Mapping[int, Waiting]) -> None:
        self.steps |= {f"{run} step {leased.seq}" for run, (leased, _) in waiting.items()}

    def add(self, row: Row, *, changed: bool, **more: object) -> None:
        self.changed += changed
        self.seen.add(row["id"])
        self.accounts.add(row["account_id"])
        if len(self.items) < SHOWN:
            self.items.append({"enrollment_id": row["id"], "ok": True, **more})

    def withdraw(self, row: Row) -> None:
        self.changed += 1
        self.requests.add(f"request {row['id']}")
        self.accounts.add(row["account_id"])
        if len(self.items) < SHOWN:
            end = {"status": "rejected", "reject_reason": "stopped"}
            self.items.append({"request_id": row["id"], "ok": True, **end})

    async def deed(self, conn: Conn, args: p.Selection, what: str) -> Deed:
        self.items += await missing(conn, args.enrollment, self.seen)
        return Deed(
            result={"changed": self.changed, "items": self.items},
            accounts=tuple(sorted(self.accounts)),
            target=what,
            detail={"n": self.changed},
            ids={*(self.steps or self.seen), *self.requests},
            before=self.before,
        )


async def _begun(conn: Conn, call: Call, args: p.Selection) -> _Tally:
    """A tally that knows how the one run stands of which something is expected."""
    tally = _Tally()
    if call.expect and len(args.enrollment) == 1:
        row = await conn.fetchrow(sql("lock_standing"), args.enrollment[0])
        tally.before = {} if row is None else dict(row)
    return tally


async def stop_runs(conn: Conn, call: Call, args: p.EnrollStop) -> Deed:
    """End the selected runs as terminated, `stopped`, and withdraw the requests that wait
    until their contact is free.

    With a reset as `reset`, as by a step of that kind; it concerns those that are over too.

    locks: these requests, before any run, as who decides them does
    """
    picked = await pick(conn, args, ended=args.reset, counted=args.reset_stats)
    queued = await picked.queued(conn)
    await refuse_stranger(conn, call, {row["campaign_id"] for row in queued})
    await _agree(conn, call, picked, "runs would be stopped", more=len(queued))
    tally, reason = await _begun(conn, call, args), "reset" if args.reset else "stopped"
    await conn.execute(sql("withdraw_requests"), [row["id"] for row in queued], call.actor)
    for row in queued:
        tally.withdraw(row)
    async for rows in picked.chunks(conn):
        await refuse_stranger(conn, call, {row["campaign_id"] for row in rows})
        ended = await stop_rows(conn, rows, RunStatus.TERMINATED, reason, call.actor)
        touched = set(ended)
        if args.reset:
            touched |= await _reset_pairs(conn, rows, call.actor)
        if args.reset_stats:
            touched |= {row["id"] for row in await _on_pairs(conn, "void_stats", rows)}
        for row in rows:
            end = {"status": "terminated", "end_reason": reason}
            tally.add(row, changed=row["id"] in touched, **end if row["id"] in ended else {})
    return await tally.deed(conn, args, "enroll stop")


async def _agree(conn: Conn, call: Call, picked: Picked, what: str, *, more: int = 0) -> None:
    """Raise `Forbidden` for campaigns of others, `Conflict` `confirm:N` where nobody said yes."""
    await refuse_stranger(conn, call, picked.campaigns or ())
    confirm(call, await picked.count(conn) + more, what)


async def reset_runs(conn: Conn, call: Call, args: p.Selection) -> Deed:
    """Let the contacts run again: live runs end, `reset`, and none counts as a run any more."""
    picked = await pick(conn, args, ended=True)
    await _agree(conn, call, picked, "runs would be reset")
    tally = await _begun(conn, call, args)
    async for rows in picked.chunks(conn):
        await refuse_stranger(conn, call, {row["campaign_id"] for row in rows})
        await stop_rows(conn, rows, RunStatus.TERMINATED, "reset", call.actor)
        fresh = await _reset_pairs(conn, rows, call.actor)
        for row in rows:
            tally.add(row, changed=row["id"] in fresh)
    return await tally.deed(conn, args, "enroll reset")


async def _reset_pairs(conn: Conn, rows: Sequence[Row], actor: str) -> set[int]:
    fresh = await _on_pairs(conn, "reset_pairs", rows)
    await note(conn, fresh, actor, "reset", {})
    return {row["id"] for row in fresh}


async def _on_pairs(conn: Conn, statement: str, rows: Sequence[Row]) -> list[Row]:
    pairs = sorted({(r["account_id"], r["contact_id"], r["campaign_id"]) for r in rows})
    found: list[Row] = await conn.fetch(sql(statement), *map(list, zip(*pairs, strict=True)))
    return found


async def move_runs(conn: Conn, call: Call, args: p.EnrollMove) -> Deed:
    """End the selected runs as removed, and ask for a run of the same contacts elsewhere."""
    picked = await pick(conn, args)
    target = await _target(conn, args, picked)
    await _agree(conn, call, picked, f"runs would be moved to {args.to}")
    tally, reason = _Tally(), f"moved:{args.to}"
    async for rows in picked.chunks(conn):
        await refuse_stranger(conn, call, {row["campaign_id"] for row in rows})
        mine = [row for row in rows if row["account_id"] == target["account_id"]]
        away = [row for row in mine if row["campaign_id"] != target["id"]]
        ended = await stop_rows(conn, away, RunStatus.REMOVED, reason, call.actor)
        await conn.execute(
            sql("request_moves"), target["account_id"], args.to, sorted(ended), call.actor
        )
        for row in away:
            done = row["id"] in ended
            tally.add(row, changed=done, status="removed", end_reason=reason)
    return await tally.deed(conn, args, f"enroll move to {args.to}")


async def _target(conn: Conn, args: p.EnrollMove, picked: Picked) -> Row:
    key = args.account
    if key is None and picked.account is not None:
        key = await conn.fetchval(sql("account_key"), picked.account)
    target = await find_campaign(conn, args.to, key)
    if target["status"] != "active":
        raise Conflict(
            f"campaign {args.to!r} is {target['status']}: it takes nobody",
            code="not_active",
            hint=f"dripd campaign activate {args.to}",
        )
    return target


async def waiting_versions(conn: Conn, args: p.Selection | Sequence[int]) -> list[int]:
    """The versions of the selected runs (or of enrollments): what a `Judge` must know."""
    if not isinstance(args, p.Selection):
        return [row["cv_id"] for row in await conn.fetch(sql("versions_of"), list(args))]
    found: set[int] = set()
    async for rows in (await pick(conn, args)).chunks(conn):
        found |= {row["cv_id"] for row in rows}
    return sorted(found)


async def release_runs(conn: Conn, call: Call, args: p.Selection, judge: Judge) -> Deed:
    """Make the waiting step of the selected runs due now, a held one too."""
    picked = await pick(conn, args)
    await _agree(conn, call, picked, "steps would become due now")
    tally = await _begun(conn, call, args)
    async for rows in picked.chunks(conn):
        await refuse_stranger(conn, call, {row["campaign_id"] for row in rows})
        tally.meant(await _waiting(conn, rows, await read_now(conn)))
        for row, verdict in await release(conn, rows, judge, call.actor):
            tally.add(row, **verdict)
    await conn.execute(sql("look_again"), sorted(tally.accounts))
    return await tally.deed(conn, args, "enroll due-now")


async def release(
    conn: Conn, rows: Sequence[Row], judge: Judge, actor: str
) -> list[tuple[Row, dict[str, Any]]]:
    """Make the waiting steps of *rows* due now; per row what became of it."""
    now = await read_now(conn)
    waiting = await _waiting(conn, rows, now)
    answers = [
        (row, await _release_one(conn, waiting.get(row["id"]), judge, now)) for row in rows
    ]
    freed = [row for row, answer in answers if answer["changed"]]
    await note(conn, freed, actor, "released", {})
    return answers


async def _release_one(
    conn: Conn, step: Waiting | None, judge: Judge, now: Instant
) -> dict[str, Any]:
    if step is None:
        return _no(MOVING)
    leased, hold = step
    if hold in OTHERS_DECIDE:
        return _no(f"it waits for a decision: {hold}")
    lane = leased.lane
    if lane != HELD_LANE and leased.due_at <= now:
        return {"changed": False}
    if lane == HELD_LANE:
        try:
            wanted = (leased.account_id, judge.lane(leased))
        except KeyError:
            return _no(UNREADABLE)
        lane = (await LaneBook().resolve(conn, [wanted]))[wanted]
    await conn.execute(sql("release_step"), leased.account_id, leased.enrollment_id, lane, now)
    return {"changed": True, "hold_reason": hold}


def _no(message: str) -> dict[str, Any]:
    return {"changed": False, "ok": False, "code": "conflict", "message": message}


async def skip_runs(conn: Conn, call: Call, args: p.Selection, judge: Judge) -> Deed:
    """Skip the waiting step of the selected runs, as `cancelled`; the runs go on."""
    picked = await pick(conn, args)
    await _agree(conn, call, picked, "steps would be skipped")
    tally = await _begun(conn, call, args)
    async for rows in picked.chunks(conn):
        await refuse_stranger(conn, call, {row["campaign_id"] for row in rows})
        now = await read_now(conn)
        waiting = await _waiting(conn, rows, now)
        tally.meant(waiting)
        for row in rows:
            tally.add(row, **await _skip_one(conn, row, waiting.get(row["id"]), judge, now))
    await conn.execute(sql("look_again"), sorted(tally.accounts))
    return await tally.deed(conn, args, "enroll skip")


async def _skip_one(
    conn: Conn, row: Row, step: Waiting | None, judge: Judge, now: Instant
) -> dict[str, Any]:
    if step is None:
        return _no(MOVING)
    leased, hold = step
    if hold in OTHERS_DECIDE:
        return _no(f"it waits for a decision: {hold}")
    try:
        change = judge.skipped(leased, now)
    except KeyError:
        return _no(UNREADABLE)
    await _write_skip(conn, row, change)
    return {"changed": True}


async def _waiting(conn: Conn, rows: Sequence[Row], now: Instant) -> dict[int, Waiting]:
    """The waiting steps of *rows*, locked, as facts for a `Judge`, with their holds."""
    found = await conn.fetch(
        sql("lock_waiting"), [row["account_id"] for row in rows], [row["id"] for row in rows]
    )
    return {row["enrollment_id"]: (_leased(row, now), row["hold_reason"]) for row in found}


def _leased(row: Row, now: Instant) -> Leased:
    return Leased(
        account_id=row["account_id"],
        lane=row["lane"],
        due_at=row["due_at"],
        enrollment_id=row["enrollment_id"],
        contact_id=row["contact_id"],
        cv_id=row["cv_id"],
        seq=row["seq"],
        step_no=row["step_no"],
        run_no=row["run_no"],
        attempt=row["attempt"],
        flags=row["flags"],
        claim_id=0,
        leased_at=now,
        counted=False,
        local_date=row["local_date"],
        email=row["email"],
        phone=row["phone"],
        timezone=row["timezone"],
        attrs=row["attrs"] if isinstance(row["attrs"], dict) else {},
        owner=row["owner"],
        service_owner=row["service_owner"],
        external_id=row["external_id"],
        started_at=row["started_at"],
        vars=row["vars"] if isinstance(row["vars"], dict) else {},
    )


async def _write_skip(conn: Conn, row: Row, change: Change) -> None:
    leased = change.leased
    for log in change.log if not leased.flags & FLAG_AMBIGUOUS else ():  # it stays on record
        await conn.execute(
            sql("log_skip"), leased.account_id, leased.enrollment_id, leased.cv_id,
            leased.run_no, log.seq, log.step_no, log.channel, log.state,
            log.at, log.reason,
        )  # fmt: skip
    if change.next is None or change.next.lane is None:
        end = change.end
        status, reason = (RunStatus.COMPLETED, "completed") if end is None else end
        await conn.fetch(
            sql("end_runs"), [leased.account_id], [leased.enrollment_id], [status], [reason]
        )
        await conn.execute(sql("delete_stopped"), leased.account_id, [leased.enrollment_id])
        await conn.execute(sql("finish_draining"), [row["campaign_id"]])
        return
    wanted = (leased.account_id, change.next.lane)
    lane = (await LaneBook().resolve(conn, [wanted]))[wanted]
    await conn.execute(
        sql("put_next_step"), leased.account_id, leased.enrollment_id, lane,
        change.next.due_at, change.next.step_no, change.next.seq,
    )  # fmt: skip
