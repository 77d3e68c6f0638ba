"""Ready to leased: the permission to send, asked for a batch at a time.

Two leases are in flight at most, and never share an account. What is not granted says why:
locked or an event in the way is asked again soon, a spent cap parks its lanes until the next
local day, the rest is dropped, for SQL tells of it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Set
from functools import partial
from itertools import groupby
from typing import Final

import trio

from dripd.campaigns.enrollment import DueKey, LaneClass, LaneKey, Leased, Needs
from dripd.campaigns.event import Deferred
from dripd.campaigns.version import ALWAYS, Version
from dripd.clock import DatabaseClock, Instant
from dripd.engine import resets, standstill
from dripd.engine.directory import Account
from dripd.engine.feed import park
from dripd.engine.flow import open_days
from dripd.engine.pipeline import AGAIN_S, Picked, Pipeline
from dripd.engine.pools import choose_senders
from dripd.engine.quarantine import NO_ROW, POISON, said, set_aside
from dripd.engine.send import dispatch, give_back, perform_counted
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy.facts import address_of
from dripd.policy.gate import goes_at
from dripd.ratelimit.limits import Closed
from dripd.scheduler.calendar import Today, day_bounds, local_date
from dripd.store.protocol import (
    LeaseGroup,
    LeaseKey,
    LeaseResult,
    ParkRow,
    Refusal,
    SetAside,
)

SERVED: Final = ("active", True)
"""Status and subscription of an account that is not paused."""

log = get("lease")


async def lease(pipe: Pipeline) -> None:
    """Lease what is ready, for ever."""
    while True:
        with pipe.work:
            heed_journal(pipe)
            while len(pipe.ready) and pipe.may_lease:
                if not await lease_once(pipe):
                    break
        await pipe.wait("lease", 0.2)
        await _coalesce(pipe)


async def _coalesce(pipe: Pipeline) -> None:
    """Let a batch fill; one that is full, or a manual clock, waits for nothing."""
    if pipe.tuning.coalesce_s and len(pipe.ready) < pipe.tuning.batch:
        await trio.sleep(pipe.tuning.coalesce_s)  # noqa: TID251 - a batch fills meanwhile


def heed_journal(pipe: Pipeline) -> None:
    """A step that leaves is written down first: while nothing can be, nothing is leased."""
    fault = pipe.journal.fault()
    if fault:
        pipe.barred["journal"] = fault
    else:
        pipe.barred.pop("journal", None)


async def lease_once(pipe: Pipeline) -> bool:
    """One batch. False: nothing could be asked for now."""
    most = min(pipe.tuning.batch, pipe.room)
    if 2 * most < min(pipe.tuning.batch, pipe.tuning.in_flight):
        return False  # under full load many small leases would cost more than they save
    picked = _pick(pipe, most)
    if not picked:
        return False
    accounts = {account for account, _ in picked}
    pipe.busy |= accounts
    for account in accounts:
        pipe.lanes.served(account)
    pipe.wake("feed")
    room = _Room(pipe)
    try:
        now = pipe.clock.now()
        await open_days(pipe.store, pipe.directory, accounts, now)
        picked = await standstill.set_back(pipe, picked)
        picked = await resets.set_back(pipe, picked)
        groups, parks = _group(pipe, picked, now, room)
        if groups:
            await _ask(pipe, groups, picked, room)
        # last: a lane that is shut must not look settled before, nor shut that was refused
        await park(pipe, [row for row in map(partial(room.again, now), parks) if row])
    except StoreError:
        in_hand = {enrollment for _, entries in picked for _, (_, enrollment, _) in entries}
        _ask_again(pipe, picked, in_hand)
        raise
    finally:
        pipe.busy -= accounts
        room.give_back()
    pipe.wake("lease")
    return True


def _pick(pipe: Pipeline, most: int) -> Picked:
    """Up to *most* of what is ready, no more than its providers lack."""
    lacks = lacking(pipe)
    most = min(most, max(lacks.values(), default=most))
    if not most:
        return []
    return pipe.ready.pick(most, Passed(pipe, {name for name, n in lacks.items() if not n}))


def lacking(pipe: Pipeline) -> dict[str, int]:
    """By provider, how many steps more it may be leased: none where enough waits for it, and where
    it holds half of all that may be in flight once room grows scarce, for what it does not answer
    must not keep others from theirs."""
    lacks = {name: pipe.lack(name) for name in pipe.leased}
    if len(lacks) > 1 and 2 * pipe.room < 3 * pipe.tuning.batch:
        calling, half = pipe.flow.calling, pipe.tuning.in_flight // 2
        for name, queue in pipe.leased.items():
            if len(queue) + calling.get(name, 0) >= half:
                lacks[name] = 0
    return lacks


class Passed(Container[int]):
    """The accounts that have no turn now: of which a lease is in flight, which rest, of which
    answers wait for rows that somebody holds, or a provider is *full*. Made for one pick, which
    asks of those alone that it meets."""

    def __init__(self, pipe: Pipeline, full: Set[str]) -> None:
        self._busy = pipe.busy
        self._blocked = pipe.blocked
        self._resting = pipe.lanes.resting
        self._accounts = pipe.directory.accounts
        self._full = full

    def __contains__(self, account_id: object) -> bool:
        if (
            account_id in self._busy
            or account_id in self._resting
            or account_id in self._blocked
        ):
            return True
        if not self._full or not isinstance(account_id, int):
            return False
        account = self._accounts.get(account_id)
        return account is not None and not self._full.isdisjoint(account.providers)


async def _ask(pipe: Pipeline, groups: list[LeaseGroup], picked: Picked, room: _Room) -> None:
    asked = sum(len(group.keys) for group in groups)
    pipe.asked += asked
    try:
        with trio.CancelScope(shield=True), pipe.headways.leasing(_coming(pipe, groups)):
            result = await _lease(pipe, groups)
    except NO_ROW:
        raise
    except POISON as error:
        await _halve(pipe, groups, picked, room, error)
        return
    finally:
        pipe.asked -= asked
    if result.granted or result.unreadable:
        n = len(result.granted) + len(result.unreadable)
        pipe.claims[result.claim_id] = n
        pipe.unsent += n
        pipe.counters.leased += n
        room.used(result.granted)
        for leased, why in result.unreadable:
            log.error("step.failed", enrollment_id=leased.enrollment_id, step_no=leased.step_no)
            pipe.settle(set_aside(leased, why, pipe.clock.now()))
        granted = _unpassed(pipe, picked, result.granted, await _prepare(pipe, result.granted))
        counted = dispatch(pipe, _unchanged(pipe, picked, granted))
        if counted:
            await perform_counted(pipe, counted)
        await rest(pipe)
    if result.refused:
        in_the_way = await _on_refused(pipe, result.refused)
        _ask_again(pipe, picked, in_the_way)
        _let_rest(pipe, result, in_the_way)


async def _lease(pipe: Pipeline, groups: list[LeaseGroup]) -> LeaseResult:
    """What is granted of *groups*: its instant is heard, before anything of it is timed."""
    clock, ahead_ms = pipe.clock, pipe.tuning.lease_ahead_ms
    if not isinstance(clock, DatabaseClock):
        return await pipe.store.lease(pipe.incarnation, groups, ahead_ms)
    asked = clock.ticked()
    result = await pipe.store.lease(pipe.incarnation, groups, ahead_ms)
    for leased in result.granted[:1]:
        clock.hear(leased.leased_at, asked)
    return result


def _coming(pipe: Pipeline, groups: list[LeaseGroup]) -> Counter[str]:
    """How many messages a lease of *groups* may bring to each provider at most."""
    found: Counter[str] = Counter()
    for group in groups:
        account = pipe.directory.accounts.get(group.account_id)
        for provider in account.providers if account is not None else ():
            found[provider] += len(group.keys)
    return found


async def _halve(
    pipe: Pipeline, groups: list[LeaseGroup], picked: Picked, room: _Room, error: BaseException
) -> None:
    """The lease of *groups* raised: the half that is sound is leased, and what is left alone
    with the error is set aside. One that cannot even be set aside is dropped until SQL tells of
    it again."""
    keys = [(group, key) for group in groups for key in group.keys]
    if len(keys) > 1:
        half = len(keys) // 2
        for some in (keys[:half], keys[half:]):
            await _ask(pipe, _grouped(some), picked, room)
        return
    ((group, key),) = keys
    log.error("lease.refused", enrollment_id=key.enrollment_id, reason=said(error))
    step = SetAside(group.account_id, key.lane, key.due_at, key.enrollment_id, said(error))
    try:
        await pipe.store.set_aside([step])
    except NO_ROW:
        raise
    except POISON:
        log.exception("lease.refused", enrollment_id=key.enrollment_id)


def _grouped(keys: list[tuple[LeaseGroup, LeaseKey]]) -> list[LeaseGroup]:
    return [
        LeaseGroup(account_id, local_date, [key for _, key in some])
        for (account_id, local_date), some in groupby(
            keys, lambda pair: (pair[0].account_id, pair[0].local_date)
        )
    ]


async def _prepare(pipe: Pipeline, granted: list[Leased]) -> set[int]:
    """What dispatch must know beside the lease; asked until the database answers. Returns the
    runs of which an event waits that the lease could not see.

    Nobody else holds these steps: given up here, they would wait for this daemon's end.
    """
    while True:
        try:
            await pipe.directory.load_versions({leased.cv_id for leased in granted})
            await _believe(pipe, {leased.account_id for leased in granted})
            told = await _aim(pipe, granted)
            if pipe.directory.pooled:
                await choose_senders(pipe, granted)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
            await trio.sleep(AGAIN_S)  # noqa: TID251 - the database is away: do not spin
        else:
            return told


def _unpassed(
    pipe: Pipeline, picked: Picked, granted: list[Leased], told: Set[int]
) -> list[Leased]:
    """Those of *granted* that pass no event; the others are given back until it is heard, and
    their accounts rest for a moment, or they would be leased again at once."""
    for leased in granted:
        if leased.enrollment_id in told:
            give_back(pipe, leased, Deferred(reason="event", until=None))
            pipe.lanes.resting.add(leased.account_id)
    if told:
        pipe.wake("look")
        _ask_again(pipe, picked, told)
    return [leased for leased in granted if leased.enrollment_id not in told]


def _unchanged(pipe: Pipeline, picked: Picked, granted: list[Leased]) -> list[Leased]:
    """Those of *granted* that were asked for as their version wants it. One that has passed to
    another since it was loaded is given back where that one looks at more: its lease has not."""
    keys = [(enrollment, cv) for _, entries in picked for _, (_, enrollment, cv) in entries]
    asked = dict(keys)
    if len(asked) == len(keys) and all(asked[x.enrollment_id] == x.cv_id for x in granted):
        return granted
    meant: dict[int, set[int]] = {}
    for enrollment, cv in keys:
        meant.setdefault(enrollment, set()).add(cv)
    lacking = {x.enrollment_id for x in granted if _lacks(pipe, x, meant[x.enrollment_id])}
    for leased in granted:
        if leased.enrollment_id in lacking:
            give_back(pipe, leased, Deferred(reason="republished", until=None))
    return [leased for leased in granted if leased.enrollment_id not in lacking]


def _lacks(pipe: Pipeline, leased: Leased, meant: Set[int]) -> bool:
    """May it have been asked for as another version wants it, one of those *meant*? A key that
    was loaded anew stands beside the one before, and nobody says which was granted."""
    wanted = _mask(pipe, leased, leased.cv_id)
    return any(wanted & ~_mask(pipe, leased, cv) for cv in meant - {leased.cv_id})


def _mask(pipe: Pipeline, leased: Leased, cv: int) -> int:
    version = pipe.directory.versions.get(cv)
    channel = pipe.lanes.at(leased.account_id, leased.lane).key.channel
    return ALWAYS if version is None else version.mask(channel)


async def _believe(pipe: Pipeline, accounts: Set[int]) -> None:
    """The lease grants nothing of an account that is paused: one that is remembered so has been
    resumed. It is read anew, or what was granted would be given back and asked for at once."""
    directory = pipe.directory
    resumed = {one for one in accounts if directory.account_status(one) != SERVED}
    if resumed:
        await directory.refresh(sorted(resumed))


async def _aim(pipe: Pipeline, granted: list[Leased]) -> set[int]:
    """The lease reads the contact's own address. One that `field_map` names instead, and one
    that the attempts before went to and every further one goes to, is asked for here; the first
    is known as the contact's from now on. Returns the runs of which an event names one."""
    asked: list[tuple[Leased, bool, tuple[int, str, str]]] = []
    places: dict[int, tuple[int, int, str, int]] = {}
    for leased in granted:
        version = pipe.directory.versions.get(leased.cv_id)
        if version is None or leased.step_no >= len(version.steps):
            continue
        channel = version.steps[leased.step_no].kind
        if not version.steps[leased.step_no].is_message or not (
            version.definition.field_map or leased.kept
        ):
            continue
        own = address_of(leased, channel, version.definition.field_map)
        if own is not None and version.maps(channel):
            asked.append((leased, True, (leased.account_id, channel, own)))
            place = (leased.account_id, leased.contact_id, own, version.mask(channel))
            places[leased.enrollment_id] = place
        before = None if leased.kept is None else leased.kept.to
        if before is not None and before != own:
            asked.append((leased, False, (leased.account_id, channel, before)))
    if asked:
        answers = await pipe.store.suppressed([place for _, _, place in asked])
        for (leased, is_instead, _), answer in zip(asked, answers, strict=True):
            leased.suppressed = answer or (leased.suppressed and not is_instead)
    told = await pipe.store.know_addresses([*places.values()]) if places else []
    return {run for run, is_told in zip(places, told, strict=True) if is_told}


def _group(
    pipe: Pipeline, picked: Picked, now: Instant, room: _Room
) -> tuple[list[LeaseGroup], list[ParkRow]]:
    """The groups to ask for, and the lanes that turn out to be closed."""
    groups: list[LeaseGroup] = []
    parks: dict[tuple[int, int], ParkRow] = {}
    today = Today(now)
    for account_id, entries in picked:
        account = pipe.directory.accounts.get(account_id)
        if account is None:
            continue
        keys: list[LeaseKey] = []
        is_limited = pipe.flow.concerns(account)
        looked_at: set[int] = set()
        for lane, (due, enrollment, cv) in entries:
            if lane not in looked_at:
                looked_at.add(lane)
                closed = _closed(pipe, account_id, lane, Instant(max(now, due)))
                if closed is not None:
                    parks[account_id, lane] = closed
            if (account_id, lane) in parks:
                continue
            version = pipe.directory.versions.get(cv)
            place = pipe.lanes.at(account_id, lane).key
            if is_limited or place.kind == LaneClass.CATCHING_UP:
                shut = room.shuts(account, lane, version, now, is_limited=is_limited)
                if shut is not None:
                    parks[account_id, lane] = shut
                    continue
            keys.append(LeaseKey(lane, due, enrollment, _asks(version, place)))
        if keys:
            groups.append(LeaseGroup(account_id, today.of(account.zone), keys))
    groups.sort(key=lambda group: group.account_id)
    return groups, list(parks.values())


def _asks(version: Version | None, lane: LaneKey) -> int:
    """What the lease must know of a step; one whose version is unreadable is to be held."""
    mask = ALWAYS if version is None else version.mask(lane.channel)
    # of what is in doubt its place in the cap is taken
    return mask & ~Needs.COUNTED if lane.kind == LaneClass.IN_DOUBT else mask


def _closed(pipe: Pipeline, account_id: int, lane: int, now: Instant) -> ParkRow | None:
    """The park entry of a lane whose window is shut at *now*; None: it is open."""
    key = pipe.lanes.at(account_id, lane).key
    window, zone = pipe.directory.lane_window(account_id, key)
    opens = goes_at(window, zone, now, pipe.tuning.window_margin_ms)
    if opens == now:
        return None
    pipe.lanes.reset(account_id, lane, Instant(0))
    return ParkRow(account_id, lane, "window", opens)


class _Room:
    """How many messages of each sender one batch may still ask for."""

    def __init__(self, pipe: Pipeline) -> None:
        self._pipe = pipe
        self._left: dict[tuple[int, str, str], tuple[int, Closed | None]] = {}
        self._why: Closed | None = None
        self._shut: dict[tuple[int, int], tuple[str, str]] = {}
        """Channel and sender of the lanes that are to rest for want of room."""
        self._paced: Counter[tuple[int, int]] = Counter()
        """Of each lane that catches up, the tokens that were taken and not used yet."""

    def shuts(
        self,
        account: Account,
        lane: int,
        version: Version | None,
        now: Instant,
        *,
        is_limited: bool,
    ) -> ParkRow | None:
        """Let one more step of *lane* pass; else the park entry of the lane."""
        key = self._pipe.lanes.at(account.row.id, lane).key
        rest = None
        if key.kind == LaneClass.CATCHING_UP:
            rest = standstill.take(self._pipe, account.row.id, lane, now)
            self._paced[account.row.id, lane] += rest is None
        if is_limited and rest is None and key.channel and key.kind != LaneClass.IN_DOUBT:
            rest = self._rest(account, lane, version, now)
        if rest is not None:
            self._pipe.lanes.reset(account.row.id, lane, Instant(0))
        return rest

    def used(self, granted: Iterable[Leased]) -> None:
        """These were leased: the tokens that they took are spent."""
        if self._paced:
            self._paced.subtract((leased.account_id, leased.lane) for leased in granted)

    def give_back(self) -> None:
        """Whatever passed and was not leased, for whatever reason, has used up nothing."""
        for (account_id, _), n in self._paced.items():
            if n > 0:
                standstill.give_back(self._pipe, account_id, n)

    def again(self, now: Instant, row: ParkRow) -> ParkRow | None:
        """The park entry, now that the lease is known: what was refused used up nothing, the
        gap behind a message is known with it, and a sender may have been resumed. None: the
        lane is not to rest."""
        asked = self._shut.get((row.account_id, row.lane))
        if asked is None:
            return row
        account = self._pipe.directory.account(row.account_id)
        n, why = self._pipe.flow.room(account, *asked, now)
        if n > 0 or why is None:
            return None if n > 0 else row
        return ParkRow(row.account_id, row.lane, why.reason, why.until)

    def _rest(
        self, account: Account, lane: int, version: Version | None, now: Instant
    ) -> ParkRow | None:
        """The park entry of a lane of whose sender none may leave."""
        if self._takes(account, lane, version, now):
            return None
        account_id = account.row.id
        if self._why is None:
            return ParkRow(account_id, lane, "no_sender", None)
        return ParkRow(account_id, lane, self._why.reason, self._why.until)

    def _takes(
        self, account: Account, lane: int, version: Version | None, now: Instant
    ) -> bool:
        """Is there room for one more message of *lane*?"""
        key = self._pipe.lanes.at(account.row.id, lane).key
        address = None if version is None else version.sole_sender(key.channel)
        if address is None:
            return True
        place = (account.row.id, key.channel, address)
        if place not in self._left:
            self._left[place] = self._pipe.flow.room(account, key.channel, address, now)
        n, self._why = self._left[place]
        self._left[place] = (n - 1, self._why)
        if n <= 0 and (self._why is None or self._why.reason in {"cap", "rate"}):
            self._shut[account.row.id, lane] = (key.channel, address)
        return n > 0


async def rest(pipe: Pipeline) -> None:
    """Park the lanes that turned out to be shut where nothing could wait."""
    rows, pipe.flow.parks = pipe.flow.parks, []
    for row in rows:
        pipe.lanes.reset(row.account_id, row.lane, Instant(0))
    await park(pipe, list({(row.account_id, row.lane): row for row in rows}.values()))


async def _on_refused(pipe: Pipeline, refused: list[tuple[int, LeaseKey, Refusal]]) -> set[int]:
    """What each refusal asks for; returns the enrollments that had something in their way."""
    now = pipe.clock.now()
    parks: list[ParkRow] = []
    dayless: set[int] = set()
    in_the_way: set[int] = set()
    for account_id, key, why in refused:
        match why:
            case Refusal.CAP:
                parks.append(_until_tomorrow(pipe, account_id, key.lane, now))
                pipe.lanes.reset(account_id, key.lane, Instant(0))
            case Refusal.NO_DAY:
                dayless.add(account_id)
                in_the_way.add(key.enrollment_id)
            case Refusal.EVENT | Refusal.LOCKED | Refusal.SUPPRESSED:
                pipe.wake("look")
                in_the_way.add(key.enrollment_id)
            case Refusal.HELD:
                pipe.lanes.reset(account_id, key.lane, None)
            case Refusal.GONE:
                pass
    if dayless:
        await pipe.directory.refresh(sorted(dayless))
        dates = Today(now)
        days = [day for a in dayless for day in pipe.directory.accounts[a].days(dates)]
        await pipe.store.make_days(days)
    await park(pipe, list({(row.account_id, row.lane): row for row in parks}.values()))
    pipe.wake("feed")
    return in_the_way


def _ask_again(pipe: Pipeline, picked: Picked, enrollments: Set[int]) -> None:
    """A moment later these are asked for once more; what is gone by then is dropped."""
    at = trio.current_time() + AGAIN_S
    for account_id, entries in picked:
        for lane, (due, enrollment, cv) in entries:
            if enrollment in enrollments:
                pipe.again.append((at, DueKey(account_id, lane, due, enrollment, cv)))
    pipe.wake("feed")


def _let_rest(pipe: Pipeline, result: LeaseResult, in_the_way: Set[int]) -> None:
    """Where every key of an account had something in its way, as when its day was locked, what
    is due later does not go before them: a cap would leave them out."""
    went_on = {leased.account_id for leased in result.granted} | {
        account for account, key, _ in result.refused if key.enrollment_id not in in_the_way
    }
    pipe.lanes.resting |= {account for account, _, _ in result.refused} - went_on


def _until_tomorrow(pipe: Pipeline, account_id: int, lane: int, now: Instant) -> ParkRow:
    zone = pipe.directory.accounts[account_id].zone
    _, ends_at = day_bounds(zone, local_date(zone, now))
    return ParkRow(account_id, lane, "cap", ends_at)
