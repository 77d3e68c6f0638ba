"""Events to ends, resets and requests: one account's at a time, stops first."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from dripd.clock import Instant
from dripd.engine import tally
from dripd.engine.feed import insert
from dripd.engine.pipeline import Pipeline
from dripd.engine.reputation import judge, tell_paused
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy import exits
from dripd.policy.inbox_rows import ContactRow, EventRow, InboxEffect, RunRow
from dripd.policy.reactions import MissingContacts
from dripd.policy.rooms import MissingAccount, MissingVersion
from dripd.store.protocol import Digested

INBOX_BATCH = 500

log = get("inbox")


async def inbox(pipe: Pipeline, accounts: list[int]) -> None:
    """Digest what stands in *accounts*, to the last event."""
    for account in accounts:
        while True:
            done = await digest_once(pipe, account)
            if done is None or done.taken == 0:
                break


async def digest_once(pipe: Pipeline, account: int) -> Digested | None:
    """One batch of an account's events; None: another daemon has it, or the database is away.

    A trigger attached just before an event must fire on it: the store looks, once the events
    have been seen, whether those that are known are still the ones.
    """
    heard: list[EventRow] = []
    facts: dict[int, ContactRow | None] = {}

    def digest(
        events: Sequence[EventRow], runs: Sequence[RunRow], now: Instant
    ) -> list[InboxEffect]:
        heard[:] = events
        effects = exits.digest(events, runs, now, pipe.directory, facts)
        return effects + judge(events, pipe.guard)

    done = None
    while done is None:
        try:
            done = await pipe.store.digest(
                account,
                INBOX_BATCH,
                digest,
                pipe.directory.interest(account),
                pipe.directory.listens(account),
            )
            if done is None:
                return None
        except (MissingContacts, MissingVersion, MissingAccount) as missing:
            await _look_up(pipe, account, missing, facts)
        except StoreError as error:
            log.warning("inbox.delayed", reason=error.code)
            await trio.sleep(0.1)  # noqa: TID251 - the database is away or busy
            return None
    _tell(pipe, heard)
    tell_paused(pipe, done.paused)
    pipe.stopped |= set(done.stopped)
    insert(pipe, done.moved)
    if done.requested:
        pipe.wake("admit")
    return done


def _tell(pipe: Pipeline, heard: list[EventRow]) -> None:
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
        case MissingAccount(account_id=account_id):
            await pipe.directory.refresh([account_id])
