"""Does a campaign fail from its start? Then it is paused before it has failed everybody.

The first steps of each version are counted, a batch at a time; SQL hears of versions that fail,
and once of each that has grown beyond them, which then costs a look into a set.
What counts as failed is what somebody must mend: a step quarantined, a message that cannot be
rendered, one that its provider refuses or that has failed for good. Bounces come later, and an
address that is none is its contact's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from dripd.campaigns.enrollment import Change, LogState
from dripd.engine.pipeline import First, Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.store.protocol import FIRST, FirstSteps

FAILED_MOST = FIRST // 20
"""Of those so many may fail: 5 %."""

THEIRS = frozenset({"unable:invalid_address"})
"""Failures that are the contact's own."""

UNRENDERED = ("quarantined", "step_failed", "too_long", "bad_date")

log = get("vigil")


async def watch_first(pipe: Pipeline, batch: Sequence[Change]) -> None:
    """Count what *batch*, which is recorded, adds to the first steps of young versions."""
    counts = Counter([change.leased.cv_id for change in batch])
    if counts.keys() <= pipe.first.grown:
        return
    try:
        if found := count_first(pipe.first, batch, counts):
            await _heed(pipe, await pipe.store.count_first(found))
    except StoreError as error:  # they are counted too low: the next ones tell
        log.warning("store.lost", reason=error.code)


def count_first(
    first: First, batch: Sequence[Change], counts: Mapping[int, int]
) -> list[FirstSteps]:
    """What SQL is to know: of versions that have failed, or are young no more."""
    failing = {change.leased.cv_id for change in batch if change.refund and has_failed(change)}
    found: list[FirstSteps] = []
    for cv, n in counts.items():
        if cv in first.grown:
            continue
        done = first.told.get(cv, 0) + first.untold.get(cv, 0)
        first.untold[cv] = first.untold.get(cv, 0) + n
        if cv in failing or done + n >= FIRST:
            mine = [change for change in batch if change.leased.cv_id == cv]
            failed = sum(map(has_failed, mine[: max(FIRST - done, 0)]))
            account = mine[0].leased.account_id
            found.append(FirstSteps(account, cv, first.untold.pop(cv), failed))
    return sorted(found)


def has_failed(change: Change) -> bool:
    """Has its step come to something that somebody must mend?"""
    hold = change.next.hold_reason if change.next is not None else None
    if hold is not None and hold.startswith(UNRENDERED):
        return True
    return any(row.state is LogState.FAILED and row.reason not in THEIRS for row in change.log)


async def _heed(pipe: Pipeline, totals: Sequence[FirstSteps]) -> None:
    for one in totals:
        pipe.first.told[one.cv_id] = one.done
        if one.failed > FAILED_MOST:
            await _pause(pipe, one)
        elif one.done >= FIRST:
            pipe.first.grown.add(one.cv_id)
            pipe.first.told.pop(one.cv_id)


async def _pause(pipe: Pipeline, first: FirstSteps) -> None:
    if await pipe.store.pause_failing(first):
        log.error("campaign.failing", cv_id=first.cv_id, failed=first.failed, of=first.done)
        pipe.wake("look")
    pipe.first.told.pop(first.cv_id, None)
