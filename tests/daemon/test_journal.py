"""The intent journal: what it says after every way in which its writer can stop."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dripd.campaigns.enrollment import Leased
from dripd.campaigns.event import (
    Accepted,
    Deferred,
    Outcome,
    Rejected,
    Retryable,
    Throttled,
    Unknown,
)
from dripd.clock import Instant, Millis
from dripd.daemon import journal as files
from dripd.daemon.journal import FileJournal
from dripd.engine.intent import Leave, Testimony, alone, judge
from tests.support.disk import mounted

ANN = "ann@x.example"


def step(enrollment_id: int = 7, seq: int = 1, claim_id: int = 11) -> Leased:
    return Leased(
        account_id=1,
        lane=0,
        due_at=Instant(0),
        enrollment_id=enrollment_id,
        contact_id=1,
        cv_id=1,
        seq=seq,
        step_no=0,
        run_no=1,
        attempt=0,
        flags=0,
        claim_id=claim_id,
        leased_at=Instant(0),
        counted=True,
        local_date=date(2026, 1, 5),
        email=ANN,
        phone=None,
        timezone=None,
        attrs={},
    )


class Desk:
    """Daemons that share a state directory, and the turns of their event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self.soon: list[Callable[[], None]] = []
        self.made: list[FileJournal] = []

    def daemon(self, incarnation: int) -> FileJournal:
        made = FileJournal(self.folder, incarnation, self.soon.append)
        self.made.append(made)
        return made

    def turn(self) -> None:
        while self.soon:
            self.soon.pop(0)()

    def die(self, journal: FileJournal) -> None:
        """As its process does: nothing more is written, and its locks are gone."""
        self.soon.clear()
        self.made.remove(journal)
        for segment in journal._segments:
            os.close(segment.fd)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    for journal in list(desk.made):
        desk.die(journal)


OUTCOMES: list[Outcome] = [
    Accepted(provider_id="m-1"),
    Accepted(provider_id="mé-1"),
    Accepted(),
    Retryable(reason="http_503"),
    Throttled(after_ms=Millis(60_000)),
    Rejected(reason="http_400:from.email"),
    Unknown(reason="timeout"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
def test_an_answer_is_read_as_it_was_given(desk: Desk, outcome: Outcome) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    assert one.intend([step()]) is Leave.YES
    one.answer(step(), outcome)
    desk.turn()
    desk.die(one)

    assert outcome == judge(two.past({1}), (1,), step())


def test_silence_proves_that_nothing_left_and_an_intent_proves_nothing(desk: Desk) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    one.intend([step(7), step(8)])
    desk.die(one)
    past = two.past({1, 2})

    assert Unknown(reason="daemon_died") == judge(past, (1,), step(7))
    assert Deferred(reason="daemon_died", until=None) == judge(past, (1,), step(9))
    assert Deferred(reason="daemon_died", until=None) == judge(past, (1, 2), step(7, seq=2))
    assert Unknown(reason="daemon_died") == judge(past, (1, 99), step(9))


def test_an_answer_of_this_turn_is_lost_with_the_process(desk: Desk) -> None:
    """The window of K7: microseconds, and it makes the step unknown."""
    one, two = desk.daemon(1), desk.daemon(2)
    one.intend([step()])
    one.answer(step(), Accepted())
    desk.die(one)

    assert Unknown(reason="daemon_died") == judge(two.past({1}), (1,), step())


def test_a_second_intent_opens_an_answered_step_again(desk: Desk) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    one.intend([step()])
    one.answer(step(), Throttled(after_ms=Millis(1)))
    desk.turn()
    one.intend([step()])
    desk.die(one)

    assert Unknown(reason="daemon_died") == judge(two.past({1}), (1,), step())


def test_an_answer_that_is_on_record_says_nothing_of_the_attempt_after_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was counted once more, as the outcome of an attempt that had not been made."""
    again = replace(step(), attempt=1, claim_id=12)
    one, two = desk.daemon(1), desk.daemon(2)
    one.intend([step()])
    one.answer(step(), Retryable(reason="http_503"))
    desk.turn()

    assert Retryable(reason="http_503") == judge(two.past({1}), (1,), step())
    assert Deferred(reason="daemon_died", until=None) == judge(two.past({1}), (1,), again)
    monkeypatch.setattr(files, "SEGMENT_BYTES", 0)  # the next file says what came of it
    one.intend([again])
    desk.die(one)
    assert Unknown(reason="daemon_died") == judge(two.past({1}), (1,), again)


def test_a_journal_of_an_earlier_start_of_the_machine_is_not_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its end may not have reached the disk: silence proves nothing, an answer still does."""
    one = desk.daemon(1)
    one.intend([step(7)])
    one.answer(step(7), Accepted(provider_id="m"))
    desk.turn()
    desk.die(one)
    boot = tmp_path / "boot"
    boot.write_text("another\n")
    monkeypatch.setattr(files, "BOOT_ID", boot)
    past = desk.daemon(2).past({1})

    assert Accepted(provider_id="m") == judge(past, (1,), step(7))
    assert Unknown(reason="daemon_died") == judge(past, (1,), step(8))


def test_who_only_seemed_dead_sends_nothing_more(desk: Desk) -> None:
    """A stopped process still holds its lock; the seal reaches it when it wakes."""
    one, two = desk.daemon(1), desk.daemon(2)

    assert [] == two.abandoned()
    assert Deferred(reason="daemon_died", until=None) == judge(two.past({1}), (1,), step())
    assert one.intend([step()]) is Leave.FENCED
    assert Unknown(reason="daemon_died") == judge(two.past({1}), (1,), step())


def test_the_seal_reaches_a_file_begun_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    one.intend([step()])
    two.past({1})
    monkeypatch.setattr(files, "SEGMENT_BYTES", 0)

    assert one.intend([step(8)]) is Leave.FENCED
    assert one.intend([step(9)]) is Leave.FENCED


def test_a_process_that_is_gone_is_known_at_once_and_forgotten_when_at_rest(
    desk: Desk,
) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    one.intend([step()])
    assert [] == two.abandoned() == two.unattended()

    desk.die(one)
    assert [1] == two.abandoned() == two.unattended()
    two.forget([1, 2])
    assert ([], ["2-1.log"]) == (two.abandoned(), desk.files())


def test_who_reads_what_another_throws_away_finds_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two daemons that started at once swept the same dead one, and the slower of them ended."""
    monkeypatch.setattr(files, "SEGMENT_BYTES", 0)
    one, two, three = desk.daemon(1), desk.daemon(2), desk.daemon(3)
    one.intend([step(7)])
    one.intend([step(8)])
    desk.die(one)
    parse = files._parse

    def parse_late(path: Path, tried: tuple[int, int] | None = None) -> Testimony:
        three.forget([1])
        return parse(path, tried)

    monkeypatch.setattr(files, "_parse", parse_late)

    assert {} == two.past([1])


def test_a_copy_of_a_journal_proves_no_silence_and_no_death(desk: Desk, tmp_path: Path) -> None:
    """Of a state directory that was copied beside its living daemon, as with a volume: it was
    declared dead, and what it had sent since the copy was sent again."""
    first = desk.daemon(1)
    first.intend([step(7)])
    first.answer(step(7), Accepted(provider_id="p"))
    desk.turn()
    shutil.copytree(desk.folder, tmp_path / "copy" / "journal")
    first.intend([step(8)])
    other = Desk(tmp_path / "copy").daemon(2)

    assert ([], [1]) == (other.abandoned(), other.unattended())
    past = other.past([1])
    assert Accepted(provider_id="p") == judge(past, [1], step(7))
    assert Unknown(reason="daemon_died") == judge(past, [1], step(8))


def test_files_go_when_their_claims_are_closed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SEGMENT_BYTES", 0)
    one = desk.daemon(1)
    one.intend([step(7, claim_id=11)])
    one.intend([step(8, claim_id=12)])
    one.intend([step(9, claim_id=13)])
    one.tidy({12})

    assert ["1-3.log", "1-4.log"] == desk.files()
    desk.made.remove(one)
    one.close({12})
    assert ["1-3.log"] == desk.files()


def test_files_are_read_in_their_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tenth comes after the second."""
    monkeypatch.setattr(files, "SEGMENT_BYTES", 0)
    one, two = desk.daemon(1), desk.daemon(2)
    for n in range(11):
        one.intend([step()])
        one.answer(step(), Retryable(reason=f"try-{n}"))
        desk.turn()
    desk.die(one)

    assert Retryable(reason="try-10") == judge(two.past({1}), (1,), step())


def test_a_full_disk_lets_nothing_leave_and_mends_by_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    write, room = os.write, [5]

    def narrow(fd: int, data: bytes) -> int:
        part = data[: room[0]]
        room[0] -= len(part)
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, part)

    monkeypatch.setattr(os, "write", narrow)
    assert one.intend([step(7)]) is Leave.UNWRITABLE
    assert "in part" in one.fault() or "No space" in one.fault()
    assert one.intend([step(7)]) is Leave.UNWRITABLE
    room[0] = 1 << 20
    assert "" == one.fault()
    assert one.intend([step(8)]) is Leave.YES
    past = two.past({1})
    assert Deferred(reason="daemon_died", until=None) == judge(past, (1,), step(7))
    assert Unknown(reason="daemon_died") == judge(past, (1,), step(8))


def test_a_folder_that_cannot_be_made_is_a_fault_until_it_can(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    place.write_text("a file is in the way")
    one = FileJournal(place, 1, lambda _: None)

    assert str(place) in one.fault()
    assert one.intend([step()]) is Leave.UNWRITABLE
    place.unlink()
    assert "" == one.fault()
    assert one.intend([step()]) is Leave.YES
    one.close(())


def test_no_address_is_ever_written(desk: Desk) -> None:
    one = desk.daemon(1)
    one.intend([step()])
    one.answer(step(), Accepted(provider_id=f"<1.{ANN.upper()}>"))
    desk.turn()
    text = (desk.folder / "1-1.log").read_text()

    assert '"accepted"' in text
    assert "ann" not in text.lower()


def test_rubbish_in_a_file_is_no_word(desk: Desk) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    with (desk.folder / "1-1.log").open("ab") as file:
        file.write(b'i 1 7 1\no 1 7 1 {"is": "acc\no 1 7 x {}\no 1 7 1 []\n\xff\xfe\ni 1 8')

    assert isinstance(two.past({1})[1], Testimony)
    assert {(7, 1): None} == two.past({1})[1].words
    assert one.intend([step()]) is Leave.FENCED


def test_only_who_dies_in_the_midst_of_a_suspect_blames_it(desk: Desk) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    other = replace(step(), seq=step().seq + 1)
    one.begin(step())
    one.survive(step())
    one.begin(other)
    midst = two.past({1})[1].tried
    one.survive(other)
    desk.die(one)

    assert (other.enrollment_id, other.seq) == midst
    assert (None, {}) == (two.past({1})[1].tried, two.past({1})[1].words)


def test_a_trial_is_told_across_files(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SEGMENT_BYTES", 1)
    one, two = desk.daemon(1), desk.daemon(2)
    one.begin(step())
    one.intend([step(enrollment_id=8)])
    assert (7, 1) == two.past({1})[1].tried
    one.survive(step())
    one.intend([step(enrollment_id=9)])

    assert len(desk.files()) > 2
    assert two.past({1})[1].tried is None


def test_an_individual_message_has_its_words_among_the_others(desk: Desk) -> None:
    one, two = desk.daemon(1), desk.daemon(2)
    assert one.depart(17) is Leave.YES
    assert one.depart(18) is Leave.YES
    one.arrive(17, Accepted(provider_id=f"to {ANN}"), ANN)
    desk.turn()
    one.tidy(())

    text = "".join((desk.folder / name).read_text() for name in desk.files())
    assert ANN not in text
    desk.die(one)
    words = two.past({1})[1].words
    assert {alone(17): Accepted(provider_id=""), alone(18): None} == words


def test_what_was_on_the_disk_before_it_left_outlives_the_machine(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut silence proves nothing, unless each intent had been synced."""
    synced: list[int] = []
    monkeypatch.setattr(files.os, "fdatasync", synced.append)
    plain = desk.daemon(1)
    always = FileJournal(desk.folder, 2, desk.soon.append, "always")
    desk.made.append(always)
    plain.intend([step()])
    assert [] == synced
    always.intend([step()])
    always.depart(17)
    assert 2 == len(synced)

    desk.die(plain)
    desk.die(always)
    monkeypatch.setattr(files, "_boot_id", lambda: "another start")
    past = desk.daemon(3).past({1, 2})
    assert (False, True) == (past[1].whole, past[2].whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small"):
        yield tmp_path / "small"


def test_a_disk_that_is_full_holds_everything_loses_nothing_and_mends(small_disk: Path) -> None:
    desk = Desk(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(16 << 10))
    one = desk.daemon(1)
    n = 0
    while (leave := one.intend([step(enrollment_id=n, claim_id=n)])) is Leave.YES:
        n += 1
    assert leave is Leave.UNWRITABLE
    assert "No space left" in one.fault()
    assert one.intend([step(enrollment_id=-1)]) is Leave.UNWRITABLE
    for m in (0, 1):  # what had left before is answered now
        one.answer(step(enrollment_id=m, claim_id=m), Accepted(provider_id="m" * 150))
        desk.turn()
    three = desk.daemon(3)
    assert "No space left" in three.fault()
    assert [] == list(desk.folder.glob("3-*"))

    ballast.unlink()
    assert "" == one.fault()
    assert "" == three.fault()
    assert one.intend([step(enrollment_id=n, claim_id=n)]) is Leave.YES
    assert three.intend([step(enrollment_id=1)]) is Leave.YES
    desk.die(one)
    testimony = three.past({1})[1]
    assert {(m, 1) for m in range(n + 1)} == set(testimony.words)
    assert [Accepted(provider_id="m" * 150)] * 2 == [testimony.words[m, 1] for m in (0, 1)]
    assert testimony.whole
