"""What was seen, to be seen again: recordings of a console.

A recording holds the greeting and what views and tails told, with the second in which they
did: masked as it was shown, and no answer to any other call. One JSON object a line, in gzip.
Replayed, it is a daemon that answers with the past.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from dripd.admin.delta import apply
from dripd.admin.safe import clean
from dripd.errors import BadRequest, DripdError, NotPermitted
from dripd.tui.watch import Follow, Watch

FORMAT: Final = 1
FLUSH_S: Final = 5.0


class Recorder:
    """Writes what a link sees to *path*, a new file. Raises `BadRequest` if it cannot.

    Where it can no longer, the recording ends there: `fault` says why.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._out = gzip.GzipFile(path, "xb", compresslevel=6)  # closed by close()
        except OSError as error:
            raise BadRequest(
                f"cannot record to {path}: {error.strerror}", hint="name a new file"
            ) from error
        self.fault = ""
        self._began = time.monotonic()
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
        now = time.monotonic()
        with self._kept():
            self._out.write(orjson.dumps({"t": round(now - self._began, 3), **said}) + b"\n")
            if now - self._flushed > FLUSH_S:
                self._flushed = now
                self._out.flush()

    @contextmanager
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

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        self._lines = load(path)
        self._changed = changed
        self._watches: list[Watch] = []
        self._kept: dict[str, dict[str, Any]] = {}
        self.hello: dict[str, Any] = self._lines[0].get("hello", {})
        self.up = True
        self.trouble: DripdError | None = None
        self.lost_at: float | None = None
        self._is_over = False

    @property
    def word(self) -> str:
        return "REPLAY, OVER" if self._is_over else "REPLAY"

    async def run(self) -> None:
        """Tell everything, as fast as it was told; then stand still."""
        began = asyncio.get_running_loop().time()
        for one in self._lines[1:]:
            wait = began + float(one.get("t", 0)) - asyncio.get_running_loop().time()
            if wait > 0:
                await asyncio.sleep(wait)
            self._tell(one)
        self._is_over = True
        self._changed()
        await asyncio.Event().wait()

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
        elif not any(one.get("of") == name_of(watch) for one in self._lines):
            watch.failed(BadRequest("this was not on screen when it was recorded"))

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
