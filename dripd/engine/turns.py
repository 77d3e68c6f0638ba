"""Whose turn is it? Senders with a daily limit or a gap are asked for in SQL before anything leaves.

The last question before a message goes: it has been judged and rendered by then, so that
nothing that does not leave has used up a day. One statement a call, for those senders alone;
two daemons that both hold an account to be theirs cannot both be granted the same turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import trio

from dripd.campaigns.event import Deferred
from dripd.clock import Instant
from dripd.engine.feed import park
from dripd.engine.flow import key_of, open_days
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy.perform import Rendered
from dripd.ratelimit.limits import Closed, Line
from dripd.store.protocol import Turn, TurnBack

log = get("turns")


@dataclass(slots=True)
class _Asked:
    """The messages of one sender that want to leave."""

    line: Line
    batch: list[Rendered] = field(default_factory=list)

    def turn(self) -> Turn:
        leased, day, gap = self.batch[0].leased, self.line.day, self.line.gap
        return Turn(
            account_id=leased.account_id,
            sender_id=self.batch[0].sender.id,
            n=len(self.batch) if gap is None else 1,
            starts_at=None if day is None else day.starts_at,
            base=0 if day is None else day.base,
            most=None if day is None else day.limit,
            gap_ms=None if gap is None else gap.after(key_of(leased)),
        )


async def take_turns(pipe: Pipeline, batch: Sequence[Rendered]) -> Mapping[int, Deferred]:
    """Those of *batch* whose turn it is not, by enrollment, and what holds them."""
    try:
        asked = await _asked(pipe, batch)
        if not asked:
            return {}
        turns = [one.turn() for one in asked]
        with trio.CancelScope(shield=True):
            answers = await pipe.store.take_turns(turns)
    except StoreError as error:  # nothing leaves that is not counted
        log.warning("store.lost", reason=error.code)
        return {
            rendered.leased.enrollment_id: Deferred(reason="away", until=None)
            for rendered in batch
        }
    held: dict[int, Deferred] = {}
    for one, turn, (granted, next_at) in zip(asked, turns, answers, strict=True):
        for rendered in one.batch[:granted]:
            back = TurnBack(
                account_id=turn.account_id, sender_id=turn.sender_id,
                starts_at=turn.starts_at, n=1, reopens=False,
            )  # fmt: skip
            pipe.flow.turned(rendered.leased.enrollment_id, back)
        if granted and next_at is not None:
            one.line.opens_at = next_at
        for rendered in one.batch[granted:]:
            held[rendered.leased.enrollment_id] = _refuse(pipe, rendered, one.line, next_at)
    await _rest(pipe)
    return held


async def _asked(pipe: Pipeline, batch: Sequence[Rendered]) -> list[_Asked]:
    """The senders of *batch* that are counted, each with its messages; notices are not."""
    found: dict[tuple[int, int], _Asked] = {}
    accounts = {rendered.leased.account_id for rendered in batch} & pipe.directory.turning
    await open_days(pipe.store, pipe.directory, accounts, pipe.clock.now())
    for rendered in batch:
        account_id, sender_id = rendered.leased.account_id, rendered.sender.id
        if (
            account_id not in accounts
            or rendered.version.steps[rendered.leased.step_no].is_notice
        ):
            continue
        line = pipe.directory.account(account_id).line(sender_id)
        if line.takes_turns:
            found.setdefault((account_id, sender_id), _Asked(line)).batch.append(rendered)
    return list(found.values())


def _refuse(
    pipe: Pipeline, rendered: Rendered, line: Line, next_at: Instant | None
) -> Deferred:
    """Others, or this daemon before it began anew, were first: go by what SQL says."""
    now = pipe.clock.now()
    pipe.flow.corrected(rendered.leased.enrollment_id, line)
    if line.gap is not None and next_at is not None and next_at > now:
        line.opens_at = next_at
        shut = Closed("rate", next_at)
    else:
        assert line.day is not None
        line.day.used = line.day.limit
        shut = Closed("cap", line.day.ends_at)
    step = rendered.version.steps[rendered.leased.step_no]
    alone = not rendered.version.is_sole(step.kind, rendered.sender.address)
    return pipe.flow.refuse(rendered.leased, line, shut, alone=alone)


async def _rest(pipe: Pipeline) -> None:
    rows, pipe.flow.parks = pipe.flow.parks, []
    for row in rows:
        pipe.lanes.reset(row.account_id, row.lane, Instant(0))
    try:
        await park(pipe, list({(row.account_id, row.lane): row for row in rows}.values()))
    except StoreError as error:  # held here until SQL is read again
        log.warning("store.lost", reason=error.code)


async def return_turns(pipe: Pipeline) -> None:
    """Tell SQL which turns were not used; what cannot be told now is told with the next."""
    backs, pipe.flow.backs = pipe.flow.backs, []
    merged: dict[tuple[int, int], TurnBack] = {}
    for back in backs:
        key = (back.account_id, back.sender_id)
        before = merged.get(key)
        if before is None or before.starts_at != back.starts_at:  # of a day that is over: moot
            merged[key] = back
        else:
            reopens = before.reopens or back.reopens
            merged[key] = replace(back, n=before.n + back.n, reopens=reopens)
    try:
        with trio.CancelScope(shield=True):
            await pipe.store.return_turns(list(merged.values()))
    except StoreError as error:
        log.warning("store.lost", reason=error.code)
        pipe.flow.backs += backs
