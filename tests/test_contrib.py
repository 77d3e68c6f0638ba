"""What is shipped for operators fits what dripd is: units, container, rules, dashboard."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from dripd.cli.main import dripd
from dripd.config import load
from dripd.daemon.pulse import BEAT_S
from dripd.errors import ConfigError
from dripd.metrics import METRICS, Family
from dripd.options import SECTIONS

ROOT = Path(__file__).resolve().parents[1]
CONTRIB = ROOT / "contrib"

OURS = re.compile(r"\b(?:dripd|process|python)_[a-z_]+\b")
SELECTOR = re.compile(r"\b((?:dripd|process|python)_[a-z_]+)\{([^}]*)\}")
OF_PROMETHEUS = {"instance", "job", "le"}


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (CONTRIB / "systemd" / "dripd.service").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def is_command(words: list[str]) -> bool:
    """Whether `dripd WORDS` names a command, as far as its words are nouns and verbs."""
    command: click.Command | None = dripd
    context = click.Context(dripd)
    for word in words:
        if not isinstance(command, click.Group):
            return True
        command = command.get_command(context, word)
        if command is None:
            return False
    return not isinstance(command, click.Group)


def test_the_unit_runs_commands_that_exist() -> None:
    lines = [
        line for key, values in unit().items() if key.startswith("Exec") for line in values
    ]

    assert len(lines) == 3
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "/usr/bin/dripd"
        assert is_command([word for word in words if not word.startswith(("-", "/"))])


def test_the_unit_fits_the_daemons_times_and_exit_codes() -> None:
    found = unit()
    drain_s = SECTIONS["daemon"]["drain_timeout"].default

    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) > 4 * BEAT_S
    assert int(found["TimeoutStopSec"][0]) * 1000 > int(str(drain_s)) + 10_000
    assert found["RestartPreventExitStatus"] == [str(ConfigError.exit_code)]
    assert found["RuntimeDirectoryMode"] == ["0750"]
    assert "PrivateUsers" not in found  # peers of the socket would all be nobody
    assert {"NoNewPrivileges", "ProtectSystem", "SystemCallFilter"} <= set(found)


def test_the_example_configuration_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dsn").write_text("postgresql://dripd:secret@db/dripd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("DRIPD_DSN", raising=False)

    config = load(CONTRIB / "systemd" / "dripd.toml")

    assert config.dsn is not None
    assert "secret" in config.dsn.reveal()


def test_the_container_sets_options_that_exist() -> None:
    text = (CONTRIB / "container" / "Containerfile").read_text()
    words = re.findall(r'CMD \["dripd", "(\w+)"\]|^CMD \["(\w+)"\]', text, re.MULTILINE)

    assert [pair for pair in words if not is_command([pair[0] or pair[1]])] == []
    assert len(words) == 2
    for section, key in re.findall(r"DRIPD_([A-Z]+)__([A-Z_]+)=", text):
        assert key.lower() in SECTIONS[section.lower()]
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((CONTRIB / "prometheus" / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    board = json.loads((CONTRIB / "grafana" / "dripd.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def family(name: str) -> Family | None:
    """The metric of a series: a histogram's have endings of their own."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    found = METRICS.get(base)
    return found if found is not None and found.kind == "histogram" else METRICS.get(name)


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_rules_and_dashboard_ask_for_metrics_and_labels_that_exist(expression: str) -> None:
    plain = re.sub(r'"[^"]*"', '""', expression)
    for name in OURS.findall(plain):
        assert family(name) is not None, name
    for name, matchers in SELECTOR.findall(plain):
        found = family(name)
        assert found is not None
        labels = set(re.findall(r"([a-z_]+)[=!]", matchers))
        assert labels <= set(found.labels) | OF_PROMETHEUS, labels
    known = {label for f in METRICS.values() for label in f.labels} | OF_PROMETHEUS
    for grouped in re.findall(r"\bby \(([^)]*)\)", plain):
        assert {word.strip() for word in grouped.split(",")} <= known
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert set(re.findall(r"\bdripd:[a-z0-9_:]+", plain)) <= recorded


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    text = (ROOT / "docs" / "guide" / "runbooks.rst").read_text()
    headings = set(re.findall(r"^(Dripd\w+)\n[-]+$", text, re.MULTILINE))

    assert alerts == headings


def test_panels_have_places_of_their_own() -> None:
    panels = json.loads((CONTRIB / "grafana" / "dripd.json").read_text())["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len(set(places)) == len(places)
