"""A shell is told the names that the daemon knows, quickly or not at all."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dripd.cli import names
from dripd.cli.main import main

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon


def complete(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    patience_s: float = 60.0,
) -> list[str]:
    words = line.split(" ")
    monkeypatch.setenv("_DRIPD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setattr(names, "PATIENCE_S", patience_s)
    with pytest.raises(SystemExit):  # click ends the process that answers a shell
        main([])
    return [one.partition(",")[2] for one in capsys.readouterr().out.split()]


@pytest.mark.parametrize(
    ("line", "method"),
    [
        ("dripd account show a", "account.list"),
        ("dripd campaign pause a", "campaign.list"),
        ("dripd enroll add a", "campaign.list"),
        ("dripd task list --account a", "account.list"),
        ("dripd list show a", "list.list"),
        ("dripd enroll stop --list a", "list.list"),
        ("dripd enroll move --to a", "campaign.list"),
    ],
)
def test_names_come_from_the_daemon(
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    method: str,
) -> None:
    daemon.answers = [{"items": [{"key": "acme"}, {"key": "beta"}], "next": None}]

    assert complete(monkeypatch, capsys, line) == ["acme"]
    assert [call.method for call, _ in daemon.calls] == [method]


def test_names_are_of_the_account_on_the_line(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers = [{"items": [{"address": "a@x"}], "next": None}]

    assert complete(monkeypatch, capsys, "dripd sender show --account acme ") == ["a@x"]
    assert daemon.calls[0][1]["account"] == "acme"


def test_nouns_verbs_and_methods_need_no_daemon(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DRIPD_SOCKET", str(tmp_path / "none"))

    assert complete(monkeypatch, capsys, "dripd acc") == ["account"]
    assert complete(monkeypatch, capsys, "dripd account sh") == ["show"]
    assert complete(monkeypatch, capsys, "dripd call task.ca") == ["task.cancel"]
    assert complete(monkeypatch, capsys, "dripd console --screen s") == [
        "senders",
        "suppressions",
    ]
    assert complete(monkeypatch, capsys, "dripd account show ") == []


def test_a_shell_does_not_wait_for_a_daemon_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DRIPD_SOCKET", str(tmp_path / "mute"))
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute"))
        mute.listen()

        assert complete(monkeypatch, capsys, "dripd account show ", 0.01) == []
