"""The real program on a real pty, looked at through a terminal emulator."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte
from wcwidth import wcwidth

PATIENCE_S = 60.0


def _lead() -> None:
    """In the child: ctrl+c as in a terminal of its own, also where a shell ignores it for us."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _control() -> None:
    """In the child: a terminal of its own."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    _lead()


class _Screen(pyte.Screen):
    """Where a mark takes no cell and joins no letter, pyte throws away what stands behind it in
    what it read at once."""

    def draw(self, data: str) -> None:
        super().draw("".join(c for c in data if wcwidth(c) or unicodedata.combining(c)))


class Terminal:
    """A program in a terminal of its own; `raw` is every byte that it wrote.

    A terminal that does not *control* it sends it no signal when it goes away.
    """

    def __init__(
        self,
        args: Sequence[str],
        size: tuple[int, int] = (80, 24),
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        *,
        controls: bool = True,
    ) -> None:
        self.raw = b""
        self._screen = _Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        self._set_size(slave, size)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dripd.cli.main", *args],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=cwd,
            env={
                **{key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}},
                "TERM": "xterm-256color", "TEXTUAL_ANIMATIONS": "none", **(environment or {}),
            },
            preexec_fn=_control if controls else _lead,  # noqa: PLW1509 - no threads here
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for one in (self._slave, self._master):
            if one >= 0:
                os.close(one)

    def key(self, keys: str) -> None:
        """Type *keys*, each as a person would: not within the same instant."""
        for one in keys:
            os.write(self._master, one.encode())
            self.read(0.03)

    def send(self, data: bytes) -> None:
        os.write(self._master, data)

    def fill(self, keys: str) -> None:
        """Type *keys* again and again, reading nothing, until the program can write no more."""
        until, full = time.monotonic() + PATIENCE_S, 0
        while full < 20:
            assert time.monotonic() < until, "there is still room"
            self.send(keys.encode())
            time.sleep(0.05)
            full = 0 if select.select([], [self._slave], [], 0)[1] else full + 1

    def read(self, seconds: float) -> None:
        """Take in what is written within *seconds*."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self._master], [], [], left)
            if not ready:
                return
            try:
                data = os.read(self._master, 65536)
            except OSError as error:
                if error.errno == errno.EIO:
                    return
                raise
            self.raw += data
            self._stream.feed(data)

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    def columns_of(self, word: str) -> set[int]:
        """Where *word* begins, in the emulator's cells, on every line that has it by itself."""
        n = self._screen.columns
        lines = [[row[x].data for x in range(n)] for row in self._screen.buffer.values()]
        return {
            x
            for cells in lines
            for x in range(n)
            if cells[x - 1 : x] in ([], [" "]) and "".join(cells[x : x + len(word)]) == word
        }

    def until(self, wanted: str, seconds: float = PATIENCE_S) -> str:
        """Read until *wanted* is on screen; the screen. Raises `AssertionError` if it never is."""
        end = time.monotonic() + seconds
        while wanted not in self.text:
            assert time.monotonic() < end, f"no {wanted!r} on screen:\n{self.text}"
            self.read(0.05)
        return self.text

    def until_one_column_of(self, word: str, right_of: int) -> None:
        """Read until *word*, from cell *right_of* on, begins in one column at most: in the midst
        of a painting two are on screen. Raises `AssertionError` if there are always several."""
        end = time.monotonic() + PATIENCE_S
        while len(found := {x for x in self.columns_of(word) if x >= right_of}) > 1:
            assert time.monotonic() < end, f"{word!r} in columns {found}:\n{self.text}"
            self.read(0.05)

    def resize(self, size: tuple[int, int]) -> None:
        self._set_size(self._master, size)
        self._screen.resize(size[1], size[0])
        self.process.send_signal(signal.SIGWINCH)

    def hang_up(self) -> None:
        """As a closed ssh does: the terminal goes away."""
        os.close(self._slave)
        os.close(self._master)
        self._slave = self._master = -1

    def end(self, how: signal.Signals | None = None) -> int:
        """Wait for the end (after a signal, if one is given); the exit code."""
        if how is not None:
            self.process.send_signal(how)
        until = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < until, f"it goes on:\n{self.text}"
            if self._master >= 0:
                self.read(0.05)
            else:
                time.sleep(0.02)
        if self._master >= 0:
            self.read(0.1)
        return self.process.returncode

    @property
    def is_whole(self) -> bool:
        """Whether the terminal is as it was: main screen, cursor, no mouse, cooked."""
        modes = {
            mode: self.raw.rfind(b"\x1b[?%dh" % mode) <= self.raw.rfind(b"\x1b[?%dl" % mode)
            for mode in (1049, 1000, 1003, 2004)
        }
        cursor = self.raw.rfind(b"\x1b[?25h") >= self.raw.rfind(b"\x1b[?25l")
        after: list[Any] = termios.tcgetattr(self._slave)
        return all(modes.values()) and cursor and after[3] == self.before[3]

    @staticmethod
    def _set_size(fd: int, size: tuple[int, int]) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
