"""What was seen, to be seen again: recordings of a console.

A recording holds the greeting and what views and tails told, with the second in which they
did: masked as it was shown, and no answer to any other call. One JSON object a line, in gzip.
Replayed, it is a daemon that answers with the past.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from dripd.admin.delta import apply
from dripd.admin.safe import clean
from dripd.errors import BadRequest, DripdError, NotPermitted
from dripd.tui.watch import Follow, Watch
from dripd.tui.words import span

FORMAT: Final = 1
FLUSH_S: Final = 5.0

Clock: TypeAlias = Callable[[], float]
"""Seconds, from whenever."""


class Recorder:
    """Writes what a link sees to *path*, a new file. Raises `BadRequest` if it cannot.

    Where it can no longer, the recording ends there: `fault` says why.
    """

    def __init__(self, path: Path, clock: Clock = time.monotonic) -> None:
        try:
            self._out = gzip.GzipFile(path, "xb", compresslevel=6)  # closed by close()
        except OSError as error:
            raise BadRequest(
                f"cannot record to {path}: {error.strerror}", hint="name a new file"
            ) from error
        self.fault = ""
        self._clock = clock
        self._began = self._clock()
        self._flushed = self._began

    def hello(self, hello: Mapping[str, Any]) -> None:
        self._write({"hello": dict(hello), "format": FORMAT})

    def opened(self, watch: Watch, reply: Mapping[str, Any]) -> None:
        self._write({"of": name_of(watch), "open": dict(reply)})

    def told(self, watch: Watch, method: str, params: Mapping[str, Any]) -> None:
        self._write({"of": name_of(watch), "method": method, "params": dict(params)})

    def close(self) -> None:
        with self._kept():
            self._out.close()

    def _write(self, said: dict[str, Any]) -> None:
        if self.fault:
            return
        now = self._clock()
        with self._kept():
            self._out.write(orjson.dumps({"t": round(now - self._began, 3), **said}) + b"\n")
            if now - self._flushed > FLUSH_S:
                self._flushed = now
                self._out.flush()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """A disk that is full ends the recording, not the console."""
        try:
            yield
        except OSError as error:
            self.fault = error.strerror or str(error)


def name_of(watch: Watch) -> str:
    """What a watch is known by in a recording: a view and what it asked, however much of it."""
    kind = "tail" if isinstance(watch, Follow) else "view"
    params = {k: v for k, v in watch.params.items() if k not in {"limit", "brief", "figures"}}
    return f"{kind} {watch.of} {orjson.dumps(params, option=orjson.OPT_SORT_KEYS).decode()}"


def load(path: Path) -> list[dict[str, Any]]:
    """The lines of a recording; a last one that is broken off is left out.

    Raises `BadRequest` if it is none.
    """
    found: list[dict[str, Any]] = []
    try:
        with gzip.open(path, "rb") as lines:
            for raw in lines:
                one = clean(orjson.loads(raw))
                if isinstance(one, dict):
                    found.append(one)
    except (EOFError, orjson.JSONDecodeError) as error:
        if not found:
            raise no_recording(path) from error
    except OSError as error:
        raise no_recording(path) from error
    if not found or found[0].get("format") != FORMAT:
        raise no_recording(path)
    return found


def no_recording(path: Path) -> BadRequest:
    return BadRequest(
        f"{path} is no recording of this console", hint="dripd console --record F"
    )


class Replay:
    """A recording as a daemon: it tells what was told, in its own time."""

    def __init__(
        self, path: Path, changed: Callable[[], None], clock: Clock = time.monotonic
    ) -> None:
        self._clock = clock
        self._lines = load(path)
        self._changed = changed
        self._watches: list[Watch] = []
        self._kept: dict[str, dict[str, Any]] = {}
        self._next = 1
        self._began = self._clock()
        self._moved = asyncio.Event()
        self.hello: dict[str, Any] = self._lines[0].get("hello", {})
        self.up = True
        self.trouble: DripdError | None = None
        self.lost_at: float | None = None
        self.is_past = True

    @property
    def word(self) -> str:
        return f"REPLAY {span(1000 * self._at)} of {span(1000 * self._end)}"

    @property
    def _end(self) -> float:
        """Seconds that the recording lasts."""
        return _when(self._lines[-1])

    @property
    def _at(self) -> float:
        """The second of it that is shown."""
        return min(self._end, self._clock() - self._began)

    async def run(self) -> None:
        """Tell everything, as fast as it was told; at its end stand still."""
        while True:
            wait = None
            while self._next < len(self._lines):
                wait = _when(self._lines[self._next]) - self._at
                if wait > 0:
                    break
                self._tell(self._lines[self._next])
                self._next += 1
            else:
                wait = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._moved.wait()
            self._moved.clear()

    def jump(self, by_s: float) -> bool:
        """Go on from so many seconds later, or earlier."""
        at = max(0.0, min(self._end, self._at + by_s))
        if by_s < 0:
            self._next, self._kept = 1, {}
            for watch in self._watches:
                watch.failed(BadRequest("seen later in the recording"))
        self._began = self._clock() - at
        self._moved.set()
        self._changed()
        return True

    def _tell(self, one: dict[str, Any]) -> None:
        name = str(one.get("of", ""))
        if isinstance(opened := one.get("open"), dict):
            self._kept[name] = dict(opened)
        elif isinstance(params := one.get("params"), dict):
            self._remember(name, params)
        for watch in self._watches:
            if name_of(watch) == name:
                if opened is not None:
                    watch.opened(opened)
                elif watch.answer is not None:
                    watch.took(str(one.get("method")), one.get("params", {}))
        self._changed()

    def _remember(self, name: str, params: dict[str, Any]) -> None:
        kept = self._kept.get(name)
        if kept is None:
            return
        if name.startswith("tail"):
            kept["rows"] = [*kept.get("rows", []), *params.get("rows", [])][-500:]
            kept["n"] = params.get("n", kept.get("n"))
        elif isinstance(kept.get("result"), dict):
            kept["result"] = apply(kept["result"], params, tuple(kept.get("key", ())))

    def watch(self, watch: Watch) -> None:
        self._watches.append(watch)
        kept = self._kept.get(name_of(watch))
        if kept is not None:
            watch.opened(kept)
            return
        shown = [_when(one) for one in self._lines if one.get("of") == name_of(watch)]
        told = "this was not on screen when it was recorded"
        if shown:
            told = f"this was on screen {span(1000 * shown[0])} after the recording began"
        watch.failed(
            BadRequest(told, hint="right and left go on and back by 10 s" if shown else "")
        )

    def unwatch(self, watch: Watch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)

    def pace(self, watch: Watch, hz: float) -> None:
        """The past has its own pace."""

    async def call(
        self, method: str, params: Mapping[str, object] | None = None, *, once: bool = False
    ) -> Any:
        raise NotPermitted(f"{method}: this is a recording; there is no daemon behind it")

    async def close(self) -> None:
        """Nothing is open."""


def _when(one: Mapping[str, Any]) -> float:
    """The second in which a line was written."""
    return float(one.get("t", 0))
