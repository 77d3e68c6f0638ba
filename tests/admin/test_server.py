"""A real unix socket under trio: greeting, roles, limits, and clients that misbehave."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from dripd.admin import session, wire
from dripd.admin.client import Client
from dripd.admin.messages import Call, Method, Spec
from dripd.admin.params import CampaignKey, ClockSet, Params
from dripd.admin.replies import Replies
from dripd.admin.roles import Options, Peer, Role
from dripd.admin.server import MOST_OF_ONE_USER, serve
from dripd.admin.session import Info
from dripd.errors import (
    BadRequest,
    Busy,
    ConfigError,
    Conflict,
    DripdError,
    NotFound,
    NotPermitted,
    OwnWireError,
    TimedOut,
    Unreachable,
)

pytestmark = pytest.mark.trio

INFO = Info(server="0.1.0", env="test", node="n1")

PATIENCE_S = 60.0
Start = Callable[..., AbstractAsyncContextManager["House"]]


class House:
    """The fake handlers and what they were asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[Call, object]] = []
        self.gate = trio.Event()
        self.cancelled = 0

    async def note(self, call: Call, params: object) -> object:
        self.calls.append((call, params))
        return {"n": len(self.calls), "email": "ann@acme.test"}

    async def fail(self, call: Call, params: CampaignKey) -> object:
        if params.key == "bug":
            raise ZeroDivisionError("secret")
        if params.key == "group":
            async with trio.open_nursery():
                raise Conflict("nested", code="active")
        if params.key == "large":
            return "x" * wire.MAX_LINE
        if params.key == "odd":
            return object()
        raise NotFound(f"no campaign {params.key!r}", path="key", hint="look")

    async def wait(self, call: Call, params: object) -> object:
        self.calls.append((call, params))
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return {"n": len(self.calls)}

    async def fill(self, call: Call, params: object) -> object:
        return "x" * 900_000

    def table(self) -> dict[str, Method]:
        specs = [
            (Spec(name="t.read", params=Params, role=Role.VIEWER), self.note),
            (Spec(name="t.fail", params=CampaignKey, role=Role.VIEWER), self.fail),
            (Spec(name="t.wait", params=Params, role=Role.VIEWER), self.wait),
            (Spec(name="t.fill", params=Params, role=Role.VIEWER), self.fill),
            (
                Spec(
                    name="t.write",
                    params=ClockSet,
                    role=Role.ADMIN,
                    mutating=True,
                    dry_run=True,
                ),
                self.note,
            ),
            (Spec(name="t.slow", params=Params, role=Role.MEMBER, mutating=True), self.wait),
        ]
        return {spec.name: Method(spec=spec, handler=handler) for spec, handler in specs}

    async def ask(self, method: str, **params: object) -> object:
        return await trio.to_thread.run_sync(self.ask_now, method, 5.0, params)

    async def ask_briefly(self, method: str, **params: object) -> object:
        return await trio.to_thread.run_sync(self.ask_now, method, 0.05, params)

    def ask_now(self, method: str, timeout: float, params: dict[str, object]) -> object:
        with Client(self.path, timeout=timeout) as client:
            return client.call(method, params)


def somebody(role: Role) -> Callable[[Options], Peer]:
    return lambda _: Peer(uid=1001, pid=1, user="ann", role=role, why="test")


@asynccontextmanager
async def running(path: Path, role: Role = Role.ADMIN) -> AsyncIterator[House]:
    house = House(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(serve, path, house.table(), identity=somebody(role), info=INFO)
        )
        yield house
        house.gate.set()
        nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d" / "dripd.sock"


async def test_the_daemon_greets_first_and_says_who_you_are(path: Path) -> None:
    async with running(path, Role.VIEWER) as house:

        def look() -> dict[str, object]:
            with Client(house.path) as client:
                return dict(client.hello)

        hello = await trio.to_thread.run_sync(look)

    assert hello["role"] == "viewer"
    assert hello["env"] == "test"
    own = ["plan.make", "tail.close", "tail.open", "view.close", "view.open", "view.pace"]
    assert hello["methods"] == ["t.read", "t.fail", "t.wait", "t.fill", "daemon.version", *own]


async def test_socket_and_directory_are_closed_to_others_and_removed_at_the_end(
    path: Path,
) -> None:
    async with running(path):
        assert mode_of(path) == 0o600
        assert mode_of(path.parent) == 0o700

    assert mode_of(path) == 0


async def test_a_call_carries_who_and_how(path: Path) -> None:
    async with running(path) as house:
        await house.ask(
            "t.write",
            **{"to": "x", "as": "bob", "reason": "why", "dry_run": True, "yes": True},
        )
        ((call, params),) = house.calls

    assert params == ClockSet(to="x")
    assert (call.user, call.actor, call.reason) == ("ann", "bob", "why")
    assert call.dry_run
    assert call.yes


async def test_the_server_says_its_own_version(path: Path) -> None:
    async with running(path) as house:
        assert await house.ask("daemon.version") == {
            "server": "0.1.0",
            "proto": [1, 0],
            "node": "n1",
        }


async def test_a_role_below_the_methods_is_refused(path: Path) -> None:
    async with running(path, Role.MEMBER) as house:
        with pytest.raises(NotPermitted):
            await house.ask("t.write", to="x")
        with pytest.raises(NotPermitted):
            await house.ask("t.read", **{"as": "bob"})

        assert house.calls == []


async def test_a_viewer_gets_masked_values(path: Path) -> None:
    async with running(path, Role.VIEWER) as house:
        assert await house.ask("t.read") == {"n": 1, "email": "a***@acme.test"}


async def test_who_has_no_role_is_told_one_line(path: Path) -> None:
    async with running(path, Role.NONE) as house:
        with pytest.raises(NotPermitted, match="denied uid 1001; ask for group dripd"):
            await house.ask("t.read")


@pytest.mark.parametrize(
    ("method", "params", "kind", "code"),
    [
        ("t.none", {}, DripdError, "unknown_method"),
        ("__class__", {}, DripdError, "unknown_method"),
        ("t.read", {"limt": 1}, BadRequest, "bad_request"),
        ("t.write", {"to": 3}, BadRequest, "bad_request"),
        ("t.slow", {"dry_run": True}, BadRequest, "bad_request"),
        ("t.fail", {"key": "x"}, NotFound, "not_found"),
        ("t.fail", {"key": "group"}, Conflict, "active"),
        ("t.fail", {"key": "large"}, Busy, "too_large"),
        ("t.fail", {"key": "odd"}, OwnWireError, "internal"),
        ("t.fail", {"key": "bug"}, OwnWireError, "internal"),
    ],
)
async def test_what_goes_wrong_is_told_and_the_server_goes_on(
    path: Path, method: str, params: dict[str, object], kind: type[DripdError], code: str
) -> None:
    async with running(path) as house:
        with pytest.raises(kind) as caught:
            await house.ask(method, **params)

        assert code == caught.value.code
        assert "secret" not in str(caught.value)
        assert await house.ask("t.read")


async def test_a_repeated_request_id_has_one_effect_and_the_same_answer(path: Path) -> None:
    async with running(path) as house:
        first = await house.ask("t.write", to="x", request_id="r1")
        again = await house.ask("t.write", to="x", request_id="r1")

        assert first == again
        assert len(house.calls) == 1
        with pytest.raises(Conflict):
            await house.ask("t.write", to="y", request_id="r1")


async def test_a_repeat_during_the_call_waits_for_its_answer(path: Path) -> None:
    async with running(path) as house, trio.open_nursery() as nursery:
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await house.ask("t.slow", request_id="r1"))

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await until(lambda: bool(house.calls))
        house.gate.set()
        await until(lambda: len(answers) == 2)

        assert answers == [{"n": 1}, {"n": 1}]


async def test_a_mutating_call_outlives_its_connection_and_a_reading_one_does_not(
    path: Path,
) -> None:
    async with running(path) as house:
        for method in ("t.wait", "t.slow"):
            with pytest.raises(TimedOut):
                await house.ask_briefly(method, request_id="r1")
        await until(lambda: house.cancelled == 1)
        house.gate.set()

        assert await house.ask("t.slow", request_id="r1") == {"n": 2}


async def test_cancel_ends_a_mutating_call_too(path: Path) -> None:
    async with running(path) as house, connected(path) as peer:
        await peer.send_all(line(call_id=1, method="t.slow"))
        await until(lambda: bool(house.calls))
        await peer.send_all(line(method="cancel", params={"id": 1}))
        (failure,) = await peer.receive(1)

    assert isinstance(failure, wire.Failure)
    assert failure.data["reason"] == "cancelled"
    assert house.cancelled == 1


async def test_a_fifth_call_at_once_is_refused_and_ping_still_answered(path: Path) -> None:
    async with running(path), connected(path) as peer:
        for n in range(5):
            await peer.send_all(line(call_id=n, method="t.wait"))
        await peer.send_all(line(call_id="p", method="ping"))
        refused, pong = await peer.receive(2)

    assert isinstance(refused, wire.Failure)
    assert (refused.id, refused.code) == (4, wire.BUSY)
    assert pong == wire.Reply(id="p", result={})


async def test_an_oversize_line_is_answered_and_the_connection_closed(path: Path) -> None:
    async with running(path), connected(path) as peer:
        await peer.send_all(b"x" * (wire.MAX_LINE + 1))
        (failure,) = await peer.receive(1)

        assert isinstance(failure, wire.Failure)
        assert failure.code == wire.INVALID_REQUEST
        assert await peer.at_end()


async def test_garbage_is_answered_and_the_connection_kept(path: Path) -> None:
    async with running(path), connected(path) as peer:
        await peer.send_all(b"[]\n{\n" + line(call_id=1, method="t.read"))
        answers = await peer.receive(3)

    assert [type(answer) for answer in answers] == [wire.Failure, wire.Failure, wire.Reply]


async def test_another_major_protocol_is_sent_away(path: Path) -> None:
    async with running(path), connected(path, greet=False) as peer:
        await peer.send_all(line(method="client.hello", params={"proto": [9, 0]}))
        (bye,) = await peer.receive(1)

    assert isinstance(bye, wire.Notice)
    assert (bye.method, bye.params["reason"]) == ("bye", "proto")


async def test_who_does_not_greet_first_is_sent_away(path: Path) -> None:
    async with running(path) as house, connected(path, greet=False) as peer:
        await peer.send_all(line(call_id=1, method="t.read"))
        (bye,) = await peer.receive(1)

    assert isinstance(bye, wire.Notice)
    assert bye.params["reason"] == "no_hello"
    assert house.calls == []


async def test_connections_of_one_user_are_bounded(path: Path) -> None:
    async with running(path) as house:
        peers = [Raw(await trio.open_unix_socket(path)) for _ in range(MOST_OF_ONE_USER)]
        for peer in peers:
            await peer.receive(1)

        with pytest.raises(Busy, match="8 connections"):
            await house.ask("t.read")
        for peer in peers:
            await peer.stream.aclose()
        await until_answered(house)


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_dropped(path: Path) -> None:
    async with running(path) as house, connected(path) as peer:
        for n in range(4):
            await peer.send_all(line(call_id=n, method="t.fill"))
        with trio.fail_after(PATIENCE_S):
            assert await house.ask("t.read")
            while not await peer.is_dropped():
                await pause()


@pytest.mark.slow
async def test_silence_after_the_greeting_ends_within_two_seconds(path: Path) -> None:
    async with running(path), connected(path, greet=False) as peer:
        with trio.fail_after(PATIENCE_S):
            (bye,) = await peer.receive(1)

    assert isinstance(bye, wire.Notice)


async def test_a_second_daemon_is_refused_the_socket(path: Path) -> None:
    async with running(path) as house:
        with pytest.raises(Conflict) as caught:
            await serve(path, {}, identity=somebody(Role.ADMIN), info=INFO)

        assert caught.value.code == "socket_in_use"
        assert await house.ask("t.read")


async def test_the_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))

    async with running(path) as house:
        assert await house.ask("t.read")


async def test_what_stands_in_the_sockets_place_is_left_alone(path: Path) -> None:
    await trio.Path(path).mkdir(parents=True, mode=0o700)

    with pytest.raises(Conflict):
        await serve(path, {}, identity=somebody(Role.ADMIN), info=INFO)

    assert mode_of(path) == 0o700


async def test_a_directory_that_others_may_write_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)

    with pytest.raises(ConfigError, match="written by others"):
        await serve(path, {}, identity=somebody(Role.ADMIN), info=INFO)


async def test_a_path_too_long_for_the_kernel_is_refused_clearly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="107"):
        await serve(tmp_path / ("x" * 120), {}, identity=somebody(Role.ADMIN), info=INFO)


async def test_group_of_the_directory_may_use_the_socket(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o750)
    async with running(path):
        assert mode_of(path) == 0o660


async def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        Client(tmp_path / "none.sock")

    assert caught.value.exit_code == 5
    assert "dripd run" in caught.value.hint


async def test_who_is_hung_up_on_is_told_to_look_before_he_repeats_it(tmp_path: Path) -> None:
    """The daemon was killed in the middle: whether it had done it nobody can say."""
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        listener.settimeout(30)

        def die() -> None:
            with listener.accept()[0] as peer:
                hello = wire.Notice(method="hello", params={"proto": list(wire.PROTO)})
                peer.sendall(wire.encode(hello))
                while b"account.deposit" not in peer.recv(65536):
                    pass

        thread = threading.Thread(target=die)
        thread.start()
        with Client(path) as client, pytest.raises(Unreachable, match="hung up") as caught:
            client.call("account.deposit", {"key": "acme", "amount": "25"})
        thread.join(30)

    assert "look before you repeat it" in caught.value.hint


async def test_remembered_answers_stay_within_their_bounds() -> None:
    replies = Replies()
    for n in range(10_050):
        assert await replies.find((1, str(n)), b"x") is None
        replies.keep((1, str(n)), DripdError("x"), 256)

    assert await replies.find((1, "0"), b"x") is None
    assert isinstance(await replies.find((1, "10049"), b"x"), DripdError)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else 0


class Raw:
    """The other end, byte by byte."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._decoder = wire.Decoder(limit=4 * wire.MAX_LINE)
        self._found: list[wire.Message | wire.WireFault] = []

    async def send_all(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self, n: int) -> list[wire.Message | wire.WireFault]:
        with trio.fail_after(PATIENCE_S):
            while len(self._found) < n:
                data = bytes(await self.stream.receive_some(65536))
                assert data, "the server hung up"
                self._found += self._decoder.feed(data)
        taken, self._found = self._found[:n], self._found[n:]
        return taken

    async def at_end(self) -> bool:
        with trio.fail_after(PATIENCE_S):
            try:
                return not await self.stream.receive_some(10)
            except trio.BrokenResourceError:
                return True

    async def is_dropped(self) -> bool:
        try:
            await self.stream.send_all(b"\n")
        except trio.BrokenResourceError:
            return True
        return False


@asynccontextmanager
async def connected(path: Path, *, greet: bool = True) -> AsyncIterator[Raw]:
    async with await trio.open_unix_socket(path) as stream:
        peer = Raw(stream)
        await peer.receive(1)
        if greet:
            await peer.send_all(line(method="client.hello", params={"proto": [1, 0]}))
        yield peer


def line(
    *,
    method: str,
    params: dict[str, object] | None = None,
    call_id: wire.MessageId | None = None,
) -> bytes:
    if call_id is None:
        return wire.encode(wire.Notice(method=method, params=params or {}))
    return wire.encode(wire.Request(id=call_id, method=method, params=params or {}))


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not true():
            await pause()


async def until_answered(house: House) -> None:
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                await house.ask("t.read")
            except Busy:
                await pause()
            else:
                return


async def pause() -> None:
    await trio.sleep(0.005)


async def test_who_has_another_role_by_now_must_connect_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PING_S", 0.05)
    roles = [Role.ADMIN]

    def identity(_: Options) -> Peer:
        return somebody(roles[-1])(_)

    house = House(path)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, path, house.table(), identity=identity, info=INFO))

        def wait_under_another_role() -> None:
            with Client(path, timeout=PATIENCE_S) as client:
                client.call("t.read", {})
                roles.append(Role.VIEWER)
                client.call("t.wait", {})

        with pytest.raises(NotPermitted, match="role is viewer"):
            await trio.to_thread.run_sync(wait_under_another_role)
        house.gate.set()
        nursery.cancel_scope.cancel()
