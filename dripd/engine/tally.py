"""What is counted of the work done? A batch at a time, into the daemon's metrics.

Nothing here decides anything: a stage hands over what it has just finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from dripd.campaigns.enrollment import (
    BROKEN,
    CHANNEL_OF,
    Change,
    Leased,
    LogRow,
    LogState,
    RunStatus,
)
from dripd.campaigns.event import Accepted, Outcome, Rejected, Retryable, Throttled, Unknown
from dripd.campaigns.settings import MATCH_KEYS
from dripd.clock import MINUTE, Instant, Millis
from dripd.engine.directory import Directory
from dripd.metrics import OTHER, Registry
from dripd.policy.gate import missed_by
from dripd.policy.inbox_rows import EventRow
from dripd.policy.rooms import MissingAccount, step_times
from dripd.ratelimit.traffic import Place, Refusal
from dripd.store.protocol import Admitted

RESULTS: Final[dict[type, str]] = {
    Accepted: "accepted",
    Retryable: "retry",
    Throttled: "retry",
    Rejected: "failed",
    Unknown: "unknown",
}

CLASSES: Final = {
    "auth": "auth",
    "payment": "auth",
    "connect": "network",
    "lost": "network",
    "connect_timeout": "timeout",
    "timeout": "timeout",
    "deadline": "timeout",
    "no_answer": "timeout",
    "too_large": "content",
}
"""Reasons whose class is not seen from the outcome alone."""


def class_of(outcome: Retryable | Throttled | Rejected | Unknown) -> str:
    """`throttle auth recipient content network provider timeout`: whose fault a failure is."""
    if isinstance(outcome, Throttled):
        return "throttle"
    if outcome.reason in CLASSES:
        return CLASSES[outcome.reason]
    return "recipient" if isinstance(outcome, Rejected) else "provider"


def refusals(outcomes: Iterable[tuple[Place, Outcome]]) -> list[Refusal]:
    """Those of *outcomes* that are no acceptance, as they count for their senders."""
    return [
        Refusal(place, outcome.reason, isinstance(outcome, Throttled))
        for place, outcome in outcomes
        if not isinstance(outcome, Accepted)
    ]


def called(
    metrics: Registry,
    provider: str,
    outcomes: Sequence[tuple[str, Outcome]],
    seconds: float,
) -> None:
    """One call of a provider: what came of each message, by its channel."""
    if not outcomes:
        return
    metrics.timing("dripd_send_seconds").observe(seconds, outcomes[0][0], provider)
    attempts = metrics["dripd_send_attempts_total"]
    counted = Counter([(channel, outcome.__class__) for channel, outcome in outcomes])
    for (channel, kind), n in counted.items():
        attempts.add(channel, provider, RESULTS[kind], n=n)
    if len(counted) == 1 and Accepted in {kind for _, kind in counted}:
        return
    for channel, outcome in outcomes:
        if not isinstance(outcome, Accepted):
            found = class_of(outcome)
            metrics["dripd_send_errors_total"].add(channel, provider, found)
            if isinstance(outcome, Retryable | Throttled):
                metrics["dripd_retries_total"].add(channel, found)


def recorded(
    metrics: Registry,
    batch: Sequence[Change],
    directory: Directory,
    margin: Millis = Millis(0),
) -> None:
    """Results that are written now. *margin* is `[engine] window_margin`."""
    steps: dict[tuple[int, int, LogState], int] = {}
    ends: Counter[RunStatus] = Counter()
    lags: dict[int, list[float]] = {}
    n_suppressed: Counter[int] = Counter()
    for change in batch:
        leased = change.leased
        for row in change.log:
            place = (leased.cv_id, row.step_no, row.state)
            steps[place] = steps.get(place, 0) + 1
            if row.sent_at is not None:
                lags.setdefault(row.channel, []).append((row.sent_at - leased.due_at) / 1000)
            elif row.reason == "suppressed":
                n_suppressed[row.channel] += 1
        if change.end is not None:
            ends[change.end.status] += 1
    kinds: Counter[tuple[str, LogState]] = Counter()
    for (cv_id, step_no, state), n in steps.items():
        kinds[kind_of(directory, cv_id, step_no), state] += n
        if metrics.campaigns:
            _of_campaign(metrics, directory, cv_id, state, n)
    for (kind, state), n in kinds.items():
        metrics["dripd_steps_total"].add(kind, state.name.lower(), n=n)
    _broken(metrics, batch)
    _missed(metrics, batch, directory, margin)
    for status, n in ends.items():
        metrics["dripd_enrollments_total"].add(status.name.lower(), n=n)
    for channel, values in lags.items():
        metrics.timing("dripd_due_lag_seconds").observe_all(values, CHANNEL_OF[channel])
    for channel, n in n_suppressed.items():
        metrics["dripd_suppressed_total"].add(CHANNEL_OF[channel], n=n)


def _missed(
    metrics: Registry, batch: Sequence[Change], directory: Directory, margin: Millis
) -> None:
    """By how much messages came due too late for their window, so that they waited for the next."""
    for change in batch:
        for row in change.log:
            by = missed(change.leased, row, directory, margin)
            if by is not None:
                channel = CHANNEL_OF[row.channel]
                metrics.timing("dripd_window_missed_seconds").observe(by / 1000, channel)


def missed(leased: Leased, row: LogRow, directory: Directory, margin: Millis) -> Millis | None:
    """`gate.missed_by` of a message that was sent; one that left within a minute has waited for
    no window."""
    version = directory.versions.get(leased.cv_id)
    if version is None or (row.sent_at or 0) - leased.due_at < MINUTE:
        return None
    try:
        _, zone, window = step_times(
            directory, version, row.step_no, leased.account_id, leased.timezone
        )
    except MissingAccount:  # another daemon serves it by now
        return None
    return missed_by(window, zone, leased.due_at, margin)


def _broken(metrics: Registry, batch: Sequence[Change]) -> None:
    """Steps that are held from now on until somebody mends something."""
    held = [one for one in batch if one.next is not None and one.next.hold_reason is not None]
    for change in held:
        word = change.next.hold_reason.partition(":")[0]  # type: ignore[union-attr]  # it is held
        if word in BROKEN:
            channel = change.log[-1].channel if change.log else 0
            metrics["dripd_dead_letters_total"].add(CHANNEL_OF.get(channel, "none"), word)


def _of_campaign(
    metrics: Registry, directory: Directory, cv_id: int, state: LogState, n: int
) -> None:
    """The campaigns that are met first have series; `[metrics] campaigns` says how many."""
    counted = metrics["dripd_campaign_steps_total"]
    version = directory.versions.get(cv_id)
    key = OTHER if version is None else f"{version.definition.account}/{version.campaign_key}"
    known = {labels[0] for labels in counted.values}
    if key not in known and len(known - {OTHER}) >= metrics.campaigns:
        key = OTHER
    counted.add(key, state.name.lower(), n=n)


def kind_of(directory: Directory, cv_id: int, step_no: int) -> str:
    version = directory.versions.get(cv_id)
    known = version is not None and step_no < len(version.steps)
    return str(version.steps[step_no].kind) if version is not None and known else "unreadable"


def heard(metrics: Registry, events: Sequence[EventRow], now: Instant) -> None:
    """Events that have taken effect now. Others may write any word as a kind."""
    counted = Counter(one.kind if one.kind in MATCH_KEYS else OTHER for one in events)
    for kind, n in counted.items():
        metrics["dripd_events_ingested_total"].add(kind, n=n)
    lags = [max(0, now - one.occurred_at) / 1000 for one in events]
    metrics.timing("dripd_event_lag_seconds").observe_all(lags)


def admitted(metrics: Registry, done: Admitted) -> None:
    """Requests that were decided: accepted ones have a first due step."""
    decided = metrics["dripd_enrollments_total"]
    if done.started:
        decided.add("accepted", n=len(done.started))
    if done.decided > len(done.started):
        decided.add("rejected", n=done.decided - len(done.started))
