"""The test provider over HTTP: its personalities, and how its answers go wrong.

The first part of a path chooses how keys are honoured (`PERSONALITIES`); a part `@FAULT` asks
for a fault, and so does the header `X-Sink-Fault`. A path that ends with `/batch` takes a JSON
list, as Resend and Postmark do, and logs a line for each message of it.
"""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import trio

from dripd.proof.faults import HTTP, NO_FAULT, PHRASES, Fault, Faults
from dripd.proof.link import Link

HEAD_MOST: Final = 65_536
BODY_MOST: Final = 32 << 20

SLOW_S: Final = 5.0
DRIP_S: Final = 0.4

HOUR_S: Final = 3_600
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Personality:
    """How a provider treats `Idempotency-Key`."""

    keeps_s: int = 0
    """How long a key is honoured; 0: never."""
    compares: bool = False
    """Another payload under a key that was seen is answered 409, and so is one in flight."""
    sticky: bool = False
    """The first answer is the answer, an error too."""
    releases: bool = False
    """A key whose request was answered by an error is forgotten."""


PERSONALITIES: Final[Mapping[str, Personality]] = {
    "plain": Personality(),
    "keyed": Personality(keeps_s=DAY_S),
    "compared": Personality(keeps_s=HOUR_S, compares=True, sticky=True),
    "ignored": Personality(keeps_s=DAY_S, releases=True),
    "sticky": Personality(keeps_s=DAY_S, compares=True, sticky=True),
}


@dataclass(slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers.get("idempotency-key", "")

    @property
    def asked(self) -> str:
        """The fault that the request itself asks for."""
        parts = [part[1:] for part in self.path.split("/") if part.startswith("@")]
        return self.headers.get("x-sink-fault", "") or "".join(parts[:1])

    @property
    def personality(self) -> Personality:
        return PERSONALITIES.get(self.path.split("/")[1], PERSONALITIES["plain"])

    def text(self) -> bytes:
        """All that a rule may look at."""
        words = " ".join((self.path, *self.headers.values()))
        return words.encode("latin-1", "replace") + b"\n" + self.body


@dataclass(slots=True)
class Kept:
    """What is remembered under a key."""

    sha: str
    until: float
    name: str
    status: int = 200
    busy: bool = True


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What is answered, and how it travels."""

    fault: Fault
    status: int
    body: str
    name: str
    key: str = ""


Add = Callable[..., Awaitable[None]]


class HttpSink:
    """Takes requests and remembers the keys it honours. `add` writes to the log."""

    def __init__(self, add: Add, faults: Faults) -> None:
        self._add = add
        self._faults = faults
        self._kept: dict[str, Kept] = {}

    async def serve(self, link: Link) -> None:
        while (request := await read_request(link)) is not None:
            verdict = await self.take(request)
            try:
                goes_on = await answer(link, verdict)
            finally:
                self._answered(request, verdict)
            if not goes_on:
                return

    async def take(self, request: Request) -> Verdict:
        """Decide and log; nothing has been answered yet when this returns."""
        name = self._faults.draw(HTTP, request.text(), request.asked)
        fault = HTTP.get(name, NO_FAULT)
        if request.path.rstrip("/").endswith("/batch"):
            return await self._take_many(request, name, fault)
        sha = _sha(request.body)
        kept = self._remembered(request)
        if kept is not None:
            return await self._repeat(request, kept, name, fault, sha)
        new = Kept(
            sha, time.monotonic() + request.personality.keeps_s, _new_name(), fault.status
        )
        if (
            request.personality.keeps_s
            and request.key
            and (fault.accepted or self._sticks(request))
        ):
            self._kept[request.key] = new
        await self._log(request.key, request, name, accepted=fault.accepted, sha=sha)
        return _verdict(fault, fault.status, new.name, request.key)

    def _sticks(self, request: Request) -> bool:
        return request.personality.sticky

    def _remembered(self, request: Request) -> Kept | None:
        kept = self._kept.get(request.key) if request.personality.keeps_s else None
        return kept if kept is not None and time.monotonic() < kept.until else None

    async def _repeat(
        self, request: Request, kept: Kept, name: str, fault: Fault, sha: str
    ) -> Verdict:
        """A key that was seen before: nothing is accepted a second time."""
        await self._log(request.key, request, name, accepted=False, sha=sha, repeat=True)
        if request.personality.compares and kept.busy:
            return _conflict("concurrent_idempotent_requests")
        if request.personality.compares and kept.sha != sha:
            return _conflict("invalid_idempotent_request")
        status = kept.status if request.personality.sticky else fault.status
        return _verdict(fault, status, kept.name)

    async def _take_many(self, request: Request, name: str, fault: Fault) -> Verdict:
        items = json.loads(request.body)
        is_mixed = fault.shape == "mixed"
        results: list[tuple[str, str]] = []
        for at, item in enumerate(items):
            taken = fault.accepted and not (is_mixed and at % 2)
            key = _key_within(item)
            sha = _sha(json.dumps(item, sort_keys=True).encode())
            await self._log(key, request, name, accepted=taken, sha=sha)
            results.append((_new_name() if taken else "", key))
        body = _batch_body(request, results)
        return Verdict(fault=fault, status=fault.status, body=body, name=_new_name())

    def _answered(self, request: Request, verdict: Verdict) -> None:
        kept = self._kept.get(verdict.key) if verdict.key else None
        if kept is None:
            return
        kept.busy = False
        if request.personality.releases and verdict.status >= 400:
            del self._kept[verdict.key]

    async def _log(
        self,
        key: str,
        request: Request,
        fault: str,
        *,
        accepted: bool,
        sha: str,
        repeat: bool = False,
    ) -> None:
        await self._add(
            key=key, path=request.path, accepted=accepted, repeat=repeat, fault=fault, sha=sha
        )


def _sha(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]


def _new_name() -> str:
    return f"sink-{random.getrandbits(48):012x}"


def _key_within(item: Mapping[str, Any]) -> str:
    """What names one message of a batch: its own metadata, else its Message-ID."""
    own: Any = item.get("Metadata") or item.get("headers") or {}
    return str(own.get("dripd_key") or own.get("Message-ID", ""))


def _batch_body(request: Request, results: list[tuple[str, str]]) -> str:
    if "/email/" in request.path:  # Postmark: a result a message, in their order
        return json.dumps(
            [
                {"ErrorCode": 0, "MessageID": name}
                if name
                else {"ErrorCode": 406, "Message": "inactive"}
                for name, _ in results
            ]
        )
    refused = [at for at, (name, _) in enumerate(results) if not name]
    return json.dumps(
        {
            "data": [{"id": name} for name, _ in results if name],
            "errors": [{"index": at, "message": "unfit"} for at in refused],
        }
    )


def _verdict(fault: Fault, status: int, name: str, key: str = "") -> Verdict:
    return Verdict(
        fault=fault, status=status, body=json.dumps({"id": name}), name=name, key=key
    )


def _conflict(name: str) -> Verdict:
    return Verdict(fault=NO_FAULT, status=409, body=json.dumps({"name": name}), name="")


async def read_request(link: Link) -> Request | None:
    """The next request; None at the end of the connection. Raises `ValueError` for what is none."""
    head = await link.until(b"\r\n\r\n", HEAD_MOST)
    if head is None:
        return None
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if length > BODY_MOST:
        raise ValueError("too large")
    if headers.get("expect", "").lower() == "100-continue":
        await link.say("HTTP/1.1 100 Continue\r\n\r\n")
    return Request(first.split(" ")[1], headers, await link.exactly(length))


async def answer(link: Link, verdict: Verdict) -> bool:
    """Answer one request; False where the connection ends with it."""
    shape = verdict.fault.shape
    if shape in SILENT:
        await SILENT[shape](link)
        return False
    if shape == "slow":
        await trio.sleep(SLOW_S)  # noqa: TID251 - the fault itself
    body = {"empty": "", "bad_json": '{"id": '}.get(shape, verdict.body)
    head = _head(verdict, len(body) + 100 * (shape in {"wrong_length", "half"}))
    if shape == "drip_head":
        await link.drip(head, DRIP_S)
    elif shape == "drip_body":
        await link.say(head)
        await link.drip(body, DRIP_S)
        return True
    else:
        await link.say((head + body) * (2 if shape == "twice" else 1))
    return shape not in {"wrong_length", "half", "twice"}


def _head(verdict: Verdict, length: int) -> str:
    phrase = PHRASES.get(verdict.status, "Odd")
    more = "".join(f"{line}\r\n" for line in verdict.fault.headers)
    return (
        f"HTTP/1.1 {verdict.status} {phrase}\r\n{more}X-Message-Id: {verdict.name}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )


async def _close(link: Link) -> None:
    del link


async def _reset(link: Link) -> None:
    link.reset()


async def _half_close(link: Link) -> None:
    await link.stream.send_eof()
    with trio.move_on_after(SLOW_S):
        await link.hold()


async def _stall(link: Link) -> None:
    await link.hold()


async def _continue(link: Link) -> None:
    await link.say("HTTP/1.1 100 Continue\r\n\r\n")
    await link.hold()


async def _endless(link: Link) -> None:
    await link.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await link.say(f"400\r\n{' ' * 1024}\r\n")
        await trio.sleep(0.01)  # noqa: TID251 - without end, not without pause


async def _bomb(link: Link) -> None:
    data = gzip.compress(bytes(64 << 20))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
    await link.stream.send_all(head.encode() + data)


async def _garbage(link: Link) -> None:
    await link.say("HTTP/9.9 what\r\n\r\n")


SILENT: Final[Mapping[str, Callable[[Link], Awaitable[None]]]] = {
    "close": _close,
    "reset": _reset,
    "half_close": _half_close,
    "stall": _stall,
    "continue": _continue,
    "endless": _endless,
    "bomb": _bomb,
    "garbage": _garbage,
}
"""Shapes after which no answer that could be read has gone out."""
