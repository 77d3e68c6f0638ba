"""Where does the embedded Postgres of a state directory live, and as whom does it run?

Postgres refuses to run as root, and the user that it runs as instead must reach its data.
As an ordinary user everything is in `STATE/postgres`. As root it is there too where the
server's user can reach that directory; parents are never opened for it. Where one of them is
private (root's home is), the data has a directory of its own, private to the server's user:
beside other temporary files for a state directory that is itself temporary, else under
`/var/lib/dripd`. Its name is drawn by chance and written down in `STATE/postgres.json`, so
two state directories never meet, not even one that was removed and made again.

Whatever root does inside a directory of that user, it does as that user: a link planted there
leads to nothing that the user could not reach anyway.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from dripd.errors import StoreError

SERVER_USERS = ("postgres", "_postgres", "nobody")
"""Whom root becomes: the first that exists. `nobody` may be shared with other services."""

SHARED_BASES = (Path("/var/lib/dripd"), Path("/var/tmp/dripd"))
"""Candidates; taken only if root's and closed to the writing of others."""

SHORT_BASE = Path("/tmp")
"""Where private directories with random, short names are made."""

LONGEST_SOCKET = 106
"""Bytes in the path of a unix socket, without the closing NUL, on the stingiest of systems."""

PLAIN = re.compile(r"[A-Za-z0-9_/.+@:-]+")
"""Paths that neither a shell nor Postgres's list of directories reads in another way."""

SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a program came to: its exit code and all it said."""

    code: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The user that runs the server; `is_other` if we are root and must become them."""

    uid: int
    gid: int
    name: str
    is_other: bool

    def run(self, command: Sequence[str], *, cwd: Path = Path("/")) -> Ran:
        """Run *command* as this user, without our PG* variables, and wait for it.

        A program that cannot be run at all has the code 127, as in a shell.
        """
        surroundings = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        path = f"{surroundings.get('PATH', '')}:/usr/bin:/bin".removeprefix(":")
        surroundings |= {"LC_ALL": "C", "HOME": "/", "PATH": path}
        with tempfile.TemporaryFile() as said:  # a pipe would be held open by the server
            try:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env=surroundings,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    check=False,
                    umask=0o077,
                    user=self.uid if self.is_other else None,
                    group=self.gid if self.is_other else None,
                    extra_groups=[] if self.is_other else None,
                )
            except OSError as fault:
                return Ran(code=127, output=str(fault))
            said.seek(0)
            return Ran(code=done.returncode, output=said.read().decode(errors="replace"))

    def reaches(self, folder: Path) -> bool:
        return self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]).code == 0


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `STATE/postgres.json` holds: absolute paths, empty where not yet chosen."""

    home: str = ""
    socket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one server lives: `home` holds `data` and `log`, `socket` is its directory."""

    home: Path
    socket: Path
    person: Person

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def door(self) -> Path:
        """The socket itself."""
        return self.socket / SOCKET_NAME


def find_place(state: Path) -> Place | None:
    """Where the server of *state* was put, or None if it never had one. Changes nothing.

    Raises `StoreError` if what stands there belongs to somebody else.
    """
    record = read_record(state)
    home = Path(record.home) if record.home else state / "postgres"
    owner = owner_of(home)
    if owner is None or (owner == 0 and os.geteuid() == 0):
        return None  # not there, or its making was cut short before it was handed over
    if os.geteuid() == 0 and state.stat().st_uid not in (0, owner):
        raise StoreError(  # else its owner could point root at anybody's directory
            f"{home} does not belong to the owner of {state}",
            code="foreign_state",
            hint=f"remove {state / 'postgres.json'} if it was tampered with",
        )
    socket = Path(record.socket) if record.socket else home / "socket"
    return Place(home=home, socket=socket, person=person_of(owner, home))


def make_place(state: Path) -> Place:
    """Find or choose the place for the server of *state*, and make its directories.

    The caller holds the lock of *state*. Everything made is private (0700).
    """
    place = find_place(state)
    if place is None:
        place = new_place(state)
        note(state, place)  # at once, so that destroy finds what an early end leaves
    if not is_short(place.socket) or not is_private(place.socket, place.person):
        place = replace(place, socket=socket_folder(place))
    note(state, place)
    return place


def note(state: Path, place: Place) -> None:
    record = Record(home=str(place.home), socket=str(place.socket))
    if record != read_record(state):
        write_record(state, record)


def new_place(state: Path) -> Place:
    person = server_person(state)
    home = state / "postgres"
    home.mkdir(mode=0o700, exist_ok=True)
    hand_over(home, person)
    if person.is_other and not person.reaches(home):
        home.rmdir()
        home = Path(tempfile.mkdtemp(prefix="dripd-pg-", dir=base_for(state)))
        hand_over(home, person)
    return Place(home=home, socket=home / "socket", person=person)


def server_person(state: Path) -> Person:
    """Ourselves; as root the owner of *state*, and where that is root, a server's user."""
    if os.geteuid() != 0:
        return person_of(os.geteuid(), state)
    owner = state.stat().st_uid
    if owner != 0:
        return person_of(owner, state)
    for name in SERVER_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Person(uid=entry.pw_uid, gid=entry.pw_gid, name=name, is_other=True)
    raise StoreError(
        f"Postgres cannot run as root, and none of the users {', '.join(SERVER_USERS)} exists",
        code="postgres_user_missing",
        hint="add a user postgres, run dripd as another user, or name a server with --dsn",
    )


def person_of(uid: int, folder: Path) -> Person:
    """The user *uid*, to whom *folder* belongs.

    Raises `StoreError` if we may not act as that user.
    """
    us = os.geteuid()
    if us not in (0, uid):
        raise StoreError(
            f"{folder} belongs to user id {uid}, and dripd runs as {us}",
            code="foreign_state",
            hint="run dripd as that user, or set DRIPD_STATE to a directory of your own",
        )
    try:
        entry = pwd.getpwuid(uid)
        name, gid = entry.pw_name, entry.pw_gid
    except KeyError:  # a container may run us as a number without a name
        name, gid = str(uid), os.getegid()
    return Person(uid=uid, gid=gid, name=name, is_other=us != uid)


def socket_folder(place: Place) -> Path:
    """A private directory for the socket: in the home, or a short one if that is too long."""
    wanted = place.home / "socket"
    if is_short(wanted):
        place.person.run(["mkdir", "-p", "-m", "700", str(wanted)], cwd=place.home)
        if not is_private(wanted, place.person):
            raise StoreError(
                f"{wanted} cannot be made a private directory of {place.person.name}",
                hint="see who owns it and its mode; it must be 0700",
            )
        return wanted
    short = Path(tempfile.mkdtemp(prefix="dripd-", dir=SHORT_BASE))
    hand_over(short, place.person)
    return short


def is_short(socket: Path) -> bool:
    """Whether the socket in the directory *socket* can be named; lock file included."""
    fits = len(os.fsencode(socket / f"{SOCKET_NAME}.lock")) <= LONGEST_SOCKET
    return fits and PLAIN.fullmatch(str(socket)) is not None


def is_private(folder: Path, person: Person) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
    return private and found.st_uid == person.uid


def owner_of(folder: Path) -> int | None:
    """Whose *folder* is; None if it is not there. A link has an owner too, and is none."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{folder} is not a directory")
    return found.st_uid


def hand_over(folder: Path, person: Person) -> None:
    if person.is_other:
        os.chown(folder, person.uid, person.gid, follow_symlinks=False)


def base_for(state: Path) -> Path:
    """Where root keeps the data of a *state* that the server's user cannot reach."""
    for temporary in (Path("/tmp"), Path("/var/tmp"), Path(tempfile.gettempdir())):
        if state.resolve().is_relative_to(temporary.resolve()):
            return temporary
    return shared_base()


def shared_base() -> Path:
    """Root's directory for what servers of other users need: traversable, nobody else's."""
    for base in SHARED_BASES:
        if base.parent.is_dir():
            base.mkdir(mode=0o711, exist_ok=True)
            found = base.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022:
                return base
    raise StoreError(
        f"none of {', '.join(map(str, SHARED_BASES))} can be a directory of root's",
        hint="make one of them, owned by root, mode 0711; or name a server with --dsn",
    )


def read_record(state: Path) -> Record:
    """What is written down; only a file of ours or of the owner of *state* is believed."""
    path = state / "postgres.json"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Record()
    with open(fd, "rb") as file:
        text = file.read(65_536)
    try:
        return msgspec.json.decode(text, type=Record)
    except msgspec.DecodeError as fault:
        raise StoreError(
            f"{path} cannot be read: {fault}", hint="mend it, or restore it from a backup"
        ) from fault


def write_record(state: Path, record: Record) -> None:
    """Put *record* in place of what was written down, whole or not at all."""
    fd, aside = tempfile.mkstemp(prefix="postgres.json.", dir=state)
    with open(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(record)))
        give_back(file.fileno(), state)
        file.flush()
        os.fsync(file.fileno())
    Path(aside).rename(state / "postgres.json")


def give_back(fd: int, state: Path) -> None:
    """What root writes in somebody's state directory is to be theirs."""
    if os.geteuid() == 0:
        owner = state.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
