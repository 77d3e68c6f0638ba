"""Who is at work for a test?"""

from __future__ import annotations

import os
from pathlib import Path


def started_in(folder: Path) -> dict[int, str]:
    """The words of each process that has *folder* among them, or in its environment."""
    found = {}
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (
                (proc / "cmdline").read_bytes(),
                (proc / "environ").read_bytes(),
            )
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if os.fsencode(folder) in words + environment:
            found[int(proc.name)] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


def is_running(pid: int) -> bool:
    """Not one that has ended and waits for its parent to ask: an orphan's may take its time."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(") ")[2][0] != "Z"
