"""The test provider: what it logs is what it did, before anybody was told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from dripd.proof.sink import FAULTS, read_log, serve


@asynccontextmanager
async def sink(
    log: Path, *, faults: float = 0.0, seed: int = 1
) -> AsyncIterator[tuple[str, int]]:
    """A sink; its URL and its SMTP port."""
    bound = partial(serve, log, port=0, smtp_port=0, faults=faults, seed=seed)
    async with trio.open_nursery() as nursery:
        http, smtp = await nursery.start(bound)
        yield f"http://127.0.0.1:{http}", smtp
        nursery.cancel_scope.cancel()


async def post(url: str, key: str) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=1) as client:
        try:
            answer = await client.post(url, content=b"{}", headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            return type(error).__name__
    return str(answer.status_code)


@pytest.mark.trio
async def test_a_key_is_accepted_once_where_keys_are_honoured(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with sink(log) as (url, _):
        for path in ("keyed", "keyed", "plain", "plain"):
            assert "200" == await post(f"{url}/{path}/emails", f"k-{path}")
    told = [(e["key"], e["accepted"], e["repeat"]) for e in read_log(log)]

    assert [
        ("k-keyed", True, False),
        ("k-keyed", False, True),
        ("k-plain", True, False),
        ("k-plain", True, False),
    ] == told


@pytest.mark.trio
async def test_each_fault_befalls_and_its_name_is_true(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with sink(log, faults=1.0, seed=6) as (url, _):
        answers = [await post(f"{url}/plain", f"k{n}") for n in range(12)]
    entries = read_log(log)
    by_fault = {entry["fault"]: answer for entry, answer in zip(entries, answers, strict=True)}

    assert set(FAULTS) == set(by_fault)
    assert all(entry["accepted"] == entry["fault"].startswith("accept") for entry in entries)
    assert ("503", "429", "500") == tuple(
        by_fault[name] for name in ("refuse_503", "refuse_429", "accept_500")
    )
    assert "ReadTimeout" == by_fault["accept_slow"]
    broken = ("accept_close", "accept_reset", "refuse_close", "accept_garbage")
    assert all(by_fault[name].endswith("Error") for name in broken)


@pytest.mark.trio
async def test_the_same_seed_draws_the_same_faults(tmp_path: Path) -> None:
    drawn = []
    for name in ("a", "b"):
        async with sink(tmp_path / name, faults=0.5, seed=11) as (url, _):
            for n in range(8):
                await post(f"{url}/plain", f"k{n}")
        drawn.append([entry["fault"] for entry in read_log(tmp_path / name)])

    assert drawn[0] == drawn[1]
    assert {"", *drawn[0]} != {""}


@pytest.mark.trio
async def test_a_mail_is_logged_before_its_answer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with sink(log) as (_, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            said = b"EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"
            await stream.send_all(said + b"Message-ID: <k@x>\r\n\r\nHello\r\n.\r\nQUIT\r\n")
            answer = b""
            while b"221" not in answer:
                answer += await stream.receive_some()

    assert b"250 2.0.0 taken" in answer
    assert [("<k@x>", True)] == [(e["key"], e["accepted"]) for e in read_log(log)]
    assert json.loads(log.read_text())["path"] == "smtp"
