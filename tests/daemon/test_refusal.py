"""A daemon that cannot start says so in one line, with what to do and the exit code."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest

from dripd.daemon.refusal import explain
from dripd.errors import Conflict
from tests.support.disk import mounted
from tests.support.postgres import execute

ROLE = "dripd_refusal_test"


@pytest.fixture
def state() -> Iterator[Path]:
    with TemporaryDirectory(prefix="dripd-") as folder:
        yield Path(folder)


def start(state: Path, *args: str, **environment: str) -> tuple[int, list[str]]:
    """The exit code of `dripd run`, and the lines on stderr that are no log."""
    command = [sys.executable, "-m", "dripd.cli.main", "run", *args]
    around = {k: v for k, v in os.environ.items() if not k.startswith("DRIPD_")}
    around |= {"DRIPD_STATE": str(state), "DRIPD_METRICS__LISTEN": "", **environment}
    done = subprocess.run(
        command, env=around, capture_output=True, text=True, timeout=30, check=False
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    return done.returncode, lines


def refused(found: tuple[int, list[str]], code: str, exit_code: int) -> str:
    """The message of a refusal: one line and a hint."""
    assert exit_code == found[0], found[1]
    assert 2 == len(found[1]), found[1]
    assert found[1][0].startswith(f"[{code}] ")
    assert found[1][1].startswith("  ")
    return found[1][0]


def test_a_database_that_is_down_is_worth_another_try(state: Path) -> None:
    found = start(state, "--dsn", "postgresql://x@127.0.0.1:1/db")

    assert "does not answer" in refused(found, "db_unavailable", 75)


def test_a_wrong_dsn_is_to_be_put_right(state: Path, pg_dsn: str) -> None:
    name = urlsplit(pg_dsn).path
    wrong = pg_dsn.replace(name, "/no_such_database", 1)

    assert "cannot be used" in refused(start(state, "--dsn", "nonsense"), "db_refused", 78)
    assert "does not exist" in refused(start(state, "--dsn", wrong), "db_refused", 78)


def test_a_schema_that_is_newer_is_left_alone(state: Path, pg_dsn: str) -> None:
    execute(pg_dsn, "INSERT INTO dripd.migration (number, name) VALUES (9999, 'later')")

    assert "9999" in refused(start(state, "--dsn", pg_dsn), "schema_mismatch", 78)


def test_a_role_that_may_not_migrate_is_told_so(state: Path, pg_empty_dsn: str) -> None:
    execute(
        pg_empty_dsn,
        f"DO $$ BEGIN CREATE ROLE {ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN END $$",
    )
    user = pg_empty_dsn.split("://")[1].split("@", maxsplit=1)[0]
    weak = pg_empty_dsn.replace(f"{user}@", f"{ROLE}@", 1)

    message = refused(start(state, "--dsn", weak), "schema_mismatch", 78)
    assert ROLE in message
    assert "permission denied" in message


def test_a_database_that_cannot_hold_every_text_is_refused(
    state: Path, pg_empty_dsn: str
) -> None:
    name = urlsplit(pg_empty_dsn).path.removeprefix("/")
    latin = f"{name}_latin"
    make = f"CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    execute(pg_empty_dsn, make)
    try:
        found = start(state, "--dsn", pg_empty_dsn.replace(f"/{name}", f"/{latin}", 1))
    finally:
        execute(pg_empty_dsn, f"DROP DATABASE {latin} (FORCE)")

    assert "encoded in LATIN1" in refused(found, "schema_mismatch", 78)


def test_a_socket_that_another_daemon_holds_is_named(state: Path, pg_dsn: str) -> None:
    with (state / "dripd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        message = refused(start(state, "--dsn", pg_dsn), "socket_in_use", 6)

    assert str(state / "dripd.sock") in message


def test_a_port_that_is_asked_for_and_taken_is_named(state: Path, pg_dsn: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"

        found = start(state, "--dsn", pg_dsn, DRIPD_METRICS__LISTEN=place)

    assert place in refused(found, "port_in_use", 6)


@pytest.mark.parametrize("is_embedded", [True, False])
def test_a_full_state_directory_may_be_tried_again(
    state: Path, pg_dsn: str, *, is_embedded: bool
) -> None:
    place = state / "full"
    with mounted(place):
        with suppress(OSError):
            (place / "ballast").write_bytes(bytes(1 << 20))
        found = start(place, *([] if is_embedded else ["--dsn", pg_dsn]))

        assert str(place) in refused(found, "disk_full", 75)


def test_what_nurseries_wrap_and_systems_number_is_explained() -> None:
    inner = Conflict("another daemon", code="socket_in_use")
    wrapped = BaseExceptionGroup("a", [BaseExceptionGroup("b", [inner])])
    full = explain(OSError(errno.ENOSPC, "No space left on device", "/var/lib/dripd/journal"))
    closed = explain(ExceptionGroup("a", [OSError(errno.EROFS, "Read-only", "/x")]))

    assert explain(wrapped) is inner
    assert full is not None
    assert closed is not None
    assert (full.code, full.exit_code) == ("disk_full", 75)
    assert "/var/lib/dripd/journal" in full.message
    assert closed.exit_code == 78
    assert explain(KeyError("a bug")) is None
    assert explain(OSError(errno.EPIPE, "Broken pipe")) is None
