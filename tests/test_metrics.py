"""Metrics: one catalogue, bounded series, a page that Prometheus reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dripd import metrics
from dripd.metrics import METRICS, OTHER, SERIES_MOST, Registry, quantile

LINE = re.compile(
    r'(?P<name>[a-z_]+)(\{(?P<labels>[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*)\})?'
    r" (?P<value>[-+0-9.e]+|inf)"
)


def test_every_metric_is_named_after_what_it_is() -> None:
    for name, family in METRICS.items():
        assert re.fullmatch(r"(dripd|process|python)_[a-z_]+", name)
        assert (family.kind == "counter") == name.endswith("_total")
        assert family.doc
        assert (family.kind == "histogram") == bool(family.buckets)
        assert list(family.buckets) == sorted(family.buckets)


def test_every_metric_is_counted_somewhere() -> None:
    folder = Path(metrics.__file__).parent
    code = "".join(path.read_text() for path in folder.rglob("*.py"))

    assert [] == [name for name in METRICS if code.count(f'"{name}"') < 2]


def test_no_label_can_name_a_person_or_a_message() -> None:
    labels = {label for family in METRICS.values() for label in family.labels}

    assert not labels & {"contact", "enrollment", "address", "account", "id", "error", "url"}


def test_the_page_is_prometheus_text() -> None:
    registry = Registry()
    registry["dripd_send_attempts_total"].add("email", 'a"b\\c\nd', "accepted", n=3)
    registry["dripd_due_oldest_seconds"].set(0.25)
    registry.timing("dripd_send_seconds").observe_all([0.02, 0.02, 100.0], "email", "sink")

    page = registry.render()

    assert (
        r'dripd_send_attempts_total{channel="email",provider="a\"b\\c\nd",result="accepted"} 3'
        in page
    )
    assert "dripd_due_oldest_seconds 0.25\n" in page
    assert 'dripd_send_seconds_bucket{channel="email",provider="sink",le="0.025"} 2' in page
    assert 'dripd_send_seconds_bucket{channel="email",provider="sink",le="+Inf"} 3' in page
    assert 'dripd_send_seconds_count{channel="email",provider="sink"} 3' in page
    for line in page.splitlines():
        assert line.startswith("# ") or LINE.fullmatch(line), line


def test_there_are_never_more_series_than_the_budget() -> None:
    registry = Registry()
    for n in range(2 * SERIES_MOST):
        registry["dripd_send_attempts_total"].add("email", f"p{n}", "accepted")
        registry.timing("dripd_send_seconds").observe(0.1, "email", f"p{n}")

    lines = [line for line in registry.render().splitlines() if not line.startswith("#")]
    assert len(lines) <= SERIES_MOST
    attempts = registry["dripd_send_attempts_total"].values
    assert sum(attempts.values()) == 2 * SERIES_MOST
    assert (OTHER,) * 3 in attempts


def test_a_metric_that_is_not_declared_cannot_be_counted() -> None:
    registry = Registry()

    with pytest.raises(KeyError):
        registry["dripd_nothing_total"].add()
    with pytest.raises(ValueError, match="labels"):
        registry["dripd_tasks"].set(1, "surplus")


@pytest.mark.parametrize(
    ("counts", "share", "found"),
    [
        ([0, 0, 0], 0.99, None),
        ([4, 0, 0], 0.5, 0.5),
        ([1, 1, 0], 1.0, 2.0),
        ([1, 3, 0], 0.5, 1 + 1 / 3),
        ([1, 1, 98], 0.99, 2.0),
    ],
)
def test_where_a_share_of_what_was_counted_lies(
    counts: list[int], share: float, found: float | None
) -> None:
    assert found == quantile(counts, (1.0, 2.0), share)
