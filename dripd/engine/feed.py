"""Store to wheel to ready: what comes up next, loaded shortly before it does.

The wheel is a cache; SQL is the truth. Per lane it is known up to which instant everything
has been loaded. What is inserted before that instant goes into the wheel at once, what lies
beyond it is found by the next load. A key that is loaded twice is leased once: the second
lease finds it gone. A pass costs by what comes up, however much there is (`engine.lanes`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import trio

from dripd.campaigns.enrollment import DueKey, LaneClass
from dripd.clock import Instant
from dripd.engine.lanes import Lane
from dripd.engine.pipeline import Pipeline
from dripd.errors import StoreError
from dripd.policy.gate import goes_at
from dripd.store.protocol import ParkRow

LANE_LEAST, LANE_MOST = 25, 2_000
"""Keys of one lane that are loaded at a time: its share of `[engine] keys`, at least a turn
of the fair share, at most some batches. The backlog stays in SQL."""

LOAD_LANES, LOAD_KEYS = 200, 5_000
"""Lanes and keys of one load: 10 ms of work, between which sends go on."""

PATIENT = frozenset({LaneClass.FIRST, LaneClass.CATCHING_UP})
"""Lanes that others of their account may overtake."""

IDLE_S = 1.0

LATE_S = 0.1
"""A turn that begins so much later than it was to has kept what is due waiting."""

Due: TypeAlias = tuple[Instant, tuple[Instant, int, int]]
"""A due instant, and the key as `Ready` holds it: (due, enrollment, cv)."""


async def feed(pipe: Pipeline) -> None:
    """Open what may open, and move what is due from the wheel to ready, for ever."""
    ticks = pipe.metrics.timing("dripd_wheel_tick_seconds")
    late = pipe.metrics["dripd_wheel_late_ticks_total"]
    expected = trio.current_time()
    while True:
        began = trio.current_time()
        late.add(n=began - expected > LATE_S)
        try:
            with pipe.work:
                await turn(pipe)
        finally:
            pipe.counters.turned_at = trio.current_time()
            ticks.observe(pipe.counters.turned_at - began)
        wait = wait_s(pipe)
        expected = pipe.counters.turned_at + wait
        await pipe.wait("feed", wait)


async def turn(pipe: Pipeline) -> None:
    """One pass; it waits for no load: versions that come up are compiled for a second at a time."""
    await unpark_due(pipe)
    fire(pipe)
    if load_wait_s(pipe) <= 0:
        pipe.wake("load")


async def load(pipe: Pipeline) -> None:
    """Keep the wheel filled, for ever."""
    while True:
        with pipe.work:
            while await load_near(pipe):
                pipe.wake("feed")
        await pipe.wait("load", min(IDLE_S, max(load_wait_s(pipe), 0.001)))


def load_wait_s(pipe: Pipeline) -> float:
    """Real seconds until a lane comes near."""
    first = pipe.lanes.next_load()
    if first is None:
        return IDLE_S
    return (first - pipe.tuning.horizon_ms // 2 - pipe.clock.now()) / 1000


def wait_s(pipe: Pipeline) -> float:
    """Real seconds until something can come up; a manual clock is waited for, not slept out."""
    now, wait_ms = pipe.clock.now(), IDLE_S * 1000
    fires, opens = pipe.wheel.next_at(), pipe.lanes.next_release()
    if fires is not None:
        wait_ms = min(wait_ms, fires - pipe.tuning.lease_ahead_ms - now)
    if opens is not None:
        wait_ms = min(wait_ms, opens - now)
    if pipe.again:
        wait_ms = min(wait_ms, 50)
    return max(wait_ms / 1000, 0.001)


def fire(pipe: Pipeline) -> None:
    """Move what the wheel gives up, and what was in somebody's way, to ready."""
    now = pipe.clock.now()
    fired = pipe.wheel.turn(Instant(now + pipe.tuning.lease_ahead_ms))
    by_place: dict[int, list[Due]] = {}
    for at in range(0, len(fired), 4):
        due, enrollment, place, cv = fired[at : at + 4]
        by_place.setdefault(place, []).append((Instant(due), (Instant(due), enrollment, cv)))
    for place, entries in by_place.items():
        account, lane = place >> 16, place & 0xFFFF
        pipe.lanes.at(account, lane).waiting -= len(entries)
        make_ready(pipe, account, lane, entries)
    _try_again(pipe)
    if len(pipe.ready):
        pipe.wake("lease")


def _try_again(pipe: Pipeline) -> None:
    """What was in somebody's way goes back to where it had stood, before what came later."""
    real = trio.current_time()
    back: dict[tuple[int, int], list[Due]] = {}
    while pipe.again and pipe.again[0][0] <= real:
        account, lane, due_at, enrollment, cv = pipe.again.popleft()[1]
        back.setdefault((account, lane), []).append((due_at, (due_at, enrollment, cv)))
    for (account, lane), entries in back.items():
        make_ready(pipe, account, lane, entries, first=True)
        pipe.lanes.resting.discard(account)


def make_ready(
    pipe: Pipeline, account: int, lane: int, entries: list[Due], *, first: bool = False
) -> None:
    """Due keys of a lane enter its queue, unless the lane is not to be served."""
    if account in pipe.owned and not pipe.lanes.is_parked(account, lane):
        urgent = pipe.lanes.at(account, lane).key.kind not in PATIENT
        pipe.ready.extend(account, lane, entries, urgent=urgent, first=first)


def insert(pipe: Pipeline, keys: Iterable[DueKey]) -> None:
    """Due steps that this daemon has just written or heard of."""
    horizon = pipe.clock.now() + pipe.tuning.horizon_ms
    near: list[DueKey] = []
    for key in keys:
        state = pipe.lanes.get(key.account_id, key.lane)
        if state is None:
            pipe.watch.asked.add(key.account_id)
        elif key.due_at <= state.loaded_to and key.due_at <= horizon:
            near.append(key)
        else:
            pipe.lanes.expect(key.account_id, key.lane, key.due_at)
    _into_wheel(pipe, near)
    pipe.wake("feed")


def _into_wheel(pipe: Pipeline, keys: Sequence[DueKey]) -> None:
    records: array[int] = array("q")
    for account, lane, due, enrollment, cv in keys:
        pipe.lanes.at(account, lane).waiting += 1
        records.extend((due, enrollment, account << 16 | lane, cv))
    if records:
        pipe.wheel.insert_many(records)


async def load_near(pipe: Pipeline) -> bool:
    """Load lanes whose next due lies within the horizon. True: there may be more at once.

    A load begins when the first of them has come to half of it, so that they go together.
    """
    if load_wait_s(pipe) > 0:
        return False
    horizon = Instant(pipe.clock.now() + pipe.tuning.horizon_ms)
    chosen = _choose(pipe, horizon)
    if not chosen:
        return False
    room = pipe.tuning.keys - len(pipe.wheel) - len(pipe.ready)
    share = min(LANE_MOST, room // len(chosen), LOAD_KEYS // len(chosen))
    most = max(LANE_LEAST, share)
    wanted = []
    for account, lane, state in chosen:
        state.loaded_to = horizon  # what is inserted meanwhile comes by itself
        wanted.append((account, lane, *state.cursor, most))
    try:
        keys = await pipe.store.load(wanted, horizon)
        await pipe.directory.load_versions({key.cv_id for key in keys})
        _into_wheel(pipe, keys)
        await _go_on(pipe, wanted, keys, horizon)
    except StoreError:
        for account, lane, _ in chosen:
            pipe.lanes.reset(account, lane, Instant(0))
        raise
    return True


def _choose(pipe: Pipeline, horizon: Instant) -> list[tuple[int, int, Lane]]:
    """The lanes to load now. What is parked, paused or not ours is told anew when it opens."""
    chosen: list[tuple[int, int, Lane]] = []
    for account, lane, state, at in pipe.lanes.coming(horizon):
        if account not in pipe.owned or pipe.lanes.is_parked(account, lane):
            continue
        if not _is_running(pipe, account, state):
            continue
        if _has_enough(pipe, account, lane, state):
            pipe.lanes.is_full(account, lane, at)
            continue
        chosen.append((account, lane, state))
        if len(chosen) == LOAD_LANES:
            break
    return chosen


def _is_running(pipe: Pipeline, account: int, state: Lane) -> bool:
    found = pipe.directory.accounts.get(account)
    return found is not None and found.is_running(state.key.campaign_id)


def _has_enough(pipe: Pipeline, account: int, lane: int, state: Lane) -> bool:
    held = state.waiting + pipe.ready.count(account, lane)
    is_crowded = len(pipe.wheel) + len(pipe.ready) >= pipe.tuning.keys
    return held >= (LANE_LEAST if is_crowded else LANE_MOST // 2)


async def _go_on(
    pipe: Pipeline,
    wanted: Sequence[tuple[int, int, Instant, int, int]],
    keys: Sequence[DueKey],
    horizon: Instant,
) -> None:
    """Where the next load of each lane begins; lanes that gave all they have are asked for it."""
    counts: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], DueKey] = {}
    for key in keys:
        place = (key.account_id, key.lane)
        counts[place] = counts.get(place, 0) + 1
        last[place] = key
    emptied = []
    for account, lane, *_, most in wanted:
        state = pipe.lanes.at(account, lane)
        found = last.get((account, lane))
        if found is not None:
            state.cursor = (found.due_at, found.enrollment_id)
        if found is not None and counts[account, lane] == most:
            state.loaded_to = found.due_at
            pipe.lanes.expect(account, lane, found.due_at)
        else:
            emptied.append((account, lane, horizon))
    if emptied:
        for head in await pipe.store.next_heads(emptied):
            pipe.lanes.expect(head.account_id, head.lane, head.due_at)


async def learn(pipe: Pipeline, accounts: Sequence[int], *, told: bool = False) -> None:
    """Read lanes, parks and heads of *accounts* again; *told*: somebody has changed them."""
    for row in await pipe.store.read_lanes(accounts):
        pipe.lanes.know(row.account_id, row.lane, row.key)
    pipe.lanes.keep_parks(accounts, await pipe.store.read_parks(accounts))
    await _take_heads(pipe, sorted(pipe.owned.intersection(accounts)), told=told)
    pipe.wake("feed")


async def _take_heads(pipe: Pipeline, accounts: list[int], *, told: bool) -> None:
    """A lane's true head; one before what was loaded, but not in memory, was missed.

    Behind a head that is in memory something may be missing all the same. Where one was told
    so, the lane is loaded anew; while it has much in hand, that waits until it has not.
    """
    for account, lane, due, enrollment in await pipe.store.heads(accounts):
        state = pipe.lanes.get(account, lane)
        if state is None:
            continue
        if due > state.loaded_to:
            pipe.lanes.expect(account, lane, due)
        elif pipe.ready.count(account, lane):
            if told:
                pipe.watch.behind.add((account, lane))
        elif told or not pipe.wheel.holds(due, enrollment):
            pipe.lanes.reset(account, lane, due)


def ask_behind(pipe: Pipeline) -> None:
    """Lanes that were told of while they had much in hand, and have not any more."""
    empty = {place for place in pipe.watch.behind if not pipe.ready.count(*place)}
    pipe.watch.behind -= empty
    pipe.watch.asked.update(account for account, _ in empty)


async def park(pipe: Pipeline, rows: Sequence[ParkRow]) -> None:
    """Hold lanes without touching their rows: one row of `park` each."""
    inside = [_inside_window(pipe, row) for row in rows]
    fresh = [row for row in inside if not pipe.lanes.outlasts(row)]
    for row in fresh:
        pipe.lanes.park(row)
        pipe.ready.park(row.account_id, row.lane)
    if not fresh:
        return
    try:
        await pipe.store.park(fresh)
    finally:
        for row in fresh:
            pipe.ready.unpark(row.account_id, row.lane)  # `lanes` keeps it out from here on
    places = [(row.account_id, row.lane) for row in fresh]
    opened = [place for place in places if not pipe.lanes.is_parked(*place)]
    if opened:  # somebody opened it meanwhile, perhaps before it was shut
        await pipe.store.unpark(opened)
    pipe.wake("feed")


def shut(pipe: Pipeline, rows: Iterable[ParkRow]) -> None:
    """Know of lanes that the store has shut by itself."""
    for row in rows:
        if not pipe.lanes.outlasts(row):
            pipe.lanes.park(row)
            pipe.ready.park(row.account_id, row.lane)
            pipe.ready.unpark(row.account_id, row.lane)
    pipe.wake("feed")


def _inside_window(pipe: Pipeline, row: ParkRow) -> ParkRow:
    """What a cap shuts goes on with the next day, as soon as its window is open."""
    if row.reason != "cap" or row.release_at is None:
        return row
    key = pipe.lanes.at(row.account_id, row.lane).key
    window, zone = pipe.directory.lane_window(row.account_id, key)
    margin = pipe.tuning.window_margin_ms
    return row._replace(release_at=goes_at(window, zone, row.release_at, margin))


async def unpark_due(pipe: Pipeline) -> None:
    """Open what waited for an instant that has come."""
    released = pipe.lanes.released(pipe.clock.now())
    free = [place for place in released if place[0] in pipe.owned]
    try:
        if free:
            await pipe.store.unpark(free)
    except StoreError:
        pipe.lanes.release_again(released)
        raise
    open_lanes(pipe, released)  # another daemon's, too: when it is gained, SQL tells of it


async def reopen(pipe: Pipeline, places: Sequence[tuple[int, int]]) -> None:
    """Open parked lanes before their instant, for what shut them is over."""
    if places:
        await pipe.store.unpark(places)
        open_lanes(pipe, places)


def open_lanes(pipe: Pipeline, places: Iterable[tuple[int, int]]) -> None:
    """Lanes are served again, from SQL."""
    for account, lane in places:
        pipe.lanes.unpark(account, lane, pipe.clock.now())
        pipe.wake("feed")
