"""What came due while nothing went? It goes out paced, account by account.

After hours without a daemon or a database, of a pause, or without a provider, all that should
have gone is due at once. SQL knows when nobody was at work, and what was paused or failed when.
Of what came due then, and would have gone then, each step
moves into a lane of its own kind as it is met, so that nothing else waits behind it; those
lanes rest whenever the bucket of their account is empty. Runs that were asked for meanwhile
begin there. A step keeps its due: windows, caps and `max_lateness` are asked as ever.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dripd.campaigns.enrollment import DueKey, LaneClass, LaneKey
from dripd.clock import Instant
from dripd.engine.feed import insert
from dripd.engine.pipeline import Picked, Pipeline
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy.admission_rows import Accept, Decision
from dripd.policy.gate import goes_at
from dripd.ratelimit.bucket import Bucket, parse_rate
from dripd.ratelimit.limits import REST_MS
from dripd.store.protocol import ParkRow, Standstill

REASON: Final = "catching_up"

PACED: Final = frozenset({LaneClass.INTERNAL, LaneClass.FIRST, LaneClass.FOLLOW_UP})
"""Internal steps too: what follows one without a delay would leave at once."""

log = get("standstill")


class Span(NamedTuple):
    """From an instant to before another."""

    from_at: Instant
    until_at: Instant


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
    if not pipe.tuning.catchup_rate:
        return picked
    missed = [
        DueKey(account, lane, due, enrollment, cv)
        for account, entries in picked
        if (found := _standstills(pipe, account))
        for lane, (due, enrollment, cv) in entries
        if _is_missed(pipe, found, account, lane, due, cv)
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


async def note_outages(pipe: Pipeline) -> None:
    """Tell SQL which providers and senders failed, for the daemons that come after."""
    told, pipe.flow.untold = pipe.flow.untold, []
    if not told:
        return
    try:
        await pipe.store.note_outages(told)
    except StoreError as error:  # this daemon knows, and tells with the next one
        log.warning("store.lost", reason=error.code)
        pipe.flow.untold += told


def _in_standstill(pipe: Pipeline, at: Instant | None) -> bool:
    latest = pipe.clock.now() + pipe.tuning.catchup_after_ms
    return at is not None and any(
        one.from_at <= at < one.until_at < latest and not one.provider
        for one in pipe.standstills
    )


def _standstills(pipe: Pipeline, account_id: int) -> list[Standstill]:
    """All that may concern an account."""
    account = pipe.directory.accounts.get(account_id)
    own = [
        Standstill(*one[:2], sender_id=one.sender_id, provider=one.provider)
        for one in pipe.flow.outages
        if one.account_id in {0, account_id}
    ]
    return [*pipe.standstills, *own, *(() if account is None else account.row.standstills)]


def _is_missed(
    pipe: Pipeline, found: list[Standstill], account: int, lane: int, due: Instant, cv: int
) -> bool:
    """Would it have gone while nothing went?"""
    key = pipe.lanes.at(account, lane).key
    if key.kind not in PACED:
        return False
    least = pipe.tuning.catchup_after_ms
    latest = pipe.clock.now() + least
    for from_at, until_at in _spans(pipe, found, account, key, cv):
        # one that ends in the time to come: of what stands yet, or of a clock that leapt ahead
        is_over = until_at - from_at > least and until_at < latest
        if is_over and from_at <= due < until_at:
            window, zone = pipe.directory.lane_window(account, key)
            opens = goes_at(window, zone, due, pipe.tuning.window_margin_ms)
            if opens is not None and opens < until_at:
                return True
    return False


def _spans(
    pipe: Pipeline, found: list[Standstill], account_id: int, key: LaneKey, cv: int
) -> list[Span]:
    """When nothing of that lane could go: all of its campaign stood still, or every sender that
    it has."""
    spans = [
        Span(*one[:2])
        for one in found
        if (one.campaign_id == key.campaign_id or not one.campaign_id)
        and not (one.sender_id or one.provider)
    ]
    version, account = pipe.directory.versions.get(cv), pipe.directory.accounts.get(account_id)
    address = None if version is None or account is None else version.sole_sender(key.channel)
    if account is None or address is None:
        return spans
    common: list[Span] | None = None
    for way in account.named(key.channel, address):
        own = [
            Span(*one[:2])
            for one in found
            if one.sender_id == way.id or one.provider == way.provider
        ]
        common = own if common is None else _common(common, own)
    return spans + (common or [])


def _common(some: list[Span], others: list[Span]) -> list[Span]:
    both = (
        Span(max(one.from_at, other.from_at), min(one.until_at, other.until_at))
        for one in some
        for other in others
    )
    return [span for span in both if span.from_at < span.until_at]


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
