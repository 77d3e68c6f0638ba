"""A daemon broken at its crash points; and the two things that break it."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from dripd.daemon.failpoint import Failpoint, Order, open_store
from dripd.errors import ConfigError
from dripd.metrics import Registry
from dripd.proof import crash
from dripd.proof.crash import POINTS, WAYS, Case, cases
from dripd.proof.proxy import Proxies, Trap
from dripd.store.bridge import Bridge
from dripd.store.postgres import PostgresStore

PARTS = 4
"""Pieces of the sample, each on a stage of its own: whole it is longer than all beside it."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.feature("D4")
@pytest.mark.parametrize("part", range(PARTS))
def test_a_daemon_that_breaks_at_any_point_keeps_every_promise(part: int) -> None:
    chosen = cases(20)[part::PARTS]
    told: list[str] = []
    result = crash.run(chosen, told.append)

    assert result["ok"], "\n".join(told)
    assert (len(chosen), []) == (result["cases"], result["missed"])


def test_a_sample_has_every_point_and_every_way() -> None:
    sample = cases(20)

    assert 20 == len(set(sample))
    assert (set(POINTS), set(WAYS)) == ({c.point for c in sample}, {c.way for c in sample})
    assert 44 == len(set(cases()))
    assert Case("K10", "crash") in cases()


def test_a_failpoint_strikes_at_the_passage_it_was_ordered_for(tmp_path: Path) -> None:
    order = tmp_path / "order"
    failpoint = Failpoint(f"file:{order}")
    assert not failpoint.pass_by("K4")
    order.write_text("K4:2:wait")
    assert not failpoint.pass_by("K7")
    assert not failpoint.pass_by("K4")
    release = threading.Timer(0.05, (tmp_path / "order.hit").unlink)
    release.start()

    assert failpoint.pass_by("K4")
    assert not order.exists()
    assert not failpoint.pass_by("K4")


@pytest.mark.parametrize("text", ["K4", "K5:kill", "K4:x:kill", "K4:1:2:kill", "K4:sleep"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected POINT"):
        Order.parse(text)


def test_without_an_order_nothing_of_it_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIPD_FAILPOINT", raising=False)
    plain = open_store(Bridge(), "postgresql://x@/x", Registry(), 1)
    monkeypatch.setenv("DRIPD_FAILPOINT", "K0:kill")
    broken = open_store(Bridge(), "postgresql://x@/x", Registry(), 1)

    assert PostgresStore is type(plain)
    assert PostgresStore is not type(broken)


async def _echo(stream: trio.SocketStream) -> None:
    """Say what is heard, until the link is cut."""
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


async def ask(port: int, text: bytes, patience_s: float = 30) -> bytes | str:
    """What comes back, or how it failed."""
    try:
        with trio.fail_after(patience_s):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(text)
                answer = b""
                while len(answer) < len(text):
                    more = await stream.receive_some()
                    if not more:
                        return "ended"
                    answer += more
            return answer
    except trio.TooSlowError:
        return "silent"
    except (OSError, trio.BrokenResourceError):
        return "reset"


@pytest.mark.trio
async def test_a_proxy_disturbs_one_way_and_heals() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, _echo, 0)
        target = ("127.0.0.1", listeners[0].socket.getsockname()[1])
        proxies = Proxies()
        await trio.to_thread.run_sync(proxies.__enter__)
        proxy, port = await trio.to_thread.run_sync(proxies.lead, target)
        found: list[bytes | str] = []

        found.append(await ask(port, b"hello"))
        proxy.poison("down", black_hole=True)
        found.append(await ask(port, b"hello", 0.3))
        proxy.heal()
        proxy.poison("up", limit=3)
        found.append(await ask(port, b"hello"))
        proxy.heal()
        proxy.poison("down", latency_s=0.2)
        began = trio.current_time()
        found.append(await ask(port, b"hello"))
        latency = trio.current_time() - began
        proxy.heal()
        proxy.poison("up", drip_bytes=1, drip_s=0.02)
        found.append(await ask(port, b"hello"))
        proxy.heal()
        proxy.refuses = True
        found.append(await ask(port, b"hello"))
        proxy.heal()
        proxy.trap = trap = Trap("up", b"ell", 2)
        found.append(await ask(port, b"hello", 1))
        trap.released.set()
        found.append(await ask(port, b"hello"))

        await trio.to_thread.run_sync(proxies.__exit__, None, None, None)
        nursery.cancel_scope.cancel()

    assert [
        b"hello",
        "silent",
        "reset",
        b"hello",
        b"hello",
        "reset",
        "silent",
        b"hello",
    ] == found
    assert latency >= 0.2
    assert trap.sprung.is_set()
