"""What operators do to a running daemon."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.stories.world import World

WELCOME = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
"""


def until(true: Callable[[], object], most_s: float = 5.0) -> None:
    """Wait for what happens in real time."""
    end = time.monotonic() + most_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def state(world: World) -> str:
    found: str = world.call("daemon.status")["state"]
    return found


def test_a_drained_daemon_leases_nothing_until_it_is_undrained(world: World) -> None:
    world.apply(WELCOME)
    world.contact("c1")
    (node,) = world.call("node.list")["items"]

    assert world.call("node.drain", node=node["node"])["changed"]
    until(lambda: state(world) == "draining")
    assert not world.call("daemon.ready")["ready"]
    world.call("enroll.add", campaign="welcome", contacts=["c1"])
    time.sleep(0.3)
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
        'dripd_admin_calls_total{method="clock.set",role="admin",result="ok"} 2',
    ):
        assert line in text
    assert "c1" not in text
    until(lambda: 'dripd_enrollments{state="ended"} 0' in page(world, "/metrics")[1])
    assert (200, "live\n") == page(world, "/livez")
    until(lambda: page(world, "/readyz")[0] == 200)
    (admin,) = re.findall(r"(?m)^dripd_admin_seconds_total (\S+)", text)
    assert 0 < float(admin) < 5


def test_hangup_reloads_and_a_bad_file_changes_nothing(pg_dsn: str) -> None:
    with TemporaryDirectory(prefix="dripd-") as folder:
        file = Path(folder) / "dripd.toml"
        file.write_text("[engine]\nbatch = 100\n")
        os.environ["DRIPD_CONFIG"] = str(file)
        try:
            world = World(pg_dsn, Path(folder))
            with world:
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
        finally:
            del os.environ["DRIPD_CONFIG"]


class Pair(World):
    """Two daemons under one parent."""

    options = ("--processes", "2")

    def nodes(self) -> list[str]:
        return self.column("SELECT name FROM dripd.node WHERE NOT dead ORDER BY name")


def test_several_daemons_live_under_one_parent(pg_dsn: str) -> None:
    with TemporaryDirectory(prefix="dripd-") as folder, Pair(pg_dsn, Path(folder)) as world:
        until(lambda: len(world.nodes()) == 2, 15)
        first, second = world.nodes()
        assert second == f"{first}-2"
        assert (world.state / "dripd-2.sock").exists()
        world.apply(WELCOME)
        for n in range(4):
            world.account(f"a{n}")
            world.apply(WELCOME.replace("acme", f"a{n}"), f"a{n}")
            world.contact(f"c{n}", f"a{n}")
            world.enroll("welcome", f"c{n}", account=f"a{n}")
        world.tick()
        assert len(world.sent()) == 4

        (pid,) = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if is_second(path, world.state)
        ]
        os.kill(pid, signal.SIGKILL)
        until(lambda: "process.died" in world.log())
        until(lambda: len(world.nodes()) == 3, 15)


def is_second(environ: Path, state: Path) -> bool:
    try:
        return f"DRIPD_SOCKET={state}/dripd-2.sock\0".encode() in environ.read_bytes()
    except OSError:
        return False
