"""The doctor finds what is wrong, and says nothing of what is well."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from dripd.admin import place
from dripd.admin.client import Client
from dripd.cli.main import main
from dripd.config import load
from dripd.daemon import doctor
from dripd.daemon.doctor import Check, diagnose, in_place
from dripd.daemon.zones import digest
from dripd.errors import ConfigError, NotPermitted
from tests.support.pooler import Pooler
from tests.support.postgres import execute

BREAK = """
INSERT INTO dripd.account (key, timezone) VALUES ('acme', 'Europe/Berlin'), ('beta', 'UTC');
INSERT INTO dripd.sender (account_id, address, provider) VALUES (1, 'a@acme.test', 'gone');
INSERT INTO dripd.connector (account_id, key, url, secret)
    VALUES (1, 'crm', 'https://crm.test', 'file:/no/such/secret');
INSERT INTO dripd.campaign (account_id, key, name, status) VALUES (2, 'welcome', 'W', 'active');
INSERT INTO dripd.park (account_id, lane, reason) VALUES (1, -1, 'no_subscription');
INSERT INTO dripd.node (incarnation, name, version, beat_at)
    VALUES (7, 'old', '0', clock_timestamp() - interval '1 hour');
INSERT INTO dripd.event_in (account_id, kind) VALUES (1, 'reply');
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq, step_no, run_no, channel, state, attempt, reason)
    VALUES (1, 1, dripd.now(), dripd.now(), 1, 1, 1, 0, 1, 1, 3, 1, 'presumed_sent');
"""


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory(prefix="dripd-") as folder:
        monkeypatch.setenv("DRIPD_STATE", folder)
        monkeypatch.delenv("DRIPD_SOCKET", raising=False)
        monkeypatch.delenv("DRIPD_DSN", raising=False)
        yield Path(folder)


def sick(checks: list[Check]) -> dict[str, str]:
    assert all(bool(check.hint) != check.ok for check in checks)
    return {check.name: check.detail for check in checks if not check.ok}


def test_a_sound_installation_has_nothing_wrong(state: Path, pg_dsn: str) -> None:
    checks = diagnose(load(dsn=pg_dsn))

    assert {} == sick(checks)
    assert {"config", "database", "schema", "durability", "senders"} <= {c.name for c in checks}


def test_what_is_wrong_with_a_deployment_is_named(state: Path, pg_dsn: str) -> None:
    execute(pg_dsn, BREAK)

    found = sick(diagnose(load(dsn=pg_dsn)))

    assert {"senders", "connectors", "accounts", "parked", "daemons", "queues"} == set(found)
    assert "gone" in found["senders"]
    assert "beta" in found["accounts"]
    assert "no_subscription" in found["parked"]
    assert "old" in found["daemons"]


def test_a_snapshot_that_has_been_open_for_long_is_named(
    state: Path, pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_over_an_open_one() -> list[Check]:
        conn = await asyncpg.connect(pg_dsn)
        try:
            async with conn.transaction(isolation="repeatable_read"):
                await conn.fetchval("SELECT 1")
                return await asyncio.to_thread(diagnose, load(dsn=pg_dsn))
        finally:
            await conn.close()

    monkeypatch.setattr(doctor, "SNAPSHOT_MIN", 0)
    assert "old_snapshot" in sick(asyncio.run(look_over_an_open_one()))


def test_a_database_without_the_schema_lacks_it(state: Path, pg_empty_dsn: str) -> None:
    found = sick(diagnose(load(dsn=pg_empty_dsn)))

    assert "schema" in found
    assert found["schema"].startswith("lacks ")
    assert found["schema"].endswith(" migrations, from 0001_create_dripd on")


def test_a_database_that_cannot_be_ours_is_told_in_words(
    state: Path, pg_empty_dsn: str
) -> None:
    execute(pg_empty_dsn, "CREATE SCHEMA dripd; CREATE TABLE dripd.migration (version int4)")

    found = {check.name: check for check in diagnose(load(dsn=pg_empty_dsn))}

    assert "holds something else" in found["schema"].detail
    assert "a database of its own" in found["schema"].hint
    assert found["database"].ok


def test_a_role_that_writes_nothing_is_told(state: Path, pg_dsn: str) -> None:
    read_only = "options=-c%20default_transaction_read_only%3Don"
    dsn = f"{pg_dsn}{'&' if '?' in pg_dsn else '?'}{read_only}"

    found = {check.name: check for check in diagnose(load(dsn=dsn))}

    assert "writes nothing" in found["database"].detail
    assert "default_transaction_read_only" in found["database"].hint


def test_an_account_that_crowds_the_doors_is_named(state: Path, pg_dsn: str) -> None:
    execute(
        pg_dsn,
        "INSERT INTO dripd.account (key, timezone) VALUES ('acme', 'UTC'), ('beta', 'UTC');"
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id)"
        " SELECT CASE WHEN n % 3 = 0 THEN 'beta' ELSE 'acme' END, 'c', n::text"
        " FROM generate_series(1, 12000) AS n;"
        "INSERT INTO dripd.event_in (account_id, kind) VALUES (2, 'reply')",
    )

    found = {check.name: check for check in diagnose(load(dsn=pg_dsn))}["crowding"]

    assert (found.ok, found.detail) == (False, "acme: 6667 requests, 0 events")


def test_daemons_that_go_by_other_rules_of_zones_are_named(state: Path, pg_dsn: str) -> None:
    execute(
        pg_dsn,
        "INSERT INTO dripd.node (incarnation, name, version, state, figures) VALUES"
        f" (1, 'here', '0', 'running', '{{\"zones\": \"{digest()}\"}}'),"
        " (2, 'there', '0', 'running', '{\"zones\": \"0123456789ab\"}')",
    )

    found = {check.name: check for check in diagnose(load(dsn=pg_dsn))}["zone_rules"]

    assert not found.ok
    assert found.detail == f"other rules than here ({digest()}): there (0123456789ab)"


def test_a_postgres_of_other_rules_is_named(
    state: Path, pg_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Berlin, of all places, keeps the time of Tokyo here."""
    execute(
        pg_dsn,
        "INSERT INTO dripd.account (key, timezone) VALUES ('a', 'Europe/Berlin'), ('b', 'CET')",
    )
    rules = resources.files("tzdata.zoneinfo")
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes((rules / "Asia" / "Tokyo").read_bytes())
    command = [sys.executable, "-m", "dripd.cli.main", "doctor", "--dsn", pg_dsn, "--json"]

    for where, ok in ((None, True), (str(tmp_path), False)):
        if where is not None:
            monkeypatch.setenv("PYTHONTZPATH", where)
        said = subprocess.run(command, capture_output=True, timeout=60, check=False).stdout
        check = next(one for one in json.loads(said)["checks"] if one["name"] == "zone_rules")
        assert ok == check["ok"], check
    assert "Postgres has other rules for Europe/Berlin" in check["detail"]


def test_a_pooler_of_transactions_is_named(state: Path, pg_dsn: str, tmp_path: Path) -> None:
    with Pooler(pg_dsn, tmp_path, "transaction") as pooler:
        found = {check.name: check for check in diagnose(load(dsn=pooler.dsn))}["database"]

    assert not found.ok
    assert "every transaction another session" in found.detail
    assert "pool_mode = session" in found.hint


def test_what_is_wrong_with_the_machine_is_named(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.chmod(0o777)
    monkeypatch.setattr(doctor, "SPACE", 1 << 62)
    monkeypatch.setattr(doctor, "OPEN_FILES", 1 << 62)
    monkeypatch.setenv("DRIPD_SOCKET", f"/tmp/{'x' * 200}.sock")

    found = sick(diagnose(load()))

    assert {"state_directory", "journal_space", "open_files", "socket"} == set(found)


def test_a_state_directory_that_is_a_file_is_told_as_one(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state / "file").touch()
    monkeypatch.setenv("DRIPD_STATE", str(state / "file"))

    found = {check.name: check for check in diagnose(load())}["state_directory"]

    assert (found.ok, found.detail) == (False, f"{state / 'file'} is no directory")
    assert "DRIPD_STATE" in found.hint


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine on which the unit runs, and a user who has no daemon of his own."""
    for name in ("DRIPD_STATE", "DRIPD_SOCKET", "DRIPD_DSN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    with TemporaryDirectory(prefix="dripd-") as folder:
        root = Path(folder)
        root.chmod(0o711)
        monkeypatch.setenv("XDG_STATE_HOME", str(root / "home"))
        for name, mode in ("run", 0o750), ("state", 0o700), ("secrets", 0o500):
            (root / name).mkdir(mode=mode)
        (root / "run" / "dripd.sock").touch(mode=0o660)
        monkeypatch.setattr(place, "RUN", root / "run" / "dripd.sock")
        monkeypatch.setattr(doctor, "RUN", root / "run" / "dripd.sock")
        monkeypatch.setattr(doctor, "UNIT_STATE", root / "state")
        monkeypatch.setattr("dripd.config.UNIT_SECRETS", root / "secrets")
        yield root


AWAY = "postgresql://127.0.0.1:1/none"  # the embedded Postgres is looked at as another user


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights: nothing is closed to root."""
    root, group = os.geteuid() == 0, os.getegid()
    if root:
        os.setegid(65534)
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
            os.setegid(group)


def test_the_unit_s_places_are_looked_at_where_it_runs(unit: Path) -> None:
    config = in_place(load(), None)
    found = {check.name: check for check in diagnose(config)}

    assert (config.socket, config.state) == (unit / "run" / "dripd.sock", unit / "state")
    assert found["state_directory"] == (
        "state_directory", True, f"{unit / 'state'} (0700)", ""
    )  # fmt: skip
    assert found["socket"].ok
    assert not found["daemon"].ok  # nobody listens behind this file
    assert in_place(load(), "/tmp/x.sock").socket == Path("/tmp/x.sock")


def test_the_unit_s_state_is_judged_by_what_its_owner_may(unit: Path) -> None:
    (unit / "run").chmod(0o711)
    with as_nobody():
        found = {check.name: check for check in diagnose(in_place(load(dsn=AWAY), None))}
    assert found["state_directory"].ok

    (unit / "state").chmod(0o500)
    with as_nobody():
        found = {check.name: check for check in diagnose(in_place(load(dsn=AWAY), None))}
    assert not found["state_directory"].ok


def test_who_may_not_look_is_told_so_and_not_that_nobody_is_there(unit: Path) -> None:
    with as_nobody():
        assert place.socket_path() == unit / "run" / "dripd.sock"
        with pytest.raises(NotPermitted, match="no access") as caught:
            Client(place.socket_path(), timeout=1, name="test")
        found = {check.name: check for check in diagnose(in_place(load(dsn=AWAY), None))}

    assert caught.value.hint == "ask for the group dripd"
    assert found["socket"].hint == "ask for the group dripd"


def test_a_command_by_hand_reads_the_secrets_of_the_unit(
    unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unit / "secrets" / "dsn").write_text("postgresql://db/dripd\n")
    file = tmp_path / "dripd.toml"
    file.write_text('[postgres]\ndsn = "cred:dsn"\n')

    config = load(file)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))  # its own come first
    with pytest.raises(ConfigError, match="No such file"):
        load(file)

    assert config.dsn is not None
    assert config.dsn.reveal() == "postgresql://db/dripd"


def test_the_command_answers_without_a_daemon(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["ready"]) == (1, True)
    assert answer["checks"][0].keys() == {"name", "ok", "detail", "hint"}

    assert main(["doctor", "--dsn", "postgresql://nobody@127.0.0.1:1/nothing"]) == 1
    out = capsys.readouterr().out
    assert "BAD  database" in out

    (state / "bad.toml").write_text("[engine]\nbatch = 0\n")
    assert main(["doctor", "--config", str(state / "bad.toml"), "--json"]) == 78
    answer = json.loads(capsys.readouterr().out)
    assert answer["checks"][0]["name"] == "config"
    assert "engine.batch" in answer["checks"][0]["detail"]


def test_the_guide_says_how_many_connections_a_daemon_needs() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide" / "install.rst"

    assert doctor.NEEDED == 14
    assert "fourteen connections" in guide.read_text()
