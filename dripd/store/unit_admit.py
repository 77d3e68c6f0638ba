"""Admission as a unit of work: take, lock, read, decide, write - in one transaction.

Accounts take turns: who asks for a million keeps nobody else waiting. The unique indexes of
`run` are the judges; a request that loses to somebody stays pending and is decided again on
what then is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from dripd.billing.ledger import unaffordable
from dripd.campaigns.enrollment import FLAG_VARS, DueKey, RunStatus
from dripd.policy.admission_rows import (
    Accept,
    Decision,
    Leave,
    Quote,
    Reject,
    RequestRow,
    first_of_each_key,
    rejections,
)
from dripd.store.connect import Conn, copy_rows, parse_object, read_object
from dripd.store.lanes import LaneBook, Wanted
from dripd.store.protocol import Admitted, Decide
from dripd.store.statements import sql

LOSSES_MOST = 3
"""How often a request may lose to a unique index before it is refused for it."""

STEP_COLUMNS: Final = (
    "account_id",
    "enrollment_id",
    "contact_id",
    "cv_id",
    "run_no",
    "due_at",
    "lane",
    "step_no",
    "flags",
)


ASKING_MOST: Final = 50
"""Accounts that take their turn in one batch."""


class Turns:
    """Which accounts have their turn next: those behind the word of the last one."""

    def __init__(self) -> None:
        self.after = ""


class Losers:
    """Requests that the indexes refused although the rules allowed them: id to how often."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}

    def lost(self, request_id: int) -> bool:
        """Count a loss; True when it is time to give up."""
        times = self._times.pop(request_id, 0) + 1
        if times < LOSSES_MOST:
            self._times[request_id] = times
        return times >= LOSSES_MOST


async def admit(
    conn: Conn,
    book: LaneBook,
    losers: Losers,
    turns: Turns,
    wish: tuple[int, list[int], list[int]],
    decide: Decide,
) -> tuple[Admitted, dict[Wanted, int]]:
    """Decide pending requests, of each account the oldest: so many, or these alone, without
    these versions, and without campaigns that are being published or paused."""
    n, only, unreadable = wish
    if only:
        taken, after = await conn.fetch(sql("retake_requests"), only, unreadable), turns.after
    else:
        taken, after = await take(conn, turns, n, unreadable)
    if not taken:
        return Admitted(taken=0, decided=0, started=[]), {}
    known = sorted(
        {
            (row["account_id"], row["campaign_key"])
            for row in taken
            if row["account_id"] and row["campaign_key"]
        }
    )
    shut = await conn.fetch(
        sql("share_campaigns"), [account for account, _ in known], [key for _, key in known]
    )
    shut_keys = {(row["account_id"], row["campaign_key"]) for row in shut}
    open_to = [
        row for row in taken if (row["account_id"], row["campaign_key"]) not in shut_keys
    ]
    ids = first_of_each_key(
        (row["id"], row["account_id"], row["idempotency_key"]) for row in open_to
    )
    done, lanes = await decide_requests(conn, book, losers, ids, decide)
    done.shut = len(taken) - len(open_to)
    done.taken = len(taken)
    turns.after = after  # what raised is met again
    return done, lanes


async def take(
    conn: Conn, turns: Turns, n: int, unreadable: Sequence[int] = ()
) -> tuple[list[Any], str]:
    """Up to *n* pending requests, locked, and where the turns go on; nothing of them only once
    all who ask have been passed."""
    after, seen_all = turns.after, not turns.after
    while True:
        rows = await conn.fetch(sql("take_requests"), n, ASKING_MOST, after, unreadable)
        asking = {row["who"] for row in rows}
        after = max(asking) if len(asking) == ASKING_MOST else ""
        taken = [row for row in rows if row["id"] is not None]
        if taken or (seen_all and not after):
            return taken, after
        seen_all = seen_all or not after


async def decide_requests(
    conn: Conn, book: LaneBook, losers: Losers, ids: Sequence[int], decide: Decide
) -> tuple[Admitted, dict[Wanted, int]]:
    """Decide the requests *ids*, whose rows the caller has locked, and write what was decided."""
    now = await conn.fetchval("SELECT dripd.now()")
    rows = await read_requests(conn, ids)
    decisions = decide(rows, now)
    accepted = sorted(
        (one for one in decisions if isinstance(one, Accept)), key=Accept.lock_order
    )
    lanes = await book.resolve(
        conn, {(one.request.account_id, one.lane) for one in accepted if one.request.account_id}
    )
    started, runs, broke = await _begin(conn, accepted, lanes, now)
    rejected = rejections(decisions, runs, {one.request.id for one in broke}, losers.lost)
    await _note(conn, runs, rejected, decisions)
    queued = [
        (one.request.id, one.request.account_id, one.request.contact_id, one.queued_in)
        for one in decisions
        if isinstance(one, Leave) and one.queued_in
    ]
    if queued:
        await conn.execute(sql("queue_requests"), *map(list, zip(*queued, strict=True)))
    done = Admitted(taken=len(ids), decided=len(runs) + len(rejected), started=started)
    done.accounts = {key.account_id for key in started}
    return done, lanes


async def read_requests(conn: Conn, ids: Sequence[int]) -> list[RequestRow]:
    """Pending requests with what must be known to decide them, in the order of *ids*."""
    return [_request(row) for row in await conn.fetch(sql("request_facts"), ids)]


def _request(row: Any) -> RequestRow:
    request = _asked(row)
    if row["facts"] is not None:
        _add_facts(request, row)
    request.requester_role = row["requester_role"]
    request.campaign_owner = row["campaign_owner"]
    if row["quoted_total"] is not None:
        request.quote = Quote(
            row["quoted_campaign"], row["quoted_contact"], row["quoted_total"]
        )
    return request


def _add_facts(request: RequestRow, row: Any) -> None:
    """What decides which messages will be sent, for accounts that pay for them, and where to,
    for versions that map addresses."""
    facts: dict[str, Any] = parse_object(row["facts"])
    if not facts:  # they cannot be read: nobody knows what it would cost
        request.vars_ok = False
        return
    request.prices = facts["prices"]
    request.service_owner = facts["service_owner"]
    request.contact_external_id = facts["external_id"]
    request.attrs = _object(facts["attrs"])
    request.company = _object(facts["company"])
    request.tags = frozenset(facts["tags"])
    request.lists = frozenset(facts["lists"])


def _is_readable(text: str | None) -> bool:
    try:
        read_object(text)
    except ValueError:
        return False
    return True


def _object(value: Any) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _asked(row: Any) -> RequestRow:
    duplicate = row["duplicate_of"] if row["duplicate_of"] is not None else 0
    return RequestRow(
        id=row["id"],
        account_id=row["account_id"],
        campaign_key=row["campaign_key"],
        campaign_id=row["campaign_id"],
        campaign_status=row["campaign_status"],
        account_status=row["account_status"] or "active",
        subscribed=row["subscribed"] is not False,
        cv_id=row["cv_id"],
        contact_id=row["contact_id"],
        source=row["source"],
        idempotency_key=row["idempotency_key"],
        requested_by=row["requested_by"],
        conversation_ref=row["conversation_ref"],
        vars=parse_object(row["vars"]) if row["vars"] else None,
        vars_ok=row["vars_type"] in {None, "object", "null"} and _is_readable(row["vars"]),
        start_at=row["start_at"],
        inserted_at=row["inserted_at"],
        quote_id=row["quote_id"],
        entry=row["entry"] or "",
        email=row["email"],
        phone=row["phone"],
        timezone=row["timezone"],
        owner=row["owner"],
        email_suppressed=row["email_suppressed"],
        phone_suppressed=row["phone_suppressed"],
        on_board=row["on_board"],
        busy={key: str(value) for key, value in parse_object(row["busy"]).items()},
        runs=row["runs"] or 0,
        live=row["live"] or 0,
        unreset=row["unreset"] or 0,
        runs_today=row["runs_today"] or 0,
        last_ended_at=row["last_ended_at"],
        last_run_no=row["last_run_no"] or 0,
        alone=row["alone"] or False,
        duplicate_of=duplicate if row["first_request"] is not None else None,
    )


async def _begin(
    conn: Conn, accepted: list[Accept], lanes: dict[Wanted, int], now: int
) -> tuple[list[DueKey], dict[int, int], list[Accept]]:
    """As `_start`; and a run that does not begin after all leaves in its place the one that it
    was to take it from."""
    broke: list[Accept] = []
    while any(one.displaces for one in accepted):
        point = conn.transaction()
        await point.start()
        keys, runs, short = await _start(conn, accepted, lanes, now)
        stay = {o.request.id for o in accepted if o.displaces and o.request.id not in runs}
        if not stay:
            await point.commit()
            return keys, runs, broke + short
        await point.rollback()
        broke += [one for one in short if one.request.id in stay]
        accepted = [one for one in accepted if one.request.id not in stay]
    keys, runs, short = await _start(conn, accepted, lanes, now)
    return keys, runs, broke + short


async def _start(
    conn: Conn, accepted: list[Accept], lanes: dict[Wanted, int], now: int
) -> tuple[list[DueKey], dict[int, int], list[Accept]]:
    """Insert runs and their due steps. Returns the keys, request id to run id, and those that
    the balance does not cover."""
    if not accepted:
        return [], {}, []
    await _displace(conn, [one for one in accepted if one.displaces])
    again = [(o.request.account_id, o.request.contact_id, o.request.campaign_id)
             for o in accepted if o.resets]  # fmt: skip
    if again:
        await conn.fetch(sql("reset_pairs"), *map(list, zip(*again, strict=True)))
    more = [(o.request.account_id, o.request.contact_id, o.request.campaign_id)
            for o in accepted if o.yields]  # fmt: skip
    if more:
        await conn.execute(sql("yield_reentry"), *map(list, zip(*more, strict=True)))
    ids = [row["id"] for row in await conn.fetch(sql("next_run_ids"), len(accepted))]
    columns = list(
        zip(
            *(_run_row(one, run, now) for one, run in zip(accepted, ids, strict=True)),
            strict=True,
        )
    )
    won = {row["id"] for row in await conn.fetch(sql("start_runs"), *map(list, columns))}
    begun = [(one, run) for one, run in zip(accepted, ids, strict=True) if run in won]
    broke: list[Accept] = []
    if any(one.charge for one, _ in begun):
        broke = await _charge(conn, begun)
        short = {one.request.id for one in broke}
        begun = [(one, run) for one, run in begun if one.request.id not in short]
    waiting = [(one, run) for one, run in begun if one.end is None]
    steps = [_step_row(one, run, lanes) for one, run in waiting]
    if steps:
        await copy_rows(conn, "due_step", STEP_COLUMNS, steps)
    keys = [DueKey(row[0], row[6], row[5], row[1], row[3]) for row in steps]
    return keys, {one.request.id: run for one, run in begun}, broke


async def _charge(conn: Conn, begun: list[tuple[Accept, int]]) -> list[Accept]:
    """Charge what the runs cost, oldest request first; whose account is short has not begun.

    The balances are locked after the runs are written, as a refund at an end does it.
    """
    asked = sorted((one.request.id, run, one) for one, run in begun if one.charge)
    accounts = sorted({one.request.account_id or 0 for _, _, one in asked})
    purses = await conn.fetch(sql("lock_purses"), accounts)
    refused = unaffordable(
        {row["account_id"]: row["balance"] for row in purses},
        [(run, one.request.account_id or 0, one.charge) for _, run, one in asked],
    )
    if refused:
        gone = [(one.request.account_id, run) for _, run, one in asked if run in refused]
        await conn.execute(sql("unstart_runs"), *map(list, zip(*gone, strict=True)))
    charged = [
        (one.request.account_id, run, one.charge, one.started_at)
        for _, run, one in asked
        if run not in refused
    ]
    if charged:
        await conn.execute(sql("charge_runs"), *map(list, zip(*charged, strict=True)))
    return [one for _, run, one in asked if run in refused]


async def _displace(conn: Conn, accepted: list[Accept]) -> None:
    """End the runs whose place is taken, as a move would: what is in flight is marked."""
    if not accepted:
        return
    keys = [(o.request.account_id, o.request.contact_id, o.exclusive) for o in accepted]
    rows = await conn.fetch(sql("busy_runs"), *map(list, zip(*keys, strict=True)))
    accounts, ids = [row["account_id"] for row in rows], [row["id"] for row in rows]
    await conn.fetch(sql("lock_due"), accounts, ids)
    why = [f"moved:{accepted[row['o'] - 1].request.campaign_key}" for row in rows]
    await conn.fetch(sql("end_runs"), accounts, ids, [RunStatus.REMOVED] * len(ids), why)
    for account in sorted(set(accounts)):
        mine = [row["id"] for row in rows if row["account_id"] == account]
        await conn.execute(sql("mark_stopped"), account, mine)
        await conn.execute(sql("delete_stopped"), account, mine)
        await conn.execute(sql("cancel_awaited"), account, mine)


def _run_row(one: Accept, run: int, now: int) -> tuple[Any, ...]:
    request, end = one.request, one.end
    reentry, exclusive = one.claims()
    return (
        request.account_id,
        run,
        request.campaign_id,
        request.contact_id,
        one.cv_id,
        request.last_run_no + 1,
        one.started_at,
        reentry,
        exclusive,
        one.owner,
        request.source,
        request.conversation_ref,
        _dumps(request.vars) if request.vars else None,
        RunStatus.LIVE if end is None else end.status,
        None if end is None else max(now, one.started_at),
        None if end is None else end.reason,
        None if one.paid is None else _dumps(one.paid),
        None if one.frozen is None else _dumps(one.frozen),
    )


def _step_row(one: Accept, run: int, lanes: dict[Wanted, int]) -> tuple[Any, ...]:
    """In the order of `STEP_COLUMNS`."""
    request = one.request
    account = request.account_id or 0
    return (
        account,
        run,
        request.contact_id,
        one.cv_id,
        request.last_run_no + 1,
        one.due_at,
        lanes[account, one.lane],
        one.step_no,
        FLAG_VARS if request.vars else 0,
    )


async def _note(
    conn: Conn,
    runs: dict[int, int],
    rejected: list[Reject],
    decisions: Sequence[Decision],
) -> None:
    """Write the decisions into the requests, the journal and the idempotency keys."""
    requests = {one.request.id: one.request for one in decisions}
    decided: list[tuple[int, str, str | None, int | None]] = [
        (request, "accepted", None, run) for request, run in runs.items()
    ]
    decided += [
        (one.request.id, "rejected", one.reason, one.enrollment_id or None) for one in rejected
    ]
    if not decided:
        return
    await conn.execute(sql("decide_requests"), *map(list, zip(*decided, strict=True)))
    keyed = [
        (requests[one].account_id, requests[one].idempotency_key, one, run)
        for one, _, why, run in decided
        if requests[one].idempotency_key and requests[one].account_id and why != "duplicate"
    ]
    if keyed:
        await conn.execute(sql("see_requests"), *map(list, zip(*keyed, strict=True)))
    told: list[tuple[int | None, int | None, int | None, str, str]] = [
        (
            one.request.account_id,
            None,
            one.request.contact_id,
            "rejected",
            _dumps(one.told()),
        )
        for one in rejected
        if one.request.account_id
    ]
    told += [
        (one.request.account_id, runs[one.request.id], one.request.contact_id, one.doubt, "{}")
        for one in decisions
        if isinstance(one, Accept) and one.doubt and one.request.id in runs
    ]
    if told:
        await conn.execute(sql("journal"), *map(list, zip(*told, strict=True)))


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()
