"""Events to ends, resets and requests: one account's at a time, stops first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import trio

from dripd.clock import Instant
from dripd.engine import tally
from dripd.engine.feed import insert
from dripd.engine.pipeline import Left, Pipeline
from dripd.engine.quarantine import NO_ROW, POISON, UNREADABLE, halve, said
from dripd.engine.reputation import judge, tell_paused
from dripd.log import get
from dripd.policy.inbox import digest as decide
from dripd.policy.inbox_rows import ContactRow, EventRow, InboxEffect, RunRow
from dripd.policy.reactions import MissingContacts
from dripd.policy.rooms import MissingAccount, MissingVersion
from dripd.store.protocol import Digested

INBOX_BATCH = 500

LEFT_MOST = 1_000
"""Events of an account that stay in one look, after which the others wait for the next."""

REST, REST_MOST_S = 4, 5.0
"""Where more of them stay they are looked at again after so many times what that took, and no
longer than this: 20,000 that wait for their requests keep nobody from deciding about those."""

log = get("inbox")


async def inbox(pipe: Pipeline, accounts: list[int]) -> None:
    """Digest what stands in *accounts*, to the last event, past those that have to wait."""
    for account in accounts:
        began = trio.current_time()
        left = pipe.watch.left.pop(account, None) or Left()
        if left.until is not None and left.until <= began:
            left = Left()
        most = left.n + LEFT_MOST
        while left.n < most:
            done = await digest_once(pipe, account, left)
            if done is None or not (done.taken or done.left):
                break
        now = trio.current_time()
        left.took_s += now - began
        if left.n < most and left.until is None:
            left.until = now + min(REST * left.took_s, REST_MOST_S)
        if left.n >= LEFT_MOST:
            pipe.watch.left[account] = left


async def digest_once(pipe: Pipeline, account: int, left: Left) -> Digested | None:
    """One batch of an account's events beside those *left*; None: another daemon has it, the
    database is away, or a bad event has been isolated."""
    try:
        if account in pipe.unfit:
            await _go_round(pipe, account)
            return None
        try:
            return await _digest(pipe, account, left)
        except NO_ROW:
            raise
        except POISON:
            log.exception("inbox.refused", account_id=account)
            await _one_by_one(
                pipe, account, await pipe.store.pending_events(account, INBOX_BATCH)
            )
    except NO_ROW as error:
        log.warning("inbox.delayed", reason=error.code)
        await trio.sleep(0.1)  # noqa: TID251 - the database is away or busy
    return None


async def _go_round(pipe: Pipeline, account: int) -> None:
    """Digest what stands beside events that nobody can read and that must not be thrown away."""
    pending = await pipe.store.pending_events(account, INBOX_BATCH)
    unfit = pipe.unfit.pop(account).intersection(pending)
    if unfit:
        pipe.unfit[account] = unfit
    rest = [one for one in pending if one not in unfit]
    if rest:
        await _one_by_one(pipe, account, rest)


async def _digest(
    pipe: Pipeline,
    account: int,
    left: Left,
    only: Sequence[int] = (),
    *,
    bare: bool = False,
) -> Digested | None:
    """Digest a batch beside those *left*, of *only* these if any are named; *bare*: as if they
    had no payload.

    A trigger attached just before an event must fire on it: the store looks, once the events
    have been seen, whether those that are known are still the ones.
    """
    heard: list[EventRow] = []
    leased: set[int] = set()
    facts: dict[int, ContactRow | None] = {}

    def digest(
        events: Sequence[EventRow], runs: Sequence[RunRow], now: Instant
    ) -> list[InboxEffect]:
        heard[:] = events
        leased.clear()
        leased.update(run.enrollment_id for run in runs if run.leased)
        effects = decide(events, runs, now, pipe.directory, facts, left.contacts)
        return effects + judge(events, pipe.guard)

    done, is_done = None, False
    while not is_done:
        try:
            done = await pipe.store.digest(
                account,
                INBOX_BATCH,
                digest,
                pipe.directory.interest(account),
                pipe.directory.listens(account),
                only,
                bare=bare,
                after=left.after,
            )
            is_done = True
        except (MissingContacts, MissingVersion, MissingAccount) as missing:
            await _look_up(pipe, account, missing, facts)
    if done is not None:
        stays = set(done.left)
        left.n, left.after = left.n + len(stays), done.after
        left.contacts.update(*(one.contact_ids for one in heard if one.id in stays))
        _take_in(pipe, done, heard)
        pipe.stopped |= leased.intersection(done.stopped)
        pipe.counters.regret += done.regret
    return done


async def _one_by_one(pipe: Pipeline, account: int, ids: Sequence[int]) -> None:
    """The batch of *ids* raised: what is sound is digested, each of the others salvaged."""

    async def digest_some(some: Sequence[int]) -> None:
        await _digest(pipe, account, Left(), some)

    await halve(ids, digest_some, partial(_salvage, pipe, account))


async def _salvage(
    pipe: Pipeline, account: int, alone: Sequence[int], error: BaseException
) -> None:
    """An event that nobody can read takes effect without its payload: that somebody replied must
    stop his runs, whatever else he wrote. What stops runs is never thrown away: where that is
    not to be had it stays, and its contact is sent nothing."""
    log.error("event.refused", account_id=account, event_id=alone[0], reason=said(error))
    refused: Sequence[int] = ()
    try:
        await _digest(pipe, account, Left(), alone, bare=True)
    except NO_ROW:
        raise
    except MissingVersion as missing:  # another dripd may be able to read it: it stays
        log.error("version.unreadable", cv_id=missing.cv_id)
    except POISON:
        refused = await pipe.store.refuse_events(account, alone, UNREADABLE)
    else:
        return
    if not refused:
        pipe.unfit.setdefault(account, set()).update(alone)


def _take_in(pipe: Pipeline, done: Digested, heard: Sequence[EventRow]) -> None:
    """What a digest has set in motion."""
    _tell(pipe, heard)
    tell_paused(pipe, done.paused)
    insert(pipe, done.moved)
    if done.requested:
        pipe.wake("admit")


def _tell(pipe: Pipeline, heard: Sequence[EventRow]) -> None:
    """What was digested, for those who look on."""
    pipe.lately.heard.extend(heard, len(heard))
    if heard:
        tally.heard(pipe.metrics, heard, pipe.clock.now())


async def _look_up(
    pipe: Pipeline,
    account: int,
    missing: MissingContacts | MissingVersion | MissingAccount,
    facts: dict[int, ContactRow | None],
) -> None:
    """Read what the decision lacked; a contact that is not there is None."""
    match missing:
        case MissingContacts(ids=ids):
            rows = await pipe.store.read_contacts(account, ids)
            facts |= dict.fromkeys(ids)
            facts |= {row.id: row for row in rows}
        case MissingVersion(cv_id=cv_id):
            await pipe.directory.load_versions([cv_id])
            if cv_id in pipe.directory.broken:
                raise missing
        case MissingAccount(account_id=account_id):
            await pipe.directory.refresh([account_id])
