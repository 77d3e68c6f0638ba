"""Does the database still have what it told us was committed? A standby that was promoted too early
does not, nor does a backup that was put in its place.

Every transaction of the engine writes its number into a slot of `dripd.witness`; once its commit is
acknowledged, the number is remembered here, and in a file beside the journal for whoever starts
there next. What is lost of a database is the end of its log: a number that is lower in SQL than
it is remembered was in it. A commit in doubt is not remembered, so a crash lets nothing be missed.

    STATE/witness/DEPLOYMENT-ADOPTIONS-INCARNATION
    64 numbers of 8 bytes, one a slot; locked for as long as its daemon lives
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from dripd.log import get
from dripd.store.connect import Conn
from dripd.store.statements import sql

T = TypeVar("T")

SLOTS: Final = 64
"""Far more than transactions at once: none waits for another's slot."""

NUMBER: Final = struct.Struct("<q")

OLD_S: Final = 60 * 86_400.0
"""What is older says nothing: rows are swept after 90 days."""

log = get("store")

Known = dict[int, dict[int, int]]
"""Of an incarnation, by slot, the number of its last commit."""


class Witness:
    """What was committed, as far as this daemon and those that kept their state here know."""

    def __init__(self) -> None:
        self._n = 0
        self._incarnation = 0
        self._name = ""
        self._folder: Path | None = None
        self._fd = -1
        self._own: dict[int, int] = {}
        self.is_behind = False
        """Something was found missing, and nobody has adopted the database since."""

    def keep(self, folder: Path, incarnation: int, name: str) -> None:
        """Remember from now on, in a file too; *name* changes whenever the database is adopted."""
        if name == self._name:
            return
        self._folder, self._incarnation, self._name = folder, incarnation, name
        self._own, self.is_behind = {}, False
        self.close()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = folder / f".{incarnation}"
            self._fd = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(self._fd, bytes(SLOTS * NUMBER.size), 0)
            new.rename(self._file(incarnation))  # nobody sees it before it is locked
        except OSError as error:  # it is remembered in memory alone
            log.warning("witness.unwritable", error=str(error))

    def _file(self, incarnation: int) -> Path:
        return (self._folder or Path()) / f"{self._name}-{incarnation}"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def next(self) -> int:
        """The number of the transaction that begins."""
        self._n += 1
        return self._n

    def note(self, n: int) -> None:
        """The commit of transaction *n* is acknowledged."""
        slot = n % SLOTS
        if not self._name or n < self._own.get(slot, 0):
            return
        self._own[slot] = n
        if self._fd >= 0:
            try:
                os.pwrite(self._fd, NUMBER.pack(n), slot * NUMBER.size)
            except OSError as error:
                log.warning("witness.unwritable", error=str(error))
                self.close()

    def witnessed(
        self, unit: Callable[..., Awaitable[T]], n: int, wrote: list[int]
    ) -> Callable[..., Awaitable[T]]:
        """*unit*, whose transaction leaves its number where it has written anything; *wrote* gets
        the number then."""
        if not self._name:
            return unit

        async def whole(conn: Conn, *args: Any) -> T:
            result = await unit(conn, *args)
            if await conn.fetchval(sql("bear_witness"), self._incarnation, n):
                wrote.append(n)
            return result

        return whole

    def kept(self) -> tuple[Known, list[Path]]:
        """What files of this database and its last adoption say, and those of the dead."""
        known: Known = {}
        dead: list[Path] = []
        for path in sorted(self._folder.glob("*-*-*") if self._folder is not None else ()):
            name, _, incarnation = path.name.rpartition("-")
            if incarnation == str(self._incarnation):
                continue
            with suppress(FileNotFoundError):  # another daemon has thrown it away
                is_old = time.time() - path.stat().st_mtime > OLD_S  # noqa: TID251 - as files count
                if is_free(path):
                    dead.append(path)
                if name == self._name and not is_old:
                    known[int(incarnation)] = read(path)
        return known, dead

    async def look(self, conn: Conn, others: Known | None = None) -> bool:
        """Is something missing that we, or *others*, know of? Told to the whole deployment.

        It is not asked of a database that was adopted since: that may lack what it likes.
        """
        known = {**(others or {}), **({self._incarnation: self._own} if self._own else {})}
        if not known or self.is_behind:
            return self.is_behind
        expected = {one: dict(slots) for one, slots in known.items()}  # before it is asked
        if await conn.fetchval(sql("adoption")) != self._name:
            return False
        rows = await conn.fetch(sql("read_witness"), list(expected))
        there = {(row["incarnation"], row["slot"]): row["n"] for row in rows}
        if is_whole(expected, there):
            return False
        # a daemon that starts beside us throws away what the dead have left: the file first
        expected = {one: expected[one] for one in expected if self._is_kept(one)}
        if is_whole(expected, there):
            return False
        await conn.execute(sql("note_behind"))
        self.is_behind = True
        return True

    def _is_kept(self, incarnation: int) -> bool:
        return incarnation == self._incarnation or self._file(incarnation).exists()


def is_whole(known: Known, there: Mapping[tuple[int, int], int]) -> bool:
    """Is everything *there* that is known to have been committed, or what came after it?"""
    return all(
        there.get((incarnation, slot), 0) >= n
        for incarnation, slots in known.items()
        for slot, n in slots.items()
    )


def read(path: Path) -> dict[int, int]:
    """The numbers in a file, by slot."""
    found = path.read_bytes()[: SLOTS * NUMBER.size]
    whole = found[: len(found) // NUMBER.size * NUMBER.size]
    return {slot: n for slot, (n,) in enumerate(NUMBER.iter_unpack(whole)) if n}


def is_free(path: Path) -> bool:
    """Whether its daemon is gone."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
