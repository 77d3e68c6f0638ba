"""How does the console end when it is told to, or when its terminal is gone? Always.

Textual hands what it writes to a thread, through a queue of 30. On a terminal that is gone
that thread dies, on one that nobody reads it waits; then the main thread waits for it too,
and the loop hears no more of signals. So signals are taken without the loop, and a timer
ends the process that does not end by itself.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import termios
from collections.abc import Callable
from threading import Thread, Timer
from types import FrameType
from typing import Any, Final

TERMINAL: Final = 0
"""Keys come from it; what is written goes to the same."""

RESTORE: Final = (
    b"\x1b[<u\x1b[?7h\x1b[?2048l\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l"
    b"\x1b[?1006l\x1b[?1015l\x1b[?2004l\x1b[?1004l\x1b[0m"
)
"""Leaves the alternate screen and its keyboard, wraps lines, shows the cursor, lets the mouse
and the clipboard go."""

PATIENCE_S: Final = 5.0
"""How long the console may take to leave by itself after a signal."""

ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)


def modes() -> list[Any] | None:
    """How the terminal reads and writes now, None where that is no terminal."""
    try:
        return termios.tcgetattr(TERMINAL)
    except termios.error:
        return None


def restore(before: list[Any] | None) -> None:
    """Bring the terminal back to the modes that it had, if it is there; waits for nobody."""
    try:
        if before is not None:
            termios.tcsetattr(TERMINAL, termios.TCSANOW, before)
        # opened anew: what others share must not be made non-blocking
        terminal = os.open(os.ttyname(TERMINAL), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(terminal, RESTORE)
    except (OSError, termios.error):
        return  # gone, or full: nobody is there to see it


def obey(leave: Callable[[int], None], before: list[Any] | None) -> None:
    """From now on a signal, or the end of the terminal, calls *leave* with the exit code.

    A process that is still there after `PATIENCE_S` is ended, its terminal restored to
    *before*. To be called in the main thread, in the loop.
    """
    loop = asyncio.get_running_loop()

    def end(number: int, _frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(leave, 128 + number)
        last = Timer(PATIENCE_S, _end_now, (128 + number, before))
        last.daemon = True
        last.start()

    for number in ENDINGS:
        signal.signal(number, end)
    # a terminal that is not the controlling one goes without a signal: then give one
    watch(TERMINAL, lambda: os.kill(os.getpid(), signal.SIGHUP))


def _end_now(code: int, before: list[Any] | None) -> None:
    restore(before)
    os._exit(code)


def watch(fd: int, gone: Callable[[], None]) -> None:
    """Call *gone*, in a thread, once nobody is there any more at the other end of *fd*."""

    def wait() -> None:
        end = select.poll()
        end.register(fd, 0)  # POLLHUP and POLLERR are told unasked
        end.poll()
        gone()

    Thread(target=wait, name="dripd-hangup", daemon=True).start()
