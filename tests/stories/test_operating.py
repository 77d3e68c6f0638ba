"""What operators do to a running daemon."""

from __future__ import annotations

import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.world import STARTUP_S, World, until
from tests.support.relay import Relay

WELCOME = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
"""


def state(world: World) -> str:
    found: str = world.call("daemon.status")["state"]
    return found


def test_a_drained_daemon_leases_nothing_until_it_is_undrained(world: World) -> None:
    world.apply(WELCOME)
    world.contact("c1")
    (node,) = world.call("node.list")["items"]
    assert -1_000 * STARTUP_S < node["skew_ms"] < 500  # read, then on its way to SQL
    assert 0 <= node["figures"]["pool"]["used"] <= node["figures"]["pool"]["size"]

    assert world.call("node.drain", node=node["node"])["changed"]
    until(lambda: state(world) == "draining")
    assert not world.call("daemon.ready")["ready"]
    world.call("enroll.add", campaign="welcome", contacts=["c1"])
    until(lambda: world.call("daemon.status")["due_now"] == 1)
    assert [] == world.sent()

    assert world.call("node.undrain", node=node["incarnation"])["changed"]
    until(lambda: state(world) == "running")
    world.tick()
    assert ["c1@x.test"] == [row["recipient"] for row in world.sent()]


def page(world: World, path: str) -> tuple[int, str]:
    url = world.call("daemon.status")["metrics"]["url"]
    try:
        with urllib.request.urlopen(f"{url}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_count_what_was_done_and_health_is_answered(world: World) -> None:
    world.apply(WELCOME)
    world.contact("c1")
    world.enroll("welcome", "c1", "nobody")
    world.tick()
    world.event("c1", "click")
    world.event("c1", "whatever they call it")
    world.tick()
    until(lambda: "dripd_up_state" in page(world, "/metrics")[1])

    text = page(world, "/metrics")[1]
    for line in (
        'dripd_send_attempts_total{channel="email",provider="sink",result="accepted"} 1',
        'dripd_steps_total{kind="email",outcome="accepted"} 1',
        'dripd_enrollments_total{event="accepted"} 1',
        'dripd_enrollments_total{event="rejected"} 1',
        'dripd_enrollments_total{event="completed"} 1',
        'dripd_up_state{state="running"} 1',
        'dripd_events_ingested_total{kind="click"} 1',
        'dripd_provider_breaker_state{provider="sink"} 0',
        'dripd_send_slots{provider="sink"} ',
        'dripd_due_lag_seconds_count{channel="email"} 1',
        "dripd_wheel_late_ticks_total ",
        'dripd_db_pool_wait_seconds_bucket{pool="hot",le="10"} ',
        'dripd_admin_calls_total{method="clock.set",role="admin",result="ok"} 2',
    ):
        assert line in text
    assert "c1" not in text
    until(lambda: 'dripd_enrollments{state="ended"} 0' in page(world, "/metrics")[1])
    assert (200, "live\n") == page(world, "/livez")
    until(lambda: page(world, "/readyz")[0] == 200)
    (admin,) = re.findall(r"(?m)^dripd_admin_seconds_total (\S+)", text)
    assert 0 < float(admin) < 5


def test_hangup_reloads_and_a_bad_file_changes_nothing(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryDirectory(prefix="dripd-") as folder:
        file = Path(folder) / "dripd.toml"
        file.write_text("[engine]\nbatch = 100\n")
        monkeypatch.setenv("DRIPD_CONFIG", str(file))
        with World(pg_dsn, Path(folder)) as world:
            assert world.process is not None
            file.write_text('[engine]\nbatch = 200\n[daemon]\nnode = "other"\n')
            world.process.send_signal(signal.SIGHUP)
            until(lambda: "config.waiting" in world.log())
            assert '"in_force":["engine.batch"]' in world.log()
            assert '"needs_restart":["daemon.node"]' in world.log()

            file.write_text("[engine]\nbatch = nonsense\n")
            world.process.send_signal(signal.SIGHUP)
            until(lambda: "config.refused" in world.log())
            assert world.call("daemon.status")["state"] == "running"

            world.process.send_signal(signal.SIGUSR2)
            until(lambda: "daemon.traced" in world.log())


def test_a_lost_database_is_not_ready_but_live_and_comes_back(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPD_POSTGRES__PATIENCE", "5s")
    with (
        TemporaryDirectory(prefix="dripd-") as folder,
        Relay(pg_dsn, Path(folder)) as relay,
        World(relay.dsn, Path(folder)) as world,
    ):
        world.apply(WELCOME)
        world.contact("c1")
        world.contact("c2")
        world.enroll("welcome", "c1")
        world.tick()
        until(lambda: page(world, "/readyz")[0] == 200)

        relay.cut()
        until(lambda: page(world, "/readyz")[0] == 503)
        assert page(world, "/livez")[0] == 200
        status = world.call("daemon.status")
        assert not status["db"]["ok"]
        assert status["db"]["error"]
        sick = {one["name"] for one in world.call("daemon.ready")["checks"] if not one["ok"]}
        assert {"database"} <= sick <= {"database", "heartbeat", "wheel"}

        relay.mend()
        until(lambda: page(world, "/readyz")[0] == 200)
        world.reconnect()
        world.enroll("welcome", "c2")
        world.tick()
        assert ["c1@x.test", "c2@x.test"] == [row["recipient"] for row in world.sent()]

        relay.swallow()
        until(lambda: page(world, "/readyz")[0] == 503)
        assert "dripd_db_away_seconds 0\n" not in page(world, "/metrics")[1]
        assert not world.call("daemon.status")["db"]["ok"]
        relay.flow()
        until(lambda: page(world, "/readyz")[0] == 200)
        world.tick()
        assert 2 == len(world.sent())


SENDGRID = """
[provider.slow]
kind = "sendgrid"
base_url = "http://127.0.0.1:{port}"
api_key = "env:DRIPD_STORY_KEY"
"""


def test_a_second_signal_ends_at_once_what_a_provider_keeps_waiting(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryDirectory(prefix="dripd-") as folder, socket.create_server(("", 0)) as silent:
        file = Path(folder) / "dripd.toml"
        file.write_text(SENDGRID.format(port=silent.getsockname()[1]))
        monkeypatch.setenv("DRIPD_CONFIG", str(file))
        monkeypatch.setenv("DRIPD_STORY_KEY", "secret")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{folder}/notify")
            monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
            monkeypatch.setenv("DRIPD_DAEMON__DRAIN_TIMEOUT", "10m")
            with World(pg_dsn, Path(folder)) as world:
                world.sql("UPDATE dripd.sender SET provider = 'slow' WHERE channel = 'email'")
                world.apply(WELCOME)
                world.contact("c1")
                world.call("enroll.add", campaign="welcome", contacts=["c1"])
                silent.settimeout(STARTUP_S)
                taken, _ = silent.accept()
                assert taken.recv(100)
                assert world.process is not None
                told: list[str] = []
                until(lambda: "WATCHDOG=1" in hear(manager, told))

                world.process.send_signal(signal.SIGTERM)
                until(lambda: "daemon.draining" in world.log())
                assert world.process.poll() is None
                world.process.send_signal(signal.SIGTERM)
                assert world.process.wait(STARTUP_S) == 0
                taken.close()

                assert "daemon.hurried" in world.log()
                assert ["unknown"] == world.column("SELECT state FROM dripd.delivery")
            hear(manager, told)
    assert told.index("READY=1") < told.index("STOPPING=1")


def hear(manager: socket.socket, told: list[str]) -> list[str]:
    """Add to *told* every line that a daemon has told its service manager since."""
    manager.setblocking(False)
    while True:
        try:
            told += manager.recv(4096).decode().splitlines()
        except BlockingIOError:
            return told
