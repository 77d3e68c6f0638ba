"""What was recorded is found again, also by a console that asks for more."""

from __future__ import annotations

import asyncio
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


def recorded(folder: Path, clock: list[float]) -> Path:
    """Ten seconds, then a list that grows by a row in the twentieth."""
    tape = folder / "night.drec"
    recorder = Recorder(tape, lambda: clock[0])
    watch = Watch("account.list", {"limit": 60})
    recorder.hello({"env": "prod-eu"})
    clock[0] += 10
    recorder.opened(watch, {"sub": 1, "key": ["id"], "result": {"items": [{"id": 1}]}})
    clock[0] += 10
    recorder.told(watch, "view.delta", {"rows": [["2", {"id": 2}, True]]})
    recorder.close()
    return tape


def test_a_recording_is_gone_through_by_its_time(tmp_path: Path) -> None:
    clock = [100.0]
    tape = recorded(tmp_path, clock)
    seen: list[object] = []

    async def scenario() -> None:
        replay = Replay(tape, lambda: None, lambda: clock[0])
        watch = Watch("account.list", {"limit": 60})
        replay.watch(watch)
        seen.append(watch.error)
        task = asyncio.create_task(replay.run())
        for by in (0.0, 10.0, 10.0, -10.0):
            replay.jump(by)
            await asyncio.sleep(0.01)
            seen.append((replay.word, len(watch.rows)))
        task.cancel()

    asyncio.run(scenario())

    assert "on screen 10s after the recording began (right and left" in str(seen[0])
    assert seen[1:] == [
        ("REPLAY 0s of 20s", 0),
        ("REPLAY 10s of 20s", 1),
        ("REPLAY 20s of 20s", 2),
        ("REPLAY 10s of 20s", 1),
    ]


def test_a_recording_is_not_called_live() -> None:
    assert Replay(TOUR, lambda: None).word.startswith("REPLAY 0s of ")
