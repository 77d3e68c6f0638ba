"""What came due while nobody was at work? It goes out paced, account by account.

After hours without a daemon, or without a database, all that should have gone is due at once.
SQL knows when nobody was at work. Of what came due then, and would have gone then, each step
moves into a lane of its own kind as it is met, so that nothing else waits behind it; those
lanes rest whenever the bucket of their account is empty. Runs that were asked for meanwhile
begin there. A step keeps its due: windows, caps and `max_lateness` are asked as ever.
"""

from __future__ import annotations

from typing import Final

from dripd.campaigns.enrollment import DueKey, LaneClass, LaneKey
from dripd.clock import Instant
from dripd.engine.feed import insert
from dripd.engine.pipeline import Picked, Pipeline
from dripd.log import get
from dripd.policy.admission_rows import Accept, Decision
from dripd.ratelimit.bucket import Bucket, parse_rate
from dripd.ratelimit.limits import REST_MS
from dripd.scheduler.calendar import next_open
from dripd.store.protocol import ParkRow

REASON: Final = "catching_up"

PACED: Final = frozenset({LaneClass.INTERNAL, LaneClass.FIRST, LaneClass.FOLLOW_UP})
"""Internal steps too: what follows one without a delay would leave at once."""

log = get("standstill")


async def note(pipe: Pipeline) -> None:
    """Tell SQL that somebody is at work, and learn when nobody was."""
    found = await pipe.store.note_served(pipe.tuning.catchup_after_ms)
    if found != pipe.standstills and found and found[-1].until_at > pipe.clock.now() - 1_000:
        log.warning("standstill.noted", took_ms=found[-1].until_at - found[-1].from_at)
    pipe.standstills = found


async def set_back(pipe: Pipeline, picked: Picked) -> Picked:
    """Move what was missed into lanes that catch up; returns what is left of *picked*.

    What somebody holds locked stays: the lease tells what it is.
    """
    if not pipe.standstills or not pipe.tuning.catchup_rate:
        return picked
    missed = [
        DueKey(account, lane, due, enrollment, cv)
        for account, entries in picked
        for lane, (due, enrollment, cv) in entries
        if _is_missed(pipe, account, lane, due)
    ]
    if not missed:
        return picked
    lanes = [_catching_up(pipe.lanes.at(key.account_id, key.lane).key) for key in missed]
    moved = await pipe.store.move_lanes(missed, lanes)
    insert(pipe, moved)
    gone = {key.enrollment_id for key in moved}
    return [
        (account, [entry for entry in entries if entry[1][1] not in gone])
        for account, entries in picked
    ]


def put_behind(pipe: Pipeline, decisions: list[Decision]) -> list[Decision]:
    """Runs that were asked for while nobody was at work begin in lanes that catch up."""
    if not pipe.tuning.catchup_rate:
        return decisions
    for one in decisions:
        if isinstance(one, Accept) and _in_standstill(pipe, one.request.inserted_at):
            one.lane = _catching_up(one.lane)
    return decisions


def take(pipe: Pipeline, account: int, lane: int, now: Instant) -> ParkRow | None:
    """Let one step of a lane that catches up pass; else the lane's rest.

    It lasts until the bucket is full: each rest is a row written and one deleted.
    """
    bucket = _bucket(pipe, account)
    if bucket is None or bucket.ready(now) > 0:
        if bucket is not None:
            bucket.take(1, now)
        return None
    until = Instant(now + max(bucket.wait_ms(bucket.rate.burst, now), REST_MS))
    return ParkRow(account, lane, REASON, until)


def give_back(pipe: Pipeline, account: int, n: int) -> None:
    """So many steps that had passed were not leased."""
    bucket = pipe.pace.get(account)
    if bucket is not None:
        bucket.refund(n)


def _in_standstill(pipe: Pipeline, at: Instant | None) -> bool:
    return at is not None and any(one.from_at <= at < one.until_at for one in pipe.standstills)


def _is_missed(pipe: Pipeline, account: int, lane: int, due: Instant) -> bool:
    """Would it have gone while nobody was at work?"""
    key = pipe.lanes.at(account, lane).key
    if key.kind not in PACED:
        return False
    for from_at, until_at in pipe.standstills:
        if from_at <= due < until_at:
            window, zone = pipe.directory.lane_window(account, key)
            opens = next_open(window, zone, due)
            return opens is not None and opens < until_at
    return False


def _catching_up(key: LaneKey) -> LaneKey:
    return key._replace(kind=LaneClass.CATCHING_UP)


def _bucket(pipe: Pipeline, account: int) -> Bucket | None:
    """The account's; made anew when another rate is configured."""
    text = pipe.tuning.catchup_rate
    if not text:
        return None
    rate = parse_rate(text)
    found = pipe.pace.get(account)
    if found is None or found.rate != rate:
        found = pipe.pace[account] = Bucket(rate)
    return found
