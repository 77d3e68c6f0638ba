"""Logging: one JSON object a line, a level that moves, libraries led into it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from dripd import log
from dripd.errors import ConfigError


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root, level = logging.getLogger(), log.THRESHOLD.at
    handlers = root.handlers[:]
    stream = io.StringIO()
    log.configure(stream=stream)
    yield stream
    root.handlers[:], log.THRESHOLD.at = handlers, level
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_keys(out: io.StringIO) -> None:
    log.get("lease").info("lease.taken", n=3)

    (line,) = lines(out)
    assert line.pop("ts")
    assert line == {"stage": "lease", "event": "lease.taken", "level": "info", "n": 3}


def test_the_level_is_switched_while_loggers_are_in_use(out: io.StringIO) -> None:
    logger = log.get("send")
    logger.debug("step.skipped")
    log.set_level("debug")
    logger.debug("step.skipped")
    log.set_level("error")
    logger.bind(n=1).warning("step.skipped")

    assert [line["level"] for line in lines(out)] == ["debug"]
    with pytest.raises(ConfigError):
        log.set_level("loud")


def test_an_error_carries_its_traceback(out: io.StringIO) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.get("send").exception("admin.failed")

    assert "ValueError: broken" in str(lines(out)[0]["exception"])


def test_what_libraries_log_comes_out_as_ours(out: io.StringIO) -> None:
    logging.getLogger("asyncpg").warning("slow %s", "query")
    logging.getLogger("asyncpg").info("unheard")

    (line,) = lines(out)
    assert (line["event"], line["logger"], line["message"]) == (
        "library.logged",
        "asyncpg",
        "slow query",
    )


def test_the_last_lines_are_kept_with_their_numbers(out: io.StringIO) -> None:
    ring = log.Ring(3)
    for n in range(5):
        ring(None, "info", {"event": "pulse", "level": "info", "n": n})

    assert ([3, 4, 5], 5, 0) == seqs(ring.since(None, 10))
    assert ([3, 4], 4, 2) == seqs(ring.since(0, 2))
    assert ([5], 5, 0) == seqs(ring.since(4, 2))
    assert ([], 5, 0) == seqs(ring.since(5, 2))
    assert ([4], 5, 0) == seqs(ring.since(None, 9, lambda line: line["n"] == 3))


def seqs(found: tuple[list[log.Line], int, int]) -> tuple[list[object], int, int]:
    items, after, lost = found
    return [line["seq"] for line in items], after, lost


def test_what_repeats_itself_is_counted_instead(out: io.StringIO) -> None:
    now = [0.0]
    fold = log.Fold(lambda: now[0])
    lost = {"event": "store.lost", "level": "warning", "reason": "away"}

    assert fold(None, "", dict(lost)) == lost
    for _ in range(3):
        with pytest.raises(structlog.DropEvent):
            fold(None, "", dict(lost))
    assert fold(None, "", {**lost, "reason": "other"})["reason"] == "other"
    now[0] = log.FOLD_S
    assert fold(None, "", dict(lost)) == {**lost, "repeated": 3}
    for _ in range(2):
        assert fold(None, "", {"event": "pulse", "level": "info"})["event"] == "pulse"

    logger = log.get("look")
    for _ in range(5):
        logger.warning("store.lost", reason="away")
    assert len(lines(out)) == 1


def test_people_get_text(out: io.StringIO) -> None:
    log.configure(form="console", stream=out)
    log.get("lease").info("lease.taken", n=3)

    assert "lease.taken" in out.getvalue()
    assert not out.getvalue().startswith("{")
