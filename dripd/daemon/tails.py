"""What do the tails of the admin protocol show? This daemon's deliveries, events and log lines.

The stages put whole batches into rings; a thing becomes a row when somebody looks.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from dripd import log
from dripd.admin.tail import Shown, Source
from dripd.campaigns.enrollment import CHANNEL_OF, Change, LogRow, LogState
from dripd.clock import format_instant
from dripd.engine.directory import Directory
from dripd.engine.pipeline import Aside, Pipeline
from dripd.policy.inbox_rows import EventRow

STATES: Mapping[LogState, str] = {
    LogState.AGAIN: "retry",
    LogState.ACCEPTED: "accepted",
    LogState.FAILED: "failed",
    LogState.UNKNOWN: "unknown",
    LogState.CANCELLED: "cancelled",
}
"""What became of an attempt; the other states are of steps that send nothing."""


NAMED = ("field", "tag", "list", "list_id", "link", "form", "step", "type", "auto", "machine")
"""What is shown of an event's payload: the rest may hold what the contact wrote, or is."""


def sources(pipe: Pipeline, providers: Container[str]) -> dict[str, Source[Any]]:
    """Every tail by its name; *providers* of the configuration are the sources of events."""
    shows = Shows(pipe.directory, providers)
    return {
        "deliveries": Source(pipe.lately.recorded, shows.delivery),
        "events": Source(pipe.lately.heard, shows.event),
        "logs": Source(Lines(), dict),
    }


class Lines:
    """The log's own ring, read like the others."""

    @property
    def n(self) -> int:
        return log.RING.n

    def since(self, seen: int, most: int) -> tuple[list[log.Line], int]:
        fresh = max(0, self.n - seen)
        found = log.RING.since(None, min(most, fresh))[0] if fresh else []
        return found, fresh - len(found)


class Shows:
    """Things of the engine as rows: ids and keys, as the directory knows them."""

    def __init__(self, directory: Directory, providers: Container[str]) -> None:
        self._directory = directory
        self._providers = providers

    def delivery(self, change: Change) -> Shown | None:
        """The attempt that a change tells of, None where nothing was to be sent."""
        sent = next((row for row in change.log if row.channel and row.state in STATES), None)
        return None if sent is None else self._attempt(change, sent)

    def _attempt(self, change: Change, row: LogRow) -> Shown:
        leased = change.leased
        took = None if row.sent_at is None else max(0, row.at - row.sent_at)
        return {
            "at": format_instant(row.at),
            "state": STATES[row.state],
            "channel": CHANNEL_OF[row.channel],
            **self._step(leased.cv_id, row.step_no),
            "account": self._account(leased.account_id),
            "enrollment_id": leased.enrollment_id,
            "contact_id": leased.contact_id,
            "id": f"{leased.enrollment_id}-{row.seq}",
            "to_address": row.to_address,
            "reason": row.reason,
            "took_ms": took,
            "attempt": row.attempt,
        }

    def event(self, event: EventRow | Aside) -> Shown:
        if isinstance(event, Aside):
            return self._aside(event)
        return {
            "at": format_instant(event.occurred_at),
            "kind": event.kind,
            "account": self._account(event.account_id),
            "id": event.id,
            "contact_id": event.contact_ids[0] if event.contact_ids else event.named,
            "enrollment_id": event.enrollment_id,
            "step": event.step_key,
            "address": event.address,
            "source": self._source(event),
            "detail": " ".join(f"{k}={event.payload[k]}" for k in NAMED if k in event.payload),
            "note": "duplicate" if event.duplicate else event.unresolved,
        }

    def _aside(self, aside: Aside) -> Shown:
        account = aside.account_id
        nothing = dict.fromkeys(("id", "contact_id", "enrollment_id", "step", "address"))
        return {
            "at": format_instant(aside.at),
            "kind": aside.kind,
            "account": None if account is None else self._account(account),
            **nothing,
            "source": aside.source,
            "detail": aside.detail,
            "note": aside.note,
        }

    def _source(self, event: EventRow) -> str | None:
        """The provider that told of it; None: our own links, SQL, a command."""
        name = (event.dedup_key or "").partition(":")[0]
        return name if name in self._providers else None

    def _account(self, account_id: int) -> str:
        account = self._directory.accounts.get(account_id)
        return f"#{account_id}" if account is None else account.row.key

    def _step(self, cv_id: int, step_no: int) -> Shown:
        version = self._directory.versions.get(cv_id)
        if version is None:
            return {"campaign": f"#{cv_id}", "step": str(step_no)}
        key = version.steps[step_no].key if step_no < len(version.steps) else str(step_no)
        return {"campaign": version.campaign_key, "step": key}
