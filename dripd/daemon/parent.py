"""`dripd run --processes N`: how do several daemons live under one parent?

The parent sends nothing and holds no connection; it starts daemons that know nothing of each
other, hands on signals, starts anew what dies, and speaks to systemd for all of them: ready
when all are, alive while all are. Each has a socket, a name and a metrics port of its own; the
first has those that the configuration names.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dripd.config import Config
from dripd.daemon.notify import notify
from dripd.log import get

ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT})
HANDED_ON: Final = frozenset({*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})

AGAIN_S: Final = 1.0
"""Real seconds until a daemon that died is started anew."""

LOOK_S: Final = 0.2

log = get("parent")


def environment(config: Config, number: int) -> dict[str, str]:
    """What daemon *number* (from 1 on) is told besides what the parent was."""
    if number == 1:
        return {"DRIPD_SOCKET": str(config.socket)}
    own = {
        "DRIPD_SOCKET": str(config.socket.with_name(f"{config.socket.stem}-{number}.sock")),
        "DRIPD_DAEMON__NODE": f"{config.daemon.node}-{number}",
    }
    if config.metrics_listen:
        own["DRIPD_METRICS__LISTEN"] = f"{config.metrics_listen.rpartition(':')[0]}:0"
    if not config.gateway.listen.endswith(":0"):
        own["DRIPD_GATEWAY__LISTEN"] = ""
    return own


@dataclass(slots=True)
class Child:
    """One daemon; `hears` is where it sends what is meant for systemd."""

    number: int
    around: Mapping[str, str]
    hears: socket.socket
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    fed: bool = False
    start_at: float = 0.0

    def start(self, command: Sequence[str]) -> None:
        self.ready = self.fed = False
        self.process = subprocess.Popen(command, env={**os.environ, **self.around})

    def listen(self) -> None:
        """Take in what it told systemd."""
        try:
            lines = self.hears.recv(4096).split(b"\n")
        except BlockingIOError:
            return
        self.ready |= b"READY=1" in lines
        self.fed |= b"WATCHDOG=1" in lines


@dataclass(slots=True)
class Family:
    """All daemons of one parent."""

    command: Sequence[str]
    children: list[Child]
    result: int = 0
    ending: bool = False
    told_ready: bool = False
    signals: list[int] = field(default_factory=list)

    def tend(self) -> bool:
        """One look at everything; False: all have ended."""
        while self.signals:
            self._hand_on(self.signals.pop(0))
        for child in self.children:
            self._mind(child)
        self._tell_manager()
        return any(child.process is not None for child in self.children) or not self.ending

    def _hand_on(self, number: int) -> None:
        self.ending |= number in ENDING
        for child in self.children:
            if child.process is not None:
                child.process.send_signal(number)

    def _mind(self, child: Child) -> None:
        if child.process is None:
            if not self.ending and time.monotonic() >= child.start_at:
                child.start(self.command)
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        if self.ending:
            early = not child.ready and -code in ENDING  # it was told before it could listen
            self.result = self.result or (0 if early else code)
        elif child.ready:
            child.start_at = time.monotonic() + AGAIN_S
            log.error("process.died", number=child.number, code=code)
        else:
            self.result = code  # it could not start: neither could the others
            self.signals.append(signal.SIGTERM)

    def _tell_manager(self) -> None:
        if not self.told_ready and all(child.ready for child in self.children):
            self.told_ready = notify("READY=1", f"STATUS={len(self.children)} daemons") or True
        if all(child.fed for child in self.children):
            notify("WATCHDOG=1")
            for child in self.children:
                child.fed = False


def supervise(command: Sequence[str], config: Config, n: int, extra: Mapping[str, str]) -> int:
    """Run *n* daemons by *command* until told to end; returns the exit code.

    *extra* is put into the environment of each.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dripd-")))
        selector = stack.enter_context(selectors.DefaultSelector())
        family = Family(command, [])
        for number in range(1, n + 1):
            hears = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            hears.bind(str(folder / str(number)))
            hears.setblocking(False)
            around = {**extra, **environment(config, number)}
            around["NOTIFY_SOCKET"] = str(folder / str(number))
            child = Child(number, around, hears)
            selector.register(hears, selectors.EVENT_READ, child)
            family.children.append(child)
        catch_signals(family, selector, stack)
        while family.tend():
            for key, _ in selector.select(LOOK_S):
                if key.data is not None:
                    key.data.listen()
                else:
                    os.read(key.fd, 64)
        return family.result


def catch_signals(family: Family, selector: selectors.BaseSelector, stack: ExitStack) -> None:
    """Let signals wake the loop, until the stack is left."""
    reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    stack.callback(os.close, reads)
    stack.callback(os.close, writes)
    selector.register(reads, selectors.EVENT_READ, None)
    stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writes))
    for number in HANDED_ON:
        before = signal.signal(number, lambda caught, _: family.signals.append(caught))
        stack.callback(signal.signal, number, before)
