"""The primary is lost, and its standby promoted: the daemon follows a DSN that names both."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.test_outage import WELCOME, comes_back, fault
from tests.stories.world import World, until

SYSTEM = Path("/usr/lib/postgresql")
NOBODY_ELSE = "postgres"
"""Whoever runs a server must not be root."""


def programs() -> Path | None:
    """Where a system's Postgres has all that a standby needs."""
    found = [folder / "bin" for folder in SYSTEM.glob("*") if folder.name.isdigit()]
    able = [
        one for one in found if (one / "pg_basebackup").is_file() and int(one.parent.name) > 14
    ]
    return max(able, key=lambda one: int(one.parent.name), default=None)


class Pair:
    """A primary and its standby, replicated synchronously until told otherwise, on sockets of
    their own."""

    def __init__(self, bin_: Path, place: Path) -> None:
        self._bin = bin_
        self._user = NOBODY_ELSE if os.getuid() == 0 else None
        self.place = place
        if self._user is not None:
            shutil.chown(place, self._user)
        self._run("initdb", "-D", place / "one", "-A", "trust", "-U", "dripd", "-E", "UTF8",
                  "--locale=C", "--no-sync")  # fmt: skip
        self.start("one")
        self._run("pg_basebackup", "-h", place, "-U", "dripd", "-D", place / "two", "-R",
                  "-X", "stream", "--checkpoint=fast", "--no-sync")  # fmt: skip
        (place / "two-socket").mkdir()
        if self._user is not None:
            shutil.chown(place / "two-socket", self._user)
        self.start("two", place / "two-socket")
        self._run("psql", "-h", place, "-U", "dripd", "-d", "postgres", "-c",
                  "ALTER SYSTEM SET synchronous_standby_names = '*'")  # fmt: skip
        self._run("pg_ctl", "-D", place / "one", "reload")

    @property
    def dsn(self) -> str:
        hosts = f"{self.place},{self.place / 'two-socket'}"
        more = "port=5432,5432&target_session_attrs=read-write"
        return f"postgresql://dripd@/postgres?host={hosts}&{more}"

    def _run(self, program: object, *args: object) -> str:
        command = [str(self._bin / str(program)), *map(str, args)]
        done = subprocess.run(
            command, user=self._user, check=False, text=True, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
        )  # fmt: skip
        assert 0 == done.returncode, f"{command}\n{done.stdout}"
        return done.stdout.strip()

    def start(self, name: str, socket: Path | None = None) -> None:
        options = f"-c listen_addresses= -c fsync=off -k {socket or self.place}"
        log = self.place / f"{name}.log"
        self._run("pg_ctl", "-D", self.place / name, "-l", log, "-o", options, "-w", "start")

    def part(self) -> None:
        """The primary goes on alone: what it commits from now on the standby never hears of."""
        self.tell("one", "ALTER SYSTEM SET synchronous_standby_names = ''")
        self.tell("two", "ALTER SYSTEM SET primary_conninfo = ''")
        until(lambda: not self.tell("one", "SELECT pid FROM pg_stat_replication"))

    def tell(self, name: str, statement: str) -> str:
        """What *name* answers, after it has read its configuration again."""
        socket = self.place if name == "one" else self.place / "two-socket"
        ask = ("psql", "-h", socket, "-U", "dripd", "-d", "postgres", "-Atc")
        said = self._run(*ask, statement)
        self._run(*ask, "SELECT pg_reload_conf()")
        return said

    def lose_the_first(self) -> None:
        self._run("pg_ctl", "-D", self.place / "one", "-m", "immediate", "-w", "stop")

    def promote(self) -> None:
        self._run("pg_ctl", "-D", self.place / "two", "-w", "promote")

    def close(self) -> None:
        for name in ("one", "two"):
            if (self.place / name / "postmaster.pid").exists():
                self._run("pg_ctl", "-D", self.place / name, "-m", "immediate", "-w", "stop")


@pytest.fixture
def pair() -> Iterator[Pair]:
    bin_ = programs()
    if bin_ is None:
        pytest.skip(f"no pg_basebackup of Postgres 15 or newer under {SYSTEM}")
    place = Path(tempfile.mkdtemp(prefix="dripd-"))
    place.chmod(0o755)
    made = None
    try:
        made = Pair(bin_, place)
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(place)


@pytest.mark.slow
def test_a_promoted_standby_is_followed_and_nothing_is_lost_or_doubled(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPD_POSTGRES__PATIENCE", "2s")
    with (
        tempfile.TemporaryDirectory(prefix="dripd-") as state,
        World(pair.dsn, Path(state)) as world,
    ):
        world.apply(WELCOME)
        world.apply(
            WELCOME.replace("welcome", "later").replace("subject", "delay: 1h, subject")
        )
        sent = [f"{name}@x.test" for name in ("a", "b")]
        for name in ("a", "b", "c"):
            world.contact(name)
        world.enroll("welcome", "a", "b")
        world.enroll("later", "c")
        world.tick()
        assert sent == [row["recipient"] for row in world.sent()]

        pair.lose_the_first()
        until(lambda: "read-only" in fault(world), 60)
        assert not world.call("daemon.ready")["ready"]
        pair.promote()
        until(lambda: not fault(world), 60)
        assert {} == world.call("daemon.status")["barred"]
        world.reconnect()
        world.advance("2h")
        sent.append("c@x.test")
        comes_back(world, sent)


@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
def test_a_standby_that_lacks_commits_is_noticed_and_sends_nothing_until_it_is_adopted(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, *, dies: bool
) -> None:
    """Also by a daemon that is started anew on the state directory of one that died with it."""
    monkeypatch.setenv("DRIPD_POSTGRES__PATIENCE", "2s")
    with (
        tempfile.TemporaryDirectory(prefix="dripd-") as state,
        World(pair.dsn, Path(state)) as world,
    ):
        world.apply(WELCOME)
        for name in ("a", "b"):
            world.contact(name)
        world.enroll("welcome", "a")
        world.tick()
        pair.part()
        world.enroll("welcome", "b")
        world.tick()
        assert 2 == len(world.sent())

        if dies:
            world.kill9()
        pair.lose_the_first()
        pair.promote()
        if dies:
            world.start()
        until(lambda: "adopt" in world.call("daemon.status")["barred"], 60)
        world.reconnect()
        assert ["a@x.test"] == [row["recipient"] for row in world.sent()]
        checks = {one["name"]: one for one in world.call("daemon.ready")["checks"]}
        assert "lacks what it had committed" in checks["original"]["detail"]
        world.enroll("welcome", "a", "b")
        until(lambda: world.call("daemon.status")["due_now"] > 0)
        assert 1 == len(world.sent())

        assert world.call("daemon.adopt")["changed"]
        world.tick()
        until(lambda: "b@x.test" in [row["recipient"] for row in world.sent()])
        assert {} == world.call("daemon.status")["barred"]
        world.stop()
        world.start()
        assert {} == world.call("daemon.status")["barred"]
