"""dripd on a host whose wall clock is wrong, and steps: what `selftest chaos` starts some daemons as.

    python -m dripd.proof.skewed FILE WORDS...    is `dripd WORDS...`

FILE holds milliseconds by which the host's clock is ahead; it is looked at again every few
milliseconds. The monotonic clock is left alone, as it is on a real host.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOOK_NS: Final = 20_000_000


class Skew:
    """Reads how far the clock is off, now and then."""

    def __init__(self, file: Path, wall_ns: Callable[[], int]) -> None:
        self._file = file
        self._wall_ns = wall_ns
        self._next = 0
        self._ahead_ns = 0

    def time_ns(self) -> int:
        now = time.monotonic_ns()
        if now >= self._next:
            self._next = now + LOOK_NS
            try:
                self._ahead_ns = int(self._file.read_text() or 0) * 1_000_000
            except (FileNotFoundError, ValueError):
                self._ahead_ns = 0
        return self._wall_ns() + self._ahead_ns

    def time(self) -> float:
        return self.time_ns() / 1e9


def main() -> None:
    """Give this process the wrong clock, then be dripd."""
    skew = Skew(Path(sys.argv[1]), time.time_ns)  # noqa: TID251 - this is the host's clock
    time.time_ns, time.time = skew.time_ns, skew.time  # noqa: TID251 - and this the wrong one
    sys.argv[:] = ["dripd", *sys.argv[2:]]
    runpy.run_module("dripd.cli.main", run_name="__main__")


if __name__ == "__main__":
    main()
