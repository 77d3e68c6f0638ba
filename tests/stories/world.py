"""A real daemon on the manual clock, and the ways other systems reach it: SQL and the socket."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from dripd.admin.client import Client
from dripd.errors import DripdError, StoreUnavailable

MONDAY = "2026-01-05T09:00:00Z"
"""Where every story begins."""

STARTUP_S = 90.0
"""Seconds that a daemon may take to start or to end: nothing is said about how fast it is."""


def until(true: Callable[[], object], most_s: float = 60.0) -> None:
    """Wait for what happens in real time, asking well under the 50 times a second of a socket."""
    end = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


class World:
    """One daemon process, one connection of SQL, one account `acme` in UTC, always open."""

    def __init__(self, dsn: str, state: Path) -> None:
        self.dsn = dsn
        self.state = state
        self.socket = state / "dripd.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self._runner = asyncio.Runner()
        self._conn: asyncpg.Connection[asyncpg.Record] | None = None

    def __enter__(self) -> Self:
        self.start()
        self.account("acme")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            code = self.stop()
        finally:
            if self._conn is not None:
                self._runner.run(self._conn.close())
            self._runner.close()
        assert kind is not None or code == 0, self.log()

    # The daemon

    def start(self, at: str = MONDAY) -> None:
        """Start the daemon; returns once it answers. Raises `AssertionError` if it never does.

        One that found the database too slow, for its patience, is started again.
        """
        environment = {**os.environ, "DRIPD_DSN": self.dsn, "DRIPD_STATE": str(self.state)}
        environment.pop("DRIPD_SOCKET", None)
        command = [
            sys.executable,
            "-m",
            "dripd.cli.main",
            "run",
            "--clock",
            "manual",
            "--at",
            at,
        ]
        self.process = self._launch(command, environment)
        until = time.monotonic() + STARTUP_S
        while not self._answers():
            if self.process.poll() == StoreUnavailable.exit_code:  # as systemd would
                self.process = self._launch(command, environment)
            assert self.process.poll() is None, self.log()
            if time.monotonic() > until:
                self.kill9()
                raise AssertionError(self.log())
            time.sleep(0.02)

    def _launch(
        self, command: list[str], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self.state / "log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            return "ready" in self.call("daemon.ready")
        except (DripdError, OSError):
            return False

    def stop(self) -> int:
        """End it by SIGTERM, if it runs; its exit code."""
        return self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(STARTUP_S)

    def restart(self) -> None:
        """Stop it in order, if it still runs, and start it again."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        self.start()

    def log(self) -> str:
        return (self.state / "log").read_text()

    # What other systems do

    def sql(self, text: str, *args: Any) -> list[Any]:
        """One statement in its own transaction; its rows."""
        return self._runner.run(self._fetch(text, args))

    async def _fetch(self, text: str, args: Iterable[Any]) -> list[Any]:
        if self._conn is None:
            self._conn = await asyncpg.connect(self.dsn)
        found: list[Any] = await self._conn.fetch(text, *args)
        return found

    def reconnect(self) -> None:
        """Forget the connection of SQL; the next statement makes a new one."""
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    def one(self, text: str, *args: Any) -> Any:
        """The first column of the only row."""
        rows = self.sql(text, *args)
        assert len(rows) == 1, rows
        return rows[0][0]

    def column(self, text: str, *args: Any) -> list[Any]:
        """The first column of every row."""
        return [row[0] for row in self.sql(text, *args)]

    def call(self, method: str, **params: Any) -> Any:
        """One admin method over the socket. Raises the `DripdError` it answers."""
        with Client(self.socket, timeout=120) as client:
            return client.call(method, params)

    def apply(self, text: str, account: str = "acme", *, activate: bool = True) -> None:
        """Store one campaign file and activate the campaign."""
        documents = [{"filename": "story.yaml", "text": text}]
        answer = self.call("campaign.apply", documents=documents, account=account)
        if activate:
            key = answer["items"][0]["campaign"]
            self.call("campaign.activate", key=key, account=account, yes=True)

    def at(self, instant: str) -> None:
        """Let time pass to *instant* (RFC 3339); all that comes due on the way has happened."""
        self.call("clock.set", to=instant)

    def advance(self, by: str) -> None:
        """Let a duration pass, such as `3d`."""
        self.call("clock.advance", by=by)

    def tick(self) -> None:
        """Let everything settle at the present instant."""
        self.at(self.call("clock.show")["now"])

    def account(self, key: str, *, zone: str = "UTC", plan: str = "unlimited") -> int:
        """A new account with a sender of each channel; its id."""
        made: int = self.one(
            "INSERT INTO dripd.account (key, name, plan, timezone) "
            "VALUES ($1, initcap($1), $2, $3) RETURNING id",
            *(key, plan, zone),
        )
        self.sql(
            "INSERT INTO dripd.sender (account_id, address, channel) "
            "VALUES ($1, $2, 'email'), ($1, $3, 'sms')",
            *(made, f"hello@{key}.test", f"+1555{made:07}"),
        )
        return made

    def contact(self, key: str, account: str = "acme", **columns: Any) -> int:
        """A new contact with an address, a number and the first name Ann; its id."""
        values = {
            "email": f"{key}@x.test",
            "phone": "+49301234567",
            "attrs": '{"first_name": "Ann"}',
            **columns,
        }
        names = ", ".join(values)
        places = ", ".join(f"${n}" for n in range(3, 3 + len(values)))
        made: int = self.one(
            f"INSERT INTO dripd.contact (account_id, external_id, {names}) "
            f"SELECT id, $2, {places} FROM dripd.account WHERE key = $1 RETURNING id",
            *(account, key, *values.values()),
        )
        return made

    def enroll(self, campaign: str, *contacts: str, account: str = "acme") -> None:
        """Ask for enrollments; decided at the next tick."""
        self.sql(
            "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id) "
            "SELECT $1, $2, unnest($3::text[])",
            *(account, campaign, [*contacts]),
        )

    def event(
        self, contact: str, kind: str, at: str | None = None, key: str | None = None
    ) -> None:
        """Something that a contact of whatever account did; *at* None is now."""
        self.sql(
            "INSERT INTO dripd.event_in (account_id, contact_id, kind, occurred_at, dedup_key) "
            "SELECT account_id, id, $2, coalesce($3::text::timestamptz, dripd.now()), $4 "
            "FROM dripd.contact WHERE external_id = $1",
            *(contact, kind, at, key),
        )

    def bucket(self, key: str, *contacts: str, account: str = "acme") -> int:
        """A list, made unless it is there, with these contacts put into it; its id."""
        self.sql(
            "INSERT INTO dripd.contact_list (account_id, key) "
            "SELECT id, $2 FROM dripd.account WHERE key = $1 ON CONFLICT DO NOTHING",
            *(account, key),
        )
        found: int = self.one(
            "SELECT l.id FROM dripd.contact_list AS l JOIN dripd.account AS a "
            "ON a.id = l.account_id WHERE a.key = $1 AND l.key = $2",
            *(account, key),
        )
        self.sql(
            "INSERT INTO dripd.list_member (account_id, list_id, contact_id) "
            "SELECT account_id, $1, id FROM dripd.contact WHERE external_id = ANY($2::text[]) "
            "AND account_id = (SELECT id FROM dripd.account WHERE key = $3) "
            "ON CONFLICT DO NOTHING",
            *(found, [*contacts], account),
        )
        return found

    # What is there to see

    def sent(self) -> list[Any]:
        """What the sink received, in order."""
        return self.sql("SELECT * FROM dripd.sink_message ORDER BY received_at, id")

    def run(self, contact: str, campaign: str) -> Any:
        """The latest run of a contact through a campaign."""
        rows = self.sql(
            "SELECT e.* FROM dripd.enrollment AS e JOIN dripd.contact AS c "
            "ON c.account_id = e.account_id AND c.id = e.contact_id "
            "WHERE c.external_id = $1 AND e.campaign_key = $2 ORDER BY e.run_no DESC LIMIT 1",
            *(contact, campaign),
        )
        assert rows, (contact, campaign)
        return rows[0]

    def steps(self, contact: str) -> list[Any]:
        """The steps performed for a contact, in the order of its runs."""
        return self.sql(
            "SELECT s.* FROM dripd.step_run AS s JOIN dripd.enrollment AS e "
            "ON e.account_id = s.account_id AND e.id = s.enrollment_id JOIN dripd.contact AS c "
            "ON c.account_id = e.account_id AND c.id = e.contact_id "
            "WHERE c.external_id = $1 ORDER BY s.enrollment_id, s.seq",
            contact,
        )
