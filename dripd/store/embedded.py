"""How does dripd come by a Postgres when nobody names one? It runs its own.

`up` starts the server of a state directory, or finds it running; it outlives dripd and is
found again by the next one. It is for trying dripd out, for tests and for small machines:
production should name a server.

Guarantees:
- two state directories never meet; two processes that start the same one at once get one
  server (a lock file), and a server killed in any way is started again;
- alive is what answers on the socket. A process id proves nothing: it may be a zombie's, or
  by now somebody else's;
- nothing is reachable from outside: no TCP, data and socket in directories with mode 0700.

Authentication is `trust`. Whoever gets into the socket's directory is the server's own user
or root, who could read the data files as well, so a password would add a secret to keep and
protect nothing. It also lets tests speak as any role of the schema.

Settings are given on the server's command line at each start: there is no file that could be
left behind by an older dripd.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from dripd.clock import Millis
from dripd.errors import FULL, Conflict, NotFound, OutOfSpace, StoreError, StoreUnavailable
from dripd.store.embedded_binaries import Binaries, choose
from dripd.store.embedded_place import Place, find_place, give_back, make_place
from dripd.store.embedded_wire import DATABASE_EXISTS, Answer, knock, perform

USER = "dripd"
DATABASE = "dripd"

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "cluster_name": "dripd",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "fsync": "on",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "autovacuum_naptime": "10s",
    "autovacuum_max_workers": "4",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Plain words only: they pass through a shell."""

Word = Literal["absent", "down", "starting", "up"]

WORDS: dict[Answer, Word] = {
    Answer.READY: "up",
    Answer.NO_DATABASE: "up",
    Answer.STARTING: "starting",
    Answer.REFUSED: "down",
}

OURS = ("data", "making", "log", "log.1")
"""What a home holds, beside the socket's directory."""

NOT_YET = (Answer.REFUSED, Answer.STARTING)

LOCK_MS = Millis(180_000)
"""The longest wait for another process that starts or stops the same server."""

START_MS = Millis(10_000)
"""How long a start is tried again. A killed server's id may stand for a running process
until it is reaped, and its last backends must go before its memory is given free."""

RECOVERY_MS = Millis(600_000)
"""How long a server that says it is starting may replay its log."""

PAUSE_MS = Millis(100)

ROOM = "free space, or set DRIPD_STATE to a larger disk; it may be started again then"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is known of a state directory's server, found by asking it.

    `absent`: never made. `version` is that of the data (its major), empty if absent.
    """

    state: Word
    dsn: str = ""
    version: str = ""
    home: str = ""
    user: str = ""


def up(state: Path) -> str:
    """Make sure that the server of *state* runs and has its database; answer its DSN.

    Takes about a millisecond if it runs, a second or two the first time. Safe to call at the
    same time from any number of processes. Blocks; call it from a thread or a command.

    Raises `StoreError` (no usable programs, no right to the directory), `StoreUnavailable`
    (it will not start; the message holds the end of its log), `Conflict` (locked too long).
    """
    with at(state) as root:
        place = find_place(root)
        if place and ask(place) is Answer.READY:
            return dsn_of(place)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return bring_up(root)


def bring_up(state: Path) -> str:
    with locked(state):
        place = make_place(state)
        if ask(place) in NOT_YET:
            binaries = choose(place.person, major=major_of_data(place))
            initialise(place, binaries)
            start(place, binaries)
        if ask(place) is not Answer.READY:
            make_database(place)
        return dsn_of(place)


def down(state: Path) -> None:
    """Stop the server of *state*; sessions are cut off, nothing committed is lost.

    Does nothing if it does not run. Raises as `up` does.
    """
    with at(state) as root:
        if find_place(root) is None:
            return
        with locked(root):
            place = find_place(root)
            if place and (ask(place) is not Answer.REFUSED or processes(place)):
                stop(place)


def destroy(state: Path) -> None:
    """Stop the server of *state* and remove its data for good, wherever it lies."""
    down(state)
    with at(state) as root:
        if (place := find_place(root)) is None:
            return
        with locked(root):
            ours = [str(place.home / name) for name in OURS]
            place.person.run(["rm", "-rf", *ours, str(place.door), f"{place.door}.lock"])
            for path in (place.socket, place.home):  # only if nothing else was put there
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
            (root / "postgres.json").unlink(missing_ok=True)


def status(state: Path) -> Status:
    """Whether the server of *state* runs; changes nothing and starts nothing."""
    with at(state) as root:
        place = find_place(root)
        major = major_of_data(place) if place else None
    if place is None or major is None:
        return Status(state="absent")
    return Status(
        state=WORDS[ask(place)],
        dsn=dsn_of(place),
        version=str(major),
        home=str(place.home),
        user=place.person.name,
    )


def dsn(state: Path) -> str:
    """The DSN of *state*'s server, running or not; for asyncpg, psql and every libpq.

    Raises `NotFound` if none was ever made, for then nobody knows where it will be.
    """
    with at(state) as root:
        place = find_place(root)
    if place is None:
        raise NotFound(f"{state} has no Postgres yet", hint="dripd db up makes one")
    return dsn_of(place)


@contextmanager
def at(state: Path) -> Iterator[Path]:
    """*state* without links, so that each way of naming it finds the same server.

    What the system refuses meanwhile becomes a `StoreError`.
    """
    try:
        yield state.expanduser().resolve()
    except PermissionError as fault:
        raise StoreError(
            f"the state directory {state} is not ours to use: {fault}",
            code="foreign_state",
            hint="run dripd as its owner, or set DRIPD_STATE to a directory of your own",
        ) from fault
    except OSError as fault:
        if fault.errno in FULL:
            raise OutOfSpace(
                f"the disk is full: {state} cannot be written", hint=ROOM
            ) from fault
        raise StoreError(
            f"the state directory {state} cannot be used: {fault}",
            hint="see that it can be written and its disk has space, or set DRIPD_STATE",
        ) from fault


def dsn_of(place: Place) -> str:
    return (
        f"postgresql://{USER}@/{DATABASE}?host={quote(str(place.socket), safe='/')}&port=5432"
    )


def ask(place: Place) -> Answer:
    return knock(place.door, user=USER, database=DATABASE)


def major_of_data(place: Place) -> int | None:
    try:
        return int((place.data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except ValueError as fault:
        raise StoreError(
            f"{place.data / 'PG_VERSION'} is damaged", hint="restore the data from a backup"
        ) from fault


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Nobody else starts or stops the server of *state* meanwhile; freed even by kill -9."""
    fd = os.open(state / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        give_back(fd, state)
        deadline = later(LOCK_MS)
        while not take_lock(fd):
            if time.monotonic() > deadline:
                raise Conflict(
                    f"another process holds {state / 'postgres.lock'}",
                    hint="wait until it has started or stopped the database",
                )
            pause()
        yield
    finally:
        os.close(fd)


def take_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def initialise(place: Place, binaries: Binaries) -> None:
    """Make the data directory, unless it is there: aside, then renamed, so never by half."""
    if place.data.is_dir():
        return
    aside = ["-D", "making", "-U", USER, "-E", "UTF8", "--locale=C", "--auth=trust"]
    run(place, ["rm", "-rf", "making"], "remove what an earlier attempt left")
    run(
        place,
        [str(binaries.folder / "initdb"), *aside, "--data-checksums", "--no-instructions"],
        "make a database directory",
    )
    run(place, ["mv", "making", "data"], "put the database directory in its place")


def start(place: Place, binaries: Binaries) -> None:
    """Start the server until it answers, however the one before it ended."""
    command = [str(binaries.folder / "pg_ctl"), "start", "-D", "data", "-l", "log"]
    command += ["-w", "-t", "60", "-o", options(place)]
    free_the_door(place)
    place.person.run(["mv", "-f", "log", "log.1"], cwd=place.home)  # none, the first time
    give_up, recovered = later(START_MS), later(RECOVERY_MS)
    while (answer := ask(place)) in NOT_YET:
        if time.monotonic() > (give_up if answer is Answer.REFUSED else recovered):
            raise failure(place, "did not start")
        if answer is Answer.REFUSED:
            drop_stale_id(place)
            place.person.run(command, cwd=place.home)  # judged by the answer, not by its code
        if ask(place) in NOT_YET:
            pause()


def free_the_door(place: Place) -> None:
    """Stop a server whose socket was removed: it runs, and nobody can ever reach it.

    One that somebody else's cut-off attempt is just starting gets time to make its socket.
    """
    deadline = later(START_MS)
    while not place.door.exists() and processes(place):
        if time.monotonic() > deadline:
            stop(place)
            return
        pause()


def options(place: Place) -> str:
    """The settings as the server's command line; nothing in it needs quoting."""
    settings = SETTINGS | {"unix_socket_directories": str(place.socket)}
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def drop_stale_id(place: Place) -> None:
    """Remove a killed server's `postmaster.pid` where that is provably safe.

    A zombie, or another program that got the number, would keep Postgres from starting for
    ever. The file also guards against backends that outlived their postmaster, so it is
    removed only when no Postgres process of that user may be in this directory; which can be
    seen on Linux alone.
    """
    path = place.data / "postmaster.pid"
    if path.exists() and Path("/proc/self").exists() and not processes(place):
        place.person.run(["rm", "-f", str(path)])


def processes(place: Place) -> list[int]:
    """Ids of live Postgres processes that work in this data directory, or may.

    Zombies have no command line. Where we may not see in what directory a process works (a
    container takes that right even from root), it counts. Empty where there is no /proc.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            program = (entry / "cmdline").read_bytes().split(b"\0")[0]
            ours = entry.stat().st_uid == place.person.uid
        except OSError:  # it ended while we looked
            continue
        if ours and is_postgres(program) and may_work_in(entry, place.data):
            found.append(int(entry.name))
    return found


def is_postgres(program: bytes) -> bool:
    """A backend calls itself `postgres: what it does`, the postmaster goes by its path."""
    return program.startswith(b"postgres: ") or os.path.basename(program) == b"postgres"


def may_work_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except PermissionError:
        return True
    except OSError:
        return False


def stop(place: Place) -> None:
    """Ask the server to stop: fast, and if it does not in a minute, at once."""
    binaries = choose(place.person, major=major_of_data(place))
    for mode in ("fast", "immediate"):
        command = [str(binaries.folder / "pg_ctl"), "stop", "-D", "data", "-m", mode]
        place.person.run([*command, "-w", "-t", "60"], cwd=place.home)
        if ask(place) is Answer.REFUSED:
            return
    raise failure(place, "did not stop")


def make_database(place: Place) -> None:
    """Make the database, unless another start was cut short just after it had."""
    statement = f"CREATE DATABASE {DATABASE}"
    try:
        reply = perform(place.door, statement, user=USER, database="postgres")
    except OSError as fault:
        raise failure(place, f"went away ({fault})") from fault
    if reply.code not in ("", DATABASE_EXISTS):
        raise StoreError(f"cannot make the database {DATABASE}: {reply.message}")


def run(place: Place, command: list[str], what: str) -> None:
    done = place.person.run(command, cwd=place.home)
    if done.code and os.strerror(errno.ENOSPC) in done.output:
        raise OutOfSpace(f"the disk is full: {place.home} cannot be written", hint=ROOM)
    if done.code:
        raise StoreError(
            f"{place.person.name} cannot {what} in {place.home}: {done.output[-800:]}",
            hint="see its permissions and the space on its disk; or name a server with --dsn",
        )


def failure(place: Place, what: str) -> StoreUnavailable:
    log = place.home / "log"
    said = log.read_text(errors="replace")[-800:].strip() if log.is_file() else "no log"
    return StoreUnavailable(
        f"the Postgres in {place.home} {what}: {said}",
        hint=f"see {log}; or name a server with --dsn",
    )


def later(wait_ms: Millis) -> float:
    return time.monotonic() + wait_ms / 1000


def pause() -> None:
    time.sleep(PAUSE_MS / 1000)
