"""What is shipped for operators fits what dripd is: units, container, rules, dashboard."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from dripd.admin.place import RUN, UNIT_SECRETS, UNIT_STATE
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


def is_accepted(words: list[str]) -> bool:
    """Whether `dripd WORDS` is a command with options that it has, values where they belong."""
    command: click.Command = dripd
    context = click.Context(dripd)
    words = list(words)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0)) if words else None
        if found is None:
            return False
        command, context = found, click.Context(found, parent=context)
    try:
        _, _, order = command.make_parser(context).parse_args(words)
    except click.UsageError:
        return False
    return bool(order) or not words


def test_the_unit_runs_commands_that_exist() -> None:
    lines = [
        line for key, values in unit().items() if key.startswith("Exec") for line in values
    ]

    assert len(lines) == 2
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "/usr/bin/dripd"
        assert is_accepted(words), line


@pytest.mark.parametrize(
    "words", ["run --confg /x", "run --config", "config chek /x", "ready --now", ""]
)
def test_a_command_that_dripd_does_not_take_is_seen(words: str) -> None:
    assert not is_accepted(words.split())


def test_the_unit_starts_it_with_the_places_that_it_names() -> None:
    found = unit()
    (start,) = found["ExecStart"]

    assert shlex.split(start)[-1].startswith("/etc/dripd/")
    assert found["ConfigurationDirectory"] == ["dripd"]
    places = dict(word.split("=") for word in found["Environment"][0].split())
    assert places["DRIPD_STATE"] == f"/var/lib/{found['StateDirectory'][0]}"
    assert places["DRIPD_STATE"] == str(UNIT_STATE)
    assert (
        places["DRIPD_SOCKET"] == str(RUN) == f"/run/{found['RuntimeDirectory'][0]}/dripd.sock"
    )
    assert str(UNIT_SECRETS) == "/run/credentials/dripd.service"
    users = (CONTRIB / "systemd" / "dripd.sysusers").read_text()
    assert f"u {found['User'][0]} " in users
    name, source = found["LoadCredential"][0].split(":")
    assert f"cred:{name}" in (CONTRIB / "systemd" / "dripd.toml").read_text()
    assert source.startswith("/etc/dripd/")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    """But that dripd is not installed: any program stands in for it."""
    copy = tmp_path / "dripd.service"
    text = (CONTRIB / "systemd" / "dripd.service").read_text()
    copy.write_text(text.replace("/usr/bin/dripd", sys.executable))

    def analyze(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            ["systemd-analyze", *words, copy], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert analyze("verify", "--man=no") == (0, "")
    assert analyze("security", "--offline=true", "--threshold=20")[0] == 0


def test_the_unit_fits_the_daemons_times_and_exit_codes() -> None:
    found = unit()
    drain_s = SECTIONS["daemon"]["drain_timeout"].default

    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) > 4 * BEAT_S
    assert int(found["TimeoutStopSec"][0]) * 1000 > int(str(drain_s)) + 10_000
    assert found["RestartPreventExitStatus"] == [str(ConfigError.exit_code)]
    assert (
        "ExecStartPre" not in found
    )  # what fails there is started again whatever it ends with
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


def steps() -> list[tuple[str, str]]:
    """The instructions of the container file, each with the rest of its line."""
    text = (CONTRIB / "container" / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_container_builds_from_what_it_copies(tmp_path: Path) -> None:
    """Its first stage by hand: what COPY brings is enough for a wheel with all that dripd reads."""
    for word, rest in steps():
        if word == "COPY" and "--from" not in rest:
            *sources, to = rest.split()
            for source in sources:
                target = tmp_path / to / ("" if to != "./" else source)
                whole = ROOT / source
                if whole.is_dir():
                    shutil.copytree(whole, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(whole, target)
    made = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    packed = {str(path.relative_to(ROOT)) for path in (ROOT / "dripd").rglob("*.py")}
    assert packed <= names
    assert sum(name.endswith(".sql") for name in names) == len(
        list((ROOT / "sql").rglob("*.sql"))
    )


def test_the_container_runs_as_the_one_who_owns_its_places() -> None:
    found = dict(steps())
    made = " ".join(rest for word, rest in steps() if word == "RUN")
    user, group = found["USER"].split(":")
    settings = dict(re.findall(r"(DRIPD_\w+)=(\S+)", found["ENV"]))

    state = settings["DRIPD_STATE"]
    owned = rf"install --directory --owner={user} --group={group} --mode=0700 {state}(?: |$)"
    assert re.search(owned, made)
    assert found["VOLUME"] == state
    assert "DRIPD_SOCKET" not in settings  # it stands in the volume: all else is read-only
    ports = [settings[f"DRIPD_{one}__LISTEN"].split(":")[1] for one in ("GATEWAY", "METRICS")]
    assert found["EXPOSE"].split() == ports
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(found["ENTRYPOINT"]) == ["dripd"]
    assert is_accepted(json.loads(found["CMD"]))
    health = json.loads(found["HEALTHCHECK"].partition("CMD ")[2])
    assert is_accepted(health[1:])


def test_the_container_has_a_python_that_dripd_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = tuple(map(int, re.findall(r"\d+", project["requires-python"])[:2]))
    images = [rest.split()[0] for word, rest in steps() if word == "FROM"]
    versions = {
        tuple(map(int, image.split(":")[1].split("-")[0].split("."))) for image in images
    }

    assert len(versions) == 1  # what the first stage installs, the second runs
    assert versions.pop() >= least


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
