"""How is a console started? What was wished for becomes a daemon to look at and a way to show."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dripd.errors import BadRequest, DripdError
from dripd.tui.keys import load
from dripd.tui.link import Link
from dripd.tui.options import Options
from dripd.tui.source import Daemon
from dripd.tui.tape import Recorder, Replay
from dripd.tui.theme import choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The options of `dripd console`."""

    socket: Path
    screen: str = "overview"
    filter: str = ""
    read_only: bool = False
    plain: bool = False
    low_bandwidth: bool = False
    record: Path | None = None
    replay: Path | None = None


def run(wishes: Wishes, environment: Mapping[str, str]) -> int:
    """Show the console until it is left; returns the exit code. Raises `DripdError`."""
    options = Options(
        screen=wishes.screen,
        filter=wishes.filter,
        read_only=wishes.read_only,
        low_bandwidth=wishes.low_bandwidth,
        theme=choose(environment),
        keys=load(environment),
    )
    recorder = None if wishes.record is None else Recorder(wishes.record)

    def daemon(changed: Callable[[], None]) -> Daemon:
        if wishes.replay is not None:
            return Replay(wishes.replay, changed)
        return Link(wishes.socket, changed, tape=recorder)

    try:
        code = _show(daemon, options, plain=wishes.plain)
    finally:
        if recorder is not None:
            recorder.close()
    if recorder is not None and recorder.fault:
        raise DripdError(f"the recording {wishes.record} ends early: {recorder.fault}")
    return code


def _show(
    daemon: Callable[[Callable[[], None]], Daemon], options: Options, *, plain: bool
) -> int:
    if plain:
        from dripd.tui import plain as without_screen

        return without_screen.run(daemon, options, lambda said: print(said, flush=True))  # noqa: T201 - this is its screen
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadRequest("the console needs a terminal", hint="--plain writes lines instead")
    gc.disable()  # modules are no garbage: to look for it among them is a twentieth of the start
    try:
        from dripd.tui import app
    finally:
        gc.freeze()
        gc.enable()
    return app.run(daemon, options)
