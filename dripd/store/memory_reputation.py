"""What came back of what senders sent, in memory: the twin of `unit_reputation`."""

from __future__ import annotations

from collections.abc import Sequence

from dripd.clock import Instant
from dripd.ratelimit.reputation import Guard, Mark, Standing, Stop, stops_of
from dripd.store.memory_directory import count_sent
from dripd.store.memory_rows import Notification, SenderMark
from dripd.store.memory_tables import Tables


def judge_senders(
    tables: Tables, account_id: int, marks: Sequence[Mark], guard: Guard
) -> list[Stop]:
    for mark in marks:
        _mark(tables, account_id, mark)
    since = Instant(tables.now() - guard.window_ms)
    standings = []
    for sender in tables.senders:
        if sender.account_id == account_id and sender.status == "active":
            at = max(since, sender.judged_from or since)
            kinds = [
                one.kind
                for one in tables.marks
                if one.account_id == account_id and one.sender_id == sender.id and one.at > at
            ]
            sent = count_sent(tables, account_id, [sender.id], at).get(sender.id, 0)
            standings.append(
                Standing(sender.id, sent, kinds.count("bounce"), kinds.count("complaint"))
            )
    stops = stops_of(account_id, standings, guard)
    for stop in stops:
        _stop(tables, stop)
    return stops


def _mark(tables: Tables, account_id: int, mark: Mark) -> None:
    keys = tables.log_of.at((account_id, mark.enrollment_id))
    logs = [log for log in map(tables.step_log.__getitem__, keys) if log.row.seq == mark.seq]
    sender_id = logs[-1].row.sender_id if logs else None
    if sender_id is not None and (account_id, mark.event_id) not in tables.marks:
        row = SenderMark(
            account_id=account_id, sender_id=sender_id, at=tables.now(), kind=mark.kind
        )
        tables.marks.add((account_id, mark.event_id), row)


def _stop(tables: Tables, stop: Stop) -> None:
    detail: dict[str, object] = {"reason": stop.reason, **stop.figures}
    if stop.sender_id is None:
        tables.accounts.change(stop.account_id, status="paused")
        tables.refresh_gates([stop.account_id])
        detail["what"] = "account"
        owner = None
    else:
        place = (stop.account_id, stop.sender_id)
        tables.senders.change(place, status="paused", pause_reason=stop.reason)
        tables.mind_standstills({stop.account_id})
        owner = tables.senders[place].owner
        detail |= {"what": "sender", "sender_id": stop.sender_id}
        for park in [one for one in tables.parks if one.account_id == stop.account_id]:
            if park.reason in {"no_sender", "rate", "cap", "breaker"}:
                tables.parks.drop((park.account_id, park.lane))
    tables.write_journal(stop.account_id, None, None, "paused", detail)
    told = Notification(
        account_id=stop.account_id, id=tables.next_id(), kind="paused", recipient=owner,
        enrollment_id=None, task_id=None, payload=detail, created_at=tables.now(),
    )  # fmt: skip
    tables.notifications.add((stop.account_id, told.id), told)
    tables.nudge(stop.account_id)
