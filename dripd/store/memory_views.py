"""What others read: the views over memory's tables, as plain rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, TypeAlias

from dripd.campaigns.enrollment import (
    CHANNEL_OF,
    DELIVERY_STATES,
    FLAG_AMBIGUOUS,
    LogState,
    RunStatus,
)
from dripd.clock import Instant
from dripd.store.memory_rows import Claim, DueStep, Run, StepLog
from dripd.store.memory_tables import Tables
from dripd.store.protocol import WHOLE_ACCOUNT

ViewRow: TypeAlias = dict[str, Any]

STATES = {state: word for word, state in DELIVERY_STATES.items()}

OUTCOMES = {1: "done", 2: "failed", 3: "done", 4: "cancelled", 5: "done", 6: "skipped"}

STEP_LINES = {2: "step_failed", 4: "step_cancelled", 6: "step_skipped"}

GATED = {"paused": "paused", "inactive": "inactive", "archived": "inactive"}


class Views:
    """The read side of one deployment in memory."""

    _tables: Tables

    def enrollments(self) -> list[ViewRow]:
        """`dripd.enrollment`, by id."""
        runs = sorted(self._tables.runs, key=lambda run: run.id)
        return [_enrollment(self._tables, run) for run in runs]

    def deliveries(self) -> list[ViewRow]:
        """`dripd.delivery`: what was attempted, in that order, then what is in flight."""
        tables = self._tables
        return [*_attempted(tables), *_in_flight(tables), *_individual(tables)]

    def step_runs(self) -> list[ViewRow]:
        """`dripd.step_run`, in the order in which they were recorded."""
        return [
            {
                "account_id": log.account_id,
                "enrollment_id": log.enrollment_id,
                "seq": log.row.seq,
                "step_key": _step(self._tables, log.cv_id, log.row.step_no)[0],
                "kind": _step(self._tables, log.cv_id, log.row.step_no)[1],
                "outcome": OUTCOMES[log.row.state],
                "reason": _why(log),
                "started_at": log.leased_at,
                "finished_at": log.row.at,
            }
            for log in self._tables.step_log
            if log.row.state > LogState.AGAIN
        ]

    def journal(self) -> list[ViewRow]:
        """`dripd.journal`: acceptances, steps, ends and the rest, each in its order."""
        tables = self._tables
        rows = [_accepted(run) for run in tables.runs]
        rows += [_step_line(tables, x) for x in tables.step_log if x.row.state > LogState.AGAIN]
        rows += [_ended(run) for run in tables.runs if run.status is not RunStatus.LIVE]
        for line in tables.journal:
            whose = (line.account_id, line.enrollment_id)
            rows.append(
                _line(line.at, line.actor, whose, line.kind, copy.deepcopy(line.detail))
            )
        return rows

    def due_steps(self) -> list[ViewRow]:
        """The hot rows themselves, by run."""
        columns = (
            "account_id", "enrollment_id", "lane", "due_at", "step_no", "seq", "attempt", "flags",
        )  # fmt: skip
        rows = sorted(self._tables.due, key=lambda row: row.enrollment_id)
        return [
            {name: getattr(row, name) for name in columns}
            | {"leased": row.claim_id is not None}
            for row in rows
        ]

    def late_evidence(self) -> list[ViewRow]:
        """Results that came back after their claim was lost."""
        columns = ("account_id", "enrollment_id", "seq", "state", "provider_id", "reason")
        return [{name: getattr(row, name) for name in columns} for row in self._tables.evidence]

    def cap_usage(self) -> list[ViewRow]:
        """`dripd.cap_usage`, by account and day: of those without usage only today."""
        now = self._tables.now()
        days = sorted(self._tables.days, key=lambda day: (day.account_id, day.local_date))
        return [
            {"account_id": day.account_id, "local_date": day.local_date, "source": word, "n": n}
            for day in days
            for word, n in (
                ("program", day.used),
                ("bulk", day.bulk),
                ("individual", day.individual),
                ("internal", day.internal),
            )
            if n > 0 or (word == "program" and day.starts_at <= now < day.ends_at)
        ]

    def requests(self) -> list[ViewRow]:
        """What became of `enroll_request`, by id."""
        return [
            {
                "id": row.id,
                "status": row.status,
                "reject_reason": row.reject_reason,
                "enrollment_id": row.enrollment_id,
                "source": row.source,
            }
            for row in sorted(self._tables.requests, key=lambda row: row.id)
        ]

    def event_log(self) -> list[ViewRow]:
        """Processed events, in the order in which they were."""
        return [
            {
                "id": row.id,
                "account_id": row.account_id,
                "contact_id": row.contact_id,
                "enrollment_id": row.enrollment_id,
                "kind": row.kind,
                "occurred_at": row.occurred_at,
                "payload": copy.deepcopy(row.payload),
                "refused_reason": row.refused_reason,
            }
            for row in self._tables.event_log
        ]

    def event_queue(self) -> list[ViewRow]:
        """Unprocessed events, by id."""
        return [
            {
                "id": row.id,
                "account_id": row.account_id,
                "contact_id": row.contact_id,
                "kind": row.kind,
                "delivery_id": row.delivery_id,
                "address": row.address,
                "payload": copy.deepcopy(row.payload),
            }
            for row in sorted(self._tables.events, key=lambda row: row.id)
        ]

    def task_rows(self) -> list[ViewRow]:
        """`dripd.task`, by id."""
        return [
            {
                "id": row.id,
                "account_id": row.account_id,
                "enrollment_id": row.enrollment_id,
                "step_key": row.step_key,
                "kind": row.kind,
                "title": row.title,
                "assignee": row.assignee,
                "category": row.category,
                "due_at": row.due_at,
                "state": row.state,
                "payload": copy.deepcopy(row.payload),
                "snoozed_until": row.snoozed_until,
                "snoozed_by": row.snoozed_by,
            }
            for row in self._tables.tasks
        ]

    def notifications(self) -> list[ViewRow]:
        """`dripd.notification`, by id."""
        return [
            {
                "kind": row.kind,
                "recipient": row.recipient,
                "enrollment_id": row.enrollment_id,
                "task_id": row.task_id,
                "payload": copy.deepcopy(row.payload),
            }
            for row in self._tables.notifications
        ]

    @property
    def meters(self) -> list[ViewRow]:
        return [
            {
                "account_id": meter.account_id,
                "kind": meter.kind,
                "period": meter.period,
                "n": meter.n,
            }
            for meter in self._tables.meters
        ]

    @property
    def ledger(self) -> list[ViewRow]:
        return [
            {
                "account_id": line.account_id,
                "kind": line.kind,
                "amount": line.amount,
                "enrollment_id": line.enrollment_id,
                "step_key": line.step_key,
                "delivery_id": line.delivery_id,
                "at": line.at,
            }
            for line in self._tables.ledger
        ]

    @property
    def sink_messages(self) -> list[ViewRow]:
        """What the built-in sink received, in that order."""
        return [
            {
                "account_id": row.account_id,
                "received_at": at,
                "channel": row.channel,
                "sender": row.sender,
                "recipient": row.recipient,
                "subject": row.subject,
                "body": row.body,
                "headers": dict(row.headers),
                "idempotency_key": row.idempotency_key,
                "enrollment_id": row.enrollment_id,
                "step_key": row.step_key,
            }
            for at, row in self._tables.sink
        ]


def _step(tables: Tables, cv_id: int, step_no: int) -> tuple[str, str]:
    return tables.versions[cv_id].steps[step_no]


def _enrollment(tables: Tables, run: Run) -> ViewRow:
    version = tables.versions[run.cv_id]
    row = tables.due.get((run.account_id, run.id)) if run.status is RunStatus.LIVE else None
    leased = row is not None and row.claim_id is not None
    reason, release_at = (None, None) if leased else _hold(tables, run, row)
    return {
        "id": run.id,
        "account_id": run.account_id,
        "campaign_key": version.campaign_key,
        "version": version.version,
        "contact_id": run.contact_id,
        "run_no": run.run_no,
        "status": _status(run, reason, leased=leased),
        "end_reason": run.end_reason,
        "step_key": _step(tables, row.cv_id, row.step_no)[0] if row is not None else None,
        "due_at": row.due_at if row is not None else None,
        "hold_reason": reason,
        "release_at": release_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "reset_at": run.reset_at,
        "owner": run.owner,
        "conversation_ref": run.conversation_ref,
    }


def _status(run: Run, reason: str | None, *, leased: bool) -> str:
    if run.status is not RunStatus.LIVE:
        return run.status.name.lower()
    if leased:
        return "executing"
    return "waiting" if reason is None else "held"


def _hold(tables: Tables, run: Run, row: DueStep | None) -> tuple[str | None, Instant | None]:
    """Why a live run waits, and until when: its own reason, then the gates, then a park."""
    if run.status is not RunStatus.LIVE:
        return None, None
    if run.hold_reason is not None:
        return run.hold_reason, run.release_at
    account = tables.accounts[run.account_id]
    if account.status != "active":
        return "account_paused", None
    if not account.subscription_active:
        return "no_subscription", None
    campaign = tables.campaigns[run.account_id, run.campaign_id]
    if campaign.status in GATED:
        return GATED[campaign.status], None
    return _parked(tables, row)


def _parked(tables: Tables, row: DueStep | None) -> tuple[str | None, Instant | None]:
    if row is None or row.lane < 0 or row.due_at > tables.now():
        return None, None
    for lane in (row.lane, WHOLE_ACCOUNT):
        park = tables.parks.get((row.account_id, lane))
        if park is not None:
            return park.reason, park.release_at
    return None, None


def _attempted(tables: Tables) -> Iterator[ViewRow]:
    for log in tables.step_log:
        if log.row.channel and log.row.state in STATES:
            yield _attempt(tables, log)


def _attempt(tables: Tables, log: StepLog) -> ViewRow:
    row = log.row
    step_key = _step(tables, log.cv_id, row.step_no)[0]
    sender = tables.senders.get((log.account_id, row.sender_id or 0))
    return {
        "id": f"{log.enrollment_id}-{row.seq}",
        "account_id": log.account_id,
        "enrollment_id": log.enrollment_id,
        "step_key": step_key,
        "run_no": log.run_no,
        "channel": CHANNEL_OF[row.channel],
        "sender_id": row.sender_id,
        "to_address": row.to_address,
        "idempotency_key": _key(tables, log.enrollment_id, log.run_no, step_key),
        "state": STATES[row.state],
        "attempt": row.attempt,
        "provider": sender.provider if sender is not None else None,
        "provider_id": row.provider_id,
        "segments": row.segments,
        "subject": row.subject,
        "leased_at": log.leased_at,
        "sent_at": row.sent_at,
        "accepted_at": row.at if row.state is LogState.ACCEPTED else None,
        "reason": row.reason,
    }


def _in_flight(tables: Tables) -> Iterator[ViewRow]:
    for claim in tables.claims:
        for key in tables.due_by_claim.at(claim.claim_id):
            row = tables.due[key]
            kind = _step(tables, row.cv_id, row.step_no)[1]
            if kind in {"email", "sms"} and not row.flags & FLAG_AMBIGUOUS:
                yield _leased(tables, row, claim)


def _leased(tables: Tables, row: DueStep, claim: Claim) -> ViewRow:
    step_key, kind = _step(tables, row.cv_id, row.step_no)
    empty: ViewRow = dict.fromkeys(
        ("sender_id", "to_address", "provider", "provider_id", "segments", "subject")
    )
    return {
        **empty,
        "id": f"{row.enrollment_id}-{row.seq}",
        "account_id": row.account_id,
        "enrollment_id": row.enrollment_id,
        "step_key": step_key,
        "run_no": row.run_no,
        "channel": kind,
        "idempotency_key": _key(tables, row.enrollment_id, row.run_no, step_key),
        "state": "leased",
        "attempt": max(row.attempt, 0) + 1,
        "leased_at": claim.leased_at,
        "sent_at": None,
        "accepted_at": None,
        "reason": None,
    }


def _individual(tables: Tables) -> Iterator[ViewRow]:
    columns = (
        "account_id", "channel", "sender_id", "to_address", "state", "provider_id", "segments",
        "subject", "leased_at", "sent_at", "accepted_at", "reason",
    )  # fmt: skip
    for row in tables.individuals:
        sender = tables.senders.get((row.account_id, row.sender_id))
        yield {name: getattr(row, name) for name in columns} | {
            "id": f"i-{row.id}",
            "enrollment_id": None,
            "step_key": None,
            "run_no": None,
            "idempotency_key": f"dripd:{tables.deployment}:i-{row.id}",
            "attempt": 1,
            "provider": sender.provider if sender is not None else None,
        }


def _key(tables: Tables, enrollment_id: int, run_no: int, step_key: str) -> str:
    return f"dripd:{tables.deployment}:{enrollment_id}:{run_no}:{step_key}"


def _line(
    at: Instant | None, actor: str, whose: tuple[int, int | None], kind: str, detail: ViewRow
) -> ViewRow:
    return {
        "at": at,
        "actor": actor,
        "account_id": whose[0],
        "enrollment_id": whose[1],
        "kind": kind,
        "detail": detail,
    }


def _accepted(run: Run) -> ViewRow:
    detail = {"run_no": run.run_no, "campaign_id": run.campaign_id}
    whose = (run.account_id, run.id)
    return _line(run.started_at, run.source or "dripd", whose, "accepted", detail)


def _ended(run: Run) -> ViewRow:
    detail = {"reason": run.end_reason}
    return _line(
        run.ended_at, "dripd", (run.account_id, run.id), run.status.name.lower(), detail
    )


def _why(log: StepLog) -> str | None:
    """The reason of a step; what is known of a message in doubt is the delivery's."""
    row = log.row
    if row.state is LogState.UNKNOWN or row.reason is None:
        return None
    told = row.reason == "suppressed" or row.reason.startswith("unable:")
    refused = row.state is LogState.FAILED and row.channel > 0
    return f"unable:{row.reason}" if refused and not told else row.reason


def _step_line(tables: Tables, log: StepLog) -> ViewRow:
    detail = {
        "seq": log.row.seq,
        "step_key": _step(tables, log.cv_id, log.row.step_no)[0],
        "reason": log.row.reason,
        "unknown": True if log.row.state is LogState.UNKNOWN else None,
    }
    kept = {key: value for key, value in detail.items() if value is not None}
    kind = STEP_LINES.get(log.row.state, "step_done")
    return _line(log.row.at, "dripd", (log.account_id, log.enrollment_id), kind, kept)
