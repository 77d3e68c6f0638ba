"""What would happen to this run? The stages of the engine, played over a snapshot.

Nothing here models the engine: it is the engine, on a `MemoryStore` loaded from a snapshot,
with a manual clock that jumps from instant to instant and providers that accept everything.
It runs in a thread of its own with a `trio.run` of its own, so that no send waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import trio

from dripd.campaigns.enrollment import Change
from dripd.campaigns.event import Accepted
from dripd.campaigns.links import Links
from dripd.channels.base import Channel, Message, Settle
from dripd.channels.sink import SinkChannel
from dripd.clock import DAY, Instant, ManualClock, Millis
from dripd.engine import stages
from dripd.engine.directory import Directory
from dripd.engine.look import learn_all
from dripd.engine.pipeline import Pipeline
from dripd.engine.settle import settle
from dripd.engine.tally import missed
from dripd.engine.tuning import Tuning
from dripd.errors import DripdError
from dripd.log import get
from dripd.store.memory import MemoryStore
from dripd.store.protocol import Decide, Recorded
from dripd.store.snapshot import Snapshot

log = get("forecast")

VISITS_MOST = 500
"""Instants that are visited: a run of nine messages needs about twenty."""

AHEAD_MS = 400 * DAY
"""Further ahead nothing is played."""

NODE = 1


@dataclass(frozen=True, slots=True)
class Step:
    """A step that the run performs at `at`; `sent`: it is a message that is accepted then.

    `missed_ms`: how long its window has closed when it comes due; None: it waits for none.
    """

    key: str
    at: Instant
    sent: bool
    kind: str
    outcome: str
    reason: str | None
    missed_ms: Millis | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """The steps that a run performs, in their order, and how it stands afterwards: the columns
    of `enrollment`, none where it never began or could not be played."""

    steps: Sequence[Step] = ()
    stands: Mapping[str, Any] | None = None


class Willing(SinkChannel):
    """A provider that accepts everything at once."""

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        for message in messages:
            settle(message, Accepted())


class Copy(MemoryStore):
    """Files that go with mails are in no snapshot; here they are empty, and go with nothing.

    `missed` tells of messages, by run and `seq`, what `Step.missed_ms` tells.
    """

    def __init__(self, snapshot: Snapshot, margin: Millis) -> None:
        super().__init__(ManualClock(snapshot.now), manual=True)
        self.take_in(snapshot)
        self.directory = Directory(self)
        self.missed: dict[tuple[int, int], Millis | None] = {}
        self._margin = margin

    async def record(
        self, changes: Sequence[Change], decide: Decide, closed: Sequence[int]
    ) -> Recorded:
        for change in changes:
            for row in change.log:
                by = missed(change.leased, row, self.directory, self._margin)
                self.missed[change.leased.enrollment_id, row.seq] = by
        return await super().record(changes, decide, closed)

    async def read_attachment(self, account_id: int, sha256: str) -> bytes | None:
        return b""


async def play(
    snapshot: Snapshot,
    enrollment: int | None,
    campaign: str = "",
    *,
    margin: Millis = Millis(0),
) -> Played:
    """What a run does from now on.

    *enrollment* is a run of the snapshot; None: one of `snapshot.subject` in *campaign* that
    begins now. *margin*: `[engine] window_margin`.
    """
    work = partial(_in_thread, snapshot, enrollment, campaign, margin)
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _in_thread(
    snapshot: Snapshot, enrollment: int | None, campaign: str, margin: Millis
) -> Played:
    from trio.testing import MockClock  # noqa: PLC0415 - loads pytest where that is installed

    story = partial(_story, snapshot, enrollment, campaign, margin)
    try:
        return trio.run(story, clock=MockClock(autojump_threshold=0))
    except (DripdError, BaseExceptionGroup):
        log.exception(
            "forecast.failed", account_id=snapshot.account.id, enrollment_id=enrollment
        )
        return Played()


async def _story(
    snapshot: Snapshot, enrollment: int | None, campaign: str, margin: Millis
) -> Played:
    store = Copy(snapshot, margin)
    directory = store.directory
    directory.public = Links("https://forecast.invalid", bytes(32))
    pipe = Pipeline(
        store, directory, ManualClock(snapshot.now), NODE,
        tuning=replace(Tuning().without_time(), window_margin_ms=margin),
    )  # fmt: skip
    await store.join(NODE, "forecast", "")
    await learn_all(pipe)
    if enrollment is None:
        store.enroll(snapshot.account.id, campaign, snapshot.subject)
    channels = _channels(snapshot, store)
    async with trio.open_nursery() as nursery:
        stages.start(pipe, channels, "forecast", stages=nursery, recorders=nursery)
        nursery.start_soon(_beat, store)
        run = await _visit(pipe, store, snapshot, enrollment)
        nursery.cancel_scope.cancel()
    return Played() if run is None else _performed(store, run)


def _channels(snapshot: Snapshot, store: MemoryStore) -> Mapping[str, Channel]:
    names = {"sink", *(sender.provider for sender in snapshot.senders)}
    return {name: Willing(name, store) for name in names}


async def _beat(store: MemoryStore) -> None:
    while True:
        await store.beat(NODE, 0, "running", {})
        await trio.sleep(2)  # noqa: TID251 - virtual time: the node stays alive


async def _visit(
    pipe: Pipeline, store: MemoryStore, snapshot: Snapshot, enrollment: int | None
) -> int | None:
    """Go from instant to instant until the run has ended, or nothing more comes of it."""
    until = Instant(snapshot.now + AHEAD_MS)
    run = enrollment
    for _ in range(VISITS_MOST):
        await settle(pipe)
        if run is None:
            run = store.requests()[-1]["enrollment_id"]
            if run is None:
                return None
        upcoming = await store.next_instant()
        if _is_over(store, run) or upcoming is None or upcoming > until:
            return run
        await store.move_clock(upcoming)
    return run


def _is_over(store: MemoryStore, run: int) -> bool:
    row = _standing(store, run)
    return row is None or row["ended_at"] is not None


def _standing(store: MemoryStore, run: int) -> Mapping[str, Any] | None:
    return next((one for one in store.enrollments() if one["id"] == run), None)


def _performed(store: Copy, run: int) -> Played:
    sent = {one["step_key"] for one in store.deliveries() if one["enrollment_id"] == run}
    rows = [one for one in store.step_runs() if one["enrollment_id"] == run]
    steps = [
        Step(
            one["step_key"], one["finished_at"], one["step_key"] in sent,
            one["kind"], one["outcome"], one["reason"], store.missed.get((run, one["seq"])),
        )
        for one in sorted(rows, key=lambda one: one["seq"])
    ]  # fmt: skip
    return Played(steps, _standing(store, run))
