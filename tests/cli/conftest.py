"""A real admin server in a thread, with handlers that note what they were asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import trio
from msgspec import to_builtins

from dripd import log
from dripd.admin import session
from dripd.admin.catalogue import SPECS, bind
from dripd.admin.messages import Call, Handler
from dripd.admin.roles import Peer, Role
from dripd.admin.server import serve
from dripd.admin.session import Info
from dripd.errors import DripdError


class Daemon:
    """What was asked, and what is to be answered next; `{"changed": true}` by default."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[Call, dict[str, object]]] = []
        self.answers: list[object] = []

    def handler(self) -> Handler:
        async def note(call: Call, params: object) -> object:
            self.calls.append((call, asked(params)))
            answer = self.answers.pop(0) if self.answers else {"changed": True}
            if isinstance(answer, DripdError):
                raise answer
            return answer

        return note

    async def run(self, ready: Callable[[trio.CancelScope], None]) -> None:
        methods = bind(dict.fromkeys(SPECS, self.handler()))
        info = Info(server="9.9", env="test", node="n1")
        peers = (
            replace(ADMIN, uid=uid) for uid in count(ADMIN.uid)
        )  # a user has 50 calls a second
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(serve, self.path, methods, identity=lambda _: next(peers), info=info)
            )
            ready(nursery.cancel_scope)


ADMIN = Peer(uid=1000, pid=1, user="ann", role=Role.ADMIN, why="test")


def asked(params: object) -> dict[str, object]:
    """What the params struct holds that is not empty, under the names of the wire."""
    found = to_builtins(params)
    assert isinstance(found, dict)
    return {
        key: value for key, value in found.items() if value not in (None, [], {}, False, "")
    }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("s", numbered=True) / "d.sock")
    started = threading.Event()
    scopes: list[trio.CancelScope] = []
    tokens: list[trio.lowlevel.TrioToken] = []

    def ready(scope: trio.CancelScope) -> None:
        scopes.append(scope)
        tokens.append(trio.lowlevel.current_trio_token())
        started.set()

    thread = threading.Thread(target=trio.run, args=(daemon.run, ready))
    thread.start()
    assert started.wait(60)
    yield daemon
    tokens[0].run_sync_soon(scopes[0].cancel)
    thread.join(60)


@pytest.fixture
def daemon(house: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The daemon of this module, with nothing noted yet, where every command finds it.

    It shares stderr with the command under test, hence writes no log, and answers as often as
    a machine can ask.
    """
    monkeypatch.setattr(session, "CALLS_A_SECOND", 100_000)
    monkeypatch.setattr(log.THRESHOLD, "at", log.LEVELS["critical"])
    house.calls.clear()
    house.answers.clear()
    monkeypatch.setenv("DRIPD_SOCKET", str(house.path))
    return house
