"""Health is answered by a thread that does not need the loop, and sees it stuck."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from dripd.daemon.health import AT_ONCE, Server, open_server, serving
from dripd.daemon.notify import notify, reloading
from dripd.daemon.vitals import LIVE_S, Vitals
from dripd.errors import ConfigError, Conflict


def healthy() -> Vitals:
    now = time.monotonic()
    return Vitals(node="n1", state="running", looped_at=now, beaten_at=now, turned_at=now)


@pytest.fixture
def vitals() -> Vitals:
    return healthy()


@pytest.fixture
def server(vitals: Vitals) -> Iterator[Server]:
    server = open_server("127.0.0.1:0", vitals, lambda: "dripd_tasks 1\n", or_any=False)
    assert server is not None
    with serving(server):
        yield server


def get(server: Server, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{server.url}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_daemon_at_work_is_live_and_ready(server: Server) -> None:
    assert get(server, "/livez") == (200, "live\n")
    assert get(server, "/metrics") == (200, "dripd_tasks 1\n")
    status, body = get(server, "/readyz")
    assert status == 200
    assert json.loads(body)["ready"] is True
    assert get(server, "/etc/passwd")[0] == 404


def test_a_stuck_loop_is_seen_without_the_loop(server: Server, vitals: Vitals) -> None:
    vitals.looped_at -= LIVE_S + 1

    assert get(server, "/livez")[0] == 503
    assert get(server, "/readyz")[0] == 503


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"state": "draining"}, {"running"}),
        ({"state": "starting"}, {"running"}),
        ({"beaten_at": 0.0}, {"database", "heartbeat"}),
        ({"db_error": "away"}, {"database"}),
        ({"turned_at": 0.0}, {"wheel"}),
    ],
)
def test_what_is_not_so_is_named_with_what_to_do(
    server: Server, vitals: Vitals, change: dict[str, object], failed: set[str]
) -> None:
    for name, value in change.items():
        setattr(vitals, name, value)

    status, body = get(server, "/readyz")
    checks = json.loads(body)["checks"]
    assert (503, failed) == (status, {one["name"] for one in checks if not one["ok"]})
    assert all(bool(one["hint"]) != one["ok"] for one in checks)
    assert get(server, "/livez")[0] == 200


def test_a_port_in_use_is_told_or_replaced(server: Server, vitals: Vitals) -> None:
    taken = server.url.removeprefix("http://")
    with pytest.raises(Conflict, match="in use") as caught:
        open_server(taken, vitals, str, or_any=False)
    assert (caught.value.code, caught.value.exit_code) == ("port_in_use", 6)

    other = open_server(taken, vitals, str, or_any=True)
    assert other is not None
    assert other.url != server.url
    other.server_close()
    assert open_server("", vitals, str, or_any=False) is None
    with pytest.raises(ConfigError):
        open_server("203.0.113.1:0", vitals, str, or_any=False)


def test_who_holds_every_place_is_not_waited_for_for_ever(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(AT_ONCE)]
    wait_until(lambda: not lets_in(server))
    for one in silent:
        one.close()
    wait_until(lambda: lets_in(server))


def lets_in(server: Server) -> bool:
    try:
        return get(server, "/livez")[0] == 200
    except (ConnectionError, urllib.error.URLError):
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_systemd_is_told_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    place = tmp_path_factory.mktemp("n") / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        monkeypatch.setenv("NOTIFY_SOCKET", str(place))
        assert notify("READY=1", "STATUS=well")
        assert manager.recv(200) == b"READY=1\nSTATUS=well"
        assert reloading()
        assert manager.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert not notify("STOPPING=1")
