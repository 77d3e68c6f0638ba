"""`dripd run --processes N`: how do several daemons live under one parent?

The parent sends nothing and holds no connection; it starts daemons that know nothing of each
other, hands on signals, starts anew what dies, and speaks to systemd for all of them: ready
when all are, alive while all are. Each has a session of its own, so that Ctrl-C reaches it
once, through the parent, and none outlives the parent. Each has a socket, a name and a metrics
port of its own; the first has those that the configuration names. What becomes of any is told
to all (`family`).
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import trio

from dripd.clock import Instant, SystemClock, format_instant
from dripd.config import Config
from dripd.daemon import family
from dripd.daemon.notify import notify
from dripd.log import get

ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT})
HANDED_ON: Final = frozenset({*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})

SOONEST_S: Final = 1.0
LATEST_S: Final = 30.0
"""Real seconds until a daemon that died is started anew: twice as long each time."""

SETTLED_S: Final = 60.0
"""Who has been ready for so long begins with the shortest wait again."""

PARENT: Final = "DRIPD_PARENT"
"""In the environment of a daemon: the process that it must not outlive."""

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

    member: family.Member
    around: Mapping[str, str]
    hears: socket.socket
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False
    fed: bool = False
    began: bool = False
    """It has been ready once."""
    started_at: float = 0.0
    start_at: float = 0.0
    wait_s: float = SOONEST_S

    def start(self, command: Sequence[str]) -> None:
        self.ready = self.fed = False
        self.started_at = time.monotonic()
        env = {**os.environ, **self.around, PARENT: str(os.getpid())}
        self.process = subprocess.Popen(command, env=env, start_new_session=True)
        self.member.state, self.member.pid = "starting", self.process.pid
        self.member.again_at = None

    def start_again(self) -> float:
        """Be started anew; in how many seconds."""
        now = time.monotonic()
        wait_s = SOONEST_S if self.ready and now - self.started_at > SETTLED_S else self.wait_s
        self.wait_s = min(2 * wait_s, LATEST_S)
        self.start_at = now + wait_s
        at = SystemClock().now()
        self.member.again_at = format_instant(Instant(at + int(wait_s * 1000)))
        self.member.died_at = format_instant(at)
        return wait_s

    def listen(self) -> None:
        """Take in what it told systemd."""
        try:
            lines = self.hears.recv(4096).split(b"\n")
        except BlockingIOError:
            return
        if b"READY=1" in lines:
            self.ready, self.member.state = True, "running"
        self.began |= self.ready
        self.fed |= b"WATCHDOG=1" in lines


@dataclass(slots=True)
class Family:
    """All daemons of one parent."""

    command: Sequence[str]
    children: list[Child]
    place: Path
    """Where it is told what has become of them."""
    told: list[family.Member] = field(default_factory=list)
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
        self._tell()
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
        child.member.state, child.member.pid, child.member.code = "dead", None, code
        child.member.deaths += 1
        if self.ending:
            early = not child.ready and -code in ENDING  # it was told before it could listen
            self.result = self.result or (0 if early else code)
        elif child.began:
            wait_s = child.start_again()
            log.error("process.died", node=child.member.node, code=code, again_s=wait_s)
        else:
            self.result = code  # it could not start: neither could the others
            self.signals.append(signal.SIGTERM)

    def _tell(self) -> None:
        """Let the daemons know of one another, if anything is new."""
        members = [replace(child.member) for child in self.children]
        if members != self.told:
            family.write(self.place, members)
            self.told = members

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
        house = Family(command, [], folder / "family")
        for number in range(1, n + 1):
            hears = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            hears.bind(str(folder / str(number)))
            hears.setblocking(False)
            around = {**extra, **environment(config, number)}
            around["NOTIFY_SOCKET"] = str(folder / str(number))
            around[family.FILE] = str(house.place)
            node = around.get("DRIPD_DAEMON__NODE", config.daemon.node)
            child = Child(family.Member(node), around, hears)
            selector.register(hears, selectors.EVENT_READ, child)
            house.children.append(child)
        catch_signals(house, selector, stack)
        while house.tend():
            for key, _ in selector.select(LOOK_S):
                if key.data is not None:
                    key.data.listen()
                else:
                    os.read(key.fd, 64)
        return house.result


async def until_orphaned() -> None:
    """Wait until the parent that started this process is gone; for ever if there is none."""
    parent = os.environ.get(PARENT)
    if parent is None:
        await trio.sleep_forever()
    while os.getppid() == int(str(parent)):  # noqa: ASYNC110 - nobody else tells us
        await trio.sleep(SOONEST_S)  # noqa: TID251 - a poll in real time


def catch_signals(house: Family, selector: selectors.BaseSelector, stack: ExitStack) -> None:
    """Let signals wake the loop, until the stack is left."""
    reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    stack.callback(os.close, reads)
    stack.callback(os.close, writes)
    selector.register(reads, selectors.EVENT_READ, None)
    stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writes))
    for number in HANDED_ON:
        before = signal.signal(number, lambda caught, _: house.signals.append(caught))
        stack.callback(signal.signal, number, before)
