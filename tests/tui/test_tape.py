"""What was recorded is found again, also by a console that asks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from dripd.errors import BadRequest
from dripd.tui.link import Link
from dripd.tui.tape import Recorder, Replay, load, name_of
from dripd.tui.watch import Watch

TOUR = Path(__file__).parents[2] / "docs" / "tour.drec"


def test_how_much_is_told_does_not_matter() -> None:
    bare, more = (
        Watch("campaign.list", params, hz=1.0, changed=lambda: None)
        for params in ({"account": "a"}, {"account": "a", "figures": True, "limit": 60})
    )

    assert name_of(bare) == name_of(more)


@pytest.mark.parametrize("method", ["account.list", "campaign.list"])
def test_the_recording_of_the_docs_has_the_lists_of_today(method: str) -> None:
    wanted = Watch(method, {"figures": True, "limit": 60}, hz=1.0, changed=lambda: None)

    assert name_of(wanted) in {one.get("of") for one in load(TOUR)}


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    tape = tmp_path / "night.drec"
    Recorder(tape).close()
    with pytest.raises(BadRequest, match="File exists"):
        Recorder(tape)


def test_a_full_disk_ends_the_recording_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_data: bytes) -> int:
        raise OSError(28, "No space left on device")

    recorder = Recorder(tmp_path / "night.drec")
    link = Link(tmp_path / "none.sock", lambda: None, tape=recorder)
    assert link.word == "LIVE REC"
    monkeypatch.setattr(recorder._out, "write", full)
    recorder.hello({})
    recorder.hello({})
    recorder.close()

    assert link.word == "LIVE, NOT RECORDED"
    assert recorder.fault == "No space left on device"


def test_a_recording_is_not_called_live() -> None:
    assert Replay(TOUR, lambda: None).word == "REPLAY"
