"""The ground on which benchmarks run: accounts, campaigns and runs, made by SQL.

Every account `aN` has a campaign of one email, a sender of provider `counting` and contacts;
row N of `n` is enrollment N of account 1 + N % accounts.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from bench.meter import execute, value
from dripd.channels.base import Channel, Message, ProviderSettings, Settle
from dripd.channels.sink import SinkChannel
from dripd.config import Config
from dripd.daemon.daemon import Daemon
from dripd.daemon.run import serve
from dripd.policy.perform import Rendered

ACCOUNTS = 1_000

STEP = {
    "key": "hello",
    "do": "email",
    "subject": "Hi {First Name}",
    "text": "Hello {First Name}, " + "here is a line that makes it a letter. " * 12,
}

DEFINITION = {
    "campaign": "bench",
    "account": "a@@",
    "name": "Bench",
    "sender": "s@a@@.test",
    "steps": [STEP],
}

GROUND = """
SET session_replication_role = replica;
INSERT INTO dripd.account (id, key, plan)
    SELECT n, 'a' || n, 'enterprise' FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.sender (account_id, id, address, provider)
    SELECT n, n, 's@a' || n || '.test', '{provider}' FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.campaign (account_id, id, key, name, status, live_version, live_cv_id)
    SELECT n, n, 'bench', 'Bench', 'active', 1, n FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.campaign_version (account_id, id, campaign_id, campaign_key, version, definition)
    SELECT n, n, n, 'bench', 1, replace('{definition}', '@@', n::text)::jsonb FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.version_step SELECT n, n, 0, 'hello', 'email', '' FROM generate_series(1, {accounts}) AS n;
INSERT INTO dripd.lane SELECT n, 0, n, 1, 'email', 'account', 'account' FROM generate_series(1, {accounts}) AS n;
"""

RUNS = """
SET session_replication_role = replica;
INSERT INTO dripd.contact (account_id, id, external_id, email, attrs)
    SELECT 1 + n % {accounts}, n, 'c' || n, 'c' || n || '@x.test', '{{"first_name": "Ann", "tier": "gold"}}'
    FROM generate_series({low}, {high}) AS n;
INSERT INTO dripd.run (account_id, campaign_id, id, contact_id, started_at, cv_id, run_no, reentry)
    SELECT 1 + n % {accounts}, 1 + n % {accounts}, n, n, dripd.now(), 1 + n % {accounts}, 1, 1
    FROM generate_series({low}, {high}) AS n;
"""

STEPS = """
SET session_replication_role = replica;
INSERT INTO dripd.due_step (due_at, enrollment_id, contact_id, account_id, cv_id, lane)
    SELECT {due}, n, n, 1 + n % {accounts}, 1 + n % {accounts}, 0 FROM generate_series({low}, {high}) AS n;
"""

CHECK = """
SELECT (SELECT count(*) FROM dripd.delivery WHERE state = 'accepted')
    || ' ' || (SELECT count(DISTINCT enrollment_id) FROM dripd.step_log)
    || ' ' || (SELECT sum(used) FROM dripd.account_day) || ' ' || (SELECT count(*) FROM dripd.claim)
"""


def ground(accounts: int = ACCOUNTS, provider: str = "counting") -> str:
    """SQL: the accounts, each with its campaign."""
    definition = json.dumps(DEFINITION)
    return GROUND.format(accounts=accounts, provider=provider, definition=definition)


def runs(low: int, high: int, due: str, accounts: int = ACCOUNTS) -> str:
    """SQL: the runs *low* to *high* with their contacts, and their steps due at *due*."""
    text = RUNS.format(low=low, high=high, accounts=accounts)
    return text + steps(low, high, due, accounts)


def steps(low: int, high: int, due: str, accounts: int = ACCOUNTS) -> str:
    """SQL: due steps alone, of runs that never come up in the benchmark."""
    return STEPS.format(low=low, high=high, due=due, accounts=accounts)


def lay(dsn: str, *texts: str) -> None:
    """Run *texts*, then let Postgres settle."""
    asyncio.run(execute(dsn, *texts, "VACUUM ANALYZE", "CHECKPOINT"))


async def check(dsn: str, n: int) -> None:
    """Raises `AssertionError` unless exactly *n* steps were sent, each once, and counted."""
    found = await trio.to_thread.run_sync(asyncio.run, value(dsn, CHECK))
    if found != f"{n} {n} {n} 0":
        raise AssertionError(
            f"deliveries, runs, used and claims are {found}, not {n} {n} {n} 0"
        )


class Stopwatch(SinkChannel):
    """The sink that only counts, with a watch: how long ago was each message due?"""

    def __init__(self) -> None:
        super().__init__("counting", None)
        self.late_ms: list[float] = []

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        now = time.time() * 1000
        for message in messages:
            if isinstance(message.ref, Rendered):
                self.late_ms.append(now - message.ref.leased.due_at)
        await super().send(messages, settle)


@asynccontextmanager
async def daemon(
    config: Config,
    dsn: str,
    settings: ProviderSettings,
    *channels: Channel,
    manual: bool = False,
) -> AsyncIterator[Daemon]:
    """A daemon in this process, with a provider of *settings* or *channels* in its place."""
    config.providers[settings.name] = settings  # type: ignore[index]  # made for this run
    named = {channel.name: channel for channel in channels}
    async with trio.open_nursery() as nursery:
        served = partial(serve, config, dsn, manual_clock=manual, at=None, channels=named)
        yield await nursery.start(served)
        nursery.cancel_scope.cancel()


COUNTING = ProviderSettings(name="counting", kind="sink", options={"record": False})


async def until_sent(running: Daemon, n: int, most_s: float, *, drained: bool = True) -> None:
    """Wait until *n* steps were accepted and, if *drained*, all is recorded. Raises `AssertionError`."""
    pipe = running.pipe
    with trio.move_on_after(most_s) as scope:
        while pipe.counters.accepted < n or (drained and pipe.unsent):
            await trio.sleep(0.01)
    if scope.cancelled_caught:
        raise AssertionError(
            f"after {most_s} s: {pipe.counters}, {pipe.unsent} unsent, not {n}"
        )
