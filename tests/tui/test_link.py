"""The connection to the daemon: lost, found again, and nothing done twice on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dripd.admin import wire
from dripd.errors import Busy, Conflict, PeerWireError, Unreachable
from dripd.tui import link as link_module
from dripd.tui.link import Link
from dripd.tui.watch import Watch

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Greets and then does as each connection's `talk` says; requests are kept."""

    def __init__(
        self, *talks: Callable[[Server, wire.Request], list[wire.Message] | None]
    ) -> None:
        self._talks = list(talks)
        self.requests: list[wire.Request] = []

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        talk = self._talks.pop(0) if len(self._talks) > 1 else self._talks[0]
        hello = {"proto": [1, 0], "server": "x", "methods": []}
        writer.write(wire.encode(wire.Notice(method="hello", params=hello)))
        try:
            await self._serve(reader, writer, talk)
        finally:
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, talk: Any
    ) -> None:
        decoder = wire.Decoder()
        while data := await reader.read(65536):
            for message in decoder.feed(data):
                if not isinstance(message, wire.Request):
                    continue
                self.requests.append(message)
                answers = talk(self, message)
                if answers is None:
                    return
                for one in answers:
                    writer.write(wire.encode(one))


def replying(server: Server, request: wire.Request) -> list[wire.Message]:
    return [wire.Reply(id=request.id, result={"n": len(server.requests), "name": "a\x1b[31m"})]


def hanging_up(server: Server, request: wire.Request) -> None:
    return None


def refusing(server: Server, request: wire.Request) -> list[wire.Message]:
    return [wire.pack_error(request.id, Conflict("no\x1b]52;c;x\x07", code="active"))]


async def until(met: Callable[[], bool]) -> None:
    while not met():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


def told(path: Path, server: Talk, scenario: Callable[[Link], Awaitable[Any]]) -> Any:
    """Run *scenario* with a link to *server*, as soon as it is up."""

    async def run() -> Any:
        listening = await asyncio.start_unix_server(server, path)
        link = Link(path, lambda: None)
        task = asyncio.create_task(link.run())
        try:
            async with asyncio.timeout(10):
                await until(lambda: link.up or link.trouble is not None)
                return await scenario(link)
        finally:
            await link.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            listening.close()
            await asyncio.sleep(0.05)

    return asyncio.run(run())


def test_answers_are_made_safe_where_they_are_decoded(tmp_path: Path) -> None:
    answer = told(tmp_path / "s", Server(replying), lambda link: link.call("t.read"))

    assert answer == {"n": 1, "name": "a␛[31m"}


def test_what_goes_into_a_file_stays_as_it_is(tmp_path: Path) -> None:
    answer = told(
        tmp_path / "s",
        Server(replying),
        lambda link: link.call("campaign.export", {"key": "x"}),
    )

    assert answer["name"] == "a\x1b[31m"


def test_a_change_whose_connection_broke_is_repeated_once_under_its_own_id(
    tmp_path: Path,
) -> None:
    server = Server(hanging_up, replying)
    answer = told(
        tmp_path / "s", server, lambda link: link.call("t.write", {"key": "x"}, once=True)
    )
    first, second = server.requests

    assert answer["n"] == 2
    assert first.params == second.params
    assert first.params["request_id"]


def test_a_change_whose_connection_breaks_twice_is_told_as_that(tmp_path: Path) -> None:
    server = Server(hanging_up)
    with pytest.raises(Unreachable, match="broke twice"):
        told(tmp_path / "s", server, lambda link: link.call("t.write", once=True))

    assert len(server.requests) == 2


def plan_gone(server: Server, request: wire.Request) -> list[wire.Message]:
    expired = Conflict("the plan has expired, or was never made", code="plan_expired")
    return [wire.pack_error(request.id, expired)]


def test_a_plan_that_went_with_its_daemon_may_have_been_carried_out(tmp_path: Path) -> None:
    """The daemon was killed while it carried a plan out: the next one was asked, and said that
    the plan was never made."""
    server = Server(hanging_up, plan_gone)
    with pytest.raises(Unreachable, match="its plans with it; the change may have been made"):
        told(tmp_path / "s", server, lambda link: link.call("t.write", once=True))

    with pytest.raises(Conflict, match="expired"):
        told(tmp_path / "s", Server(plan_gone), lambda link: link.call("t.write", once=True))


def test_a_reading_call_is_not_repeated(tmp_path: Path) -> None:
    server = Server(hanging_up)
    with pytest.raises(Unreachable):
        told(tmp_path / "s", server, lambda link: link.call("t.read"))

    assert len(server.requests) == 1


def test_without_a_daemon_nothing_is_done_and_said_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        link = Link(tmp_path / "none", lambda: None)
        async with asyncio.timeout(1):
            await link.call("t.write", once=True)

    with pytest.raises(Unreachable, match="nothing was done"):
        asyncio.run(scenario())


def test_errors_keep_their_class_and_are_safe_to_show(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="no␛]52;c;x␇") as caught:
        told(tmp_path / "s", Server(refusing), lambda link: link.call("t.write", once=True))

    assert caught.value.code == "active"


def test_a_watch_goes_on_after_a_lost_connection(tmp_path: Path) -> None:
    def viewing(server: Server, request: wire.Request) -> list[wire.Message] | None:
        if request.method != "view.open":
            return None
        items = [{"id": 1, "n": len(server.requests)}]
        result = {"sub": 1, "seq": 0, "key": ["id"], "result": {"items": items}}
        return [wire.Reply(id=request.id, result=result)]

    async def scenario(link: Link) -> list[int]:
        watch, seen = Watch("t.list"), []
        link.watch(watch)
        await until(lambda: bool(watch.rows))
        seen.append(watch.rows[0]["n"])
        with pytest.raises(Unreachable):
            await link.call("t.break")
        assert watch.rows[0]["n"] == 1
        await until(lambda: watch.rows[0]["n"] > 1)
        return [*seen, watch.rows[0]["n"]]

    assert told(tmp_path / "s", Server(viewing), scenario) == [1, 3]


def test_a_view_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "AGAIN_S", 0.01)
    watch = Watch("t.list")

    def busy(server: Server, request: wire.Request) -> list[wire.Message]:
        if len(server.requests) < 3:
            return [wire.pack_error(request.id, Busy("not now"))]
        return [wire.Reply(id=request.id, result={"sub": 1, "result": {"n": 1}})]

    async def scenario(link: Link) -> None:
        link.watch(watch)
        await until(lambda: watch.answer is not None)

    told(tmp_path / "s", Server(busy), scenario)

    assert (watch.answer, watch.error) == ({"n": 1}, "")


def test_a_daemon_that_hangs_is_not_called_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SILENT_S", 0.05)

    async def scenario(link: Link) -> tuple[bool, object]:
        await until(lambda: link.trouble is not None)
        return link.up, link.trouble

    up, trouble = told(tmp_path / "s", Server(replying), scenario)

    assert not up
    assert "has said nothing for" in str(trouble)


def test_no_more_is_asked_at_once_than_a_daemon_answers(tmp_path: Path) -> None:
    """Screens that are turned quickly ask for more: what came too much was never shown."""
    held: list[int] = []

    def slow(server: Server, request: wire.Request) -> list[wire.Message]:
        held.append(int(request.id))
        if len(held) < link_module.AT_ONCE:
            return []
        answers, held[:] = [wire.Reply(id=one, result={}) for one in held], []
        return list(answers)

    async def scenario(link: Link) -> int:
        await asyncio.gather(*(link.call("t.read") for _ in range(3 * link_module.AT_ONCE)))
        return len(held)

    assert told(tmp_path / "s", Server(slow), scenario) == 0


@pytest.mark.parametrize(
    ("proto", "older"), [([0, 9], "daemon"), ([9, 0], "console"), ("one", "console")]
)
def test_another_protocol_says_which_package_to_upgrade(
    tmp_path: Path, proto: Any, older: str
) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = {"proto": proto, "server": "7.7", "methods": []}
        writer.write(wire.encode(wire.Notice(method="hello", params=hello)))
        await reader.read(1)
        writer.close()

    async def scenario(link: Link) -> Any:
        return link.trouble

    trouble = told(tmp_path / "s", odd, scenario)

    assert isinstance(trouble, PeerWireError)
    assert "the daemon 7.7 speaks protocol" in trouble.message
    assert trouble.hint.startswith(f"upgrade the {older}")


def test_a_daemon_of_another_minor_version_is_talked_to(tmp_path: Path) -> None:
    """Both sides only add within a major version; what is unknown is passed over."""

    async def newer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = {"proto": [wire.PROTO[0], 99], "server": "x", "methods": [], "mood": "good"}
        writer.write(wire.encode(wire.Notice(method="hello", params=hello)))
        writer.write(wire.encode(wire.Notice(method="news", params={"of": "tomorrow"})))
        await Server(replying)._serve(reader, writer, replying_to(Server(replying)))
        writer.close()

    answer = told(tmp_path / "s", newer, lambda link: link.call("t.read"))

    assert answer["name"] == "a␛[31m"


def replying_to(_server: Server) -> Any:
    return replying


@pytest.mark.parametrize(
    "said", [b"junk\n", b"{}\n", b'{"jsonrpc":"2.0","method":"x","params":{}}\n']
)
def test_what_is_no_daemon_is_called_so(tmp_path: Path, said: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read(1)
        writer.close()

    async def scenario(link: Link) -> Any:
        return link.trouble

    assert isinstance(told(tmp_path / "s", odd, scenario), PeerWireError)
