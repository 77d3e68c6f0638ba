"""Metrics of the work done: counted by the batch, with labels from bounded sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from dripd.campaigns.enrollment import CHANNEL_NO, Change, LogRow, LogState, Next
from dripd.clock import Instant
from dripd.engine import tally
from dripd.engine.directory import Directory
from dripd.metrics import Registry
from tests.support.rooms import leased


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


def test_a_step_that_somebody_must_mend_is_counted_by_the_word_of_its_hold() -> None:
    metrics = Registry()
    holds = ("step_failed", "missing_tag:first_name", "window", None)
    tally.recorded(metrics, [change(hold=one) for one in holds], directory("welcome"))

    assert {("email", "step_failed"): 1, ("email", "missing_tag"): 1} == counted(
        metrics, "dripd_dead_letters_total"
    )


def test_campaigns_have_series_only_if_wanted_and_only_so_many() -> None:
    batch = [change(n) for n in (1, 2, 2, 3, 1)]
    unwanted, wanted = Registry(), Registry(campaigns=2)
    for metrics in (unwanted, wanted):
        tally.recorded(metrics, batch, directory("one", "two", "three"))

    assert {} == counted(unwanted, "dripd_campaign_steps_total")
    assert {
        ("acme/one", "failed"): 2, ("acme/two", "failed"): 2, ("other", "failed"): 1
    } == counted(wanted, "dripd_campaign_steps_total")  # fmt: skip
