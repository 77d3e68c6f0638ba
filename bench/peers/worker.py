"""The worker's side of the kit, for workers in Python. Only the standard library and uvloop."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvloop

BODY = {"to": "someone@example.test", "campaign": 7, "pad": "x" * 960}
"""1 KB once encoded."""

Handle = Callable[[float | None], Awaitable[None]]


class Probe:
    """What every job calls: it counts, measures and, where asked, makes one POST."""

    def __init__(self, url: str | None) -> None:
        self.done = 0
        self.late_ms: list[float] = []
        self._url = url
        self._session: Any = None

    async def __call__(self, at: float | None) -> None:
        if at is not None:
            self.late_ms.append((time.time() - at) * 1000)
        if self._url is not None:
            await self._post(self._url)
        self.done += 1
        if self.done == 1:
            answer({"first": 1})

    async def _post(self, url: str) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100))
        async with self._session.post(url, json=BODY) as answer:
            await answer.read()
            if answer.status != 202:
                raise RuntimeError(f"the server answered {answer.status}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Worker(ABC):
    """One queue."""

    def __init__(self, dsn: str, post: bool) -> None:
        self.dsn = dsn
        self.post = post

    @abstractmethod
    async def prepare(self) -> None:
        """Make its tables."""

    @abstractmethod
    async def fill(self, n: int, at: list[float] | None) -> None:
        """Make *n* jobs by its own bulk call, due now or each at its instant."""

    @abstractmethod
    async def start(self, handle: Handle) -> None:
        """Begin to work."""

    @abstractmethod
    async def left(self) -> int:
        """Jobs that its tables show as not done."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop working."""


async def obey(make: Callable[[str, bool], Worker], probe: type[Probe]) -> None:
    """Do what stdin says. Arguments: DSN SERVER_URL, "post" or "noop"."""
    dsn, url, kind = sys.argv[1:4]
    worker = make(dsn, kind == "post")
    await worker.prepare()
    answer({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if order["do"] == "work":
            answer(await work(worker, order, probe(url if worker.post else None)))
            return
        at = order.get("at")
        await worker.fill(order.get("n") or len(at), at)
        answer({"filled": True})


async def work(worker: Worker, order: dict[str, Any], probe: Probe) -> dict[str, Any]:
    """Work until enough is done."""
    await worker.start(probe)
    while probe.done < order["n"]:
        await asyncio.sleep(0.01)
    while order["drain"] and await worker.left():
        await asyncio.sleep(0.02)
    answer({"done": probe.done, "late_ms": probe.late_ms})
    await asyncio.to_thread(sys.stdin.readline)
    await worker.stop()
    await probe.close()
    return {"stopped": True}


def answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def main(make: Callable[[str, bool], Worker], probe: type[Probe] = Probe) -> None:
    uvloop.run(obey(make, probe))
