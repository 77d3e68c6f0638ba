from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dripd.errors import NotFound, StoreError
from dripd.store import embedded, embedded_binaries, embedded_place
from dripd.store.embedded_place import find_place
from tests.support.postgres import execute, fetch_value, temporary_state

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

ROOT = Path(__file__).resolve().parents[2]

STARTED = "SELECT pg_postmaster_start_time()"

UP = "import sys; from pathlib import Path; from dripd.store import embedded; "


@pytest.fixture
def state() -> Iterator[Path]:
    with temporary_state() as folder:
        yield folder


@pytest.fixture(scope="module")
def running() -> Iterator[Path]:
    """A state directory whose server runs; a test that stops it starts it again."""
    with temporary_state() as folder:
        embedded.up(folder)
        yield folder


def postmaster(state: Path) -> int:
    place = find_place(state)
    assert place is not None
    return int((place.data / "postmaster.pid").read_text().split()[0])


@contextmanager
def becoming(name: str) -> Iterator[None]:
    """Be the user *name* for a while, as a process that was started by them would be."""
    entry = pwd.getpwnam(name)
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_second_up_finds_the_running_server(running: Path) -> None:
    began = fetch_value(embedded.dsn(running), STARTED)

    assert embedded.dsn(running) == embedded.up(running)
    assert began == fetch_value(embedded.dsn(running), STARTED)


def test_status_tells_what_runs_and_as_whom(running: Path) -> None:
    status = embedded.status(running)

    assert "up" == status.state
    assert embedded.dsn(running) == status.dsn
    assert "root" != status.user


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", ""),
        ("shared_buffers", "256MB"),
        ("max_wal_size", "4GB"),
        ("checkpoint_timeout", "30min"),
        ("autovacuum_naptime", "10s"),
        ("autovacuum_max_workers", "4"),
        ("max_connections", "100"),
        ("fsync", "on"),
        ("TimeZone", "UTC"),
        ("jit", "off"),
        ("server_encoding", "UTF8"),
        ("data_checksums", "on"),
    ],
)
def test_server_runs_with_our_settings(running: Path, setting: str, value: str) -> None:
    assert value == fetch_value(embedded.dsn(running), f"SHOW {setting}")


def test_text_sorts_by_its_bytes(running: Path) -> None:
    collation = "SELECT datcollate FROM pg_database WHERE datname = 'dripd'"

    assert "C" == fetch_value(embedded.dsn(running), collation)


def test_data_and_socket_are_private(running: Path) -> None:
    place = find_place(running)

    assert place is not None
    for folder in (place.home, place.data, place.socket):
        assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert 0o700 == stat.S_IMODE(place.door.stat().st_mode)


def test_two_state_directories_never_meet(running: Path, state: Path) -> None:
    embedded.up(state)
    execute(embedded.dsn(running), "CREATE TABLE IF NOT EXISTS here ()")

    assert embedded.dsn(running) != embedded.dsn(state)
    assert None is fetch_value(embedded.dsn(state), "SELECT to_regclass('here')")


def test_one_state_directory_has_one_server_under_every_name(
    running: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(running)

    assert embedded.dsn(running) == embedded.up(link)


def test_down_stops_and_up_starts_it_again_with_its_data(running: Path) -> None:
    execute(embedded.dsn(running), "CREATE TABLE IF NOT EXISTS kept ()")
    embedded.down(running)
    embedded.down(running)

    assert "down" == embedded.status(running).state

    embedded.up(running)

    assert "kept" == fetch_value(embedded.dsn(running), "SELECT to_regclass('kept')::text")


def test_a_directory_never_used_has_no_server_and_gets_none_by_asking(tmp_path: Path) -> None:
    embedded.down(tmp_path / "never")

    assert "absent" == embedded.status(tmp_path / "never").state
    assert not (tmp_path / "never").exists()
    with pytest.raises(NotFound, match="has no Postgres yet"):
        embedded.dsn(tmp_path / "never")


def test_server_outlives_a_killed_dripd_and_is_found_again(state: Path) -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            UP + "print(embedded.up(Path(sys.argv[1])), flush=True)\n"
            "import signal; signal.pause()",
            str(state),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    told = child.stdout.readline().strip()
    child.kill()
    child.communicate()
    before = postmaster(state)

    assert told == embedded.up(state)
    assert before == postmaster(state)


def test_killed_postmaster_is_started_again_with_all_that_was_committed(running: Path) -> None:
    dsn = embedded.dsn(running)
    execute(dsn, "CREATE TABLE IF NOT EXISTS survivor AS SELECT 1 AS n")
    killed = postmaster(running)
    os.kill(killed, signal.SIGKILL)

    assert dsn == embedded.up(running)
    assert killed != postmaster(running)
    assert 1 == fetch_value(dsn, "SELECT n FROM survivor")


def test_processes_that_start_one_server_at_once_share_it(state: Path) -> None:
    command = [sys.executable, "-c", UP + "print(embedded.up(Path(sys.argv[1])))", str(state)]
    children = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = {child.communicate(timeout=60)[0].strip() for child in children}

    assert [0, 0, 0] == [child.returncode for child in children]
    assert {embedded.dsn(state)} == told
    assert 1 == fetch_value(embedded.dsn(state), "SELECT 1")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are seen in /proc")
def test_process_id_that_now_belongs_to_another_program_does_not_hinder(running: Path) -> None:
    """Postgres itself would refuse for ever: the id of its file runs, as its own user."""
    embedded.down(running)
    place = find_place(running)
    assert place is not None
    person = place.person
    other = subprocess.Popen(["sleep", "60"], user=person.uid if person.is_other else None)
    stale = f"{other.pid}\n{place.data}\n1\n5432\n{place.socket}\n\n  1 1\nready\n"
    (place.data / "postmaster.pid").write_text(stale)
    try:
        embedded.up(running)

        assert other.pid != postmaster(running)
        assert None is other.poll()
    finally:
        other.kill()
        other.wait()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are seen in /proc")
def test_every_process_of_the_server_is_seen_and_none_of_another(
    running: Path, state: Path
) -> None:
    embedded.up(state)
    here, there = find_place(running), find_place(state)
    assert here is not None
    assert there is not None

    assert postmaster(running) in embedded.processes(here)
    assert len(embedded.processes(here)) > 3
    assert not set(embedded.processes(here)) & set(embedded.processes(there))


def test_first_start_that_was_cut_short_is_begun_again(state: Path) -> None:
    embedded.up(state)
    embedded.down(state)
    place = find_place(state)
    assert place is not None
    place.data.rename(place.home / "making")
    (place.home / "making" / "PG_VERSION").unlink()

    assert 1 == fetch_value(embedded.up(state), "SELECT 1")
    assert not (place.home / "making").exists()


def test_database_that_a_killed_first_start_did_not_make_is_made(running: Path) -> None:
    admin = embedded.dsn(running).replace("/dripd?", "/postgres?")
    execute(admin, "DROP DATABASE dripd WITH (FORCE)")

    assert 1 == fetch_value(embedded.up(running), "SELECT 1")


def test_socket_of_a_long_path_lies_in_a_short_private_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = Path(tempfile.mkdtemp(prefix=f"dripd-test-{os.getpid()}-"))
    base.chmod(0o711)
    state = base / ("long-" * 20) / "a name with blanks, and a comma"
    state.mkdir(parents=True, mode=0o711)
    try:
        dsn = embedded.up(state)
        place = find_place(state)

        assert 1 == fetch_value(dsn, "SELECT 1")
        assert place is not None
        assert place.home == state / "postgres"
        assert len(os.fsencode(place.door)) < 107
        assert 0o700 == stat.S_IMODE(place.socket.stat().st_mode)
        monkeypatch.setattr(embedded, "START_MS", 500)
        shutil.rmtree(place.socket)  # as a cleaner of temporary files does
        assert 1 == fetch_value(embedded.up(state), "SELECT 1")
    finally:
        embedded.destroy(state)
        shutil.rmtree(base)


def test_destroy_leaves_nothing_behind(state: Path) -> None:
    embedded.up(state)
    place = find_place(state)
    assert place is not None
    embedded.destroy(state)

    assert not place.home.exists()
    assert not place.socket.exists()
    assert "absent" == embedded.status(state).state


@as_root
def test_root_keeps_the_data_in_the_state_directory_where_the_server_reaches_it() -> None:
    state = Path(tempfile.mkdtemp(prefix=f"dripd-test-{os.getpid()}-"))
    state.chmod(0o711)
    try:
        embedded.up(state)
        place = find_place(state)

        assert place is not None
        assert place.home == state / "postgres"
        assert place.person.uid == place.home.stat().st_uid != 0
    finally:
        embedded.destroy(state)
        shutil.rmtree(state)


@as_root
def test_root_opens_no_parent_for_the_server(state: Path) -> None:
    embedded.up(state)
    place = find_place(state)

    assert 0o700 == stat.S_IMODE(state.stat().st_mode)
    assert place is not None
    assert not place.home.is_relative_to(state)


@as_root
def test_root_copies_programs_that_the_server_cannot_reach(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel in a virtual environment under root's home, which is closed to others."""
    wheel = embedded_binaries.wheel_folders()[0].parents[1]
    private = Path(tempfile.mkdtemp(prefix=f"dripd-test-{os.getpid()}-"))
    base = private.with_name(f"{private.name}-base")
    monkeypatch.setattr(embedded_place, "SHARED_BASES", (base,))
    monkeypatch.syspath_prepend(private)
    try:
        for tree in (wheel, wheel.with_name(f"{wheel.name}.libs")):
            shutil.copytree(tree, private / tree.name, copy_function=os.link, symlinks=True)
        dsn = embedded.up(state)
        embedded.down(state)
        embedded.up(state)

        assert 1 == fetch_value(dsn, "SELECT 1")
        assert 1 == len(list(base.iterdir()))
        assert 0 == next(base.iterdir()).stat().st_uid
    finally:
        embedded.destroy(state)
        shutil.rmtree(private)
        shutil.rmtree(base)


def as_user(name: str, act: Callable[[], str]) -> str:
    """What *act* answers in a process of the user *name*, who need not reach our Python."""
    entry = pwd.getpwnam(name)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        try:
            said = act()
        except BaseException as fault:  # the parent reads it; nothing may unwind into pytest
            said = repr(fault)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read().decode()
    os.waitpid(child, 0)
    return said


@contextmanager
def state_of(name: str) -> Iterator[Path]:
    """A state directory that belongs to the user *name*."""
    entry = pwd.getpwnam(name)
    state = Path(tempfile.mkdtemp(prefix=f"dripd-test-{os.getpid()}-"))
    os.chown(state, entry.pw_uid, entry.pw_gid)
    try:
        yield state
        embedded.destroy(state)
    finally:
        shutil.rmtree(state)


@as_root
def test_ordinary_user_runs_a_server_of_their_own() -> None:
    def story() -> str:
        words = [embedded.up(state), embedded.status(state).state]
        embedded.down(state)
        words.append(embedded.status(state).state)
        embedded.up(state)
        os.kill(postmaster(state), signal.SIGKILL)
        embedded.up(state)
        words.append(embedded.status(state).user)
        return " ".join(words)

    with state_of("nobody") as state:
        said = as_user("nobody", story)

        assert f"{embedded.dsn(state)} up down nobody" == said
        assert 1 == fetch_value(embedded.up(state), "SELECT 1")  # root finds it too


@as_root
def test_root_serves_a_users_state_directory_as_that_user() -> None:
    with state_of("nobody") as state:
        embedded.up(state)
        place = find_place(state)

        assert place is not None
        assert "nobody" == place.person.name
        assert "up" == as_user("nobody", lambda: embedded.status(state).state)
        assert embedded.dsn(state) == as_user("nobody", lambda: embedded.up(state))


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_somebody_elses_state_directory_is_refused(running: Path, mode: int) -> None:
    running.chmod(mode)
    try:
        for act in (embedded.up, embedded.down, embedded.status):
            with becoming("nobody"), pytest.raises(StoreError) as refused:
                act(running)

            assert "foreign_state" == refused.value.code
            assert "DRIPD_STATE" in refused.value.hint
    finally:
        running.chmod(0o700)


@as_root
def test_record_that_points_root_at_a_strangers_directory_is_not_followed() -> None:
    with state_of("nobody") as state, state_of("daemon") as strangers:
        (state / "postgres.json").write_text(f'{{"home": "{strangers}", "socket": ""}}')
        with pytest.raises(StoreError, match="does not belong to the owner"):
            embedded.up(state)
        (state / "postgres.json").unlink()


def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_binaries, "PACKAGE", "no_such_package")


def test_system_programs_are_the_second_choice(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_wheel(monkeypatch)
    if not list(embedded_binaries.candidates()):
        pytest.skip("no Postgres is installed in this system")

    assert 1 == fetch_value(embedded.up(state), "SELECT 1")


def test_without_any_programs_the_message_says_what_to_do(
    state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_wheel(monkeypatch)
    monkeypatch.setattr(embedded_binaries, "DISTRIBUTION", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(
        StoreError, match=r"no usable Postgres 15 or newer: .*found none"
    ) as told:
        embedded.up(state)
    assert "postgres_missing" == told.value.code
    assert "dripd[pg]" in told.value.hint
    assert "--dsn" in told.value.hint


def test_data_of_another_version_is_not_touched(running: Path) -> None:
    embedded.down(running)
    place = find_place(running)
    assert place is not None
    version = place.data / "PG_VERSION"
    kept = version.read_text()
    version.write_text("12\n")
    try:
        with pytest.raises(StoreError, match="no usable Postgres 12"):
            embedded.up(running)
    finally:
        version.write_text(kept)
    embedded.up(running)
