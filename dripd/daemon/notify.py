"""What does systemd hear of us? Lines to `NOTIFY_SOCKET`, where a service manager gave one."""

from __future__ import annotations

import os
import socket
import time


def notify(*lines: str) -> bool:
    """Send *lines* as one datagram (`READY=1`, `STATUS=...`); False where nobody listens."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return False
    place = f"\0{name[1:]}" if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.connect(place)
            sock.send("\n".join(lines).encode())
    except OSError:
        return False  # a manager that has gone away or is overrun: the next line may reach it
    return True


def reloading() -> bool:
    """A reload begins; systemd wants the instant by the monotonic clock."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
