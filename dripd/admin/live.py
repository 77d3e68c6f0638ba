"""How do views and tails reach a client? One pump a connection, state and not events.

A view is a reading method asked again: at most as often as the client wants (4 Hz), at most a
twentieth of the time that asking takes, and at once after somebody has changed something here.
Equal views of different clients are asked once. What is sent is the difference to what this
client has; while it does not read, nothing is asked, so it costs one answer of memory a view.
A tail reads a ring: what does not fit is counted as a gap.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import orjson
import trio

from dripd.admin import wire
from dripd.admin.delta import Answer, diff
from dripd.admin.mask import masked
from dripd.admin.messages import Call, Method
from dripd.admin.slices import in_slices, of_rows
from dripd.admin.tail import Source
from dripd.errors import BadRequest, Busy, DripdError, NotFound

MOST_VIEWS: Final = 8
MOST_TAILS: Final = 4
SLOWEST_HZ: Final = 0.2
FASTEST_HZ: Final = 4.0
SHARE: Final = 20
"""A view rests at least this many times as long as its answer takes."""

ROWS_A_SECOND: Final = 50
"""Most rows of a tail; the rest is counted."""

FRAME: Final = 64 * 1024
"""A delta longer than this goes in several."""

KEPT_LOOKS: Final = 64

Say: TypeAlias = Callable[[str, Mapping[str, object]], Awaitable[None]]
"""Sends one notice, after those before it."""

Look: TypeAlias = Callable[[], Awaitable[object]]


def clamp(hz: float) -> float:
    """Seconds between two looks for a client that wants *hz*."""
    return 1 / min(max(hz, SLOWEST_HZ), FASTEST_HZ)


class Looks:
    """The latest answers of views, shared by all sessions; `stir` says that something changed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[float, int, float, Answer]] = OrderedDict()
        self._locks: dict[bytes, trio.Lock] = {}
        self.stirred = 0
        self._stir = trio.Event()

    def stir(self) -> None:
        """Somebody has changed something: every view is due at once."""
        self.stirred += 1
        self._stir.set()
        self._stir = trio.Event()

    async def rest(self, seconds: float) -> None:
        """Sleep for *seconds*, or until something was changed."""
        with trio.move_on_after(seconds):
            await self._stir.wait()

    async def answer(self, key: bytes, most_age: float, ask: Look) -> tuple[Answer, float]:
        """An answer to *key* that is younger than *most_age* s and than the last change here;
        and how long it took to get."""
        lock = self._locks.setdefault(key, trio.Lock())
        async with lock:
            kept = self._kept.get(key)
            now = trio.current_time()
            if kept is not None and now - kept[0] < most_age and kept[1] == self.stirred:
                return kept[3], kept[2]
            stirred = self.stirred
            answer = await ask()
            took = trio.current_time() - now
            found = answer if isinstance(answer, Mapping) else {"result": answer}
            self._kept[key] = (trio.current_time(), stirred, took, found)
            self._kept.move_to_end(key)
        self._trim()
        return found, took

    def _trim(self) -> None:
        while len(self._kept) > KEPT_LOOKS:
            old, _ = self._kept.popitem(last=False)
            self._locks.pop(old, None)


@dataclass(slots=True, kw_only=True)
class View:
    """One open view: what it asks, and what the client has of it."""

    sub: int
    name: str
    share: bytes
    look: Look
    columns: tuple[str, ...]
    period: float
    shown: Answer = field(default_factory=dict)
    seq: int = 0
    next_at: float = 0.0
    stirred: int = -1
    failed: str = ""


@dataclass(slots=True, kw_only=True)
class Tail:
    sub: int
    name: str
    source: Source[object]
    wanted: Mapping[str, object]
    seen: int
    period: float
    seq: int = 0
    next_at: float = 0.0


class Live:
    """The views and tails of one connection."""

    def __init__(self, looks: Looks, sources: Mapping[str, Source[object]], say: Say) -> None:
        self._looks = looks
        self._sources = sources
        self._say = say
        self._open: dict[int, View | Tail] = {}
        self._last = 0
        self._changed = trio.Event()

    async def open_view(
        self, method: Method, call: Call, args: object, asked: bytes, hz: float
    ) -> dict[str, object]:
        """The first answer, and the number under which its changes come."""
        columns = method.spec.view
        if columns is None:
            raise BadRequest(f"{method.spec.name} cannot be kept up to date", path="of")
        if sum(isinstance(one, View) for one in self._open.values()) >= MOST_VIEWS:
            raise Busy(f"{MOST_VIEWS} views are open already", hint="close one: view.close")

        shown = masked if method.spec.personal else wire.portable

        async def look() -> object:
            return await in_slices(await method.handler(call, args), shown)

        share = b"\0".join([asked, call.actor.encode(), call.role.encode()])
        period = clamp(hz)
        view = View(
            sub=0, name=method.spec.name, share=share, look=look, columns=columns, period=period
        )
        view.shown, took = await self._looks.answer(share, period * 0.9, look)
        view.sub, view.stirred = self._number(), self._looks.stirred
        view.next_at = trio.current_time() + max(period, took * SHARE)
        self._open[view.sub] = view
        self._changed.set()
        return {"sub": view.sub, "seq": 0, "key": list(columns), "result": dict(view.shown)}

    async def open_tail(
        self, name: str, wanted: Mapping[str, object], past: int, hz: float
    ) -> dict[str, object]:
        """The last rows, and the number under which the next ones come."""
        if name not in self._sources:
            raise NotFound(f"there is no tail {name!r}", hint=", ".join(sorted(self._sources)))
        if sum(isinstance(one, Tail) for one in self._open.values()) >= MOST_TAILS:
            raise Busy(f"{MOST_TAILS} tails are open already", hint="close one: view.close")
        source = self._sources[name]
        rows, _, seen = source.read(max(0, source.ring.n - 500), past, wanted)
        tail = Tail(
            sub=self._number(),
            name=name,
            source=source,
            wanted=wanted,
            seen=seen,
            period=clamp(hz),
        )
        self._open[tail.sub] = tail
        self._changed.set()
        shown = await of_rows({"rows": rows}, masked)
        return {"sub": tail.sub, "seq": 0, **shown, "n": seen}

    def close(self, sub: int) -> bool:
        """Whether there was such a view or tail."""
        return self._open.pop(sub, None) is not None

    def pace(self, sub: int, hz: float) -> bool:
        """Look as often as *hz* from now on: a hidden or frozen view asks for little."""
        one = self._open.get(sub)
        if one is not None:
            one.period = clamp(hz)
            one.next_at = min(one.next_at, trio.current_time() + one.period)
            self._changed.set()
        return one is not None

    async def pump(self) -> None:
        """Send what changes, for as long as the connection lives."""
        while True:
            due = min((one.next_at for one in self._open.values()), default=None)
            await self._wait(due)
            for one in list(self._open.values()):
                if one.sub not in self._open or not self._is_due(one):
                    continue
                if isinstance(one, View):
                    await self._refresh(one)
                else:
                    await self._follow(one)

    async def _wait(self, due: float | None) -> None:
        self._changed = trio.Event()
        if due is None:
            await self._changed.wait()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._on_change, nursery.cancel_scope)
            await self._looks.rest(max(0.0, due - trio.current_time()))
            nursery.cancel_scope.cancel()

    async def _on_change(self, scope: trio.CancelScope) -> None:
        await self._changed.wait()
        scope.cancel()

    def _is_due(self, one: View | Tail) -> bool:
        stirred = isinstance(one, View) and one.stirred != self._looks.stirred
        return stirred or one.next_at <= trio.current_time()

    async def _refresh(self, view: View) -> None:
        view.stirred = self._looks.stirred
        try:
            answer, took = await self._looks.answer(view.share, view.period * 0.9, view.look)
        except DripdError as error:
            view.next_at = trio.current_time() + max(view.period, 1.0)
            await self._tell_failure(view, error)
            return
        view.next_at = trio.current_time() + max(view.period, took * SHARE)
        changes = diff(view.shown, answer, view.columns)
        mended, view.failed, view.shown = bool(view.failed), "", answer
        if changes or mended:
            for part in in_frames(changes):
                view.seq += 1
                await self._say("view.delta", {"sub": view.sub, "seq": view.seq, **part})

    async def _tell_failure(self, view: View, error: DripdError) -> None:
        if view.failed == error.message:
            return
        view.failed = error.message
        failure = wire.pack_error(None, error)
        await self._say(
            "view.error", {"sub": view.sub, "message": failure.message, "data": failure.data}
        )

    async def _follow(self, tail: Tail) -> None:
        tail.next_at = trio.current_time() + tail.period
        if tail.source.ring.n == tail.seen:
            return
        most = max(1, round(ROWS_A_SECOND * tail.period))
        rows, gap, tail.seen = await tail.source.follow(tail.seen, most, tail.wanted)
        if rows or gap:
            tail.seq += 1
            shown = (await of_rows({"rows": rows}, masked))["rows"]
            said = {"sub": tail.sub, "seq": tail.seq, "rows": shown, "gap": gap, "n": tail.seen}
            await self._say("tail.rows", said)

    def _number(self) -> int:
        self._last += 1
        return self._last


def in_frames(changes: dict[str, object]) -> list[dict[str, object]]:
    """*changes* in pieces of about `FRAME` bytes: rows first, their order with the last."""
    rows = changes.get("rows")
    if not isinstance(rows, list):
        return [changes]
    pieces: list[list[object]] = [[]]
    size = 0
    for row in rows:
        weight = len(orjson.dumps(row, default=wire.plain))
        if pieces[-1] and size + weight > FRAME:
            pieces.append([])
            size = 0
        pieces[-1].append(row)
        size += weight
    rest = {name: value for name, value in changes.items() if name != "rows"}
    first: list[dict[str, object]] = [{"rows": piece} for piece in pieces[:-1]]
    return [*first, {**rest, "rows": pieces[-1]}]
