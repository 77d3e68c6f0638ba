"""Slow and hostile clients against a real daemon: they cost it nothing, and others go on."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dripd.admin.client import Client
from tests.stories.world import World
from tests.support.postgres import Databases

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(pg_databases: Databases) -> Iterator[World]:
    with (
        TemporaryDirectory(prefix="dripd-") as state,
        pg_databases.fresh() as dsn,
        World(dsn, Path(state)) as world,
    ):
        for n in range(300):
            world.contact(f"c{n}", attrs=json.dumps({"first_name": "x" * 1000}))
        yield world


def rss_mb(world: World) -> float:
    assert world.process is not None
    pages = int(Path(f"/proc/{world.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def greeted(world: World) -> socket.socket:
    """A connection that has said hello and read nothing more."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.fspath(world.socket))
    sock.settimeout(10)
    sock.recv(65536)
    sock.sendall(line(method="client.hello", params={"proto": [1, 0], "client": "x", "pid": 1}))
    return sock


def line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


def is_gone(sock: socket.socket, seconds: float) -> bool:
    """Whether the daemon hangs up within *seconds*; what it says until then is read."""
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00" * 4096,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"[" * 100_000 + b"\n",
        b'{"jsonrpc":"2.0","id":1,"method":"__class__.__init__","params":{}}\n',
        b'{"jsonrpc":"2.0","id":' + b"9" * 400 + b',"method":"daemon.status"}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"view.open","params":{"of":"daemon.pause"}}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"view.open","params":{"of":"account.list","hz":1e308}}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"tail.open","params":{"of":"/etc/passwd"}}\n',
    ],
    ids=range(8),
)
def test_junk_is_refused_and_others_are_served(world: World, junk: bytes) -> None:
    with greeted(world) as sock:
        sock.sendall(junk)

        assert world.call("daemon.ready")["ready"]


def test_a_line_without_end_is_cut_off_at_its_limit(world: World) -> None:
    before = rss_mb(world)
    with greeted(world) as sock:
        try:
            for _ in range(64):
                sock.sendall(b"x" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass

        assert is_gone(sock, 5)
    assert rss_mb(world) - before < 8


def test_who_opens_views_and_never_reads_is_dropped_and_costs_no_memory(world: World) -> None:
    stalled = [greeted(world) for _ in range(6)]
    before = rss_mb(world)
    for sock in stalled:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for n in range(4):
            asked = {"of": "contact.list", "params": {"limit": 300}, "hz": 4}
            sock.sendall(line(id=n, method="view.open", params=asked))
            sock.sendall(line(id=100 + n, method="contact.list", params={"limit": 300}))
    until = time.monotonic() + 7
    with Client(world.socket) as other:
        while time.monotonic() < until:
            began = time.monotonic()
            assert isinstance(other.call("daemon.status"), dict)
            assert time.monotonic() - began < 5
            time.sleep(0.5)

    assert all(is_gone(sock, 1) for sock in stalled)
    assert rss_mb(world) - before < 24
    for sock in stalled:
        sock.close()


def test_a_view_ends_with_its_connection(world: World) -> None:
    for _ in range(20):
        with greeted(world) as sock:
            sock.sendall(line(id=1, method="view.open", params={"of": "account.list"}))
    with Client(world.socket) as other:
        assert isinstance(other.call("daemon.status"), dict)
