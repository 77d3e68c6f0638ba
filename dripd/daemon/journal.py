"""The intent journal in files: what left this process, written where a kill -9 leaves it.

    STATE/journal/INCARNATION-N.log
    dripd-journal 1 INCARNATION BOOT INODE  the first line; BOOT names this start of the machine,
                                          INODE the file: a copy has another;
                                          `synced` behind it: its silence outlives BOOT too
    i CLAIM ENROLLMENT SEQ [MARK]         is about to leave; MARK: when it was rendered, its digest
    o CLAIM ENROLLMENT SEQ {JSON}         its answer, with the number of attempts recorded before
    i -ID -ID 0, o -ID -ID 0 {JSON}       the same of an individual message, which has no claim
    t CLAIM ENROLLMENT SEQ                a step over which a daemon has died is tried next
    s CLAIM ENROLLMENT SEQ                and was survived

Wanted: one write a chunk, nothing to wait for, and certainty for whoever sweeps. A write to a
file outlives its process, not its machine: a journal of an earlier boot counts as not whole.
A reader seals a file (takes away its write bit) before he reads; the writer looks at the bit
after each write of intents and before anything leaves. Whichever comes first, either the
reader finds the intents or the writer finds the seal. The lock on a file goes with its
process, which tells a dead daemon from a silent one at once. Of a copy neither holds: what its
daemon wrote since is not in it, and nobody locks it. It holds no address and no content: ids, and the provider's id where that does not hold the address either.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

import orjson
import trio

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import (
    Accepted,
    Outcome,
    Rejected,
    Retryable,
    Throttled,
    Unknown,
)
from dripd.clock import Millis
from dripd.engine.intent import Leave, Past, Testimony
from dripd.log import get

MAGIC: Final = "dripd-journal 1"

SYNCED: Final = "synced"
"""Ends the first line of a file of which each intent was on the disk before its message left."""

SYNC_S: Final = 0.2
"""Real seconds between two syncs of `fsync = "batch"`."""

SEGMENT_BYTES: Final = 8 << 20
"""A new file begins here: about 150,000 messages."""

SEALED: Final = 0o400
OPEN: Final = 0o600

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

PROVIDER_ID_MOST: Final = 200

log = get("journal")

Soon = Callable[[Callable[[], None]], None]
"""Calls its argument within this turn of the event loop, once however often it is asked."""


@dataclass(slots=True)
class Segment:
    """One file of ours, and the claims that it speaks of."""

    path: Path
    fd: int
    size: int = 0
    claims: set[int] = field(default_factory=set)


class FileJournal:
    """`engine.intent.Journal` in `folder`, for `incarnation`. Made before the daemon leases."""

    def __init__(self, folder: Path, incarnation: int, soon: Soon, fsync: str = "off") -> None:
        self._folder = folder
        self._is_synced = fsync == "always"
        self._incarnation = incarnation
        self._soon = soon
        self._segments: list[Segment] = []
        self._n_made = 0
        self._answers: list[str] = []
        self._alone: set[int] = set()
        """Individual messages under way, as claims of their own: minus their ids."""
        self._fault = ""
        self._is_torn = False
        self._try(self._begin_segment)

    # what the senders say

    def intend(self, steps: Sequence[Leased], marks: Sequence[str] = ()) -> Leave:
        if self._fault:
            return Leave.UNWRITABLE
        claims = {leased.claim_id for leased in steps}
        lines = [f"i {leased.claim_id} {leased.enrollment_id} {leased.seq}" for leased in steps]
        if marks:
            lines = [f"{line} {mark}" for line, mark in zip(lines, marks, strict=True)]
        return self._leave("\n".join(lines) + "\n", claims)

    def _leave(self, text: str, claims: set[int]) -> Leave:
        if not self._try(lambda: self._append_for_good(text, claims)):
            return Leave.UNWRITABLE
        return Leave.YES if _is_open(self._segments[-1].fd) else Leave.FENCED

    def answer(self, leased: Leased, outcome: Outcome) -> None:
        place = f"o {leased.claim_id} {leased.enrollment_id} {leased.seq}"
        self._reply(place, outcome, leased.attempt, leased.email, leased.phone)

    def _reply(self, place: str, outcome: Outcome, tries: int, *addresses: str | None) -> None:
        if not self._answers or self._fault:
            self._soon(self._flush)
        self._answers.append(f"{place} {_write_outcome(outcome, tries, addresses)}\n")

    def depart(self, number: int) -> Leave:
        if self._fault:
            return Leave.UNWRITABLE
        self._alone.add(-number)
        return self._leave(f"i {-number} {-number} 0\n", {-number})

    def arrive(self, number: int, outcome: Outcome, to: str) -> None:
        self._reply(f"o {-number} {-number} 0", outcome, 0, to)

    def keep(self, number: int) -> None:
        self._alone.discard(-number)

    def begin(self, leased: Leased) -> None:
        self._note("t", leased)

    def survive(self, leased: Leased) -> None:
        self._note("s", leased)

    def _note(self, word: str, leased: Leased) -> None:
        text = f"{word} {leased.claim_id} {leased.enrollment_id} {leased.seq}\n"
        if self._segments:
            self._try(lambda: self._append(text, {leased.claim_id}))

    def fault(self) -> str:
        if self._fault and self._try(self._probe):
            self._flush()
        return self._fault

    # what the sweep asks

    def past(self, incarnations: Collection[int]) -> Past:
        self._flush()
        found = {one: self._read(one) for one in incarnations}
        return {one: testimony for one, testimony in found.items() if testimony is not None}

    def abandoned(self) -> list[int]:
        return [one for one in self.unattended() if not any(map(_is_copy, self._files(one)))]

    def unattended(self) -> list[int]:
        found = {_incarnation_of(path) for path in self._files()} - {self._incarnation}
        return sorted(
            one for one in found if one is not None and all(map(_can_lock, self._files(one)))
        )

    def tidy(self, open_claims: Collection[int]) -> None:
        for segment in self._segments[:-1]:
            if self._is_done(segment, open_claims):
                self._drop(segment)

    def forget(self, incarnations: Collection[int]) -> None:
        for one in incarnations:
            if one != self._incarnation:
                for path in self._files(one):
                    path.unlink(missing_ok=True)

    def handles(self) -> list[int]:
        """Descriptors, the caller's own, of what may not be on the disk yet."""
        return [os.dup(segment.fd) for segment in self._segments[-2:]]

    def close(self, open_claims: Collection[int]) -> None:
        """The daemon ends: what nobody needs goes, the rest is for whoever sweeps."""
        self._flush()
        for segment in list(self._segments):
            if self._is_done(segment, open_claims):
                self._drop(segment)
            else:
                os.close(segment.fd)
        self._segments = []

    def _is_done(self, segment: Segment, open_claims: Collection[int]) -> bool:
        return segment.claims.isdisjoint(open_claims) and segment.claims.isdisjoint(self._alone)

    # files

    def _begin_segment(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._n_made += 1
        path = self._folder / f"{self._incarnation}-{self._n_made}.log"
        unseen = path.with_suffix(".new")  # without its lock and its head nobody may see it
        fd = os.open(unseen, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, OPEN)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = _write_whole(fd, self._head(os.fstat(fd).st_ino).encode())
            if self._is_synced:
                os.fsync(fd)
            unseen.rename(path)
            if self._is_synced:
                _sync_folder(self._folder)
        except OSError:
            unseen.unlink(missing_ok=True)
            os.close(fd)
            raise
        before = self._segments[-1:]
        self._segments.append(Segment(path, fd, size))
        self._is_torn = False
        if any(not _is_open(segment.fd) for segment in before):
            os.fchmod(fd, SEALED)  # the reader may have listed the files before this one

    def _head(self, inode: int) -> str:
        words = f"{MAGIC} {self._incarnation} {_boot_id()} {inode}"
        return f"{words} {SYNCED}\n" if self._is_synced else f"{words}\n"

    def _append_for_good(self, text: str, claims: set[int]) -> None:
        """As `_append`, and on the disk where that is asked for."""
        self._append(text, claims)
        if self._is_synced:
            os.fdatasync(self._segments[-1].fd)

    def _append(self, text: str, claims: set[int]) -> None:
        if self._segments[-1].size > SEGMENT_BYTES:
            self._begin_segment()
        self._segments[-1].claims |= claims
        self._write(text)

    def _write(self, text: str) -> None:
        """All of *text*, or `OSError`; what a failed write left behind is ended as a line."""
        data = (f"\n{text}" if self._is_torn else text).encode()
        segment = self._segments[-1]
        self._is_torn = True
        segment.size += _write_whole(segment.fd, data)
        self._is_torn = False

    def _probe(self) -> None:
        if not self._segments:
            self._begin_segment()
        self._write("\n")

    def _flush(self) -> None:
        """Write what was answered; what there is no room for waits until there is."""
        if self._answers and self._segments:
            text = "".join(self._answers)
            if self._try(lambda: self._write(text)):
                self._answers = []

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self._fault = f"{error.strerror or error} ({self._folder})"
            return False
        self._fault = ""
        return True

    def _drop(self, segment: Segment) -> None:
        self._segments.remove(segment)
        segment.path.unlink(missing_ok=True)
        os.close(segment.fd)

    def _files(self, incarnation: int | None = None) -> list[Path]:
        pattern = "*-*.log" if incarnation is None else f"{incarnation}-*.log"
        return sorted(self._folder.glob(pattern), key=_number_of)

    def _read(self, incarnation: int) -> Testimony | None:
        """Seal and read; None where there is no journal of that incarnation here."""
        while True:
            try:
                return self._read_as_it_stands(incarnation)
            except FileNotFoundError:  # who shares the folder has thrown one away meanwhile
                continue

    def _read_as_it_stands(self, incarnation: int) -> Testimony | None:
        files: list[Path] = []
        while files != (found := self._files(incarnation)):
            files = found
            for path in files if incarnation != self._incarnation else ():
                path.chmod(SEALED)
        testimonies: list[Testimony] = []
        for path in files:
            tried = testimonies[-1].tried if testimonies else None
            testimonies.append(_parse(path, tried))
        if not testimonies:
            return None
        first, *rest = testimonies
        for testimony in rest:
            first.words |= testimony.words
            first.tried = testimony.tried
            first.marks |= testimony.marks
            first.tries |= testimony.tries
            first.whole &= testimony.whole
        return first


async def sync(journal: FileJournal) -> None:
    """Bring what stands in *journal* to the disk several times a second, for ever."""
    while True:
        await trio.sleep(SYNC_S)  # noqa: TID251 - how much a power cut may take
        try:
            await trio.to_thread.run_sync(_sync_all, journal.handles())
        except OSError as error:
            log.error("journal.refused", error=str(error))


def _sync_all(fds: Sequence[int]) -> None:
    try:
        for fd in fds:
            os.fdatasync(fd)
    finally:
        for fd in fds:
            os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_whole(fd: int, data: bytes) -> int:
    """All of *data*, or `OSError`."""
    written = os.write(fd, data)
    if written < len(data):
        raise OSError(errno.ENOSPC, "the journal was written only in part")
    return written


def _is_open(fd: int) -> bool:
    return bool(os.fstat(fd).st_mode & 0o200)


def _number_of(path: Path) -> tuple[str, int]:
    name, _, number = path.stem.partition("-")
    return (name, int(number) if number.isdigit() else 0)


def _incarnation_of(path: Path) -> int | None:
    name = path.name.partition("-")[0]
    return int(name) if name.isascii() and name.isdigit() else None


def _can_lock(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two who ask do not meet
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _is_copy(path: Path) -> bool:
    """Was it written elsewhere? Files of earlier versions do not tell."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            inodes = [word for word in file.readline().split()[4:] if word.isdigit()]
            return bool(inodes) and os.fstat(file.fileno()).st_ino != int(inodes[0])
    except FileNotFoundError:  # somebody has thrown it away meanwhile
        return False


def _boot_id() -> str:
    """The name of this start of the machine; one that is never met again where it has none."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return f"none-{os.urandom(8).hex()}"


def _parse(path: Path, tried: tuple[int, int] | None = None) -> Testimony:
    """What one file says; *tried*: as the one before it ended. A line that is none was never
    finished: nothing left after it."""
    lines = iter(path.read_text("utf-8", errors="replace").split("\n"))
    head = next(lines).split(" ")
    is_kept = _boot_id() in head or SYNCED in head
    testimony = Testimony(whole=is_kept and not _is_copy(path))
    testimony.tried = tried
    for kind, enrollment_id, seq, rest in _entries(lines):
        if kind == "i":
            testimony.intend(enrollment_id, seq, rest)
        elif kind == "t":
            testimony.tried = (enrollment_id, seq)
        elif kind == "s":
            testimony.tried = None
        elif (found := _read_outcome(rest)) is not None:
            testimony.answer(enrollment_id, seq, *found)
    return testimony


def _entries(lines: Iterator[str]) -> Iterator[tuple[str, int, int, str]]:
    for line in lines:
        words = line.split(" ", 4)
        if words[0] not in {"i", "o", "t", "s"} or len(words) < 4 or not words[3].isdigit():
            continue
        yield words[0], int(words[2]), int(words[3]), words[4] if len(words) == 5 else ""


def _write_outcome(outcome: Outcome, tries: int, addresses: Sequence[str | None]) -> str:
    told: dict[str, str | int]
    match outcome:
        case Accepted():  # nothing comes after it, so that nobody asks how many came before
            own_id = orjson.dumps(_harmless(outcome.provider_id, addresses)).decode()
            return f'{{"is":"accepted","id":{own_id}}}'
        case Retryable(reason=reason):
            told = {"is": "retryable", "why": reason}
        case Throttled(after_ms=after_ms):
            told = {"is": "throttled", "why": str(after_ms)}
        case Rejected(reason=reason):
            told = {"is": "rejected", "why": reason}
        case Unknown(reason=reason):
            told = {"is": "unknown", "why": reason}
        case _:
            assert_never(outcome)
    return orjson.dumps({**told, "n": tries}).decode()


def _read_outcome(text: str) -> tuple[Outcome, int | None] | None:
    """An answer and how many attempts had been recorded before it, where it says so."""
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    outcome = _outcome_of(told)
    if outcome is None:
        return None
    tries = told.get("n")
    return outcome, tries if isinstance(tries, int) else None


def _outcome_of(told: object) -> Outcome | None:
    match told:
        case {"is": "accepted", "id": str(provider_id)}:
            return Accepted(provider_id=provider_id)
        case {"is": "retryable", "why": str(reason)}:
            return Retryable(reason=reason)
        case {"is": "throttled", "why": str(after_ms)} if after_ms.isdigit():
            return Throttled(after_ms=Millis(int(after_ms)))
        case {"is": "rejected", "why": str(reason)}:
            return Rejected(reason=reason)
        case {"is": "unknown", "why": str(reason)}:
            return Unknown(reason=reason)
    return None


def _harmless(provider_id: str, addresses: Sequence[str | None]) -> str:
    """The provider's id, unless it says whom the message was for."""
    lower = provider_id.lower()
    told = any(one and one.lower() in lower for one in addresses)
    return "" if told or len(provider_id) > PROVIDER_ID_MOST else provider_id
