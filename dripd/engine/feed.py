"""Store to wheel to ready: what comes up next, loaded shortly before it does.

The wheel is a cache; SQL is the truth. Per lane it is known up to which instant everything
has been loaded. What is inserted before that instant goes into the wheel at once, what lies
beyond it is found by the next load. A key that is loaded twice is leased once: the second
lease finds it gone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import trio

from dripd.campaigns.enrollment import DueKey, LaneClass
from dripd.clock import Instant
from dripd.engine.pipeline import LaneState, Pipeline
from dripd.errors import StoreError
from dripd.store.protocol import WHOLE_ACCOUNT, ParkRow

LANE_MOST = 400
"""Ready keys of one lane held in memory: the backlog stays in SQL."""

LANES_A_LOAD = 500

IDLE_S = 1.0


async def feed(pipe: Pipeline) -> None:
    """Keep wheel and ready filled, for ever."""
    while True:
        await turn(pipe)
        await pipe.wait("feed", wait_s(pipe))


async def turn(pipe: Pipeline) -> None:
    """One pass: open what may open, load what comes near, fire what is due."""
    await unpark_due(pipe)
    while await load_near(pipe):
        fire(pipe)
    fire(pipe)


def wait_s(pipe: Pipeline) -> float:
    """Real seconds until something can come up; a manual clock is waited for, not slept out."""
    if pipe.again:
        return 0.05
    upcoming = pipe.wheel.next_at()
    if upcoming is None:
        return IDLE_S
    wait_ms = upcoming - pipe.tuning.lease_ahead_ms - pipe.clock.now()
    return min(max(wait_ms / 1000, 0.001), IDLE_S)


def fire(pipe: Pipeline) -> None:
    """Move what the wheel gives up to ready."""
    now = pipe.clock.now()
    fired = pipe.wheel.turn(Instant(now + pipe.tuning.lease_ahead_ms))
    for at in range(0, len(fired), 4):
        due, enrollment, place, cv = fired[at : at + 4]
        make_ready(pipe, DueKey(place >> 16, place & 0xFFFF, Instant(due), enrollment, cv))
    real = trio.current_time()
    while pipe.again and pipe.again[0][0] <= real:
        _, account, lane = pipe.again.popleft()
        reset(pipe.lanes[account, lane], Instant(0))
    if len(pipe.ready):
        pipe.wake("lease")


def make_ready(pipe: Pipeline, key: DueKey) -> None:
    """A due key enters its lane's queue, unless the lane is not to be served."""
    place = (key.account_id, key.lane)
    state = pipe.lanes.get(place)
    if state is None or key.account_id not in pipe.owned or is_parked(pipe, *place):
        return
    urgent = state.key.kind != LaneClass.FIRST
    entry = (key.due_at, key.enrollment_id, key.cv_id)
    pipe.ready.add(key.account_id, key.lane, key.due_at, entry, urgent=urgent)


def insert(pipe: Pipeline, keys: Iterable[DueKey]) -> None:
    """Due steps that this daemon has just written or heard of."""
    horizon = pipe.clock.now() + pipe.tuning.horizon_ms
    records: array[int] = array("q")
    for key in keys:
        state = pipe.lanes.get((key.account_id, key.lane))
        if state is None:
            pipe.asked_accounts.add(key.account_id)
            continue
        if key.due_at <= state.loaded_to and key.due_at <= horizon:
            place = key.account_id << 16 | key.lane
            records.extend((key.due_at, key.enrollment_id, place, key.cv_id))
        elif state.next_at is None or key.due_at < state.next_at:
            state.next_at = key.due_at
            if (key.due_at, key.enrollment_id) <= state.cursor:
                state.cursor = (Instant(key.due_at - 1), 0)
    if records:
        pipe.wheel.insert_many(records)
    pipe.wake("feed")


def is_parked(pipe: Pipeline, account: int, lane: int) -> bool:
    return (account, lane) in pipe.parked or (account, WHOLE_ACCOUNT) in pipe.parked


async def load_near(pipe: Pipeline) -> bool:
    """Load lanes whose next due lies within the horizon. True: there may be more at once."""
    now = pipe.clock.now()
    horizon = Instant(now + pipe.tuning.horizon_ms)
    wanted = [
        (account, lane, *state.cursor, LANE_MOST)
        for (account, lane), state in pipe.lanes.items()
        if state.next_at is not None
        and state.next_at <= horizon
        and account in pipe.owned
        and not is_parked(pipe, account, lane)
        and pipe.ready.count(account, lane) < LANE_MOST // 4
        and _is_running(pipe, account, state)
    ][:LANES_A_LOAD]
    if not wanted:
        return False
    for account, lane, *_ in wanted:
        pipe.lanes[
            account, lane
        ].loaded_to = horizon  # what is inserted meanwhile comes by itself
    try:
        keys = await pipe.store.load(wanted, horizon)
    except StoreError:
        for account, lane, *_ in wanted:
            reset(pipe.lanes[account, lane], Instant(0))
        raise
    await pipe.directory.load_versions({key.cv_id for key in keys})
    await _take_in(pipe, wanted, keys, horizon)
    return len(wanted) == LANES_A_LOAD


def _is_running(pipe: Pipeline, account: int, state: LaneState) -> bool:
    found = pipe.directory.accounts.get(account)
    return found is not None and found.is_running(state.key.campaign_id)


async def _take_in(
    pipe: Pipeline,
    wanted: Sequence[tuple[int, int, Instant, int, int]],
    keys: list[DueKey],
    horizon: Instant,
) -> None:
    """Put loaded keys into the wheel; lanes that gave all they have are asked for the next head."""
    counts: dict[tuple[int, int], int] = {}
    records: array[int] = array("q")
    for key in keys:
        place = (key.account_id, key.lane)
        counts[place] = counts.get(place, 0) + 1
        state = pipe.lanes[place]
        state.cursor = (key.due_at, key.enrollment_id)
        records.extend(
            (key.due_at, key.enrollment_id, key.account_id << 16 | key.lane, key.cv_id)
        )
    if records:
        pipe.wheel.insert_many(records)
    emptied = []
    for account, lane, *_ in wanted:
        state = pipe.lanes[account, lane]
        if counts.get((account, lane), 0) == LANE_MOST:
            state.next_at = state.loaded_to = state.cursor[0]
        else:
            state.next_at = None
            emptied.append((account, lane, horizon))
    if emptied:
        for head in await pipe.store.next_heads(emptied):
            state = pipe.lanes[head.account_id, head.lane]
            if state.next_at is None or head.due_at < state.next_at:
                state.next_at = head.due_at


async def learn(pipe: Pipeline, accounts: Sequence[int] | None) -> None:
    """Read lanes, parks and heads of *accounts* (None = all) again."""
    for row in await pipe.store.read_lanes(accounts):
        place = (row.account_id, row.lane)
        if place not in pipe.lanes:
            pipe.lanes[place] = LaneState(row.key)
    known = set(accounts) if accounts is not None else None
    parked = {
        (p.account_id, p.lane): (p.reason, p.release_at)
        for p in await pipe.store.read_parks(accounts)
    }
    for place in list(pipe.parked):
        if (known is None or place[0] in known) and place not in parked:
            del pipe.parked[place]
    pipe.parked.update(parked)
    await _take_heads(pipe, sorted(pipe.owned if known is None else pipe.owned & known))
    pipe.wake("feed")


async def _take_heads(pipe: Pipeline, accounts: list[int]) -> None:
    """A lane's true head; one before what was loaded, with nothing ready, was missed."""
    for head in await pipe.store.heads(accounts):
        state = pipe.lanes.get((head.account_id, head.lane))
        if state is None:
            continue
        if head.due_at > state.loaded_to:
            if state.next_at is None or head.due_at < state.next_at:
                state.next_at = head.due_at
        elif not pipe.ready.count(head.account_id, head.lane):
            reset(state, head.due_at)


def reset(state: LaneState, next_at: Instant | None) -> None:
    """Forget what was loaded of a lane: SQL will tell again, from *next_at* on."""
    state.cursor = (Instant(0), 0)
    state.loaded_to = Instant(0)
    state.next_at = next_at


async def park(pipe: Pipeline, rows: Sequence[ParkRow]) -> None:
    """Hold lanes without touching their rows: one row of `park` each."""
    fresh = [row for row in rows if not is_parked(pipe, row.account_id, row.lane)]
    for row in fresh:
        pipe.parked[row.account_id, row.lane] = (row.reason, row.release_at)
        pipe.ready.park(row.account_id, row.lane)
    if fresh:
        await pipe.store.park(fresh)
        for row in fresh:
            pipe.ready.unpark(row.account_id, row.lane)  # `parked` keeps it out from here on
        pipe.wake("feed")


async def unpark_due(pipe: Pipeline) -> None:
    """Open what waited for an instant that has come."""
    now = pipe.clock.now()
    free = [
        place
        for place, (_, release_at) in pipe.parked.items()
        if release_at is not None and release_at <= now and place[0] in pipe.owned
    ]
    if free:
        await pipe.store.unpark(free)
        open_lanes(pipe, free)


def open_lanes(pipe: Pipeline, places: Iterable[tuple[int, int]]) -> None:
    """Lanes are served again, from SQL."""
    for account, lane in places:
        pipe.parked.pop((account, lane), None)
        for place, state in pipe.lanes.items() if lane == WHOLE_ACCOUNT else ():
            if place[0] == account:
                reset(state, Instant(0))
        if lane != WHOLE_ACCOUNT and (account, lane) in pipe.lanes:
            reset(pipe.lanes[account, lane], Instant(0))
    pipe.wake("feed")
