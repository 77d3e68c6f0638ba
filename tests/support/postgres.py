"""A Postgres for the tests, and databases on it that nobody else touches."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from dripd.store import embedded
from dripd.store.migrate import migrate
from tests.support.processes import is_running

PREFIX = "dripd-test-"

MEMORY = Path("/dev/shm")
"""A database is a thousand small files: made in memory it takes 20 ms, on a disk 200."""

MEMORY_BYTES = 2 << 30
"""What must be free there; a container's is often 64 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`dsn` may create databases; `ours` if it ends with this session."""

    dsn: str
    ours: bool

    @property
    def strategy(self) -> str:
        """How a database is copied: ours lies in memory, where a checkpoint costs nothing."""
        return "FILE_COPY" if self.ours else "WAL_LOG"


@contextmanager
def run_server() -> Iterator[Server]:
    if outside := os.environ.get("DRIPD_TEST_DSN"):
        yield Server(dsn=outside, ours=False)
        return
    remove_orphans()
    with temporary_state(place()) as state:
        state.chmod(0o711)  # root's server is another user's: it would live elsewhere, on disk
        yield Server(dsn=embedded.up(state), ours=True)


@contextmanager
def temporary_state(folder: Path | None = None) -> Iterator[Path]:
    """A state directory whose server, if one was started, is gone at the end."""
    state = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=folder))
    try:
        yield state
    finally:
        embedded.destroy(state)
        shutil.rmtree(state)


def place() -> Path:
    """Where the servers of tests live: in memory if there is room."""
    usable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK)
    if usable and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
        return MEMORY
    return temporary()


def temporary() -> Path:
    return Path(tempfile.gettempdir())


def remove_orphans() -> None:
    """Remove the servers of sessions that were killed before they could.

    Of the sessions that begin at the same time one does it, and the others wait.
    """
    for folder in {place(), temporary()}:
        with (folder / f"{PREFIX}{os.geteuid()}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for state in filter(is_orphan, folder.glob(f"{PREFIX}*-*")):
                embedded.destroy(state)
                shutil.rmtree(state)


def is_orphan(state: Path) -> bool:
    """Whether *state* is ours, and of a session that is over."""
    found = re.fullmatch(rf"{PREFIX}(\d+)-.*", state.name)
    try:
        ours = state.stat().st_uid == os.geteuid()
    except FileNotFoundError:  # its session has just removed it
        return False
    return found is not None and ours and not is_running(int(found[1]))


@dataclass(slots=True)
class Databases:
    """Makes databases on a server, under names that no other session uses."""

    server: Server
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    n_made: int = 0

    @property
    def template(self) -> str:
        return f"dripd_template_{self.token}"

    @contextmanager
    def with_template(self) -> Iterator[Databases]:
        """Migrate a template, from which `fresh` databases are copied meanwhile."""
        with self._database(self.template, "template0") as dsn:
            migrate(dsn)
            yield self

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A copy of the template."""
        with self._database(self._next_name(), self.template) as dsn:
            yield dsn

    @contextmanager
    def empty(self) -> Iterator[str]:
        with self._database(self._next_name(), "template0") as dsn:
            yield dsn

    def _next_name(self) -> str:
        self.n_made += 1
        return f"dripd_test_{self.token}_{self.n_made}"

    @contextmanager
    def _database(self, name: str, template: str) -> Iterator[str]:
        execute(
            self.server.dsn,
            f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {self.server.strategy}",
        )
        try:
            yield urlsplit(self.server.dsn)._replace(path=f"/{name}").geturl()
        finally:
            execute(self.server.dsn, f"DROP DATABASE {name} WITH (FORCE)")


def execute(dsn: str, *statements: str) -> None:
    """Run *statements* one by one, each in a transaction of its own."""

    async def run() -> None:
        conn = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                await conn.execute(statement)
        finally:
            await conn.close()

    asyncio.run(run())


def fetch_value(dsn: str, statement: str) -> object:
    """The first column of the first row that *statement* gives."""

    async def run() -> object:
        conn = await asyncpg.connect(dsn)
        try:
            return await conn.fetchval(statement)
        finally:
            await conn.close()

    return asyncio.run(run())
