"""The daemon's own figures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dripd.daemon.figures import MINUTE, PART, PARTS, Figures
from dripd.engine.pipeline import Counters
from dripd.metrics import Registry

pytestmark = pytest.mark.trio


def pipe_of(metrics: Registry) -> Any:
    lately = SimpleNamespace(recorded=SimpleNamespace(n=0, since=lambda _seen, _most: ([], 0)))
    return SimpleNamespace(
        metrics=metrics, counters=Counters(), lately=lately, owned=set(), unsent=0, ready=[],
        wheel=[], lanes=SimpleNamespace(n_parked=0), directory=SimpleNamespace(accounts={}),
        flow=SimpleNamespace(providers={}), tuning=SimpleNamespace(in_flight=4000), leased={},
    )  # fmt: skip


async def test_attempts_are_counted_by_what_came_of_them_for_a_minute() -> None:
    metrics = Registry()
    figures = Figures(cast("Any", pipe_of(metrics)))
    attempts = metrics["dripd_send_attempts_total"]
    attempts.add("email", "old", "accepted", n=5)
    figures.sample()
    attempts.add("email", "p", "accepted", n=90)
    attempts.add("sms", "q", "accepted", n=3)
    attempts.add("sms", "q", "failed", n=2)
    attempts.add("email", "p", "retry")
    figures.sample()

    shown = figures.shown()
    assert [shown[f"{name}_1m"] for name in ("accepted", "retry", "failed", "unknown")] == [
        93, 1, 2, 0
    ]  # fmt: skip

    for _ in range(MINUTE):
        figures.sample()
    assert figures.shown()["accepted_1m"] == 0


async def test_the_past_is_kept_in_parts_at_their_highest() -> None:
    pipe = pipe_of(Registry())
    figures = Figures(cast("Any", pipe))
    for n in range(PART + 2):
        pipe.unsent = 90 if n == 3 else 1
        figures.sample()
    assert [part["unsent"] for part in figures.history] == [90, 1]
    for _ in range(PART * PARTS):
        figures.sample()

    assert len(figures.history) == PARTS


async def test_how_long_units_of_work_take_is_of_the_last_minute() -> None:
    metrics = Registry()
    figures = Figures(cast("Any", pipe_of(metrics)))
    assert figures.shown()["db_p99_ms"] == 0.0
    timed = metrics.timing("dripd_db_query_seconds")
    timed.observe_all([9.0] * 50, "lease")
    figures.sample()
    timed.observe_all([0.0004] * 60, "lease")
    timed.observe_all([0.03] * 40, "record")
    figures.sample()
    assert 25 < figures.shown()["db_p99_ms"] <= 50

    for _ in range(MINUTE):
        figures.sample()
    assert figures.shown()["db_p99_ms"] == 0.0


async def test_the_latency_is_that_of_the_last_minutes_attempts() -> None:
    pipe = pipe_of(Registry())
    figures = Figures(cast("Any", pipe))
    figures.sample()
    assert "took_p50_ms" not in figures.shown()

    rows = [SimpleNamespace(channel=1, at=1000 + n, sent_at=1000) for n in range(1, 101)]
    held = SimpleNamespace(channel=0, at=9_000, sent_at=None)
    leased = SimpleNamespace(account_id=1, lane=0, leased_at=0, due_at=0)
    changes = [SimpleNamespace(log=[row], leased=leased) for row in (*rows, held)]
    pipe.lanes.get = lambda _account, _lane: None
    pipe.lately.recorded = SimpleNamespace(n=101, since=lambda _seen, _most: (changes, 0))
    figures.sample()
    pipe.lately.recorded = SimpleNamespace(n=101, since=lambda _seen, _most: ([], 0))
    shown = figures.shown()
    assert [shown[f"took_p{n}_ms"] for n in (50, 95, 99)] == [51, 96, 100]

    for _ in range(MINUTE):
        figures.sample()
    assert "took_p50_ms" not in figures.shown()
