"""A configuration that is read again: what takes effect, what waits, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dripd import log
from dripd.config import Config, load
from dripd.daemon.reload import Reloader, compare
from dripd.errors import ConfigError
from dripd.metrics import Registry
from dripd.options import SECTIONS

BEFORE = """
[log]
level = "info"
[engine]
batch = 100
[provider.mail]
kind = "smtp"
base_url = "smtp://mx.test"
username = "ann"
password = "file:{secret}"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRIPD_STATE", str(tmp_path))
    monkeypatch.setattr(log.THRESHOLD, "at", log.LEVELS["info"])
    (tmp_path / "secret").write_text("one")
    file = tmp_path / "dripd.toml"
    file.write_text(BEFORE.format(secret=tmp_path / "secret"))
    return file


def test_what_a_daemon_can_take_in_is_told_from_what_needs_a_restart(file: Path) -> None:
    old = load(file)
    text = file.read_text().replace("100", "200").replace("info", "debug")
    file.write_text(text.replace("mx.test", "mx2.test") + '[daemon]\nnode = "n2"\n')

    changes = compare(old, old.reread())

    assert changes.now == ("engine.batch", "log.level")
    assert changes.restart == ("daemon.node", "provider.mail.base_url")


def test_a_new_secret_is_a_change_although_nobody_shows_it(file: Path, tmp_path: Path) -> None:
    old = load(file)
    (tmp_path / "secret").write_text("two")

    assert compare(old, old.reread()).restart == ("provider.mail",)
    assert compare(old, old) == compare(old.reread(), old.reread())


def test_a_reload_applies_all_or_nothing(file: Path) -> None:
    applied: list[Config] = []
    metrics = Registry()
    reloader = Reloader(load(file), metrics, applied.append)
    good = file.read_text()
    file.write_text(good.replace("100", "200").replace("info", "debug") + "[engin]\nx = 1\n")
    with pytest.raises(ConfigError):
        reloader.reload()
    reloader.on_signal()

    assert (applied, log.level(), reloader.generation) == ([], "info", 1)
    file.write_text(good.replace("100", "200").replace("smtp://", "http://"))
    with pytest.raises(ConfigError, match=r"provider\.mail\.base_url"):
        reloader.reload()
    assert not applied
    assert metrics["dripd_config_reload_success"].values == {(): 0}

    file.write_text(good.replace("100", "200").replace("info", "debug"))
    told = reloader.reload()

    assert told["in_force"] == ["engine.batch", "log.level"]
    assert (applied[0].engine.batch, log.level(), reloader.generation) == (200, "debug", 2)
    assert metrics["dripd_config_reload_success"].values == {(): 1}
    assert metrics["dripd_config_generation"].values == {(): 2}


def test_every_engine_option_is_reloadable_and_the_schema_says_so() -> None:
    assert all(option.live for option in SECTIONS["engine"].values())
    assert not SECTIONS["gateway"]["listen"].live
