"""The comparison's table, and dripd's own worker under its orders."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.compare import SCENARIOS, chosen, measure, table
from bench.meter import value
from bench.peers.kit import PEERS, Peer, command
from bench.plot import markdown, svg
from bench.process import ROOT
from bench.server import serving
from dripd.errors import NotFound

FIGURES = {"cpu_us_daemon": 40.0, "cpu_us_postgres": 40.0, "other_cpu": 0.0}


def turns() -> list[dict[str, object]]:
    noop = {"scenario": "noop", **FIGURES}
    late = {"scenario": "lateness", "per_s": 200.0, **FIGURES}
    return [
        {**noop, "peer": "dripd", "per_s": 9.0},
        {**noop, "peer": "dripd", "per_s": 12.0},
        {**noop, "peer": "dripd", "per_s": 11.0},
        {**noop, "peer": "pgqueuer", "per_s": 5.5, "cpu_us_daemon": 120.0},
        {**noop, "peer": "pg-boss", "failed": "ValueError: the worker ended"},
        {**late, "peer": "dripd", "p50_ms": 1.0, "p99_ms": 2.0},
        {**late, "peer": "pgqueuer", "p50_ms": 60.0, "p99_ms": 140.0},
    ]


def test_the_table_has_medians_and_how_far_dripd_is_ahead() -> None:
    rows = {(row["scenario"], row["peer"]): row for row in table(turns())}

    assert rows["noop", "dripd"]["per_s"] == 11.0
    assert rows["noop", "pgqueuer"]["ahead_rate"] == 2.0
    assert rows["noop", "pgqueuer"]["ahead_cpu"] == 2.0
    assert rows["lateness", "pgqueuer"]["ahead_p99"] == 70.0
    assert rows["noop", "pg-boss"]["failed"]


def test_it_is_told_as_markdown_and_drawn() -> None:
    rows = table(turns())
    lines = markdown(rows).splitlines()

    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    drawn = ElementTree.fromstring(svg(rows))
    assert len(drawn.findall("{http://www.w3.org/2000/svg}rect")) == 1 + 4


def test_scenarios_are_chosen_by_name() -> None:
    assert [one.name for one in chosen((), None)] == [one.name for one in SCENARIOS]
    (backlog,) = chosen(("backlog",), 1_000)
    assert (backlog.n, backlog.until) == (1_000, 1_000)
    with pytest.raises(NotFound, match="no scenario"):
        chosen(("nope",), None)


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["noop", "post"])
@pytest.mark.parametrize("peer", PEERS[:2], ids=lambda peer: peer.name)
def test_dripd_does_what_the_kit_orders(
    pg_empty_dsn: str, tmp_path: Path, peer: Peer, name: str
) -> None:
    (scenario,) = chosen((name,), 60)
    with serving() as server:
        words = [*command(tmp_path, peer), pg_empty_dsn, server.url, name]
        env = {**os.environ, "DRIPD_STATE": str(tmp_path)}
        with subprocess.Popen(
            words, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            found = measure(process, pg_empty_dsn, scenario, peer, server)
            process.kill()

    assert found["n"] == 60
    assert asyncio.run(value(pg_empty_dsn, "SELECT count(*) FROM dripd.delivery")) == 60
