"""What others left behind: dead daemons' claims, leases whose acknowledgement was lost.

A dead daemon's internal steps become due again; what of its messages left nobody knows, so
they are `unknown` and never sent again on a guess.
"""

from __future__ import annotations

import trio

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import Deferred, StepEvent, Unknown
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy.advance import Sent, advance
from dripd.policy.facts import address_of

SWEEP_S = 2.0
NODE_TIMEOUT_MS = 10_000

log = get("sweep")


async def sweep(pipe: Pipeline) -> None:
    """Sweep, for ever."""
    while True:
        try:
            await sweep_once(pipe)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
        await trio.sleep(SWEEP_S)  # noqa: TID251 - a poll in real time


async def sweep_once(pipe: Pipeline) -> int:
    """One pass; returns how many steps were taken over."""
    with trio.CancelScope(shield=True):
        adopted = await pipe.store.reap(pipe.incarnation, NODE_TIMEOUT_MS)
        orphans = await pipe.store.orphans(pipe.incarnation, list(pipe.claims), adopted)
        await pipe.store.sweep(pipe.tuning.retention_days)
        await pipe.store.remind()
        await pipe.store.finish_drained()
    if not orphans:
        return 0
    await pipe.directory.load_versions({leased.cv_id for leased in orphans})
    for leased in orphans:
        pipe.claims[leased.claim_id] = pipe.claims.get(leased.claim_id, 0) + 1
    pipe.unsent += len(orphans)
    for leased in orphans:
        _settle(pipe, leased)
    pipe.metrics["dripd_claims_swept_total"].add(n=len(orphans))
    log.warning("lease.swept", n=len(orphans))
    return len(orphans)


def _settle(pipe: Pipeline, leased: Leased) -> None:
    version = pipe.directory.versions[leased.cv_id]
    step = version.steps[leased.step_no]
    event: StepEvent = Deferred(reason="daemon_died", until=None)
    sent = None
    leased.counted = False  # nothing is refunded: what left counts, internal steps took nothing
    if version.sends(leased.step_no, leased.flags):
        event = Unknown(reason="daemon_died")
        to = address_of(leased, step.kind, version.definition.field_map)
        sender = pipe.directory.sender(
            leased.account_id, step.kind, step.sender, leased.contact_id
        )
        sent = Sent(step.kind, to or "", "", None, None if sender is None else sender.id)
    pipe.settle(advance(leased, version, event, pipe.clock.now(), pipe.directory, sent))
