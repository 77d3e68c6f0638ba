"""The configuration: layers, bounds, references, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dripd.admin.place import socket_path, state_dir
from dripd.admin.roles import Roster
from dripd.channels.base import ProviderSettings, Secret
from dripd.clock import Millis
from dripd.config import Config, load
from dripd.errors import ConfigError
from dripd.options import SECTIONS, schema


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DRIPD_DSN", "DRIPD_SOCKET", "DRIPD_CONFIG", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DRIPD_STATE", str(tmp_path / "state"))


def read(tmp_path: Path, text: str, **flags: str) -> Config:
    file = tmp_path / "dripd.toml"
    file.write_text(text)
    return load(file, **flags)


def faults(tmp_path: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 78
    return {fault.path: f"{fault.message} / {fault.hint}" for fault in caught.value.faults}


def test_nothing_written_gives_every_default_and_the_sink(tmp_path: Path) -> None:
    config = read(tmp_path, "")

    assert config.dsn is None
    assert config.roster == Roster()
    assert config.daemon.drain_timeout_ms == 25_000
    assert config.daemon.node
    assert config.socket == tmp_path / "state" / "dripd.sock"
    assert config.providers == {"sink": ProviderSettings(name="sink", kind="sink")}


def test_a_full_file_is_read_into_typed_values(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k3y\n")
    config = read(
        tmp_path,
        f"""
        [admin.roles]
        member = ["@ops", "ann"]
        [engine]
        horizon = "5m"
        batch = 500
        [provider.fast]
        kind = "twilio"
        timeout = "2s"
        rate = "20/s"
        account_sid = "AC1"
        auth_token = "file:{tmp_path / "key"}"
        """,
    )

    assert config.roster.member == ("@ops", "ann")
    assert (config.engine.horizon_ms, config.engine.batch) == (300_000, 500)
    assert config.providers["fast"] == ProviderSettings(
        name="fast",
        kind="twilio",
        timeout_ms=Millis(2_000),
        rate="20/s",
        options={"account_sid": "AC1"},
        secrets={"auth_token": Secret("k3y")},
    )


def test_the_environment_stands_above_the_file_and_flags_above_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPD_ENGINE__BATCH", "77")
    monkeypatch.setenv("DRIPD_ADMIN__ROLES__VIEWER", "@look, eve")
    monkeypatch.setenv("DRIPD_PROVIDER__SINK__RECORD", "false")
    monkeypatch.setenv("DRIPD_PROVIDER__SINK__KIND", "sink")
    monkeypatch.setenv("DRIPD_DSN", "postgres://u:pw@h/d")
    text = '[engine]\nbatch = 500\n[postgres]\ndsn = "postgres://h/d"\n'
    config = read(tmp_path, text)

    assert config.engine.batch == 77
    assert config.roster.viewer == ("@look", "eve")
    assert config.providers["sink"].options == {"record": False}
    assert config.dsn == Secret("postgres://u:pw@h/d")
    assert read(tmp_path, text, dsn="postgres://x/y").dsn == Secret("postgres://x/y")


def test_no_margin_is_as_long_as_the_shortest_window(tmp_path: Path) -> None:
    """It would be shut for ever."""
    (found,) = faults(tmp_path, '[engine]\nwindow_margin = "1m"')

    assert "engine.window_margin" in str(found)


def test_every_fault_is_told_at_once_with_its_path(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """
        [engin]
        x = 1
        [engine]
        btach = 3
        batch = 0
        horizon = "5 minutes"
        [log]
        level = "inof"
        [admin.roles]
        viewers = []
        admin = "root, ann"
        member = [3]
        [provider.mail]
        kind = "snk"
        api_key = "abc"
        rate = "fast"
        """,
    )

    assert set(found) == {
        "engin",
        "engine.btach",
        "engine.batch",
        "engine.horizon",
        "log.level",
        "admin.roles.viewers",
        "admin.roles.member",
        "provider.mail.kind",
        "provider.mail.api_key",
        "provider.mail.rate",
    }
    assert "did you mean 'batch'?" in found["engine.btach"]
    assert "did you mean 'engine'?" in found["engin"]
    assert "dripd.toml" in found["engin"]
    assert "did you mean 'info'?" in found["log.level"]
    assert "did you mean 'sink'?" in found["provider.mail.kind"]
    assert "inline" in found["provider.mail.api_key"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("engine = 3", "engine"),
        ("[provider]\nsink = 3", "provider.sink"),
        ("[provider.x]\nbase_url = 'u'", "provider.x.kind"),
        ("[provider.sink]\nkind = 'smtp'", "provider.sink.kind"),
        ('[postgres]\ndsn = "postgres://u:pw@h/d"', "postgres.dsn"),
        ('[postgres]\ndsn = "file:/nowhere/at/all"', "postgres.dsn"),
        ('[postgres]\ndsn = "env:DRIPD_NO_SUCH_NAME"', "postgres.dsn"),
        ('[admin]\nsocket = "x"', "admin"),
        ('[postgres]\ndsn = "localhost/dripd"', "postgres.dsn"),
        ('[net]\nallow = ["300.0.0.0/8"]', "net.allow"),
        ('[net]\nallow = ["*.internal"]', "net.allow"),
        ('[net]\nallow = ["crm.internal:8080"]', "net.allow"),
        ('[provider.x]\nkind = "sendgrid"', "provider.x.api_key"),
        ('[provider.x]\nkind = "smtp"\nhost = "mx.test"', "provider.x.host"),
        ('[provider.x]\nkind = "smtp"\nbase_url = "mx.test"', "provider.x.base_url"),
        ('[provider.x]\nkind = "sink"\nunknown = "retry"', "provider.x.unknown"),
    ],
)
def test_a_single_fault_names_its_key(tmp_path: Path, text: str, path: str) -> None:
    assert path in faults(tmp_path, text)


def test_an_adapter_tells_what_it_lacks_beside_every_other_fault(tmp_path: Path) -> None:
    """It is asked before the daemon starts, not by it; what is bad already is not missing too."""
    found = faults(
        tmp_path,
        """
        [provider.a]
        kind = "sendgrid"
        [provider.b]
        kind = "sendgrid"
        api_key = "inline"
        [provider.c]
        kind = "smtp"
        timeout = "soon"
        base_ulr = "smtp://mx.test"
        [provider.d]
        kind = "smtp"
        base_url = "smtp://mx.test"
        host = "mx.test"
        """,
    )

    assert set(found) == {
        "provider.a.api_key",
        "provider.b.api_key",
        "provider.c.timeout",
        "provider.c.base_ulr",
        "provider.d.host",
    }
    assert "inline" in found["provider.b.api_key"]
    assert "did you mean 'base_url'?" in found["provider.c.base_ulr"]
    assert str(tmp_path) in found["provider.d.host"]
    assert "dkim_key" in found["provider.d.host"]
    assert "base_url" in found["provider.d.host"]


def test_a_file_that_is_missing_or_no_toml_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is no TOML"):
        read(tmp_path, "[engine\n")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff[engine]\nbatch = 5").engine.batch == 5


def test_an_address_that_is_none_is_not_missing_too(tmp_path: Path) -> None:
    found = faults(tmp_path, "[script.a]\nurl = 'ftp'")

    assert found["script.a.url"].startswith("must be an address")


def test_no_secret_shows_anywhere(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgres://u:hunter2@h/d")
    (tmp_path / "key").write_text("hunter2")
    config = read(
        tmp_path,
        f"""
        [postgres]
        dsn = "file:{tmp_path / "dsn"}"
        [provider.m]
        kind = "resend"
        api_key = "file:{tmp_path / "key"}"
        """,
    )

    assert config.dsn is not None
    assert config.dsn.reveal() == "postgres://u:hunter2@h/d"
    assert "hunter2" not in repr(config)


def test_credentials_of_systemd_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dsn").write_text("postgres://h/d\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert read(tmp_path, '[postgres]\ndsn = "cred:dsn"').dsn == Secret("postgres://h/d")


def test_each_value_shown_has_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPD_LOG__LEVEL", "debug")
    shown = {s.key: s for s in read(tmp_path, "[engine]\nbatch = 5").shown}

    assert shown["log.level"].origin == "env:DRIPD_LOG__LEVEL"
    assert shown["engine.batch"].origin == f"file:{tmp_path / 'dripd.toml'}"
    assert shown["engine.poll"].origin == "default"


def test_schema_knows_every_section_and_nothing_else() -> None:
    found = schema()["properties"]

    assert isinstance(found, dict)
    assert {name.split(".")[0] for name in SECTIONS} | {"provider", "script"} == set(found)


def test_the_socket_is_chosen_in_the_order_of_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert socket_path() == tmp_path / "state" / "dripd.sock"
    monkeypatch.setenv("DRIPD_SOCKET", "/x/y.sock")
    assert socket_path() == Path("/x/y.sock")
    assert socket_path("/a/b.sock") == Path("/a/b.sock")
    monkeypatch.delenv("DRIPD_SOCKET")
    monkeypatch.delenv("DRIPD_STATE")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/dripd")
    assert socket_path(serving=True) == Path("/run/dripd/dripd.sock")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_dir() == tmp_path / "dripd"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"DRIPD_STATE": "/srv/one"}, Path("/srv/one")),
        ({"XDG_STATE_HOME": "/srv/state"}, Path("/srv/state/dripd")),
        ({"XDG_STATE_HOME": "not/absolute"}, Path("/srv/home/.local/state/dripd")),
        ({}, Path("/srv/home/.local/state/dripd")),
    ],
)
def test_state_directory_follows_the_environment(
    given: dict[str, str], found: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DRIPD_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/srv/home", **given}.items():
        monkeypatch.setenv(name, value)

    assert found == state_dir()


def test_the_gateway_listens_on_this_machine_unless_told(tmp_path: Path) -> None:
    config = read(tmp_path, "")

    assert (config.gateway.listen, config.gateway.public_url) == ("127.0.0.1:0", "")
    assert config.gateway.secret is None


def test_the_gateways_options_are_checked(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """
        [gateway]
        listen = "8025"
        public_url = "mail.example.com"
        secret = "inline"
        """,
    )

    assert set(found) == {"gateway.listen", "gateway.public_url", "gateway.secret"}
    assert "HOST:PORT" in found["gateway.listen"]
    assert "written inline" in found["gateway.secret"]


def test_a_public_url_loses_its_last_slash(tmp_path: Path) -> None:
    config = read(tmp_path, '[gateway]\npublic_url = "https://mail.example.com/drip/"')

    assert config.gateway.public_url == "https://mail.example.com/drip"


@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        ('{"x.test" = "5/s", "*" = "50/min"}', True),
        ('{"x.test" = "fast"}', False),
        ('"5/s"', False),
    ],
)
def test_rates_by_domain_are_a_table_of_rates(
    tmp_path: Path, value: str, is_good: bool
) -> None:
    file = tmp_path / "dripd.toml"
    file.write_text(f'[provider.mail]\nkind = "sink"\ndomains = {value}\n')
    if is_good:
        assert {"x.test": "5/s", "*": "50/min"} == load(file).providers["mail"].domains
        return
    with pytest.raises(ConfigError) as caught:
        load(file)

    assert ["provider.mail.domains"] == [fault.path for fault in caught.value.faults]


def test_a_reference_to_nothing_is_a_fault(tmp_path: Path) -> None:
    """Each daemon signed links with a key of its own, where all referred to one empty file."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("s" * 23)
    (tmp_path / "fit").write_text("s" * 24)
    empty, short, fit = (f'"file:{tmp_path / name}"' for name in ("empty", "short", "fit"))

    found = faults(tmp_path, f"[gateway]\nsecret = {empty}")
    assert "which is empty" in found["gateway.secret"]
    found = faults(tmp_path, f"[gateway]\nsecret = {short}")
    assert "is shorter than 24 characters" in found["gateway.secret"]
    assert read(tmp_path, f"[gateway]\nsecret = {fit}").gateway.secret == Secret("s" * 24)
    assert read(tmp_path, '[gateway]\nsecret = ""').gateway.secret is None


@pytest.mark.parametrize(
    ("reference", "why", "todo"),
    [
        ("file:/nowhere/at/all", "No such file", "daemon's user may read it"),
        (
            "env:DRIPD_NO_SUCH_NAME",
            "DRIPD_NO_SUCH_NAME is not set",
            "where the daemon is started",
        ),
        ("cred:dsn", "CREDENTIALS_DIRECTORY is not set", "LoadCredential="),
    ],
)
def test_a_secret_that_is_not_there_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, why: str, todo: str
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f'[postgres]\ndsn = "{reference}"')
    (fault,) = caught.value.faults

    assert why in fault.message
    assert todo in fault.hint
