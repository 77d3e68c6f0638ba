"""Several dispatchers under one parent: real processes, really killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dripd.admin.client import Client
from tests.stories.world import STARTUP_S

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

ONE_MAIL = """
campaign: welcome
account: {account}
name: Welcome
sender: hello@{account}.test
steps:
  - {{key: hello, do: email, subject: Hi, text: Hello}}
"""

ACCOUNTS = 12


class Herd:
    """`dripd run --processes 3` on a database of its own."""

    def __init__(self, dsn: str, state: Path) -> None:
        self.dsn = dsn
        self.state = state
        environment = {**os.environ, "DRIPD_DSN": dsn, "DRIPD_STATE": str(state)}
        environment.pop("DRIPD_SOCKET", None)
        command = [sys.executable, "-m", "dripd.cli.main", "run", "--processes", "3"]
        with (state / "log").open("ab") as log:
            self.parent = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def sql(self, text: str, *args: Any) -> list[Any]:
        async def ask() -> list[Any]:
            conn = await asyncpg.connect(self.dsn)
            try:
                return list(await conn.fetch(text, *args))
            finally:
                await conn.close()

        return asyncio.run(ask())

    def one(self, text: str, *args: Any) -> Any:
        return self.sql(text, *args)[0][0]

    def call(self, method: str, **params: Any) -> Any:
        with Client(self.state / "dripd.sock", timeout=30) as client:
            return client.call(method, params)

    def until(self, holds: Callable[[], bool], most_s: float = STARTUP_S) -> None:
        """Wait for what happens in real time."""
        began = time.monotonic()
        while not holds():
            log = (self.state / "log").read_text()
            assert time.monotonic() - began < most_s, f"{self.alive()}\n{log[-6_000:]}"
            time.sleep(0.05)

    def children(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(fields[1]) == self.parent.pid:
                    found.append(int(entry.name))
        return found

    def alive(self) -> dict[str, int]:
        """The names of the live daemons, and how many accounts each serves."""
        rows = self.sql(
            "SELECT name, accounts FROM dripd.node "
            "WHERE NOT dead AND beat_at > clock_timestamp() - interval '10 s'"
        )
        return {row["name"]: row["accounts"] for row in rows}

    def shared(self) -> bool:
        served = self.alive()
        return len(served) == 3 and sum(served.values()) == ACCOUNTS

    def started(self) -> int:
        """How many daemons have begun."""
        return (self.state / "log").read_text().count("daemon.started")

    def busiest(self) -> int:
        """The process that serves the most accounts."""
        served = self.alive()
        name = max(served, key=lambda name: served[name])
        places = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in self.children()}
        place = f"dripd{name.removeprefix(min(served, key=len))}.sock"
        wanted = f"DRIPD_SOCKET={self.state / place}\0".encode()
        (found,) = (pid for pid, environ in places.items() if wanted in environ)
        return found


@contextmanager
def herd(dsn: str, state: Path) -> Iterator[Herd]:
    running = Herd(dsn, state)
    try:
        yield running
    finally:
        children = running.children()
        running.parent.kill()
        running.parent.wait()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def settle(world: Herd) -> None:
    """Accounts with a campaign each; the plan of all is 300 a day."""
    for n in range(ACCOUNTS):
        key = f"a{n}"
        made = world.one(
            "INSERT INTO dripd.account (key, plan) VALUES ($1, 'professional') RETURNING id",
            key,
        )
        world.sql(
            "INSERT INTO dripd.sender (account_id, address) VALUES ($1, $2)",
            *(made, f"hello@{key}.test"),
        )
        documents = [{"filename": "a.yaml", "text": ONE_MAIL.format(account=key)}]
        world.call("campaign.apply", documents=documents, account=key)
        world.call("campaign.activate", key="welcome", account=key, yes=True)


def ask(world: Herd, low: int, high: int) -> None:
    """Contacts *low* to *high* of every account are to be enrolled."""
    world.sql(
        "INSERT INTO dripd.contact (account_id, external_id, email) "
        "SELECT id, 'c' || n, 'c' || n || '@' || key || '.x.test' "
        "FROM dripd.account, generate_series($1::int, $2::int) AS n",
        *(low, high),
    )
    world.sql(
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id) "
        "SELECT key, 'welcome', 'c' || n FROM dripd.account, generate_series($1::int, $2::int) AS n",
        *(low, high),
    )


def sent(world: Herd) -> int:
    found: int = world.one("SELECT count(*) FROM dripd.sink_message")
    return found


def test_a_killed_process_is_replaced_its_accounts_taken_over_and_caps_stay_exact(
    pg_dsn: str, tmp_path: Path
) -> None:
    with herd(pg_dsn, tmp_path) as world:
        world.until(lambda: len(world.alive()) == 3 and (tmp_path / "dripd.sock").exists())
        settle(world)
        world.until(world.shared)

        ask(world, 1, 100)
        world.until(lambda: sent(world) == 100 * ACCOUNTS)
        before = world.children()
        os.kill(world.busiest(), signal.SIGKILL)
        ask(world, 101, 320)
        world.until(lambda: sent(world) == 300 * ACCOUNTS)

        world.until(lambda: world.started() == 4 and world.shared())
        assert len(world.children()) == 3
        assert len(set(world.children()) & set(before)) == 2
        processes = world.call("daemon.status")["processes"]
        assert {one["pid"] for one in processes} == set(world.children())
        assert [one["code"] for one in processes if one["deaths"] == 1] == [-signal.SIGKILL]
        assert sent(world) == 300 * ACCOUNTS
        assert world.one("SELECT count(DISTINCT recipient) FROM dripd.sink_message") == sent(
            world
        )
        assert world.sql("SELECT used FROM dripd.account_day WHERE used > 300") == []

        world.parent.send_signal(signal.SIGTERM)
        assert world.parent.wait(STARTUP_S) == 0
        assert world.alive() == {}


def test_children_do_not_outlive_their_parent(pg_dsn: str, tmp_path: Path) -> None:
    with herd(pg_dsn, tmp_path) as world:
        world.until(lambda: len(world.alive()) == 3)
        children = world.children()
        world.parent.kill()
        world.parent.wait()
        world.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))

        assert world.alive() == {}
