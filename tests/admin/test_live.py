"""Views, tails and plans on a real socket: what changes is sent, no more, and to nobody in vain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from dripd.admin import session, wire
from dripd.admin.live import MOST_VIEWS, clamp
from dripd.admin.messages import Call, Method, Spec, digest
from dripd.admin.params import CampaignKey, Params
from dripd.admin.roles import Options, Peer, Role
from dripd.admin.server import serve
from dripd.admin.session import Info
from dripd.admin.tail import Source
from dripd.errors import Conflict, StoreError
from dripd.ring import Ring

pytestmark = pytest.mark.trio


class House:
    """A list of two people that tests change, and how often it was asked for."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [
            {"id": 1, "email": "ann@acme.test", "n": 0},
            {"id": 2, "email": "ben@acme.test", "n": 0},
        ]
        self.asked = 0
        self.broken = False
        self.seen: list[Call] = []
        self.ring: Ring[dict[str, object]] = Ring()

    async def list_(self, call: Call, args: object) -> object:
        self.asked += 1
        if self.broken:
            raise StoreError("the database is away")
        return {"items": [dict(row) for row in self.rows], "next": None}

    async def stop(self, call: Call, args: CampaignKey) -> object:
        self.seen.append(call)
        ids = [row["id"] for row in self.rows]
        items = [{"enrollment_id": one} for one in ids]
        if call.dry_run:
            return {"changed": 2, "items": items, "set": {"n": 2, "digest": digest(ids)}}
        if call.promise is not None and call.promise.digest != digest(ids):
            raise Conflict("changed: was 2, now 3", code="plan_changed")
        return {"changed": len(ids), "items": items}

    def table(self) -> dict[str, Method]:
        specs = [
            (Spec(name="t.list", params=Params, role=Role.VIEWER, view=("id",)), self.list_),
            (Spec(name="t.once", params=Params, role=Role.VIEWER), self.list_),
            (
                Spec(
                    name="t.stop",
                    params=CampaignKey,
                    role=Role.MEMBER,
                    mutating=True,
                    dry_run=True,
                ),
                self.stop,
            ),
        ]
        return {spec.name: Method(spec=spec, handler=handler) for spec, handler in specs}


class Console:
    """One connection that has greeted."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.decoder = wire.Decoder()
        self.inbox: list[Any] = []
        self.n = 0

    async def next(self, kind: type[Any], seconds: float = 3) -> Any:
        """The next message of *kind* that is no ping; others are dropped."""
        with trio.fail_after(seconds):
            while True:
                while not self.inbox:
                    self.inbox = list(
                        self.decoder.feed(bytes(await self.stream.receive_some()))
                    )
                message = self.inbox.pop(0)
                if isinstance(message, kind) and getattr(message, "method", "") != "ping":
                    return message

    async def call(self, method: str, /, **params: object) -> Any:
        """The result of a call; its failure where it failed."""
        self.n += 1
        request = wire.Request(id=self.n, method=method, params=params)
        await self.stream.send_all(wire.encode(request))
        while True:
            answer = await self.next(object)
            if isinstance(answer, wire.Reply) and answer.id == self.n:
                return answer.result
            if isinstance(answer, wire.Failure) and answer.id == self.n:
                return answer


@asynccontextmanager
async def running(path: Path, role: Role = Role.ADMIN) -> AsyncIterator[House]:
    def somebody(_: Options) -> Peer:
        return Peer(uid=1001, pid=1, user="ann", role=role, why="test")

    house = House()
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                serve,
                path,
                house.table(),
                identity=somebody,
                info=Info(server="0.1.0", env="test", node="n1"),
                sources={"things": Source(house.ring, dict)},
            )
        )
        yield house
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def console(path: Path) -> AsyncIterator[Console]:
    async with await trio.open_unix_socket(path) as stream:
        peer = Console(stream)
        await peer.next(wire.Notice)
        hello = wire.Notice(method="client.hello", params={"proto": [1, 0]})
        await stream.send_all(wire.encode(hello))
        yield peer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d" / "dripd.sock"


async def test_a_view_begins_whole_and_goes_on_by_differences(path: Path) -> None:
    async with running(path) as house, console(path) as peer:
        first = await peer.call("view.open", of="t.list", hz=4)
        house.rows[0]["n"] = 5
        delta = await peer.next(wire.Notice)

    assert (first["key"], len(first["result"]["items"])) == (["id"], 2)
    assert delta.method == "view.delta"
    assert delta.params == {"sub": first["sub"], "seq": 1, "rows": [["1", {"n": 5}, False]]}


async def test_personal_values_of_views_are_masked_for_everybody(path: Path) -> None:
    async with running(path), console(path) as peer:
        first = await peer.call("view.open", of="t.list")

    assert first["result"]["items"][0]["email"] == "a***@acme.test"


async def test_equal_views_of_many_clients_are_asked_once(path: Path) -> None:
    async with running(path) as house, console(path) as one, console(path) as other:
        for peer in (one, other, one, other):
            await peer.call("view.open", of="t.list", hz=0.2)

        assert house.asked == 1


async def test_a_change_made_here_is_seen_at_once(path: Path) -> None:
    async with running(path) as house, console(path) as peer:
        await peer.call("view.open", of="t.list", hz=0.2)
        house.rows.pop()
        await peer.call("t.stop", key="x", yes=True)
        delta = await peer.next(wire.Notice, seconds=1)

    assert delta.params["order"] == ["1"]


async def test_a_closed_view_says_nothing_more(path: Path) -> None:
    async with running(path) as house, console(path) as peer:
        first = await peer.call("view.open", of="t.list", hz=4)
        assert await peer.call("view.close", sub=first["sub"]) == {"ok": True}
        assert await peer.call("view.close", sub=first["sub"]) == {"ok": False}
        house.rows.pop()
        with pytest.raises(trio.TooSlowError):
            await peer.next(wire.Notice, seconds=0.6)


async def test_a_view_that_fails_says_so_once_and_mends_itself(path: Path) -> None:
    async with running(path) as house, console(path) as peer:
        await peer.call("view.open", of="t.list", hz=4)
        house.broken = True
        error = await peer.next(wire.Notice)
        house.broken = False
        mended = await peer.next(wire.Notice)

    assert (error.method, error.params["message"]) == ("view.error", "the database is away")
    assert mended.method == "view.delta"


async def test_views_are_few_and_only_of_what_can_be_one(path: Path) -> None:
    async with running(path), console(path) as peer:
        once = await peer.call("view.open", of="t.once")
        changing = await peer.call("view.open", of="t.stop", params={"key": "x"})
        for _ in range(MOST_VIEWS):
            await peer.call("view.open", of="t.list")
        more = await peer.call("view.open", of="t.list")

    assert (once.code, changing.code) == (wire.BAD_PARAMS, wire.BAD_PARAMS)
    assert more.code == wire.BUSY


@pytest.mark.parametrize(("hz", "seconds"), [(0, 5), (-1, 5), (1e9, 0.25), (2, 0.5)])
async def test_how_often_is_decided_by_the_daemon(hz: float, seconds: float) -> None:
    assert seconds == clamp(hz)


async def test_a_tail_shows_the_past_then_what_comes_and_counts_what_it_leaves_out(
    path: Path,
) -> None:
    async with running(path) as house, console(path) as peer:
        house.ring.extend([{"n": n, "email": "a@b.test"} for n in range(3)], 3)
        first = await peer.call("tail.open", of="things", hz=4)
        house.ring.extend([{"n": n} for n in range(100)], 100)
        rows = await peer.next(wire.Notice)

    assert [row["n"] for row in first["rows"]] == [0, 1, 2]
    assert first["rows"][0]["email"] == "a***@b.test"
    assert rows.method == "tail.rows"
    assert len(rows.params["rows"]) + rows.params["gap"] == 100
    assert rows.params["rows"][-1] == {"n": 99}


async def test_a_tail_shows_what_is_wanted(path: Path) -> None:
    async with running(path) as house, console(path) as peer:
        house.ring.extend(({"k": "ok" if n % 2 else "failed"} for n in range(6)), 6)
        failed = await peer.call("tail.open", of="things", wanted={"k": "!ok"})
        named = await peer.call("tail.open", of="things", wanted={"k": ["ok", "fa*"]})
        none = await peer.call("tail.open", of="other")

    assert [{"k": "failed"}] * 3 == failed["rows"]
    assert len(named["rows"]) == 6
    assert none.code == wire.NOT_FOUND


async def test_a_plan_binds_the_action_to_what_was_seen(path: Path) -> None:
    async with running(path) as house, console(path) as peer:
        plan = await peer.call("plan.make", method="t.stop", params={"key": "x"})
        assert (plan["n"], len(plan["sample"])) == (2, 2)

        done = await peer.call("t.stop", key="x", plan_id=plan["plan_id"])
        house.rows.append({"id": 3, "n": 0})
        changed = await peer.call("t.stop", key="x", plan_id=plan["plan_id"])
        other = await peer.call("t.stop", key="y", plan_id=plan["plan_id"])
        none = await peer.call("t.stop", key="x", plan_id="0" * 16)

    assert done["changed"] == 2
    assert house.seen[1].yes
    assert [f.code for f in (changed, other, none)] == [wire.PLAN] * 3
    reasons = [f.data["reason"] for f in (changed, other, none)]
    assert reasons == ["plan_changed", "plan_other", "plan_expired"]


async def test_a_viewer_can_plan_nothing(path: Path) -> None:
    async with running(path, Role.VIEWER) as house, console(path) as peer:
        refused = await peer.call("plan.make", method="t.stop", params={"key": "x"})

    assert refused.code == wire.DENIED
    assert house.seen == []


async def test_calls_of_one_user_are_bounded_by_their_rate(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CALLS_A_SECOND", 1)  # fewer than any machine can make
    async with running(path), console(path) as peer:
        answers = [await peer.call("view.close", sub=1) for _ in range(60)]

    refused = [one for one in answers if isinstance(one, wire.Failure)]
    assert refused
    assert {one.code for one in refused} == {wire.BUSY}
