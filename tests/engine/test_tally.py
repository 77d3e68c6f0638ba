"""Metrics of the work done: counted by the batch, with labels from bounded sets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dripd.campaigns.enrollment import CHANNEL_NO, Change, LogRow, LogState, Next
from dripd.clock import HOUR, Instant, Millis, parse_instant
from dripd.engine import tally
from dripd.engine.directory import Directory
from dripd.metrics import Registry
from tests.support.rooms import World, email, leased, make_version


def directory(*campaigns: str) -> Directory:
    """Versions 1, 2, ... of these campaigns of `acme`, as far as counting asks."""
    versions = {
        n: SimpleNamespace(
            campaign_key=key, definition=SimpleNamespace(account="acme"), steps=()
        )
        for n, key in enumerate(campaigns, 1)
    }
    return cast("Directory", SimpleNamespace(versions=versions))


def change(cv_id: int = 1, hold: str | None = None) -> Change:
    row = LogRow(
        seq=1, step_no=0, state=LogState.FAILED, at=Instant(5), channel=CHANNEL_NO["email"]
    )
    after = Next(due_at=Instant(9), lane=None, step_no=0, seq=2, hold_reason=hold)
    return Change(leased=leased(cv_id=cv_id), log=[row], next=after)


def counted(metrics: Registry, name: str) -> Any:
    return dict(metrics[name].values)


@pytest.mark.interpreted
def test_a_step_that_somebody_must_mend_is_counted_by_the_word_of_its_hold() -> None:
    metrics = Registry()
    holds = ("step_failed", "missing_tag:first_name", "window", None)
    tally.recorded(metrics, [change(hold=one) for one in holds], directory("welcome"))

    assert {("email", "step_failed"): 1, ("email", "missing_tag"): 1} == counted(
        metrics, "dripd_dead_letters_total"
    )


@pytest.mark.interpreted
def test_a_message_that_came_due_behind_its_window_is_counted_by_how_much() -> None:
    metrics, closed = Registry(), parse_instant("2026-03-02T17:00:00Z")
    version = make_version(email(window={"from": "09:00", "to": "17:00"}))
    rooms = cast("Directory", World(versions={1: version}))

    def sent(due_at: int, at: int) -> Change:
        row = replace(change().log[0], state=LogState.ACCEPTED, sent_at=Instant(at))
        return Change(leased=leased(cv_id=1, due_at=Instant(due_at)), log=[row])

    next_day = closed + 16 * HOUR
    batch = [sent(closed + 5_000, next_day), sent(closed - 1, next_day), sent(closed, closed)]
    tally.recorded(metrics, batch, rooms)

    counts, total = metrics.timing("dripd_window_missed_seconds").values["email",]
    assert (sum(counts), counts[1], total) == (1, 1, [5.0])
    tally.recorded(metrics, batch, rooms, Millis(2_000))
    assert (sum(counts), counts[0], total) == (3, 1, [10.0])


@pytest.mark.interpreted
def test_campaigns_have_series_only_if_wanted_and_only_so_many() -> None:
    batch = [change(n) for n in (1, 2, 2, 3, 1)]
    unwanted, wanted = Registry(), Registry(campaigns=2)
    for metrics in (unwanted, wanted):
        tally.recorded(metrics, batch, directory("one", "two", "three"))

    assert {} == counted(unwanted, "dripd_campaign_steps_total")
    assert {
        ("acme/one", "failed"): 2, ("acme/two", "failed"): 2, ("other", "failed"): 1
    } == counted(wanted, "dripd_campaign_steps_total")  # fmt: skip
