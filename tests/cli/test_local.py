"""Commands that work without a daemon: config, and campaign validate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dripd.cli.main import main

GOOD = """
campaign: welcome
account: acme
name: Welcome
sender: sales@acme.test
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIPD_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("DRIPD_SOCKET", raising=False)
    monkeypatch.delenv("DRIPD_DSN", raising=False)


def test_a_good_file_is_valid_without_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.yaml").write_text(GOOD)

    assert main(["campaign", "validate", str(tmp_path / "w.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["campaign"], found["faults"]) == (True, "welcome", [])


def test_every_fault_of_a_file_is_told_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD.replace("do: email", "do: emial").replace("name:", "nmae:")
    (tmp_path / "w.yaml").write_text(text)

    assert main(["campaign", "validate", str(tmp_path / "w.yaml"), "--json"]) == 1
    out, err = capsys.readouterr()
    faults = json.loads(out)["faults"]
    codes = {fault["code"] for fault in faults}
    assert {"unknown_kind", "unknown_option", "name_required"} <= codes
    assert json.loads(err)["error"]["faults"] == faults
    assert json.loads(err)["error"]["code"] == faults[0]["code"]
    assert main(["campaign", "validate", str(tmp_path / "w.yaml")]) == 1
    assert "[unknown_kind] steps[0]" in capsys.readouterr().out


def test_zones_and_holidays_are_known_without_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.yaml").write_text(
        GOOD.replace("steps:", "timezone: Mars/Base\nwindow: {holidays: QQ}\nsteps:")
    )

    assert main(["campaign", "validate", str(tmp_path / "w.yaml"), "--json"]) == 1
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert {"timezone", "window.holidays"} == {fault["path"] for fault in faults}


def test_files_beside_a_campaign_are_weighed_without_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(GOOD.replace("text: Hello", "text: Hello, attachments: [a.pdf]"))

    def codes() -> list[str]:
        main(["campaign", "validate", str(file), "--json"])
        return [fault["code"] for fault in json.loads(capsys.readouterr().out)["faults"]]

    assert codes() == ["missing:attachment"]
    for size, expected in ((26_214_400, []), (26_214_401, ["attachments_too_big"])):
        with (tmp_path / "a.pdf").open("wb") as attached:
            attached.truncate(size)
        assert codes() == expected


def test_text_that_is_no_yaml_is_a_fault_not_a_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.yaml").write_text("a: [1\nb: {")

    assert main(["campaign", "validate", str(tmp_path / "w.yaml"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["faults"]


def test_config_check_tells_all_faults_and_exits_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "d.toml"
    file.write_text("[engine]\nbatch = 0\nhorizn = 1\n")

    assert main(["config", "check", str(file)]) == 78
    err = capsys.readouterr().err
    assert "[bad_value] engine.batch" in err
    assert "[unknown_option] engine.horizn" in err
    assert len(err.splitlines()) == 2
    assert main(["config", "check", str(file), "--json"]) == 78
    assert len(json.loads(capsys.readouterr().err)["error"]["faults"]) == 2


def test_config_show_and_schema_are_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "d.toml"
    file.write_text("[engine]\nbatch = 7\n")

    assert main(["config", "show", str(file), "--json"]) == 0
    items = {i["key"]: i["value"] for i in json.loads(capsys.readouterr().out)["items"]}
    assert items["engine.batch"] == 7
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


@pytest.mark.slow
def test_asking_the_daemon_loads_neither_event_loop_nor_driver() -> None:
    script = (
        "import sys; from dripd.cli.main import main;"
        "main(['status']), main(['campaign', 'list']), main(['enroll', 'list']);"
        "heavy = ('trio', 'asyncio', 'asyncpg', 'httpx', 'yaml', 'structlog', 'textual',"
        " 'dripd.campaigns', 'dripd.config', 'importlib.metadata');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert done.stdout.decode().strip() == "[]"


@pytest.mark.parametrize(
    "line", ["db status", "db down", "config schema", "config check", "config show"]
)
def test_what_needs_no_daemon_answers_in_the_schema_of_all(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


def test_a_configuration_is_named_as_for_a_daemon_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.toml").write_text("[engine]\nbatch = 0\n")

    assert main(["config", "check", "--config", str(tmp_path / "d.toml")]) == 78
    assert "engine.batch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("none.csv", None, "{file}: cannot be read: No such file or directory"),
        ("latin.csv", "external_id\nJosé\n".encode("latin-1"), "{file}: is no UTF-8: "),
        ("rows.json", b'[{"external_id": "c1"}, 3]', "{file}:2: the row is no object"),
        ("rows.jsonl", b'{"external_id": "c1"}\n{\n', "{file}:2: no JSON: "),
    ],
)
def test_what_a_file_of_rows_lacks_is_said_with_its_path_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes | None, said: str
) -> None:
    file = tmp_path / name
    if data is not None:
        file.write_bytes(data)

    assert main(["contact", "import", str(file), "--account", "acme"]) == 2
    err = capsys.readouterr().err
    assert said.format(file=file) in err
    assert err.count(str(file)) == 1


def test_an_option_that_wants_an_object_is_named_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["enroll", "add", "w", "c1", "--vars", "[1]"]) == 2

    err = capsys.readouterr().err
    assert "--vars: must be a JSON object" in err
    assert err.count("--vars") == 1


@pytest.mark.parametrize(
    ("typed", "hint"), [("campain", "Did you mean 'campaign'?"), ("zzz", "")]
)
def test_a_noun_that_is_none_is_told_with_the_nearest(
    typed: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed, "list"]) == 2
    said = capsys.readouterr().err.rpartition("Error: ")[2].rstrip()
    assert f"No such command {typed!r}. {hint}".rstrip() == said


def test_an_answer_that_cannot_be_written_is_told_and_no_traceback() -> None:
    command = [sys.executable, "-m", "dripd.cli.main", "config", "schema"]
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE)

    assert (found.returncode, found.stderr) == (1, b"[failed] No space left on device\n")


def test_an_answer_that_nobody_wants_is_no_failure() -> None:
    command = f"exec {sys.executable} -m dripd.cli.main config schema >&-"
    found = subprocess.run(["sh", "-c", command], check=False, stderr=subprocess.PIPE)

    assert (found.returncode, found.stderr) == (0, b"")


def test_answers_of_benchmarks_are_laid_beside_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rate in (("engine", 12000), ("http", 8000)):
        told = {"schema": 1, "bench": name, "n": 5, "per_s": rate, "p50_ms": None, "runs": []}
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    files = [str(tmp_path / "engine.json"), str(tmp_path / "http.json")]

    assert main(["bench", "report", *files, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert main(["bench", "report", *files]) == 0
    heads, *rows = capsys.readouterr().out.splitlines()

    assert [("engine", 12000), ("http", 8000)] == [
        (item["bench"], item["per_s"]) for item in answer["items"]
    ]
    assert ["BENCH", "N", "SECONDS", "PER_S"] == heads.split()[:4]
    assert [["engine", "5", "-", "12000"], ["http", "5", "-", "8000"]] == [
        row.split()[:4] for row in rows
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}'])
def test_what_is_no_answer_of_a_benchmark_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "x.json").write_text(text)

    assert main(["bench", "report", str(tmp_path / "x.json"), "--json"]) == 2
    assert "bad_request" == json.loads(capsys.readouterr().err)["error"]["code"]
